"""Receipt handles: opaque to clients, exact to us.

    base64url( u8 version | u64 partition | u32 generation | u64 seq | u32 receive number | u64 received at | 8s MAC )

The MAC is keyed BLAKE2b with the node's secret: what we did not hand out is
garbage, never a guess at somebody's message. ``partition`` tells a handle of
another queue (or of an older queue with the same name) from one of ours.
"""

from __future__ import annotations

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from hashlib import blake2b

_PLAIN = struct.Struct(">BQIQIQ")
_VERSION = 1
_MAC = 8
_LENGTH = len(urlsafe_b64encode(bytes(_PLAIN.size + _MAC)))
"""Characters of every handle."""


@dataclass(slots=True)
class Receipt:
    """What a receipt handle says. ``number``: how many times the message had been received, this time included."""

    partition: int
    generation: int
    seq: int
    number: int
    received_at: int


class Receipts:
    """Makes and reads receipt handles. ``secret``: up to 64 bytes, the same for the life of the store."""

    def __init__(self, secret: bytes) -> None:
        self._keyed = blake2b(key=secret, digest_size=_MAC)

    def _mac(self, plain: bytes) -> bytes:
        mac = self._keyed.copy()
        mac.update(plain)
        return mac.digest()

    def handle(self, receipt: Receipt) -> str:
        plain = _PLAIN.pack(
            _VERSION, receipt.partition, receipt.generation, receipt.seq, receipt.number, receipt.received_at
        )
        return urlsafe_b64encode(plain + self._mac(plain)).decode()

    def read(self, handle: str) -> Receipt | None:
        """The receipt, or None for anything that we did not make."""
        if len(handle) != _LENGTH:
            return None
        try:
            raw = urlsafe_b64decode(handle.encode())
        except (ValueError, binascii.Error):
            return None
        if len(raw) != _PLAIN.size + _MAC or self._mac(raw[: _PLAIN.size]) != raw[_PLAIN.size :]:
            return None
        version, *parts = _PLAIN.unpack_from(raw)
        return Receipt(*parts) if version == _VERSION else None

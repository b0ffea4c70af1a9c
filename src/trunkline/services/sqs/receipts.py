"""Receipt handles: opaque to clients, exact to us.

    base64url( u8 version | u64 partition | u32 generation | u64 seq | u32 receive number | u64 received at | 8s MAC )

The MAC is keyed BLAKE2b with the node's secret: what we did not hand out is
garbage, never a guess at somebody's message. ``partition`` tells a handle of
another queue (or of an older queue with the same name) from one of ours.
"""

from __future__ import annotations

import struct
from binascii import Error, a2b_base64, b2a_base64
from hashlib import blake2b
from typing import NamedTuple

_PLAIN = struct.Struct(">BQIQIQ")
_VERSION = 1
_MAC = 8
_SIZE = _PLAIN.size + _MAC
_LENGTH = (_SIZE + 2) // 3 * 4
"""Characters of every handle."""
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


class Receipt(NamedTuple):
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

    def handle(self, partition: int, generation: int, seq: int, number: int, received_at: int) -> str:
        """The handle of a Receipt with these fields."""
        plain = _PLAIN.pack(_VERSION, partition, generation, seq, number, received_at)
        return b2a_base64(plain + self._mac(plain), newline=False).translate(_TO_URL).decode()

    def read(self, handle: str) -> Receipt | None:
        """The receipt, or None for anything that we did not make."""
        if len(handle) != _LENGTH:
            return None
        try:
            raw = a2b_base64(handle.encode().translate(_FROM_URL))
        except (ValueError, Error):
            return None
        if len(raw) != _SIZE or self._mac(raw[:-_MAC]) != raw[-_MAC:]:
            return None
        version, *parts = _PLAIN.unpack_from(raw)
        return Receipt._make(parts) if version == _VERSION else None

"""Where ids come from: the one source of chance, handed in by the composition root."""

from __future__ import annotations

import random
from typing import Protocol


class Ids(Protocol):
    """A source of ids that nobody has seen before."""

    def raw(self) -> bytes:
        """16 bytes of a version-4 UUID."""
        ...

    def text(self) -> str:
        """A version-4 UUID in its usual text form, such as a request id."""
        ...


def uuid_text(raw: bytes) -> str:
    """16 bytes as ``8-4-4-4-12`` lower-case hexadecimal digits."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_CLEAR = ~((0xF << 76) | (0x3 << 62))
_SET = (0x4 << 76) | (0x2 << 62)


def as_uuid(raw: bytes) -> bytes:
    """16 bytes with the version and variant of a version-4 UUID set in them."""
    return (int.from_bytes(raw, "big") & _CLEAR | _SET).to_bytes(16, "big")


class RandomIds:
    """Version-4 UUIDs from a generator seeded by the operating system.

    Ids are names, not secrets, so the fast generator serves: a third of the
    cost of ``uuid.uuid4``. ``text`` counts on from a random beginning, for
    request ids only need to differ. ``seed`` makes a run repeatable, for tests.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._bits = random.Random(random.SystemRandom().getrandbits(256) if seed is None else seed).getrandbits
        self._stem = uuid_text(self.raw())[:24]
        self._count = self._bits(40)

    def raw(self) -> bytes:
        return (self._bits(128) & _CLEAR | _SET).to_bytes(16, "big")

    def text(self) -> str:
        self._count += 1
        return f"{self._stem}{self._count:012x}"

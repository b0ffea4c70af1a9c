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


class RandomIds:
    """Version-4 UUIDs from a generator seeded by the operating system.

    Ids are names, not secrets, so the fast generator serves: a third of the
    cost of ``uuid.uuid4``. ``seed`` makes a run repeatable, for tests.
    """

    _CLEAR = ~((0xF << 76) | (0x3 << 62))
    _SET = (0x4 << 76) | (0x2 << 62)

    def __init__(self, seed: int | None = None) -> None:
        self._bits = random.SystemRandom().getrandbits if seed is None else random.Random(seed).getrandbits
        if seed is None:
            self._bits = random.Random(self._bits(256)).getrandbits

    def raw(self) -> bytes:
        return (self._bits(128) & self._CLEAR | self._SET).to_bytes(16, "big")

    def text(self) -> str:
        return uuid_text(self.raw())

"""The contract of a store, and the words it is written in.

A store holds rows ``(partition: int, key: bytes, value: bytes)`` and never
looks into a value. A *unit* is a set of rows over one or more partitions that
is applied whole or not at all; a commit is an ordered list of units, durable
when ``commit`` returns. Within a commit the last write of a key wins.

Fencing: every part of a unit carries the *epoch* under which its shard was
leased. One stale epoch refuses the whole unit (StaleEpoch), and no other
unit of the commit. Shard of a partition = partition % SHARDS.

One writer calls ``commit``/``erase``; reads may run beside it and
see at least everything whose commit returned before the read was called.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from trunkline.kernel.step import Row, Write

SHARDS = 1_024
"""Leases are on shards, not on queues: few enough to scan, many enough to spread over nodes."""


class StoreError(Exception):
    """The store could not do it. After a commit the outcome is unknown.

    The text says what and where. ``kind``: a word for metrics and health; ``short``: what is wrong, for clients;
    ``advice``: what whoever runs the server can do, or "".
    """

    kind = "io"
    short = "the disk fails"
    advice = ""


class StoreFull(StoreError):
    """No room on the disk; nothing was applied."""

    kind = "full"
    short = "the disk is full"
    advice = "Make room on that disk, or raise this user's quota."


class StoreReadOnly(StoreError):
    """The disk or the files cannot be written any more."""

    kind = "read_only"
    short = "the disk is read-only"
    advice = "Let this user write there again; of a disk that the kernel made read-only it says why (dmesg)."


class StoreGone(StoreError):
    """The files lie no longer where they were opened; they may come back."""

    kind = "gone"
    short = "the data directory is gone"
    advice = "Put the data directory back as it was."


class StoreLost(StoreError):
    """The store is gone for good (its connection or its files); the server must stop."""

    kind = "lost"
    short = "the data is lost"
    advice = "Start the server anew; if that fails, put a backup in the place of the data."


KINDS = tuple(each.kind for each in (StoreError, StoreFull, StoreReadOnly, StoreGone, StoreLost))


@dataclass(slots=True)
class Part:
    """Rows of one partition in a unit, in order; the last write of a key wins."""

    partition: int
    epoch: int
    writes: list[Write]


Unit = list[Part]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes: of the data, of the log of changes beside it, and that are free on the disk that both are on."""

    data: int
    log: int
    free: int


@dataclass(slots=True)
class Outcome:
    """What became of a commit: the indexes of units refused for a stale epoch (all others are durable)."""

    stale: frozenset[int] = frozenset()


class Store(Protocol):
    """See the module's text. Every method may raise StoreError.

    ``short``: there is hardly any room; only what makes room should be committed.
    ``doubt``: what went wrong last, until a probe or a commit has gone through; None if nothing did.
    """

    @property
    def short(self) -> bool: ...

    @property
    def doubt(self) -> StoreError | None: ...

    def sizes(self) -> Sizes | None:
        """What it takes up; None if that is no disk, or the disk does not say."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None:
        """Flush and release everything. Idempotent."""
        ...

    async def lease(self, shard: int) -> int:
        """Take a shard and return its new epoch; older epochs are refused from then on."""
        ...

    async def lease_all(self, shards: Iterable[int]) -> dict[int, int]:
        """Take several shards at once: their new epochs."""
        ...

    async def commit(self, units: list[Unit]) -> Outcome:
        """Apply the units in order and make them durable.

        If this raises, none or all may have been applied (the outcome is unknown).
        Several calls may be under way; they take effect in the order of the calls.
        When one raises, those called before that was known raise too and are not
        applied: they may have been decided on top of what was lost.
        A unit refused for a stale epoch is left out whole; it is no error.
        """
        ...

    async def probe(self) -> None:
        """Return if changes can be made durable now; else raise why not. Mends what can be mended.

        Never holds the event loop up.
        """
        ...

    def look(self) -> None:
        """Find out, by and by and beside the event loop, what is wrong that no call has met; ``doubt`` will say it."""
        ...

    async def load(self, partition: int, epoch: int, keys: list[bytes]) -> list[bytes | None]:
        """Values of ``keys``, in their order; None where there is no row."""
        ...

    async def scan(
        self, partition: int, epoch: int, start: bytes, end: bytes, limit: int, max_bytes: int = 1 << 20
    ) -> tuple[list[Row], bool]:
        """Rows with start <= key < end in key order, and whether the range is exhausted.

        At the most ``limit`` rows; stops early after ``max_bytes`` of values, but never before the first row.
        """
        ...

    async def erase(self, partition: int, start: bytes, end: bytes, limit: int) -> bool:
        """Delete at the most ``limit`` rows of the range; True when nothing is left in it.

        After exactly ``limit`` rows it may say False although they were the last; ask again.

        ``end`` = b"" means the end of the partition. Space goes back to the
        disk by and by. Need not be durable at once: it is repeated after a crash.
        """
        ...

"""Counting by second: how many messages are in flight, or delayed, until when.

A count must be right without loading what is counted, so it stands in rows of
its own: one bucket for each second, ``03 gen kind second -> count``. Beside
it are those messages that are in memory, by the same second: a timer wheel.
A second that has passed needs no correction: its bucket just drops out.

No call looks at all that is held. The messages of the present second alone are
put in the order of their instants, once, when that second begins; for a later
second its beginning serves as the time to wake, for early is harmless.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from trunkline.kernel.step import Row, Write
from trunkline.kernel.time import NEVER, Millis
from trunkline.services.sqs.rows import HISTOGRAM, u32, u64


class Timed(Protocol):
    """What a wheel turns: something with a sequence and the instant at which it comes up."""

    seq: int
    until: Millis


T = TypeVar("T", bound=Timed)

_PRUNED = 16
"""Rows of passed seconds that one step deletes: keeps steps small, and is more than a step can add."""


class Tally(Generic[T]):
    """``kind`` 0 counts messages in flight, 1 delayed ones. ``resident``: how many are held in memory.

    ``up(now)`` comes first: the other methods speak of the second that it saw last.
    """

    def __init__(self, kind: int, generation: int) -> None:
        self._prefix = HISTOGRAM + u32(generation) + bytes((kind,))
        self._counts: dict[int, int] = {}
        self._sum = 0
        self._seconds: list[int] = []  # a heap of the keys of _counts
        self._wheel: dict[int, dict[int, T]] = {}
        self._turns: list[int] = []  # a heap of the keys of _wheel
        self._present = -1
        # A heap of (until, sequence) of all that is held in the present second, and of some that have left.
        self._soon: list[tuple[Millis, int]] = []
        self._passed: list[int] = []
        self._changed: set[int] = set()
        self.resident = 0

    def restore(self, rows: list[Row]) -> None:
        """Take up the buckets among a partition's head rows."""
        width = len(self._prefix)
        for key, value in rows:
            if key.startswith(self._prefix):
                self._count(int.from_bytes(key[width:], "big"), int.from_bytes(value, "big"))
        self._changed.clear()

    def _count(self, second: int, change: int) -> None:
        if second not in self._counts:
            self._counts[second] = 0
            heapq.heappush(self._seconds, second)
        self._counts[second] += change
        self._sum += change
        self._changed.add(second)

    def add(self, item: T) -> None:
        """Count a message that comes up at ``item.until`` and hold it."""
        self._count(item.until // 1000, 1)
        self.hold(item)

    def count(self, until: Millis) -> None:
        """Count a message that is not held in memory."""
        self._count(until // 1000, 1)

    def hold(self, item: T) -> None:
        """Hold a message that is counted already."""
        second = item.until // 1000
        bucket = self._wheel.get(second)
        if bucket is None:
            bucket = self._wheel[second] = {}
            heapq.heappush(self._turns, second)
        bucket[item.seq] = item
        self.resident += 1
        if second == self._present:
            heapq.heappush(self._soon, (item.until, item.seq))

    def remove(self, item: T) -> None:
        """Neither count nor hold ``item`` any longer."""
        self.uncount(item.until)
        bucket = self._wheel.get(item.until // 1000)
        if bucket is not None and bucket.pop(item.seq, None) is not None:
            self.resident -= 1

    def uncount(self, until: Millis) -> None:
        second = until // 1000
        if self._counts.get(second, 0) > 0:
            self._counts[second] -= 1
            self._sum -= 1
            self._changed.add(second)

    def up(self, now: Millis) -> Iterator[T]:
        """Take out what has come up by ``now``, in the order of the instants within a second."""
        second = now // 1000
        while self._seconds and self._seconds[0] < second:
            first = heapq.heappop(self._seconds)
            self._sum -= self._counts.pop(first)
            self._changed.discard(first)
            self._passed.append(first)
        while self._turns and self._turns[0] < second:
            bucket = self._wheel.pop(heapq.heappop(self._turns))
            self.resident -= len(bucket)
            yield from sorted(bucket.values(), key=_order)
        if second != self._present:
            self._present = second
            self._soon = [_order(item) for item in self._wheel.get(second, {}).values()]
            heapq.heapify(self._soon)
        while (item := self._soonest()) is not None and item.until <= now:
            heapq.heappop(self._soon)
            del self._wheel[second][item.seq]
            self.resident -= 1
            yield item

    def _soonest(self) -> T | None:
        """The first to come up in the present second. What has left, or comes up at another instant now, is dropped."""
        while self._soon:
            until, seq = self._soon[0]
            item = self._wheel.get(self._present, {}).get(seq)
            if item is not None and item.until == until:
                return item
            heapq.heappop(self._soon)
        return None

    def next(self) -> Millis:
        """When the earliest held message comes up, or a little before; NEVER if none is held."""
        item = self._soonest()
        if item is not None:
            return item.until
        while self._turns:
            if self._wheel[self._turns[0]]:
                return self._turns[0] * 1000
            del self._wheel[heapq.heappop(self._turns)]
        return NEVER

    def total(self, now: Millis) -> int:
        """How many are still to come up, held or not."""
        second = now // 1000
        return self._sum - self._counts.get(second, 0) + len(self._wheel.get(second, ()))

    @property
    def unsaved(self) -> bool:
        """True if ``writes`` has anything to say."""
        return bool(self._changed or self._passed)

    def writes(self) -> list[Write]:
        """The rows that changed since the last call."""
        rows: list[Write] = []
        if self._changed:
            for second in self._changed:
                count = self._counts.get(second, 0)
                rows.append((self._prefix + u64(second), u32(count) if count else None))
            self._changed.clear()
        while self._passed and len(rows) < _PRUNED:
            rows.append((self._prefix + u64(self._passed.pop()), None))
        return rows


def _order(item: Timed) -> tuple[Millis, int]:
    return item.until, item.seq

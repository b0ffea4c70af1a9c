"""Counting by second: how many messages are in flight, or delayed, until when.

A count must be right without loading what is counted, so it stands in rows of
its own: one bucket for each second, ``03 gen kind second -> count``. Beside
it are those messages that are in memory, by the second too: a timer wheel.
A second that has passed needs no correction: its bucket just drops out.

Messages in flight (kind 0) and the delayed ones of a standard queue (kind 1)
are counted by the second in which that ends. A FIFO queue's delay, though, may
change for what is in it already: there a bucket (kind 2) counts those sent in
a second and not received since, whatever the delay, for as long as the longest
delay there is.

No call looks at all that is held. The messages of the present second alone are
put in the order of their instants, once, when that second begins; for a later
second its beginning serves as the time to wake, for early is harmless.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from trunkline.kernel.step import Row, Write
from trunkline.kernel.time import NEVER, Millis
from trunkline.services.sqs.limits import DELAY_SECONDS
from trunkline.services.sqs.rows import HISTOGRAM, UNRECEIVED, u32, u64


class Timed(Protocol):
    """What a wheel turns: something with a sequence and the instant at which it comes up."""

    seq: int
    until: Millis


T = TypeVar("T", bound=Timed)

_PRUNED = 16
"""Rows of passed seconds that one step deletes: keeps steps small, and is more than a step can add."""


class Buckets:
    """Counts by second, and their rows. A second is kept until ``kept`` seconds after it."""

    def __init__(self, kind: int, generation: int, kept: int = 0) -> None:
        self._kind = kind
        self._generation = generation
        self._prefix = HISTOGRAM + u32(generation) + bytes((kind,))
        self._kept = kept
        self._order: list[int] = []  # a heap of the keys of counts
        self._passed: list[int] = []
        self._changed: set[int] = set()
        self.counts: dict[int, int] = {}
        self.sum = 0

    def restore(self, rows: list[Row]) -> None:
        """Take up the buckets among a partition's head rows."""
        for second, count in counts_of(self._kind, self._generation, rows).items():
            self.more(second, count)
        self._changed.clear()

    def more(self, second: int, count: int = 1) -> None:
        if second not in self.counts:
            self.counts[second] = 0
            heapq.heappush(self._order, second)
        self.counts[second] += count
        self.sum += count
        self._changed.add(second)

    def less(self, second: int) -> None:
        """One less, if the second has not passed already."""
        if self.counts.get(second, 0) > 0:
            self.counts[second] -= 1
            self.sum -= 1
            self._changed.add(second)

    def let_go(self, present: int) -> None:
        """Drop the seconds that matter no longer in the second ``present``."""
        while self._order and self._order[0] + self._kept < present:
            second = heapq.heappop(self._order)
            self.sum -= self.counts.pop(second)
            self._changed.discard(second)
            self._passed.append(second)

    @property
    def unsaved(self) -> bool:
        """True if ``writes`` has anything to say."""
        return bool(self._changed or self._passed)

    def writes(self) -> list[Write]:
        """The rows that changed since the last call."""
        rows: list[Write] = []
        if self._changed:
            for second in self._changed:
                count = self.counts.get(second, 0)
                rows.append((self._prefix + u64(second), u32(count) if count else None))
            self._changed.clear()
        while self._passed and len(rows) < _PRUNED:
            rows.append((self._prefix + u64(self._passed.pop()), None))
        return rows


class Wheel(Generic[T]):
    """Messages in memory by the instant at which they come up. ``size``: how many there are.

    ``up(now)`` comes first: the other methods speak of the second that it saw last.
    """

    def __init__(self) -> None:
        self._turns: dict[int, dict[int, T]] = {}
        self._order: list[int] = []  # a heap of the keys of _turns
        self._present = -1
        # A heap of (until, sequence) of all that is held in the present second, and of some that have left.
        self._soon: list[tuple[Millis, int]] = []
        self.size = 0

    def hold(self, item: T) -> None:
        second = item.until // 1000
        turn = self._turns.get(second)
        if turn is None:
            turn = self._turns[second] = {}
            heapq.heappush(self._order, second)
        turn[item.seq] = item
        self.size += 1
        if second == self._present:
            heapq.heappush(self._soon, (item.until, item.seq))

    def drop(self, item: T) -> None:
        """Hold ``item`` no longer, if it is held."""
        turn = self._turns.get(item.until // 1000)
        if turn is not None and turn.pop(item.seq, None) is not None:
            self.size -= 1

    def up(self, now: Millis) -> Iterator[T]:
        """Take out what has come up by ``now``, in the order of the instants."""
        second = now // 1000
        while self._order and self._order[0] < second:
            turn = self._turns.pop(heapq.heappop(self._order))
            self.size -= len(turn)
            yield from sorted(turn.values(), key=_order)
        if second != self._present:
            self._present = second
            self._soon = [_order(item) for item in self._turns.get(second, {}).values()]
            heapq.heapify(self._soon)
        while (item := self._soonest()) is not None and item.until <= now:
            heapq.heappop(self._soon)
            del self._turns[second][item.seq]
            self.size -= 1
            yield item

    def _soonest(self) -> T | None:
        """The first to come up in the present second. What has left, or comes up at another instant now, is dropped."""
        while self._soon:
            until, seq = self._soon[0]
            item = self._turns.get(self._present, {}).get(seq)
            if item is not None and item.until == until:
                return item
            heapq.heappop(self._soon)
        return None

    def next(self) -> Millis:
        """When the earliest comes up, or a little before; NEVER if none is held."""
        item = self._soonest()
        if item is not None:
            return item.until
        while self._order:
            if self._turns[self._order[0]]:
                return self._order[0] * 1000
            del self._turns[heapq.heappop(self._order)]
        return NEVER

    def within(self, second: int) -> int:
        """How many come up in ``second``."""
        return len(self._turns.get(second, ()))


class Tally(Generic[T]):
    """Messages counted by the second in which they come up: ``kind`` as in rows.HISTOGRAMS.

    ``resident``: how many are held in memory. ``up(now)`` comes first, as in a wheel.
    """

    def __init__(self, kind: int, generation: int) -> None:
        self._buckets = Buckets(kind, generation)
        self._wheel: Wheel[T] = Wheel()
        self.restore = self._buckets.restore
        self.writes = self._buckets.writes
        self.hold = self._wheel.hold
        self.next = self._wheel.next

    @property
    def resident(self) -> int:
        return self._wheel.size

    @property
    def unsaved(self) -> bool:
        return self._buckets.unsaved

    def add(self, item: T) -> None:
        """Count a message that comes up at ``item.until`` and hold it."""
        self._buckets.more(item.until // 1000)
        self._wheel.hold(item)

    def remove(self, item: T) -> None:
        """Neither count nor hold ``item`` any longer."""
        self._buckets.less(item.until // 1000)
        self._wheel.drop(item)

    def count(self, until: Millis) -> None:
        """Count a message that is not held in memory."""
        self._buckets.more(until // 1000)

    def uncount(self, until: Millis) -> None:
        self._buckets.less(until // 1000)

    def up(self, now: Millis) -> Iterator[T]:
        """Take out what has come up by ``now``."""
        self._buckets.let_go(now // 1000)
        return self._wheel.up(now)

    def total(self, now: Millis) -> int:
        """How many are still to come up, held or not."""
        second = now // 1000
        return self._buckets.sum - self._buckets.counts.get(second, 0) + self._wheel.within(second)

    def ahead(self, now: Millis) -> int:
        """As ``total``, to the second, without ``up`` before it and with nothing changed."""
        return ending_after(self._buckets.counts, now)


class SentTally(Generic[T]):
    """Messages not received yet, counted by the second of their sending; those that a delay still hides are held.

    ``delay``: the queue's delay in ms, of whole seconds; it may be set at any time.
    """

    def __init__(self, generation: int, delay: Millis) -> None:
        self._buckets = Buckets(UNRECEIVED, generation, DELAY_SECONDS)
        self._wheel: Wheel[T] = Wheel()
        self.delay = delay
        self.restore = self._buckets.restore
        self.writes = self._buckets.writes
        self.hold = self._wheel.hold
        self.drop = self._wheel.drop
        self.next = self._wheel.next

    @property
    def unsaved(self) -> bool:
        return self._buckets.unsaved

    def sent(self, at: Millis) -> None:
        self._buckets.more(at // 1000)

    def received(self, at: Millis) -> None:
        """A message sent ``at`` was received for the first time, or deleted before."""
        self._buckets.less(at // 1000)

    def up(self, now: Millis) -> Iterator[T]:
        """Take out what has come up by ``now``."""
        self._buckets.let_go(now // 1000)
        return self._wheel.up(now)

    def total(self, now: Millis) -> int:
        """How many the delay still hides, held or not."""
        if not self.delay:
            return 0
        second = now // 1000
        last = second - self.delay // 1000
        later = sum(count for sent, count in self._buckets.counts.items() if sent > last)
        return later + self._wheel.within(second)

    def ahead(self, now: Millis) -> int:
        """As ``total``, to the second, without ``up`` before it and with nothing changed."""
        return hidden_by(self.delay, self._buckets.counts, now)


def counts_of(kind: int, generation: int, rows: list[Row]) -> dict[int, int]:
    """The counts by second among a partition's head rows."""
    prefix = HISTOGRAM + u32(generation) + bytes((kind,))
    width = len(prefix)
    return {
        int.from_bytes(key[width:], "big"): int.from_bytes(value, "big")
        for key, value in rows
        if key.startswith(prefix)
    }


def ending_after(counts: Mapping[int, int], now: Millis) -> int:
    """How many of those counted by the second in which they come up are still to come up, to the second."""
    return sum(count for second, count in counts.items() if second > now // 1000)


def hidden_by(delay: Millis, counts: Mapping[int, int], now: Millis) -> int:
    """How many of those counted by the second of their sending a delay still hides, to the second."""
    return sum(count for sent, count in counts.items() if sent > (now - delay) // 1000) if delay else 0


def _order(item: Timed) -> tuple[Millis, int]:
    return item.until, item.seq

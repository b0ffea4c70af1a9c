"""How full queues are, for who watches them: read without a use, and without bringing a queue into memory.

A queue that is in memory tells its levels at once. One that is not is read
from its head rows, once: until it is loaded again nothing but time changes it,
and the counts by second tell what time does. So the first look after a start
reads every queue, and later ones only those that left memory since. A look
reads so many at the most; the levels of the others come with the next looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from trunkline.kernel.errors import ServiceError, ServiceUnavailable
from trunkline.kernel.measures import Traffic
from trunkline.kernel.step import Machine, Row
from trunkline.kernel.time import NEVER, Millis
from trunkline.services.sqs.catalogue import Entry, QueueCatalogue
from trunkline.services.sqs.commands import Counts
from trunkline.services.sqs.machine import QueueMachine, place_of
from trunkline.services.sqs.rows import (
    COUNTERS,
    COUNTS,
    DELAYED_UNTIL,
    IN_FLIGHT_UNTIL,
    MESSAGE,
    META,
    SENT_INDEX,
    UNRECEIVED,
    MessageRow,
    u32,
)
from trunkline.services.sqs.tally import counts_of, ending_after, hidden_by

READ_AT_MOST = 1_000
"""Queues that one look reads from the store: about a tenth of a second of its reader thread."""
READ_SECONDS = 2.0
"""Real seconds after which a look reads no more, on a slow disk."""

Rest = Callable[[], Awaitable[None]]
"""Gives way to others when this has had its time."""


class Runtime(Protocol):
    """See runtime.partitions."""

    def catalogues(self) -> list[tuple[tuple[str, str, str], int]]: ...
    def load_catalogue(
        self, service: str, region: str, account: str, then: Callable[[Machine | ServiceError], None]
    ) -> None: ...
    def machine(self, partition: int) -> Machine | None: ...
    async def heads(self, partition: int) -> list[Row]: ...
    async def first(self, partition: int, start: bytes, end: bytes) -> Row | None: ...


@dataclass(slots=True)
class Level:
    """A queue. ``counts`` is None while they are not known; ``age``: seconds of the oldest message, 0 if none."""

    account: str
    region: str
    name: str
    traffic: Traffic
    counts: Counts | None = None
    age: float = 0.0
    receivers: int = 0


@dataclass(slots=True)
class Look:
    """What one look saw: as many ``levels`` as were asked for, and how many queues beside them there are."""

    levels: list[Level]
    queues: int = 0
    unread: int = 0
    places_left_out: int = 0
    """Accounts and regions of which nothing was looked at, for enough queues were found before."""

    @property
    def left_out(self) -> int:
        return self.queues - len(self.levels)


_NONE: Mapping[int, int] = {}


class _Resting:
    """A queue that is not in memory, as its rows say. Small, for there may be many."""

    __slots__ = ("_delayed", "_in_flight", "live", "loads", "oldest", "traffic")

    def __init__(self, entry: Entry, rows: list[Row]) -> None:
        self.traffic = entry.traffic
        self.loads = entry.traffic.loads
        self.oldest: Millis = NEVER
        known = dict(rows)
        generation = _generation(known)
        counters = known.get(COUNTERS + u32(generation))
        self.live = 0 if counters is None else COUNTS.unpack(counters)[1]
        delayed = UNRECEIVED if entry.settings.fifo else DELAYED_UNTIL
        self._in_flight = counts_of(IN_FLIGHT_UNTIL, generation, rows) or _NONE
        self._delayed = counts_of(delayed, generation, rows) or _NONE

    def levels(self, entry: Entry, now: Millis) -> Counts:
        settings = entry.settings
        in_flight = ending_after(self._in_flight, now)
        delayed = hidden_by(settings.delay, self._delayed, now) if settings.fifo else ending_after(self._delayed, now)
        return Counts(max(0, self.live - in_flight - delayed), in_flight, delayed)


class Levels:
    """``monotonic``: real seconds."""

    def __init__(self, runtime: Runtime, now: Callable[[], Millis], monotonic: Callable[[], float]) -> None:
        self._runtime = runtime
        self._now = now
        self._monotonic = monotonic
        self._resting: dict[int, _Resting] = {}
        self._reads = 0
        self._until = 0.0

    async def look(self, most: int, rest: Rest) -> Look:
        """At ``most`` queues, by account, region and name; one look at a time."""
        self._reads, self._until = READ_AT_MOST, self._monotonic() + READ_SECONDS
        found = Look([])
        resting: dict[int, _Resting] = {}
        for (_, region, account), _ in sorted(self._runtime.catalogues()):
            if len(found.levels) >= most:
                found.places_left_out += 1
                continue
            catalogue = await self._catalogue(region, account)
            if catalogue is None:
                found.places_left_out += 1
                continue
            found.queues += catalogue.size
            for entry in catalogue.entries(most - len(found.levels)):
                await rest()
                level = Level(account, region, entry.name, entry.traffic)
                try:
                    await self._measure(level, entry, resting)
                except ServiceUnavailable:
                    self._reads = 0
                found.unread += level.counts is None
                found.levels.append(level)
        self._resting = resting
        return found

    async def _measure(self, level: Level, entry: Entry, resting: dict[int, _Resting]) -> None:
        partition, now = entry.partition, self._now()
        machine = self._runtime.machine(partition)
        if isinstance(machine, QueueMachine):
            level.receivers = machine.receivers
            level.counts = machine.levels(now)
            oldest = machine.oldest()
            if oldest is None and self._may_read():
                oldest = await self._first_sent(partition, await self._runtime.heads(partition))
            level.age = _age(oldest, now)
            return
        known = self._resting.get(partition)
        if known is None or known.traffic is not entry.traffic or known.loads != entry.traffic.loads:
            if not self._may_read():
                return
            rows = await self._runtime.heads(partition)
            known = _Resting(entry, rows)
            if known.live:
                known.oldest = await self._first_sent(partition, rows)
        resting[partition] = known
        level.counts = known.levels(entry, now)
        level.age = _age(known.oldest, now)

    def _may_read(self) -> bool:
        self._reads -= 1
        return self._reads >= 0 and self._monotonic() < self._until

    async def _first_sent(self, partition: int, rows: list[Row]) -> Millis:
        """When the message was sent that stands first, or the dead letter that was sent first; NEVER if none is."""
        generation = _generation(dict(rows))
        sent: list[Millis] = [NEVER]
        message = await self._runtime.first(partition, *_range(MESSAGE, generation))
        if message is not None:
            sent.append(MessageRow.decode(message[1]).sent)
        moved = await self._runtime.first(partition, *_range(SENT_INDEX, generation))
        if moved is not None:
            sent.append(place_of(moved[0])[0])
        return min(sent)

    async def _catalogue(self, region: str, account: str) -> QueueCatalogue | None:
        loaded: asyncio.Future[Machine | ServiceError] = asyncio.get_running_loop().create_future()
        self._runtime.load_catalogue("sqs", region, account, loaded.set_result)
        machine = await loaded
        return machine if isinstance(machine, QueueCatalogue) else None


def _generation(rows: dict[bytes, bytes]) -> int:
    return int.from_bytes(rows[META][:4], "big") if META in rows else 0


def _range(prefix: bytes, generation: int) -> tuple[bytes, bytes]:
    return prefix + u32(generation), prefix + u32(generation + 1)


def _age(oldest: Millis | None, now: Millis) -> float:
    return 0.0 if oldest is None or oldest >= NEVER else max(0, now - oldest) / 1000

"""Group commit: units in the order of their enqueueing, many to one fsync.

While the store commits one batch the next one gathers, so nobody waits for a
timer and load makes batches larger by itself. Two batches are under way at
the most: one that the store is syncing and one that it takes up straight
after, so that it never waits for the event loop. Every unit's ``done`` is
called on the event loop, in the order of the units.

When a commit fails its outcome is unknown. Then every unit of the batch and
every unit behind it is failed, for later units were decided on top of the
lost ones, and ``on_failure`` is told which partitions must be read anew. (The
store itself refuses what was handed in before the failure was known.) No batch
is handed over then until a probe has gone through: see runtime.outage.

What is neither durable nor failed is counted in bytes: a store that is slower
than its callers would else fill the memory. The lane itself refuses nothing,
for what comes here was decided already; whoever admits requests looks at
``uncommitted`` before he lets one in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from trunkline.kernel.errors import ServiceUnavailable
from trunkline.kernel.measures import SHORT_SECONDS, SIZES, Histogram
from trunkline.kernel.time import RealClock
from trunkline.runtime.outage import Outage
from trunkline.storage.store import Part, Store, StoreError, Unit

log = logging.getLogger(__name__)

Done = Callable[[Exception | None], None]

BATCH_UNITS = 4_096
"""Units in one commit at the most: bounds how long a failed batch and its retry may be."""
LANES = 2
"""Batches under way at once."""
ROW_BYTES = 150
"""What a row counts for beside its value: its key, and Python's objects for all of it."""


class Commits:
    """Feeds a Store with batches. All methods are called on the event loop.

    ``stamp`` gives a part to add to every batch (the clock's high-water mark),
    or None; ``on_stamped`` is told of those that are durable. ``on_lost`` is
    called once when the store is gone for good.

    ``batches`` and ``units``: how many were handed to the store; ``failures``: batches that it did not confirm.
    ``seconds``: from handing a batch over until it was settled, ``sizes``: the units in each.
    """

    def __init__(
        self,
        store: Store,
        on_failure: Callable[[set[int]], None] | None = None,
        stamp: Callable[[], Part | None] | None = None,
        on_stamped: Callable[[Part], None] | None = None,
        on_lost: Callable[[Exception], None] | None = None,
        monotonic: Callable[[], float] = RealClock.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._store = store
        self._on_failure = on_failure
        self._stamp = stamp
        self._on_stamped = on_stamped
        self.outage = Outage(store.probe, self._refuse_gathered, self._resume, on_lost, monotonic)
        self._gathering: list[tuple[Unit, Done]] = []
        self._gathered = 0
        """Bytes of what gathers."""
        self._under_way: deque[_Batch] = deque()
        self._resting: list[asyncio.Future[None]] = []
        self._lanes: list[asyncio.Task[None]] = []
        self._stopping = False
        self.batches = 0
        self.units = 0
        self.failures = 0
        self.seconds = Histogram(SHORT_SECONDS)
        self.sizes = Histogram(SIZES)
        self.uncommitted = 0
        """Bytes of rows that are neither durable nor failed, and of what is held for later turns (``hold``)."""

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._lanes = [loop.create_task(self._run(), name=f"commits-{number}") for number in range(LANES)]

    async def stop(self) -> None:
        """Commit what is enqueued, then end."""
        self._stopping = True
        await self.outage.stop()
        self._resume()
        for lane in self._lanes:
            await lane
        self._lanes = []

    @property
    def failing(self) -> bool:
        """Can nothing be made durable? Then nothing is to be let in that changes something."""
        return self.outage.failing

    @property
    def idle(self) -> bool:
        """True if every unit so far is durable (or failed)."""
        return not self._gathering and not self._under_way

    @property
    def unsettled(self) -> int:
        """Units that are neither durable nor failed yet; barriers are none."""
        lists = [self._gathering, *(batch.units for batch in self._under_way)]
        return sum(1 for units in lists for unit, _ in units if unit)

    def enqueue(self, unit: Unit, done: Done) -> None:
        """Commit ``unit`` after all earlier ones; ``done(None)`` when durable, ``done(error)`` if that is unknown.

        An empty unit is a barrier: it is done when the earlier ones are.
        """
        size = _bytes(unit)
        self._gathered += size
        self.uncommitted += size
        self._gathering.append((unit, done))
        # With more than one unit gathered, the lane that will take them has been rung already.
        if self._resting and len(self._gathering) == 1 and not self.outage.on:
            self._ring()

    def hold(self, size: int) -> None:
        """Count ``size`` bytes more that wait in memory to be enqueued; less than 0 when they do no more."""
        self.uncommitted += size

    def after(self, action: Callable[[], None]) -> None:
        """Call ``action`` when every unit enqueued so far has been settled; at once if all are."""
        if self.idle:
            action()
        else:
            self.enqueue([], lambda _: action())

    def _ring(self) -> None:
        resting = self._resting.pop()
        if not resting.done():
            resting.set_result(None)

    def _resume(self) -> None:
        while self._resting:
            self._ring()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        outage = self.outage
        while True:
            if not self._gathering or outage.on:
                if self._stopping and not self._gathering:
                    return
                resting = loop.create_future()
                self._resting.append(resting)
                await resting
                continue
            if len(self._gathering) <= BATCH_UNITS:
                taken, self._gathering = self._gathering, []
                size = self._gathered
            else:
                taken, self._gathering = self._gathering[:BATCH_UNITS], self._gathering[BATCH_UNITS:]
                size = sum(_bytes(unit) for unit, _ in taken)
            self._gathered -= size
            batch = _Batch(taken, size)
            self._under_way.append(batch)
            batch.failure, batch.stale = await self._commit([unit for unit, _ in taken if unit])
            batch.ended = True
            # A batch of barriers alone ends at once, but not before the one ahead of it.
            while self._under_way and self._under_way[0].ended:
                self._settle(self._under_way.popleft())

    def _settle(self, batch: _Batch) -> None:
        # First: who is answered may ask again at once.
        self.uncommitted -= batch.size
        if batch.failure is not None:
            self._fail(batch, batch.failure)
        elif batch.stale:
            self._settle_with_refusals(batch.units, batch.stale)
        else:
            for _, done in batch.units:
                _call(done, None)

    async def _commit(self, units: list[Unit]) -> tuple[StoreError | None, frozenset[int]]:
        if not units:
            return None, frozenset()
        self.batches += 1
        self.units += len(units)
        stamp: Part | None = None
        begun = self._monotonic()
        self.sizes.observe(len(units))
        try:
            if self._stamp is not None and (stamp := self._stamp()) is not None:
                units.append([stamp])
            outcome = await self._store.commit(units)
            if stamp is not None and self._on_stamped is not None and len(units) - 1 not in outcome.stale:
                self._on_stamped(stamp)
        except StoreError as error:
            return error, frozenset()
        except Exception as error:
            log.exception("A commit failed in an unforeseen way")
            return StoreError(f"a commit failed in an unforeseen way: {error}"), frozenset()
        finally:
            self.seconds.observe(self._monotonic() - begun)
        return None, outcome.stale

    def _settle_with_refusals(self, batch: list[tuple[Unit, Done]], stale: frozenset[int]) -> None:
        """Fail the units refused for a stale epoch; what was decided on top of them was under the same epoch."""
        refused: set[int] = set()
        dones: list[tuple[Done, Exception | None]] = []
        index = 0
        for unit, done in batch:
            if unit and index in stale:
                refused.update(part.partition for part in unit)
                dones.append((done, ServiceUnavailable()))
            else:
                dones.append((done, None))
            index += bool(unit)
        self._report(refused)
        for done, error in dones:
            _call(done, error)

    def _fail(self, batch: _Batch, failure: StoreError) -> None:
        lost = batch.units + [pair for later in self._under_way for pair in later.units]
        self.uncommitted -= sum(later.size for later in self._under_way)
        self._under_way.clear()
        self.failures += 1
        # First: who is answered may ask again at once.
        self.outage.begin(failure)
        self.outage.refused += self._refuse(lost + self._take_gathered())

    def _refuse_gathered(self) -> int:
        return self._refuse(self._take_gathered())

    def _take_gathered(self) -> list[tuple[Unit, Done]]:
        gathered, self._gathering = self._gathering, []
        self.uncommitted -= self._gathered
        self._gathered = 0
        return gathered

    def _refuse(self, lost: list[tuple[Unit, Done]]) -> int:
        self._report({part.partition for unit, _ in lost for part in unit})
        refusal = self._refusal()
        for _, done in lost:
            _call(done, refusal)
        return sum(1 for unit, _ in lost if unit)

    def turn_away(self) -> ServiceUnavailable:
        """Count a request that is not let in, for nothing can be stored, and the error for it."""
        self.outage.refused += 1
        return self._refusal()

    def _refusal(self) -> ServiceUnavailable:
        error = self.outage.error
        if error is None:
            return ServiceUnavailable()
        return ServiceUnavailable(f"The service cannot store the change now, for {error.short}; please retry.")

    def _report(self, partitions: set[int]) -> None:
        """A lane that ended here would never commit again, and its callers never be answered."""
        if self._on_failure is None:
            return
        try:
            self._on_failure(partitions)
        except Exception:
            log.exception("The machines of a failed commit could not all be dropped")


class _Batch:
    """Units handed to the store together, ``size`` bytes, and what became of them."""

    __slots__ = ("ended", "failure", "size", "stale", "units")

    def __init__(self, units: list[tuple[Unit, Done]], size: int) -> None:
        self.units = units
        self.size = size
        self.ended = False
        self.failure: StoreError | None = None
        self.stale: frozenset[int] = frozenset()


def _bytes(unit: Unit) -> int:
    size = 0
    for part in unit:
        for _, value in part.writes:
            size += ROW_BYTES if value is None else ROW_BYTES + len(value)
    return size


def _call(done: Done, error: Exception | None) -> None:
    """One dead connection must not stop the others of its batch."""
    try:
        done(error)
    except Exception:
        log.exception("An answer could not be given")

"""Owns the machines: loads them, lets them turn, commits, and then answers.

A turn is synchronous: take ``now``, let the machine handle the command, let
its local deliveries be accepted in turn (by a work list, never by recursion),
and enqueue everything that was written as one unit. When that is durable the
answers go out. Later turns may run on top of uncommitted ones, for commits
keep their order; if a commit fails, every machine with unconfirmed writes is
dropped, its waiting callers are refused with a retryable error, and the next
command loads it anew.

What a turn touches must be in memory before it begins: the machine itself and
its ``companions`` (a queue's dead-letter queue). What is not is loaded first;
the command waits. A machine that wants rows says Need in a Step and gets them
as a Loaded command, read behind every write enqueued before.

Tokens: everything in ``Step.answers`` is (token, answer), and the runtime
calls ``token.release(answer)``, once, with an Exception for a refusal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

from trunkline.kernel.errors import InternalFailure, ServiceError, ServiceUnavailable
from trunkline.kernel.refusals import Refusals
from trunkline.kernel.step import (
    HEAD_END,
    Cancel,
    Close,
    Delivery,
    Loaded,
    Machine,
    Need,
    Row,
    Step,
    Token,
    Wake,
    Write,
)
from trunkline.kernel.time import NEVER, Millis, RealClock, ServiceClock
from trunkline.runtime.alarms import Alarms
from trunkline.runtime.bodies import Bodies
from trunkline.runtime.commits import Commits
from trunkline.runtime.remains import Remains
from trunkline.runtime.sweeper import Sweeper
from trunkline.runtime.system import (
    ALARM,
    CATALOGUE,
    CLOCK,
    COPIED,
    DEAD,
    FIRST_PARTITION,
    FLOOR,
    NEXT_PARTITION,
    SECRET,
    SYSTEM,
    CatalogueKey,
    ClockRow,
    DeadRange,
    alarm_key,
    catalogue_key,
    owner_key,
    parse_alarm_key,
    parse_catalogue_key,
    u64,
)
from trunkline.storage.store import SHARDS, Part, Sizes, Store, StoreError

log = logging.getLogger(__name__)

_PAGE = 1_000
_IDLE_ROUNDS = 60
"""Rounds (seconds) without a command after which an idle machine leaves memory."""
_LOOK_ROUNDS = 5
"""Rounds between two looks whether the store is well, though nobody writes."""
_REPEAT = 0.5
"""Seconds after a failure until machines are woken again."""
_ROWS_BYTES = 1 << 20
_ROWS_AT_ONCE = 32
"""Rows by key are read so many at a time, until there are so many bytes of them."""
_FLOOR_PER_MS = 1_000
_ROUND_SLOTS = 512
"""Machines looked at per round: keeps the round under a millisecond."""

Answers = list[tuple[Token, Any]]


class Factory(Protocol):
    """Builds a service's machine of ``partition`` from its head rows. May raise ServiceError (it is deleted)."""

    def __call__(self, key: CatalogueKey, partition: int, rows: list[Row], catalogue: Machine | None) -> Machine: ...


class _Slot:
    """A partition in memory. ``alarm_row``: the due time that its durable alarm row stands at, NEVER if none.

    ``owner``: the partition of the catalogue that lists it; its own if it is one.
    """

    __slots__ = ("alarm_row", "epoch", "machine", "owner", "partition", "used", "waiting")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.owner = partition
        self.epoch = 0
        self.machine: Machine | None = None
        self.waiting: list[Any] = []
        self.alarm_row: Millis = NEVER
        self.used = 0


class Partitions:
    """All methods are called on the event loop. ``secret``: what a new store takes as the node's secret."""

    def __init__(
        self,
        store: Store,
        clock: ServiceClock,
        real: RealClock,
        secret: bytes,
        cache_bytes: int = 64 << 20,
        machine_bytes: int = 256 << 20,
        on_lost: Callable[[Exception], None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._real = real
        self._bodies = Bodies(cache_bytes)
        self._machine_bytes = machine_bytes
        self.commits = Commits(store, self._evict, self._stamp, self._stamped, on_lost, real.monotonic)
        self.alarms = Alarms(clock, self._ring)
        self.outage = self.commits.outage
        self.sweeper = Sweeper(store, self._swept, self.outage)
        self._unread = Refusals("The store cannot be read, and requests are refused", log, real.monotonic)
        self._remains = Remains()
        self._factories: dict[str, Factory] = {}
        self._slots: dict[int, _Slot] = {}
        self._catalogues: dict[CatalogueKey, int] = {}
        self._catalogue_of: dict[int, CatalogueKey] = {}
        self._alarm_rows: dict[int, Millis] = {}
        self._epochs: dict[int, int] = {}
        self._next_partition = FIRST_PARTITION
        self._next_durable = FIRST_PARTITION
        self._young: set[CatalogueKey] = set()
        self._dead_number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: dict[int, asyncio.Future[None]] = {}
        self._round = 0
        self._over = False
        self._rest: list[int] = []
        self._weight = self._weighed = 0
        self._round_timer: asyncio.TimerHandle | None = None
        self._unwoken: set[int] = set()
        self._wake_timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self.secret = secret
        self.floor = 0
        """No sequence of a queue may be given that is below, if it was not given already; 0 but in what was a copy."""

    def register(self, service: str, factory: Factory) -> None:
        self._factories[service] = factory

    # -- life ------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store and read the node's own rows; load nothing else. StoreError; then the store is closed."""
        await self._store.open()
        try:
            await self._begin()
        except BaseException:
            await self._store.close()
            raise

    async def _begin(self) -> None:
        self._epochs = await self._store.lease_all(range(SHARDS))
        rows = await self._scan_all(SYSTEM, b"", DEAD)
        mine: list[Write] = []
        known = dict(rows)
        if SECRET in known:
            self.secret = known[SECRET]
        else:
            mine.append((SECRET, self.secret))
        if NEXT_PARTITION in known:
            self._next_partition = self._next_durable = int.from_bytes(known[NEXT_PARTITION], "big")
        if CLOCK in known:
            row = ClockRow.decode(known[CLOCK])
            self._clock.restore(row.offset, row.high_water, row.frozen)
        for key, value in rows:
            if key.startswith(CATALOGUE):
                partition = int.from_bytes(value, "big")
                self._catalogues[parse_catalogue_key(key)] = partition
                self._catalogue_of[partition] = parse_catalogue_key(key)
        if FLOOR in known:
            self.floor = int.from_bytes(known[FLOOR], "big")
        if COPIED in known:
            mine += self._begin_copy(int.from_bytes(known[COPIED], "big"))
        if mine:
            await self._store.commit([[Part(SYSTEM, self._epochs[0], mine)]])
        for key, value in await self._scan_all(SYSTEM, DEAD, ALARM):
            dead = DeadRange.decode(key, value)
            self._dead_number = max(self._dead_number, dead.number + 1)
            self.sweeper.add(dead)
        spare: list[Write] = []
        for key, _ in await self._scan_all(SYSTEM, ALARM, b"\x31"):
            due, partition = parse_alarm_key(key)
            if partition in self._alarm_rows:
                # A failed commit can leave a second row; the scan is in time order, so the first is the earlier.
                spare.append((key, None))
            else:
                self._alarm_rows[partition] = due
        self.commits.start()
        if spare:
            self._write_system(spare)

    def _begin_copy(self, made: Millis) -> list[Write]:
        """The data is a backup that is opened for the first time; what its original did since is not in it.

        So nothing that the original may have given out since may be given out again: a receipt handle would be good for
        another message, a sequence number would come twice. Sequences and partition ids go on from a number that rises
        with time by a million a second, faster than any are used up, so above those of every former life.
        """
        now = max(int(self._real.wall() * 1000), self._clock.now())
        self.floor = max(self.floor, now * _FLOOR_PER_MS)
        self._next_partition = self._next_durable = max(self._next_partition, self.floor)
        log.warning("This is a copy of %s: what happened after that is not in it", _iso(made))
        return [(COPIED, None), (FLOOR, u64(self.floor)), (NEXT_PARTITION, u64(self._next_partition))]

    def begin(self) -> None:
        """Let alarms ring and sweeping go on: after every service has registered."""
        self.sweeper.start()
        for partition, due in self._alarm_rows.items():
            self.alarms.set(partition, due)
        self.alarms.rearm()
        self._round_timer = asyncio.get_running_loop().call_later(1.0, self._rest_round)

    def refuse_waiting(self, error: ServiceError) -> None:
        """Answer every caller that waits in a machine (long polls) with ``error``."""
        self._drop([s.partition for s in self._slots.values() if s.machine is not None and not s.machine.idle], error)

    async def stop(self) -> None:
        """Refuse waiting callers, flush everything, close the store."""
        if self._round_timer is not None:
            self._round_timer.cancel()
        self._stopping = True
        if self._wake_timer is not None:
            self._wake_timer.cancel()
        self.alarms.stop()
        await self.sweeper.stop()
        self._drop(list(self._slots), ServiceUnavailable("The server is shutting down."))
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for slot in self._slots.values():
            for command in self._take_waiting(slot):
                _refuse(command, ServiceUnavailable("The server is shutting down."))
        self._write_system([self._clock_row()])
        await self.commits.stop()
        await self._store.close()

    async def _scan_all(self, partition: int, start: bytes, end: bytes) -> list[Row]:
        found: list[Row] = []
        epoch = self._epochs[partition % SHARDS]
        while True:
            rows, done = await self._store.scan(partition, epoch, start, end, _PAGE)
            found += rows
            if done or not rows:
                return found
            start = rows[-1][0] + b"\0"

    # -- the clock ---------------------------------------------------------------

    def _clock_row(self) -> Write:
        return CLOCK, ClockRow(self._clock.offset, self._clock.now(), self._clock.frozen).encode()

    def _stamp(self) -> Part:
        """What rides on every batch, for the batch may depend on it.

        The clock's high-water mark: no acknowledged time is ever passed twice. Which partition comes next, and new
        catalogues, until they are durable: a commit that failed took them along, and their queues may outlive it.
        """
        rows = [self._clock_row()]
        if self._next_partition != self._next_durable:
            rows.append((NEXT_PARTITION, u64(self._next_partition)))
        rows += [(catalogue_key(key), u64(self._catalogues[key])) for key in self._young]
        return Part(SYSTEM, self._epochs[0], rows)

    def _stamped(self, part: Part) -> None:
        """A batch with this stamp is durable."""
        for key, value in part.writes[1:]:
            if key == NEXT_PARTITION and value is not None:
                self._next_durable = max(self._next_durable, int.from_bytes(value, "big"))
            else:
                self._young.discard(parse_catalogue_key(key))

    async def save_clock(self) -> None:
        """Return when the clock's present setting is durable."""
        saved: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.commits.enqueue([Part(SYSTEM, self._epochs[0], [self._clock_row()])], saved.set_result)
        error = await saved
        if error is not None:
            raise error

    async def settle(self, until: float | None = None) -> bool:
        """Return True when no command is queued, no page outstanding and every unit enqueued so far committed.

        Commits of what others ask for meanwhile are not waited for, or a busy server would never be settled. False if
        it is not by ``until``, in seconds of the real monotonic clock.
        """
        while True:
            tasks: list[asyncio.Future[Any]] = list(self._tasks)
            waits = tasks or ([] if self.commits.idle else [asyncio.ensure_future(self._barrier())])
            if not waits:
                return True
            left = None if until is None else until - self._real.monotonic()
            if left is not None and left <= 0:
                return False
            _, late = await asyncio.wait(waits, timeout=left)
            if late:
                return False
            if not tasks and not self._tasks:
                return True
            await asyncio.sleep(0)

    @property
    def pending(self) -> str:
        """What is not settled, for people."""
        return f"{self.commits.unsettled} commits and {len(self._tasks)} reads"

    # -- commands ----------------------------------------------------------------

    def tell(self, partition: int, command: Any) -> None:
        """Hand a command to a machine, now if it is in memory, else when it has been loaded."""
        slot = self._slots.get(partition)
        if slot is None or slot.machine is None:
            self._await_machine(partition, command)
            return
        companions = slot.machine.companions
        if companions and not self._in_memory(companions):
            self.commits.hold(_size(command))
            self._spawn(self._with_companions(slot, command))
            return
        self._turn(slot, command)

    def catalogue(self, service: str, region: str, account: str) -> Machine | None:
        """The catalogue if it is in memory, else None."""
        slot = self._slots.get(self._catalogues.get((service, region, account), SYSTEM))
        return None if slot is None else slot.machine

    def has_catalogue(self, service: str, region: str, account: str) -> bool:
        """Has one ever been made? A look-up must not make it: whoever names an account would fill the store."""
        return (service, region, account) in self._catalogues

    def load_catalogue(
        self, service: str, region: str, account: str, then: Callable[[Machine | ServiceError], None]
    ) -> None:
        """Bring a catalogue into memory, making it if there is none, and call ``then`` with it or with why not."""
        key = (service, region, account)
        partition = self._catalogues.get(key)
        if partition is None:
            then(self._new_catalogue(key))
            return

        async def load() -> None:
            try:
                machine = (await self._load(partition)).machine
                assert machine is not None
            except ServiceError as error:
                then(error)
                return
            then(machine)

        self._spawn(load())

    def catalogues(self) -> list[tuple[CatalogueKey, int]]:
        """Every catalogue of the node, loaded or not, with its partition."""
        return list(self._catalogues.items())

    def after_commits(self, action: Callable[[], None]) -> None:
        """Call ``action`` when everything that was enqueued so far is durable or has failed; now if it is."""
        self.commits.after(action)

    def hold(self, size: int) -> None:
        """Count bytes that wait in memory for a turn among those that are not committed: see Commits.hold."""
        self.commits.hold(size)

    @property
    def short(self) -> bool:
        """Is there hardly any room on the disk? Then nothing more is taken; see storage.reserve."""
        return self._store.short

    def sizes(self) -> Sizes | None:
        """What the store takes up; see storage.store."""
        return self._store.sizes()

    def allot(self) -> int:
        """A partition id that was never used; durable with the batch of the unit that first uses it (see _stamp)."""
        partition = self._next_partition
        self._next_partition += 1
        return partition

    def machines(self) -> Iterable[tuple[int, Machine]]:
        """What is in memory now: (partition, machine)."""
        return [(slot.partition, slot.machine) for slot in self._slots.values() if slot.machine is not None]

    def machine(self, partition: int) -> Machine | None:
        """What is in memory of a partition, without a use of it; None if nothing is."""
        slot = self._slots.get(partition)
        return None if slot is None else slot.machine

    async def heads(self, partition: int) -> list[Row]:
        """The head rows of a partition, for who only looks: nothing is loaded. ServiceUnavailable."""
        try:
            await self._barrier()
            return await self._scan_all(partition, b"", HEAD_END)
        except StoreError as error:
            raise ServiceUnavailable("The store cannot be read now; please retry.") from error

    async def first(self, partition: int, start: bytes, end: bytes) -> Row | None:
        """The first row of a range, if it has any, likewise."""
        try:
            await self._barrier()
            rows, _ = await self._store.scan(partition, self._epoch(partition), start, end, 1)
        except StoreError as error:
            raise ServiceUnavailable("The store cannot be read now; please retry.") from error
        return rows[0] if rows else None

    @property
    def weight(self) -> int:
        """Roughly how many bytes the machines hold, as of the last round over all of them."""
        return self._weighed

    @property
    def cached(self) -> int:
        """Bytes of bodies in memory."""
        return self._bodies.held

    # -- loading -----------------------------------------------------------------

    def _epoch(self, partition: int) -> int:
        return self._epochs[partition % SHARDS]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("A background task failed", exc_info=error)

    def _new_catalogue(self, key: CatalogueKey) -> Machine:
        catalogue_key(key)  # a key that cannot be written must not be remembered either
        partition = self.allot()
        self._young.add(key)
        self._catalogues[key] = partition
        self._catalogue_of[partition] = key
        slot = _Slot(partition)
        slot.epoch = self._epoch(partition)
        slot.machine = self._factories[key[0]](key, partition, [], None)
        self._slots[partition] = slot
        return slot.machine

    def _write_system(self, writes: list[Write]) -> None:
        self.commits.enqueue([Part(SYSTEM, self._epochs[0], writes)], _ignore)

    def _await_machine(self, partition: int, command: Any) -> None:
        slot = self._slots.get(partition)
        if slot is None:
            self._slots[partition] = slot = _Slot(partition)
        slot.waiting.append(command)
        self.commits.hold(_size(command))
        if len(slot.waiting) == 1:
            self._spawn(self._serve_waiting(slot))

    async def _serve_waiting(self, slot: _Slot) -> None:
        try:
            await self._load(slot.partition)
        except ServiceError as error:
            waiting = self._take_waiting(slot)
            if self._slots.get(slot.partition) is slot and slot.machine is None:
                del self._slots[slot.partition]
            for command in waiting:
                if _unreadable(error):
                    self._undeliverable(slot.partition, command, error)
                else:
                    _refuse(command, error)
            return
        for command in self._take_waiting(slot):
            self.tell(slot.partition, command)

    def _take_waiting(self, slot: _Slot) -> list[Any]:
        waiting, slot.waiting = slot.waiting, []
        for command in waiting:
            self.commits.hold(-_size(command))
        return waiting

    async def _with_companions(self, slot: _Slot, command: Any) -> None:
        """Load what the turn may deliver to, then run it. A companion that is gone is the machine's to notice."""
        gone: set[int] = set()
        size = _size(command)
        try:
            while (machine := slot.machine) is not None and self._slots.get(slot.partition) is slot:
                missing = [each for each in machine.companions if each not in gone and not self._in_memory((each,))]
                if not missing:
                    self._turn(slot, command)
                    return
                for partition in missing:
                    try:
                        await self._load(partition)
                    except ServiceError as error:
                        if _unreadable(error):
                            self._undeliverable(slot.partition, command, error)
                            return
                        gone.add(partition)
            # The machine was dropped meanwhile.
            self.tell(slot.partition, command)
        finally:
            self.commits.hold(-size)

    def _undeliverable(self, partition: int, command: Any, error: ServiceError) -> None:
        """A machine, or what its turn needs, cannot be had now. Nobody may be left waiting for this command."""
        if isinstance(command, Wake):
            self._wake_later([partition])
        elif isinstance(command, Loaded | Cancel):
            # It would wait for these rows, or for this caller, for ever.
            self._drop([partition], error)
        else:
            _refuse(command, error)

    def _wake_later(self, partitions: Iterable[int]) -> None:
        """Wake machines in a while, in real time: they are to find out what they have to do."""
        self._unwoken.update(partitions)
        if self._unwoken and self._wake_timer is None and not self._stopping:
            self._wake_timer = asyncio.get_running_loop().call_later(_REPEAT, self._wake_unwoken)

    def _wake_unwoken(self) -> None:
        self._wake_timer = None
        if self.outage.on:
            self._wake_later([])  # they could do nothing but fail again
            return
        unwoken, self._unwoken = self._unwoken, set()
        for partition in unwoken:
            self.tell(partition, Wake())

    def _in_memory(self, partitions: Iterable[int]) -> bool:
        slots = self._slots
        for partition in partitions:
            slot = slots.get(partition)
            if slot is None or slot.machine is None:
                return False
        return True

    async def _barrier(self) -> None:
        if not self.commits.idle:
            passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.commits.after(lambda: None if passed.done() else passed.set_result(None))  # it may be cancelled
            await passed

    async def _load(self, partition: int) -> _Slot:
        """The slot of ``partition`` with its machine. ServiceError if it cannot be had.

        One load at a time for each partition: two would race, and the slower
        could put a machine of older rows in the place of a newer one.
        """
        while True:
            slot = self._slots.get(partition)
            if slot is not None and slot.machine is not None:
                return slot
            other = self._loading.get(partition)
            if other is None:
                break
            await other
        self._loading[partition] = finished = asyncio.get_running_loop().create_future()
        try:
            return await self._load_alone(partition)
        except StoreError as error:
            self._unread.add(error)
            raise ServiceUnavailable("The store cannot be read now; please retry.") from error
        finally:
            del self._loading[partition]
            finished.set_result(None)

    async def _load_alone(self, partition: int) -> _Slot:
        catalogue: Machine | None = None
        await self._barrier()
        key = self._catalogue_of.get(partition)
        if key is not None:
            rows = await self._scan_all(partition, b"", b"\xff")
        else:
            [owner] = await self._store.load(SYSTEM, self._epochs[0], [owner_key(partition)])
            if owner is None:
                raise _Gone
            owner_slot = await self._load(int.from_bytes(owner, "big"))
            key = self._catalogue_of[owner_slot.partition]
            rows = await self._scan_all(partition, b"", HEAD_END)
            # The catalogue may have been dropped, and read anew, meanwhile.
            owner_slot = await self._load(owner_slot.partition)
            catalogue = owner_slot.machine
        slot = self._slots.get(partition)
        if slot is None:
            self._slots[partition] = slot = _Slot(partition)
        if catalogue is not None:
            slot.owner = owner_slot.partition
        slot.epoch = self._epoch(partition)
        slot.alarm_row = self._alarm_rows.get(partition, NEVER)
        slot.machine = self._factories[key[0]](key, partition, rows, catalogue)
        slot.used = self._round
        self._set_alarm(slot)
        return slot

    # -- turns -------------------------------------------------------------------

    def _turn(self, slot: _Slot, command: Any) -> None:
        machine = slot.machine
        assert machine is not None
        slot.used = self._round
        now = self._clock.now()
        try:
            step = machine.handle(command, now)
        except ServiceError as error:
            _refuse(command, error)
            return
        except Exception:
            log.exception(
                "A machine failed at %s; it is read anew",
                type(command).__name__,
                extra=_concerns(getattr(command, "token", None)),
            )
            self._drop([slot.partition], InternalFailure())
            _refuse(command, InternalFailure())
            return
        if step.deliveries or step.closed or step.dead:
            self._long_turn(slot, step, now)
            return
        partition = slot.partition
        unit: list[Part] = []
        if step.writes:
            self._bodies.follow(partition, step.writes)
            unit.append(Part(partition, slot.epoch, step.writes))
        dead: list[DeadRange] = []
        if step.sweeps:
            dead = self._bury_ranges(unit, partition, step.sweeps)
            self._remains.add(machine.shed(everything=False))
        self._after_step(slot, step, now, unit)
        self._release_after(unit, self._with_rows(partition, step.answers), dead)

    def _after_step(self, slot: _Slot, step: Step, now: Millis, unit: list[Part]) -> None:
        machine = slot.machine
        assert machine is not None
        durable = machine.durable_wake_at
        if (durable < slot.alarm_row or slot.alarm_row <= now) and (unit or not self.outage.on):
            # While nothing can be stored a read is not to fail for it; the machine is woken afterwards (_evict).
            self._write_alarm(slot, durable, unit)
        self.alarms.set(slot.partition, machine.wake_at)
        for need in step.needs:
            self._spawn(self._answer_need(slot, machine, need))

    def _set_alarm(self, slot: _Slot) -> None:
        machine = slot.machine
        if machine is not None:
            self.alarms.set(slot.partition, machine.wake_at)

    def _write_alarm(self, slot: _Slot, due: Millis, unit: list[Part]) -> None:
        """Move the durable alarm row to ``due``: only when it becomes earlier, or when it is spent."""
        if due == slot.alarm_row:
            return
        writes: list[Write] = []
        if slot.alarm_row < NEVER:
            writes.append((alarm_key(slot.alarm_row, slot.partition), None))
        if due < NEVER:
            writes.append((alarm_key(due, slot.partition), b""))
            self._alarm_rows[slot.partition] = due
        else:
            self._alarm_rows.pop(slot.partition, None)
        slot.alarm_row = due
        unit.append(Part(SYSTEM, self._epochs[0], writes))

    def _long_turn(self, slot: _Slot, step: Step, now: Millis) -> None:
        """A step that causes others: the steps of all of them are one unit."""
        unit: list[Part] = []
        answers: Answers = []
        dead: list[DeadRange] = []
        buried: set[int] = set()
        work: list[tuple[_Slot, Step]] = [(slot, step)]
        at = 0
        try:
            while at < len(work):
                current, step = work[at]
                at += 1
                # Also without rows: if the commit fails, what was said to this machine was not so.
                self._bodies.follow(current.partition, step.writes)
                unit.append(Part(current.partition, current.epoch, step.writes))
                dead += self._bury_ranges(unit, current.partition, step.sweeps)
                answers += self._with_rows(current.partition, step.answers)
                for delivery in step.deliveries:
                    target = self._target(current, delivery, unit)
                    if target is not None and target.machine is not None:
                        # In the list before it turns: if it fails half-way it must be dropped too.
                        work.append((target, Step()))
                        work[-1] = (target, target.machine.handle(delivery.command, now))
                for partition in [*step.dead, *([current.partition] if step.closed else [])]:
                    if partition not in buried:
                        buried.add(partition)
                        dead += self._bury(partition, unit)
        except Exception as error:
            if not isinstance(error, ServiceError):
                log.exception("A delivery failed; every machine of the turn is read anew")
            refusal = error if isinstance(error, ServiceError) else InternalFailure()
            self._drop([each.partition for each, _ in work], refusal)
            for token, _ in answers:
                _release(token, refusal)
            for _, left in work[at:]:
                for token, _ in left.answers:
                    _release(token, refusal)
            return
        for current, step in work:
            if current.machine is not None and self._slots.get(current.partition) is current:
                self._remains.add(current.machine.shed(everything=False))
                self._after_step(current, step, now, unit)
        self._release_after(unit, answers, dead)

    def _target(self, source: _Slot, delivery: Delivery, unit: list[Part]) -> _Slot | None:
        target = self._slots.get(delivery.partition)
        if target is not None and target.machine is not None:
            return target
        if delivery.fresh:
            slot = _Slot(delivery.partition)
            slot.owner = source.partition
            slot.epoch = self._epoch(delivery.partition)
            slot.used = self._round
            key = self._catalogue_of[source.partition]
            slot.machine = self._factories[key[0]](key, delivery.partition, [], source.machine)
            self._slots[delivery.partition] = slot
            unit.append(Part(SYSTEM, self._epochs[0], [(owner_key(delivery.partition), u64(source.partition))]))
            return slot
        if delivery.optional:
            return None
        raise RuntimeError(f"partition {delivery.partition} was not named as a companion")

    def _bury(self, partition: int, unit: list[Part]) -> list[DeadRange]:
        """Drop a partition for good: its machine, its alarm, and by and by its rows."""
        writes: list[Write] = [(owner_key(partition), None)]
        due = self._alarm_rows.pop(partition, NEVER)
        if due < NEVER:
            writes.append((alarm_key(due, partition), None))
        unit.append(Part(SYSTEM, self._epochs[0], writes))
        unit.append(Part(partition, self._epoch(partition), []))  # if the commit fails, it is there still
        slot = self._slots.pop(partition, None)
        if slot is not None and slot.machine is not None:
            self._remains.add(slot.machine.shed(everything=True))
            slot.machine = None
        self.alarms.set(partition, NEVER)
        return self._bury_ranges(unit, partition, [(b"", b"")])

    def _bury_ranges(self, unit: list[Part], partition: int, ranges: list[tuple[bytes, bytes]]) -> list[DeadRange]:
        found = []
        for start, end in ranges:
            dead = DeadRange(partition, self._dead_number, start, end)
            self._dead_number += 1
            unit.append(Part(SYSTEM, self._epochs[0], [(dead.key, dead.encode())]))
            found.append(dead)
        return found

    def _swept(self, dead: DeadRange) -> None:
        self._write_system([(dead.key, None)])

    # -- answers -----------------------------------------------------------------

    def _with_rows(self, partition: int, answers: Answers) -> Answers:
        """Fill in the body rows that answers name: now from the cache, else from the store before the release."""
        for at, (token, answer) in enumerate(answers):
            bodies = getattr(answer, "bodies", None)
            if bodies:
                answer.rows = self._bodies.get(partition, bodies)
                if None in answer.rows:
                    answers[at] = (_Refill(self, partition, token), answer)
        return answers

    def _release_after(self, unit: list[Part], answers: Answers, dead: list[DeadRange]) -> None:
        if not unit:
            if not answers:
                return
            if self.commits.idle:
                for token, answer in answers:
                    _release(token, answer)
                return

        def done(error: Exception | None) -> None:
            for token, answer in answers:
                _release(token, answer if error is None else error)
            if error is None:
                for each in dead:
                    self.sweeper.add(each)

        self.commits.enqueue(unit, done)

    async def _refill(self, partition: int, token: Token, answer: Any) -> None:
        missing = [at for at, row in enumerate(answer.rows) if row is None]
        try:
            await self._barrier()
            keys = [answer.bodies[at] for at in missing]
            rows = await self._store.load(partition, self._epoch(partition), keys)
        except StoreError as error:
            self._unread.add(error)
            _release(token, ServiceUnavailable("The store cannot be read now; please retry."))
            return
        for at, row in zip(missing, rows, strict=True):
            answer.rows[at] = row
        _release(token, answer)

    async def _answer_need(self, slot: _Slot, machine: Machine, need: Need) -> None:
        await self._barrier()
        partition = slot.partition
        beside: list[Row] = []
        try:
            looked = 0
            if need.keys:
                rows, looked = await self._rows(slot, need.keys)
                done = looked == len(need.keys)
            else:
                rows, done = await self._store.scan(partition, slot.epoch, need.start, need.end, need.limit)
            if need.beside is not None and rows:
                prefix, other = need.beside
                first = other + rows[0][0][len(prefix) :]
                last = other + rows[-1][0][len(prefix) :] + b"\0"
                beside, _ = await self._store.scan(partition, slot.epoch, first, last, len(rows), 1 << 30)
        except StoreError as error:
            self._unread.add(error)
            if slot.machine is machine:
                self._drop([partition], ServiceUnavailable("The store cannot be read now; please retry."))
            return
        if slot.machine is not machine:
            return
        self._bodies.found(partition, rows)
        self.tell(partition, Loaded(need, rows, beside, done, looked))

    async def _rows(self, slot: _Slot, keys: list[bytes]) -> tuple[list[Row], int]:
        """Rows of ``keys`` until they are _ROWS_BYTES, from the cache where it has them; how many were looked for."""
        rows: list[Row] = []
        looked = size = 0
        while looked < len(keys) and size < _ROWS_BYTES:
            some = keys[looked : looked + _ROWS_AT_ONCE]
            values = self._bodies.get(slot.partition, some)
            if None in values:
                values = await self._store.load(slot.partition, slot.epoch, some)
            rows += [(key, value) for key, value in zip(some, values, strict=True) if value is not None]
            size += sum(len(value) for value in values if value is not None)
            looked += len(some)
        return rows, looked

    # -- dropping machines -------------------------------------------------------

    def _evict(self, partitions: set[int]) -> None:
        """A commit failed: what these machines believe may not be on the disk.

        Nor is it known which alarm rows are there. The machines are woken in a while, read anew, and say it again; an
        alarm row too many does no harm. That also finds out when the store works again.
        """
        partitions.discard(SYSTEM)
        self._drop(list(partitions), ServiceUnavailable())
        for partition in partitions:
            self._alarm_rows.pop(partition, None)
        self._wake_later(partitions - self._catalogue_of.keys())

    def _drop(self, partitions: list[int], error: ServiceError) -> None:
        """Forget machines; who waits in them is refused. A catalogue takes along what was built from it.

        One that has a durable alarm is woken in a while: what that was for may have been under way, and go on with rows
        that will not come now.
        """
        dropped = set(partitions)
        if not dropped.isdisjoint(self._catalogue_of):
            dropped |= {slot.partition for slot in self._slots.values() if slot.owner in dropped}
        self._wake_later(dropped & self._alarm_rows.keys())
        for partition in dropped:
            slot = self._slots.get(partition)
            if slot is None:
                continue
            machine, slot.machine = slot.machine, None
            if not slot.waiting:
                del self._slots[partition]
            if machine is None:
                continue
            if not machine.idle:
                self._close(machine, error)
            self._remains.add(machine.shed(everything=True))

    def _close(self, machine: Machine, error: ServiceError) -> None:
        """Refuse who waits in a machine."""
        try:
            step = machine.handle(Close(error), self._clock.now())
        except Exception:
            log.exception("A machine could not refuse its waiting callers")
            return
        for token, _ in step.answers:
            _release(token, error)

    def _rest_round(self) -> None:
        """Once a second: let a slice of the machines that nobody uses leave memory, and see how the store is."""
        self._round += 1
        doubt = self._store.doubt
        if doubt is not None and not self.outage.on:
            self.outage.begin(doubt)
        elif self._round % _LOOK_ROUNDS == 0:
            self._store.look()
        if not self._rest:
            self._rest = list(self._slots)
            self._over = self._weight > self._machine_bytes
            self._weighed, self._weight = self._weight, 0
        for _ in range(min(_ROUND_SLOTS, len(self._rest))):
            slot = self._slots.get(self._rest.pop())
            if slot is None or slot.machine is None:
                continue
            unused = self._round - slot.used
            if slot.machine.idle and (unused > _IDLE_ROUNDS or (self._over and unused > 1)):
                self._unload(slot)
            else:
                self._weight += slot.machine.weight
        self._round_timer = asyncio.get_running_loop().call_later(1.0, self._rest_round)

    def _unload(self, slot: _Slot) -> None:
        """Catalogues stay: they are small, and every call needs one."""
        if slot.partition in self._catalogue_of or slot.waiting:
            return
        del self._slots[slot.partition]
        if slot.machine is not None:
            self._remains.add(slot.machine.shed(everything=True))
            slot.machine = None
        self.alarms.set(slot.partition, self._alarm_rows.get(slot.partition, NEVER))

    def _ring(self, partition: int) -> None:
        self.tell(partition, Wake())


class _Gone(ServiceUnavailable):
    """The partition is no longer there: its resource was deleted while a command was on its way."""

    def __init__(self) -> None:
        super().__init__("The resource was deleted while the request was on its way; please retry.")


def _unreadable(error: ServiceError) -> bool:
    """Can the machine not be had for now, rather than never again?"""
    return isinstance(error, ServiceUnavailable) and not isinstance(error, _Gone)


class _Refill:
    """Stands for a token whose answer still lacks body rows."""

    __slots__ = ("_partition", "_partitions", "_token")

    def __init__(self, partitions: Partitions, partition: int, token: Token) -> None:
        self._partitions = partitions
        self._partition = partition
        self._token = token

    def release(self, answer: Any) -> None:
        if isinstance(answer, Exception):
            _release(self._token, answer)
        else:
            self._partitions._spawn(self._partitions._refill(self._partition, self._token, answer))


def _release(token: Token, answer: Any) -> None:
    """One caller that cannot be answered must not stop the others."""
    try:
        token.release(answer)
    except Exception:
        log.exception("An answer could not be given", extra=_concerns(token))


def _concerns(token: Any) -> dict[str, Any] | None:
    """What a line in the log is to say of whoever asked."""
    found: dict[str, Any] | None = getattr(token, "concerns", None)
    return found


def _refuse(command: Any, error: Exception) -> None:
    if isinstance(command, Cancel):
        return  # its caller is answered as one who waits, by the machine or by its end: not twice
    token = getattr(command, "token", None)
    if token is not None:
        _release(token, error)


def _iso(instant: Millis) -> str:
    return datetime.fromtimestamp(instant / 1000, UTC).isoformat(timespec="seconds")


def _size(command: Any) -> int:
    """Bytes that a command holds while it waits, if it says so: one that carries messages does."""
    size: int = getattr(command, "size", 0)
    return size


def _ignore(_: Exception | None) -> None:
    """The failure of such a unit is answered by ``_evict``, which says it again."""

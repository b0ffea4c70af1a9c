"""The runtime around a toy machine: turns, units, needs, failures, unloading, burial."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from trunkline.kernel.errors import ServiceError, ServiceUnavailable
from trunkline.kernel.step import Close, Delivery, Loaded, Need, Row, Step, Wake
from trunkline.kernel.time import NEVER, RealClock, ServiceClock
from trunkline.runtime import outage as outages
from trunkline.runtime import sweeper as sweepers
from trunkline.runtime.partitions import Partitions
from trunkline.runtime.system import SYSTEM
from trunkline.runtime.timekeeper import Timekeeper
from trunkline.storage.memory import MemoryStore
from trunkline.storage.store import Outcome, StoreError, StoreGone, Unit


class Flaky(MemoryStore):
    """Fails its next commit, before or after applying it; ``reads``: which of the next reads succeed."""

    def __init__(self) -> None:
        super().__init__()
        self.fail: str = ""
        self.gate: asyncio.Event | None = None
        self.ill: StoreError | None = None
        self.reads: list[bool] = []

    async def scan(self, *parts: Any, **named: Any) -> tuple[list[Row], bool]:
        if self.reads and not self.reads.pop(0):
            raise StoreError("told to fail")
        return await super().scan(*parts, **named)

    async def probe(self) -> None:
        if self.ill is not None:
            raise self.ill
        self.doubt = None

    async def commit(self, units: list[Unit]) -> Outcome:
        if self.ill is not None:
            raise self.ill
        if self.gate is not None:
            await self.gate.wait()
        fail, self.fail = self.fail, ""
        if fail == "before":
            raise StoreError("told to fail")
        outcome = await super().commit(units)
        if fail == "after":
            raise StoreError("told to lose the answer")
        return outcome


@dataclass
class Token:
    """Keeps what it was released with."""

    answers: list[Any] = field(default_factory=list)

    def release(self, answer: Any) -> None:
        self.answers.append(answer)


@dataclass
class Put:
    token: Token
    key: bytes
    value: bytes


@dataclass
class Look:
    """Answer the body row of ``key``."""

    token: Token
    key: bytes


@dataclass
class Give:
    """Put a row here and one at a companion, in one unit."""

    token: Token
    value: bytes


@dataclass
class Tell:
    """Say something to a companion that writes no row of it."""

    token: Token
    value: bytes


@dataclass
class Hear:
    value: bytes


@dataclass
class Make:
    token: Token
    partition: int


@dataclass
class Remove:
    token: Token
    partition: int


@dataclass
class Park:
    token: Token


@dataclass
class Ask:
    """Answer how many rows a Need finds."""

    token: Token


@dataclass
class Sleep:
    token: Token
    until: int
    durable: bool


@dataclass
class Found:
    bodies: list[bytes]
    rows: list[bytes | None] = field(default_factory=list)


class Toy:
    """A machine that does what it is told."""

    def __init__(self, partition: int, rows: list[Row]) -> None:
        self.partition = partition
        self.rows = dict(rows)
        self.wake_at = NEVER
        self.durable_wake_at = NEVER
        self.companions: tuple[int, ...] = ()
        self.parked: list[Token] = []
        self.asked: dict[int, tuple[Need, Token]] = {}
        self.woken: list[int] = []
        self.heard: list[bytes] = []

    weight = 100

    def shed(self, everything: bool) -> list[Any]:
        return []

    @property
    def idle(self) -> bool:
        return not self.parked and not self.asked

    def handle(self, command: Any, now: int) -> Step:
        step = Step()
        match command:
            case Put(token, key, value):
                self.rows[key] = value
                step.writes.append((key, value))
                step.answers.append((token, "put"))
            case Look(token, key):
                step.answers.append((token, Found([key])))
            case Tell(token, value):
                step.deliveries.append(Delivery(self.companions[0], Hear(value)))
                step.answers.append((token, "told"))
            case Hear(value):
                self.heard.append(value)
            case Give(token, value):
                step.writes.append((b"\x02given", value))
                step.deliveries.append(Delivery(self.companions[0], Put(Token(), b"\x02got", value)))
                step.answers.append((token, "given"))
            case Make(token, partition):
                step.deliveries.append(Delivery(partition, Put(Token(), b"\x01", b"born"), fresh=True))
                step.answers.append((token, partition))
            case Remove(token, partition):
                step.deliveries.append(Delivery(partition, Close(ServiceError("Gone")), optional=True))
                step.dead.append(partition)
                step.answers.append((token, "removed"))
            case Park(token):
                self.parked.append(token)
            case Close(error):
                step.answers += [(token, error) for token in self.parked]
                step.answers += [(token, error) for _, token in self.asked.values()]
                self.parked = []
            case Ask(token):
                need = Need(b"\x40", b"\x41", 10, beside=(b"\x40", b"\x50"))
                self.asked[id(need)] = (need, token)
                step.needs.append(need)
            case Loaded(need, rows, beside, done):
                _, token = self.asked.pop(id(need), (None, None))
                if token is None:
                    return step
                step.answers.append((token, (len(rows), len(beside), done)))
            case Sleep(token, until, durable):
                if durable:
                    self.durable_wake_at = self.wake_at = until
                else:
                    self.wake_at = until
                step.answers.append((token, "sleeping"))
            case Wake():
                self.woken.append(now)
                self.wake_at = self.durable_wake_at = NEVER
                step.writes.append((b"\x02woken", str(now).encode()))
            case _:
                raise AssertionError(command)
        return step


class House:
    """Partitions over one store, with its catalogue made and two toys in it."""

    def __init__(self, store: Flaky | None = None) -> None:
        self.store = store or Flaky()
        self.clock = ServiceClock(RealClock())
        self.partitions = Partitions(self.store, self.clock, RealClock(), b"s" * 32)
        self.partitions.register("toy", lambda key, partition, rows, catalogue: Toy(partition, rows))
        self.one = self.two = self.root = 0

    async def open(self) -> House:
        await self.partitions.start()
        self.partitions.begin()
        made: list[Any] = []
        self.partitions.load_catalogue("toy", "r", "a", made.append)
        await self.partitions.settle()
        self.root = self.partitions.catalogues()[0][1]
        return self

    async def furnish(self) -> House:
        await self.open()
        self.one, self.two = self.partitions.allot(), self.partitions.allot()
        assert await self.ask(self.root, Make(Token(), self.one)) == self.one
        assert await self.ask(self.root, Make(Token(), self.two)) == self.two
        return self

    async def ask(self, partition: int, command: Any) -> Any:
        self.partitions.tell(partition, command)
        await self.partitions.settle()
        [answer] = command.token.answers
        return answer

    async def ask_soon(self, partition: int, command: Any) -> None:
        """Ask, and wait for the answer alone."""
        self.partitions.tell(partition, command)
        while not command.token.answers:
            await asyncio.sleep(0)

    async def wake_what_is_unwoken(self) -> None:
        """What a timer does half a second later, when the store works again."""
        await self.partitions.outage.over()
        assert self.partitions._wake_timer is not None
        self.partitions._wake_timer.cancel()
        self.partitions._wake_unwoken()

    def toy(self, partition: int) -> Toy | None:
        return dict(self.partitions.machines()).get(partition)  # type: ignore[return-value]

    async def reopened(self) -> House:
        """The house after a crash: nothing but what the store has."""
        house = House(self.store)
        house.one, house.two = self.one, self.two
        return await house.open()

    def rows(self, partition: int) -> Awaitable[list[Row]]:
        return self.partitions._scan_all(partition, b"", b"\xff")


def in_house(scenario: Callable[[House], Awaitable[None]]) -> None:
    async def run() -> None:
        house = await House().furnish()
        await scenario(house)
        await house.partitions.stop()

    asyncio.run(run())


def test_an_answer_waits_until_its_rows_are_durable() -> None:
    async def scenario(house: House) -> None:
        house.store.gate = asyncio.Event()
        put = Put(Token(), b"\x02k", b"v")
        house.partitions.tell(house.one, put)
        look = Park(Token())
        house.partitions.tell(house.one, look)
        for _ in range(10):
            await asyncio.sleep(0)
        assert put.token.answers == []
        house.store.gate.set()
        await house.partitions.settle()
        assert put.token.answers == ["put"]

    in_house(scenario)


def test_a_crash_keeps_what_was_answered() -> None:
    async def scenario(house: House) -> None:
        await house.ask(house.one, Put(Token(), b"\x02k", b"v"))
        again = await house.reopened()
        await again.ask(house.one, Look(Token(), b"\x40none"))
        toy = again.toy(house.one)
        assert toy is not None and toy.rows[b"\x02k"] == b"v"
        assert again.partitions.allot() > house.two

    in_house(scenario)


def test_a_step_and_the_one_it_causes_are_one_unit() -> None:
    async def scenario(house: House) -> None:
        giver = house.toy(house.one)
        assert giver is not None
        giver.companions = (house.two,)
        house.store.fail = "before"
        refusal = await house.ask(house.one, Give(Token(), b"1"))
        assert isinstance(refusal, ServiceUnavailable)
        assert not any(key == b"\x02got" for key, _ in await house.rows(house.two))
        await house.ask(house.one, Look(Token(), b"\x40none"))
        giver = house.toy(house.one)
        assert giver is not None
        giver.companions = (house.two,)
        assert await house.ask(house.one, Give(Token(), b"2")) == "given"
        assert (b"\x02given", b"2") in await house.rows(house.one)
        assert (b"\x02got", b"2") in await house.rows(house.two)

    in_house(scenario)


def test_a_companion_that_is_not_in_memory_is_loaded_before_the_turn() -> None:
    async def scenario(house: House) -> None:
        house.partitions._drop([house.two], ServiceUnavailable())
        giver = house.toy(house.one)
        assert giver is not None
        giver.companions = (house.two,)
        assert await house.ask(house.one, Give(Token(), b"1")) == "given"
        assert (b"\x02got", b"1") in await house.rows(house.two)

    in_house(scenario)


def test_a_commit_whose_answer_was_lost_is_refused_and_read_anew() -> None:
    async def scenario(house: House) -> None:
        parked = Park(Token())
        house.partitions.tell(house.one, parked)
        house.store.fail = "after"
        refusal = await house.ask(house.one, Put(Token(), b"\x02k", b"v"))
        assert isinstance(refusal, ServiceUnavailable)
        [answer] = parked.token.answers
        assert isinstance(answer, ServiceUnavailable)
        await house.ask(house.one, Look(Token(), b"\x40none"))
        toy = house.toy(house.one)
        assert toy is not None and toy.rows[b"\x02k"] == b"v"

    in_house(scenario)


def test_bodies_are_filled_from_the_cache_or_from_the_store() -> None:
    async def scenario(house: House) -> None:
        await house.ask(house.one, Put(Token(), b"\x40a", b"body"))
        assert (await house.ask(house.one, Look(Token(), b"\x40a"))).rows == [b"body"]
        house.partitions._bodies.follow(house.one, [(b"\x40a", None)])
        assert (await house.ask(house.one, Look(Token(), b"\x40a"))).rows == [b"body"]
        assert (await house.ask(house.one, Look(Token(), b"\x40b"))).rows == [None]

    in_house(scenario)


def test_a_need_is_read_behind_the_writes_before_it() -> None:
    async def scenario(house: House) -> None:
        for number in range(12):
            key = bytes([number])
            house.partitions.tell(house.one, Put(Token(), b"\x40" + key, b"body"))
            if number % 2:
                house.partitions.tell(house.one, Put(Token(), b"\x50" + key, b"state"))
        assert await house.ask(house.one, Ask(Token())) == (10, 5, False)

    in_house(scenario)


def test_a_removed_partition_is_swept_and_answers_nobody() -> None:
    async def scenario(house: House) -> None:
        await house.ask(house.two, Put(Token(), b"\x40a", b"body"))
        parked = Park(Token())
        house.partitions.tell(house.two, parked)
        assert await house.ask(house.root, Remove(Token(), house.two)) == "removed"
        assert [answer.name for answer in parked.token.answers] == ["Gone"]
        refusal = await house.ask(house.two, Look(Token(), b"\x40a"))
        assert isinstance(refusal, ServiceUnavailable)
        for _ in range(200):
            if not house.partitions.sweeper.behind:
                break
            await asyncio.sleep(0.001)
        assert await house.rows(house.two) == []
        await house.partitions.settle()
        assert not any(key[:1] == b"\x20" for key, _ in await house.rows(SYSTEM))

    in_house(scenario)


def test_a_durable_alarm_rings_after_a_restart_and_another_does_not() -> None:
    async def scenario(house: House) -> None:
        house.clock.freeze()
        await house.partitions.save_clock()
        soon = house.clock.now() + 1_000
        await house.ask(house.one, Sleep(Token(), soon, durable=True))
        await house.ask(house.two, Sleep(Token(), soon, durable=False))
        again = await house.reopened()
        keeper = Timekeeper(again.clock, RealClock(), again.partitions)
        moved = await keeper.advance(5_000)
        assert moved.reached
        assert (b"\x02woken", str(soon).encode()) in await again.rows(house.one)
        assert not any(key == b"\x02woken" for key, _ in await again.rows(house.two))
        assert not any(key[:1] == b"\x30" for key, _ in await again.rows(SYSTEM))

    in_house(scenario)


def test_an_advance_runs_every_alarm_at_its_own_instant() -> None:
    async def scenario(house: House) -> None:
        start = house.clock.freeze()
        await house.ask(house.one, Sleep(Token(), start + 10, durable=False))
        await house.ask(house.two, Sleep(Token(), start + 20, durable=True))
        keeper = Timekeeper(house.clock, RealClock(), house.partitions)
        moved = await keeper.advance(15)
        assert (moved.now, moved.instants) == (start + 15, 1)
        moved = await keeper.advance(15)
        assert (moved.now, moved.instants) == (start + 30, 1)
        one, two = house.toy(house.one), house.toy(house.two)
        assert one is not None and one.woken == [start + 10]
        assert two is not None and two.woken == [start + 20]

    in_house(scenario)


def test_an_idle_machine_leaves_memory_and_one_with_a_caller_stays() -> None:
    async def scenario(house: House) -> None:
        house.partitions.tell(house.two, Park(Token()))
        for _ in range(130):
            assert house.partitions._round_timer is not None
            house.partitions._round_timer.cancel()
            house.partitions._rest_round()
        assert house.toy(house.one) is None
        assert house.toy(house.two) is not None
        assert house.toy(house.root) is not None
        assert await house.ask(house.one, Put(Token(), b"\x02k", b"v")) == "put"

    in_house(scenario)


class Heavy(Give):
    size = 1_000


def test_what_waits_for_a_machine_or_for_its_companion_is_counted_until_its_turn() -> None:
    async def scenario(house: House) -> None:
        commits = house.partitions.commits
        for missing in (house.one, house.two):
            house.partitions._drop([missing], ServiceUnavailable())
            giver = house.toy(house.one)
            if giver is not None:
                giver.companions = (house.two,)
            house.store.gate = asyncio.Event()
            house.partitions.tell(house.root, Put(Token(), b"\x02k", b"v"))
            await asyncio.sleep(0)
            waits = [Heavy(Token(), b"1"), Heavy(Token(), b"2")]
            before = commits.uncommitted
            for command in waits:
                house.partitions.tell(house.one, command)
            assert commits.uncommitted == before + 2_000
            house.store.gate.set()
            await house.partitions.settle()
            assert commits.uncommitted == 0
            assert all(command.token.answers for command in waits)
        # One that can never have its turn is refused, and counted no more.
        gone = Heavy(Token(), b"3")
        house.partitions.tell(999, gone)
        assert commits.uncommitted == 1_000
        await house.partitions.settle()
        assert len(gone.token.answers) == 1 and commits.uncommitted == 0

    in_house(scenario)


# -- failures ----------------------------------------------------------------------------


def test_a_machine_that_was_told_something_forgets_it_if_the_commit_fails_though_it_wrote_nothing() -> None:
    async def scenario(house: House) -> None:
        for fail, heard in (("", [b"1"]), ("before", [])):
            house.partitions._drop([house.one, house.two], ServiceUnavailable())
            await house.ask(house.one, Look(Token(), b"\x40none"))
            await house.ask(house.two, Look(Token(), b"\x40none"))
            teller = house.toy(house.one)
            assert teller is not None
            teller.companions = (house.two,)
            house.store.fail = fail
            await house.ask(house.one, Tell(Token(), b"1"))
            await house.ask(house.two, Look(Token(), b"\x40none"))
            hearer = house.toy(house.two)
            assert hearer is not None and hearer.heard == heard

    in_house(scenario)


def test_a_new_catalogue_is_on_the_disk_with_the_first_unit_of_it_that_is() -> None:
    async def scenario(house: House) -> None:
        made: list[Any] = []
        house.store.fail = "before"
        house.partitions.load_catalogue("toy", "r", "b", made.append)
        catalogue = dict(house.partitions.catalogues())["toy", "r", "b"]
        refusal = await house.ask(catalogue, Make(Token(), house.partitions.allot()))
        assert isinstance(refusal, ServiceUnavailable)
        queue = house.partitions.allot()
        assert await house.ask(catalogue, Make(Token(), queue)) == queue
        again = await house.reopened()
        assert dict(again.partitions.catalogues())["toy", "r", "b"] == catalogue
        assert again.partitions.allot() > queue
        await again.ask(queue, Look(Token(), b"\x40none"))
        toy = again.toy(queue)
        assert toy is not None and toy.rows[b"\x01"] == b"born"

    in_house(scenario)


def test_what_was_built_from_a_catalogue_goes_with_it() -> None:
    async def scenario(house: House) -> None:
        parked = Park(Token())
        house.partitions.tell(house.one, parked)
        house.store.fail = "before"
        assert isinstance(await house.ask(house.root, Put(Token(), b"\x10k", b"v")), ServiceUnavailable)
        assert house.toy(house.one) is None and house.toy(house.two) is None
        [answer] = parked.token.answers
        assert isinstance(answer, ServiceUnavailable)
        assert await house.ask(house.one, Put(Token(), b"\x02k", b"v")) == "put"

    in_house(scenario)


def test_a_companion_that_is_gone_does_not_keep_a_machine_from_its_turn() -> None:
    async def scenario(house: House) -> None:
        await house.ask(house.root, Remove(Token(), house.two))
        toy = house.toy(house.one)
        assert toy is not None
        toy.companions = (house.two,)
        assert await house.ask(house.one, Put(Token(), b"\x02k", b"v")) == "put"

    in_house(scenario)


def test_rows_that_cannot_be_handed_over_leave_nobody_waiting() -> None:
    async def scenario(house: House) -> None:
        toy = house.toy(house.one)
        assert toy is not None
        ask = Ask(Token())
        house.store.gate = asyncio.Event()
        house.partitions.tell(house.two, Put(Token(), b"\x02k", b"v"))  # the Need is read behind it
        house.partitions.tell(house.one, ask)
        toy.companions = (house.two,)
        house.partitions._drop([house.two], ServiceUnavailable())
        house.store.reads = [True, False]  # the Need's rows, not the companion's
        house.store.gate.set()
        await house.partitions.settle()
        [answer] = ask.token.answers
        assert isinstance(answer, ServiceUnavailable)
        assert await house.ask(house.one, Put(Token(), b"\x02k", b"v")) == "put"

    in_house(scenario)


def test_an_alarm_that_could_not_be_heard_rings_again() -> None:
    async def scenario(house: House) -> None:
        house.clock.freeze()
        soon = house.clock.now() + 1_000
        await house.ask(house.one, Sleep(Token(), soon, durable=True))
        house.partitions._drop([house.one], ServiceUnavailable())
        house.store.reads = [False]
        keeper = Timekeeper(house.clock, RealClock(), house.partitions)
        assert (await keeper.advance(5_000)).reached
        assert not any(key == b"\x02woken" for key, _ in await house.rows(house.one))
        await house.wake_what_is_unwoken()
        await house.partitions.settle()
        assert any(key == b"\x02woken" for key, _ in await house.rows(house.one))

    in_house(scenario)


def test_a_machine_whose_rows_could_not_be_read_goes_on_with_what_its_alarm_was_for() -> None:
    async def scenario(house: House) -> None:
        soon = house.clock.freeze() + 1_000
        await house.ask(house.one, Sleep(Token(), soon, durable=True))
        toy = house.toy(house.one)
        assert toy is not None
        toy.wake_at = NEVER  # it is under way, and waits for rows
        house.store.reads = [False]
        assert isinstance(await house.ask(house.one, Ask(Token())), ServiceUnavailable)
        assert house.partitions.alarms.earliest() == NEVER
        await house.wake_what_is_unwoken()
        await house.partitions.settle()
        assert any(key == b"\x02woken" for key, _ in await house.rows(house.one))

    in_house(scenario)


def test_machines_of_a_failed_commit_find_out_what_they_have_to_do() -> None:
    async def scenario(house: House) -> None:
        soon = house.clock.now() + 60_000
        for _ in range(2):  # a second failure must not make the first one's forgotten
            house.store.fail = "before"
            for partition in (house.one, house.two):
                await house.ask(partition, Sleep(Token(), soon, durable=True))
                house.store.fail = "before"
                await house.ask(partition, Put(Token(), b"\x02k", b"v"))
        house.store.fail = "before"
        assert isinstance(await house.ask(house.root, Remove(Token(), house.one)), ServiceUnavailable)
        house.store.fail = ""
        await house.wake_what_is_unwoken()
        await house.partitions.settle()
        for partition in (house.one, house.two):
            assert any(key == b"\x02woken" for key, _ in await house.rows(partition))

    in_house(scenario)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes come in quick succession."""
    monkeypatch.setattr(outages, "PROBE_SECONDS", 0.01)


def test_while_nothing_can_be_stored_reads_are_answered_and_machines_are_left_in_peace(quick: None) -> None:
    async def scenario(house: House) -> None:
        await house.ask(house.one, Put(Token(), b"\x02k", b"v"))
        await house.ask(house.one, Sleep(Token(), house.clock.now() + 60_000, durable=True))
        house.store.ill = StoreGone("told to be gone")
        put = Put(Token(), b"\x02k", b"w")
        house.partitions.tell(house.one, put)
        while not house.partitions.outage.failing:
            await asyncio.sleep(0)
        [refusal] = put.token.answers
        assert isinstance(refusal, ServiceUnavailable)
        # It was dropped, is read anew, and has an alarm row to write that nobody who only looks waits for.
        await house.ask(house.one, Look(Token(), b"\x40none"))
        toy = house.toy(house.one)
        assert toy is not None and toy.rows[b"\x02k"] == b"v"
        timer = house.partitions._wake_timer
        assert timer is not None
        timer.cancel()
        house.partitions._wake_unwoken()
        assert toy.woken == [] and house.partitions._wake_timer is not timer, "it will be woken later"
        house.store.ill = None
        await house.wake_what_is_unwoken()
        await house.partitions.settle()
        assert len(toy.woken) == 1

    in_house(scenario)


def test_what_the_store_finds_out_by_itself_is_an_outage_though_nobody_writes(quick: None) -> None:
    async def scenario(house: House) -> None:
        house.store.ill = house.store.doubt = StoreGone("told to be gone")
        house.partitions._rest_round()
        while not house.partitions.outage.failing:
            await asyncio.sleep(0)
        house.store.ill = None
        await house.partitions.outage.over()
        assert not house.partitions.outage.failing and house.store.doubt is None

    in_house(scenario)


def test_the_sweeper_goes_on_when_the_store_works_again(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweepers, "_RETRY", 0.0)

    async def scenario(house: House) -> None:
        await house.ask(house.one, Put(Token(), b"\x02k", b"v"))
        refused = asyncio.Event()
        erase = house.store.erase

        async def refuse(*_: Any) -> bool:
            refused.set()
            raise StoreError("told to fail")

        monkeypatch.setattr(house.store, "erase", refuse)
        await house.ask(house.root, Remove(Token(), house.one))
        await refused.wait()
        monkeypatch.setattr(house.store, "erase", erase)
        while await house.rows(house.one):
            await asyncio.sleep(0)
        assert house.partitions.outage.failures["io"] >= 1

    in_house(scenario)


# -- the clock ------------------------------------------------------------------------------


def test_an_advance_ends_beside_callers_who_never_pause() -> None:
    async def scenario(house: House) -> None:
        busy = True

        async def send_for_ever() -> None:
            while busy:
                await house.ask_soon(house.one, Ask(Token()))

        callers = [asyncio.ensure_future(send_for_ever()) for _ in range(5)]
        keeper = Timekeeper(house.clock, RealClock(), house.partitions, timeout=0.5)
        moved = await asyncio.wait_for(keeper.advance(60_000), 20)
        assert moved.reached or "call again to go on" in moved.reason
        busy = False
        await asyncio.gather(*callers)

    in_house(scenario)


def test_an_advance_that_the_store_holds_up_says_what_is_under_way() -> None:
    async def scenario(house: House) -> None:
        house.store.gate = asyncio.Event()
        put = Put(Token(), b"\x02k", b"v")
        house.partitions.tell(house.one, put)
        keeper = Timekeeper(house.clock, RealClock(), house.partitions, timeout=0.05)
        advancing = asyncio.ensure_future(keeper.advance(60_000))
        await asyncio.sleep(0.2)
        house.store.gate.set()
        moved = await advancing
        assert not moved.reached and "with 1 commits and 0 reads under way; call again to go on" in moved.reason
        assert (await keeper.advance(60_000)).reached

    in_house(scenario)


def test_a_crash_while_the_clock_is_advanced_leaves_it_running() -> None:
    async def scenario(house: House) -> None:
        house.clock.hold()
        await house.ask(house.one, Put(Token(), b"\x02k", b"v"))
        again = await house.reopened()
        assert not again.clock.frozen

    in_house(scenario)

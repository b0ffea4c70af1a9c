"""Group commit: order, batching, and what happens when the store fails."""

from __future__ import annotations

import asyncio

import pytest

from trunkline.kernel.errors import ServiceUnavailable
from trunkline.runtime import outage as outages
from trunkline.runtime.commits import BATCH_UNITS, ROW_BYTES, Commits
from trunkline.storage.store import Outcome, Part, StoreError, StoreFull, Unit


class Recorder:
    """A store that keeps its batches in the order of the calls, waits for a gate and fails when told to."""

    def __init__(self) -> None:
        self.batches: list[list[Unit]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail_next = False
        self.stale: frozenset[int] = frozenset()
        self.turn = asyncio.Lock()
        self.failures = 0

    async def probe(self) -> None:
        return

    async def commit(self, units: list[Unit]) -> Outcome:
        known = self.failures
        async with self.turn:
            await self.gate.wait()
            if self.fail_next or known != self.failures:
                self.failures += self.fail_next
                self.fail_next = False
                raise StoreError("the disk said no")
            self.batches.append(units)
            return Outcome(self.stale)


def unit(partition: int, key: bytes = b"k") -> Unit:
    return [Part(partition, 1, [(key, b"v")])]


def test_what_is_enqueued_while_a_batch_commits_is_the_next_batch() -> None:
    async def scenario() -> None:
        store = Recorder()
        store.gate.clear()
        commits = Commits(store)
        commits.start()
        done: list[int] = []
        commits.enqueue(unit(1), lambda _: done.append(1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for number in (2, 3, 4):
            commits.enqueue(unit(number), lambda _, number=number: done.append(number))
        assert done == []
        store.gate.set()
        await commits.stop()
        assert [len(batch) for batch in store.batches] == [1, 3]
        assert done == [1, 2, 3, 4]

    asyncio.run(scenario())


def test_two_batches_are_under_way_and_a_third_gathers() -> None:
    async def scenario() -> None:
        store = Recorder()
        store.gate.clear()
        commits = Commits(store)
        commits.start()
        done: list[int] = []
        for number in range(6):
            commits.enqueue(unit(number), lambda _, number=number: done.append(number))
            for _ in range(3):
                await asyncio.sleep(0)
        store.gate.set()
        await commits.stop()
        assert [len(batch) for batch in store.batches] == [1, 1, 4]
        assert done == list(range(6))

    asyncio.run(scenario())


def test_a_failed_commit_fails_the_batch_that_the_store_holds_already() -> None:
    async def scenario() -> None:
        store = Recorder()
        store.gate.clear()
        store.fail_next = True
        evicted: set[int] = set()
        commits = Commits(store, evicted.update)
        commits.start()
        errors: list[tuple[int, bool]] = []
        for number in range(4):
            commits.enqueue(unit(number), lambda error, number=number: errors.append((number, error is None)))
            for _ in range(3):
                await asyncio.sleep(0)
        store.gate.set()
        while not commits.idle:
            await asyncio.sleep(0)
        assert errors == [(0, False), (1, False), (2, False), (3, False)]
        assert evicted == {0, 1, 2, 3}
        commits.enqueue(unit(4), lambda error: errors.append((4, error is None)))
        await commits.stop()
        assert errors[-1] == (4, True)
        assert [batch[0][0].partition for batch in store.batches] == [4]

    asyncio.run(scenario())


def test_a_barrier_behind_a_batch_under_way_waits_for_it() -> None:
    async def scenario() -> None:
        store = Recorder()
        store.gate.clear()
        commits = Commits(store)
        commits.start()
        order: list[str] = []
        commits.enqueue(unit(1), lambda _: order.append("durable"))
        for _ in range(3):
            await asyncio.sleep(0)
        commits.after(lambda: order.append("barrier"))
        for _ in range(3):
            await asyncio.sleep(0)
        assert order == []
        store.gate.set()
        await commits.stop()
        assert order == ["durable", "barrier"]

    asyncio.run(scenario())


def test_a_failed_commit_fails_every_unit_behind_it_and_names_their_partitions() -> None:
    async def scenario() -> None:
        store = Recorder()
        store.gate.clear()
        store.fail_next = True
        evicted: set[int] = set()
        commits = Commits(store, evicted.update)
        commits.start()
        errors: list[Exception | None] = []
        commits.enqueue(unit(1), errors.append)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        commits.enqueue(unit(2), errors.append)
        store.gate.set()
        while len(errors) < 2:
            await asyncio.sleep(0)
        assert all(isinstance(error, ServiceUnavailable) for error in errors)
        assert evicted == {1, 2}
        commits.enqueue(unit(3), errors.append)
        await commits.stop()
        assert errors[2] is None
        assert len(store.batches) == 1

    asyncio.run(scenario())


def test_commits_go_on_and_callers_are_answered_whatever_becomes_of_the_machines() -> None:
    async def scenario() -> None:
        store = Recorder()

        def broken(_: set[int]) -> None:
            raise RuntimeError("a machine could not be dropped")

        commits = Commits(store, broken)
        commits.start()
        for _ in range(3):
            store.fail_next = True
            errors: list[Exception | None] = []
            commits.enqueue(unit(1), errors.append)
            while not errors:
                await asyncio.sleep(0)
            assert isinstance(errors[0], ServiceUnavailable)
        commits.enqueue(unit(1), errors.append)
        await commits.stop()
        assert errors[1] is None

    asyncio.run(scenario())


def test_a_unit_refused_for_a_stale_epoch_fails_alone() -> None:
    async def scenario() -> None:
        store = Recorder()
        store.stale = frozenset({1})
        evicted: set[int] = set()
        commits = Commits(store, evicted.update)
        errors: dict[int, Exception | None] = {}
        for number in (1, 2, 3):
            commits.enqueue(unit(number), lambda error, number=number: errors.update({number: error}))
        commits.start()
        await commits.stop()
        assert errors[1] is None and errors[3] is None
        assert isinstance(errors[2], ServiceUnavailable)
        assert evicted == {2}

    asyncio.run(scenario())


def test_a_barrier_waits_for_what_was_enqueued_before_it() -> None:
    async def scenario() -> None:
        store = Recorder()
        store.gate.clear()
        commits = Commits(store)
        commits.start()
        order: list[str] = []
        commits.after(lambda: order.append("at once"))
        commits.enqueue(unit(1), lambda _: order.append("durable"))
        commits.after(lambda: order.append("barrier"))
        assert order == ["at once"]
        store.gate.set()
        await commits.stop()
        assert order == ["at once", "durable", "barrier"]

    asyncio.run(scenario())


def test_nothing_is_handed_over_until_a_probe_has_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "PROBE_SECONDS", 0.01)

    class Sick(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.probed = asyncio.Event()
            self.well = False

        async def probe(self) -> None:
            await self.probed.wait()
            self.probed.clear()
            if not self.well:
                raise StoreFull("told to be full")

    async def scenario() -> None:
        store = Sick()
        store.fail_next = True
        evicted: list[set[int]] = []
        commits = Commits(store, evicted.append)
        commits.start()
        errors: list[Exception | None] = []
        commits.enqueue(unit(1), errors.append)
        while not errors:
            await asyncio.sleep(0)
        commits.enqueue(unit(2), errors.append)
        commits.enqueue([], errors.append)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(errors) == 1 and store.batches == [] and not commits.failing, "it gathers, as behind a slow disk"
        store.probed.set()
        while len(errors) < 3:
            await asyncio.sleep(0)
        assert commits.failing and commits.uncommitted == 0 and commits.idle
        assert str(errors[1]) == str(errors[2]) and "the disk is full" in str(errors[1])
        assert evicted == [{1}, {2}]
        assert isinstance(commits.turn_away(), ServiceUnavailable)
        assert commits.outage.refused == 3  # the one before, the unit that gathered, and that one
        commits.enqueue(unit(3), errors.append)
        store.well = True
        store.probed.set()
        while len(errors) < 4:
            await asyncio.sleep(0)
        assert errors[3] is None and not commits.failing
        await commits.stop()

    asyncio.run(scenario())


def test_a_stop_while_nothing_can_be_stored_refuses_what_has_gathered_and_ends() -> None:
    class Sick(Recorder):
        async def probe(self) -> None:
            raise StoreError("told to fail")

    async def scenario() -> None:
        store = Sick()
        store.fail_next = True
        commits = Commits(store)
        commits.start()
        errors: list[Exception | None] = []
        commits.enqueue(unit(1), errors.append)
        while not commits.failing:
            await asyncio.sleep(0)
        commits.enqueue(unit(2), errors.append)
        await asyncio.wait_for(commits.stop(), 30)
        assert len(errors) == 2 and all(isinstance(error, ServiceUnavailable) for error in errors)
        assert store.batches == []

    asyncio.run(scenario())


def test_an_answer_that_cannot_be_given_does_not_stop_the_others() -> None:
    async def scenario() -> None:
        commits = Commits(Recorder())
        done: list[str] = []

        def broken(_: Exception | None) -> None:
            raise ConnectionError

        commits.enqueue(unit(1), broken)
        commits.enqueue(unit(2), lambda _: done.append("second"))
        commits.start()
        await commits.stop()
        assert done == ["second"]

    asyncio.run(scenario())


def test_what_is_neither_durable_nor_failed_is_counted_in_bytes() -> None:
    async def scenario() -> None:
        store = Recorder()
        store.gate.clear()
        commits = Commits(store)
        commits.start()
        seen: list[int] = []
        for number in range(3):
            commits.enqueue([Part(number, 1, [(b"k", b"v" * 1_000), (b"d", None)])], lambda _: None)
            commits.enqueue([], lambda _: seen.append(commits.uncommitted))
            for _ in range(3):
                await asyncio.sleep(0)
        each = 2 * ROW_BYTES + 1_000
        commits.hold(50)
        assert commits.uncommitted == 3 * each + 50
        store.gate.set()
        while not commits.idle:
            await asyncio.sleep(0)
        commits.hold(-50)
        assert seen == [2 * each + 50, each + 50, 50]  # who is answered finds room already
        store.gate.clear()
        store.fail_next = True
        for number in range(5):
            commits.enqueue(unit(number), lambda _: seen.append(commits.uncommitted))
            await asyncio.sleep(0)
        assert commits.uncommitted == 5 * (ROW_BYTES + 1)
        store.gate.set()
        while not commits.idle:
            await asyncio.sleep(0)
        assert seen[3:] == [0] * 5
        store.stale = frozenset({0})
        commits.enqueue(unit(1), lambda _: None)
        await commits.stop()
        assert commits.uncommitted == 0

    asyncio.run(scenario())


def test_a_batch_that_is_cut_off_takes_its_bytes_along() -> None:
    async def scenario() -> None:
        store = Recorder()
        commits = Commits(store)
        for number in range(BATCH_UNITS + 100):
            commits.enqueue([Part(number, 1, [(b"k", b"v" * (number % 7))])], lambda _: None)
        commits.start()
        await commits.stop()
        assert [len(batch) for batch in store.batches] == [BATCH_UNITS, 100]
        assert commits.uncommitted == commits._gathered == 0

    asyncio.run(scenario())

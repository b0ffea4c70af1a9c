"""Group commit: order, batching, and what happens when the store fails."""

from __future__ import annotations

import asyncio

from trunkline.kernel.errors import ServiceUnavailable
from trunkline.runtime.commits import Commits
from trunkline.storage.store import Outcome, Part, StoreError, Unit


class Recorder:
    """A store that keeps its batches, waits for a gate and fails when told to."""

    def __init__(self) -> None:
        self.batches: list[list[Unit]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail_next = False
        self.stale: frozenset[int] = frozenset()

    async def commit(self, units: list[Unit]) -> Outcome:
        await self.gate.wait()
        if self.fail_next:
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

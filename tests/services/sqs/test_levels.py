"""How full a queue is, read without a use of it."""

from __future__ import annotations

import asyncio
import random

import pytest
from queue_desk import START, Desk, Token

from trunkline.kernel.measures import Traffic
from trunkline.kernel.step import HEAD_END, Machine, Row
from trunkline.kernel.time import NEVER
from trunkline.services.sqs.catalogue import Create, QueueCatalogue
from trunkline.services.sqs.commands import Accept
from trunkline.services.sqs.levels import Levels, Look


@pytest.mark.parametrize("fifo", [False, True])
def test_levels_are_what_a_count_tells_and_change_nothing(fifo: bool) -> None:
    """``Count`` lets come up what is due; so it is asked of a machine of its own, built of the same rows."""
    chance = random.Random(5)
    desk = Desk(fifo=fifo, delay=20_000 if fifo else 0, window=40)
    held = []
    for number in range(400):
        desk.send(group=f"g{chance.randrange(9)}", deduplication=str(number))
        if not fifo and chance.random() < 0.3:
            desk.send(delay=chance.randrange(1, 40) * 1000)
        if chance.random() < 0.5:
            held += desk.receive(visibility=chance.randrange(1, 60) * 1000)
        if held and chance.random() < 0.4:
            desk.delete(held.pop(0))
        desk.pass_time(chance.randrange(3) * 1000)
        rows = dict(desk.rows)
        seen = desk.machine.levels(desk.now)
        assert desk.rows == rows
        assert (seen.visible, seen.in_flight, seen.delayed) == desk.counts()


def test_the_oldest_message_is_the_one_that_was_sent_first_of_those_that_are_left() -> None:
    desk = Desk()
    assert desk.machine.oldest() == NEVER
    for _ in range(3):
        desk.send()
        desk.pass_time(1_000)
    first, second, _ = desk.receive(count=3)
    assert desk.machine.oldest() == START
    desk.delete(first)
    assert desk.machine.oldest() == START + 1_000
    desk.delete(second)
    assert desk.machine.oldest() == START + 2_000


def test_only_the_store_tells_the_oldest_after_a_restart_until_messages_are_read() -> None:
    desk = Desk()
    desk.send()
    desk.restart()
    assert desk.machine.oldest() is None
    desk.receive()
    assert desk.machine.oldest() == START


def test_what_becomes_of_messages_is_counted() -> None:
    desk = Desk(retention=60_000, max_receive_count=1, dead_letter_arn="arn:aws:sqs:us-east-1:000000000000:dead")
    traffic = desk.machine._traffic
    desk.send()
    desk.receive(visibility=1_000)
    desk.pass_time(1_000)
    desk.receive()
    desk.send()
    desk.pass_time(60_000)
    assert (traffic.dead, traffic.expired) == (1, 1)


def test_repeated_sends_to_a_fifo_queue_are_counted() -> None:
    desk = Desk(fifo=True)
    for _ in range(3):
        desk.send(group="g", deduplication="same")
    assert desk.machine._traffic.duplicates == 2


class Shelf:
    """A runtime with one catalogue of queues, none of which is in memory; it counts its reads."""

    def __init__(self, desks: dict[str, Desk]) -> None:
        self.catalogue = QueueCatalogue(1, "us-east-1", "000000000000", [])
        self.desks: dict[int, Desk] = {}
        self.loaded: dict[int, Machine] = {}
        self.reads = 0
        for partition, (name, desk) in enumerate(desks.items(), 2):
            attributes = {"FifoQueue": "true"} if desk.settings.fifo else {}
            self.catalogue.handle(Create(Token([]), name, partition, attributes, {}), START)
            self.desks[partition] = desk

    def catalogues(self) -> list[tuple[tuple[str, str, str], int]]:
        return [(("sqs", "us-east-1", "000000000000"), 1)]

    def load_catalogue(self, service: str, region: str, account: str, then: object) -> None:
        then(self.catalogue)  # type: ignore[operator]

    def machine(self, partition: int) -> Machine | None:
        return self.loaded.get(partition)

    async def heads(self, partition: int) -> list[Row]:
        self.reads += 1
        return sorted((key, value) for key, value in self.desks[partition].rows.items() if key < HEAD_END)

    async def first(self, partition: int, start: bytes, end: bytes) -> Row | None:
        found = sorted(row for row in self.desks[partition].rows.items() if start <= row[0] < end)
        return found[0] if found else None


async def no_rest() -> None:
    return


def looked(levels: Levels, most: int = 10) -> Look:
    return asyncio.run(levels.look(most, no_rest))


def counts(look: Look) -> list[tuple[int, int, int] | None]:
    return [
        None if each.counts is None else (each.counts.visible, each.counts.in_flight, each.counts.delayed)
        for each in look.levels
    ]


def test_a_queue_that_is_not_in_memory_is_read_once_and_then_changes_with_time_alone() -> None:
    desk = Desk()
    desk.send()
    desk.send()
    desk.send(delay=30_000)
    desk.receive(count=1, visibility=10_000)
    desk.pass_time(500)
    shelf = Shelf({"q": desk})
    levels = Levels(shelf, lambda: desk.now, lambda: 0.0)
    assert counts(looked(levels)) == [(1, 1, 1)]
    assert looked(levels).levels[0].age == 0.5
    desk.now += 10_000
    assert counts(looked(levels)) == [(2, 0, 1)]
    desk.now += 20_000
    assert counts(looked(levels)) == [(3, 0, 0)]
    assert looked(levels).levels[0].age == 30.5
    assert shelf.reads == 1


def test_it_is_read_again_when_it_was_in_memory_meanwhile() -> None:
    desk = Desk()
    desk.send()
    shelf = Shelf({"q": desk})
    levels = Levels(shelf, lambda: desk.now, lambda: 0.0)
    assert counts(looked(levels)) == [(1, 0, 0)]
    shelf.loaded[2] = desk.machine
    desk.send()
    assert counts(looked(levels)) == [(2, 0, 0)]
    traffic: Traffic = shelf.catalogue.entries(1)[0].traffic
    traffic.loads += 1  # as whoever builds the machine says
    desk.send()
    del shelf.loaded[2]
    assert counts(looked(levels)) == [(3, 0, 0)]
    assert shelf.reads == 2


def test_a_look_reads_so_many_queues_and_later_looks_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.services.sqs.levels.READ_AT_MOST", 2)
    desks = {f"q{number}": Desk() for number in range(5)}
    shelf = Shelf(desks)
    levels = Levels(shelf, lambda: START, lambda: 0.0)
    assert [looked(levels).unread for _ in range(4)] == [3, 1, 0, 0]
    assert shelf.reads == 5


def test_a_purged_queues_old_messages_are_not_its_oldest() -> None:
    desk = Desk()
    desk.send()
    old = dict(desk.rows)
    desk.pass_time(5_000)
    desk.purge()
    desk.send()
    desk.rows = old | desk.rows  # not swept yet
    found = looked(Levels(Shelf({"q": desk}), lambda: desk.now + 1_000, lambda: 0.0))
    assert (counts(found), found.levels[0].age) == ([(1, 0, 0)], 1.0)


def test_a_dead_letter_is_as_old_as_when_it_was_sent_first() -> None:
    desk = Desk()
    desk.send()
    desk.pass_time(7_000)
    [(_, value)] = [(key, value) for key, value in desk.rows.items() if key[0] == 0x40]
    queue = Desk()
    queue.now = desk.now
    queue.send()
    queue.ask(Accept([value]))
    found = looked(Levels(Shelf({"q": queue}), lambda: queue.now, lambda: 0.0))
    assert found.levels[0].age == 7.0


def test_no_more_queues_are_shown_than_asked_for() -> None:
    shelf = Shelf({f"q{number}": Desk() for number in range(5)})
    found = looked(Levels(shelf, lambda: START, lambda: 0.0), most=3)
    assert ([each.name for each in found.levels], found.queues, found.left_out) == (["q0", "q1", "q2"], 5, 2)

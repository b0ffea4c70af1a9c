"""Receivers that wait, in their order and by their deadlines."""

from __future__ import annotations

from trunkline.kernel.time import NEVER
from trunkline.services.sqs.commands import Receive
from trunkline.services.sqs.waiting import Waiting


def test_the_oldest_receiver_is_first_whatever_the_deadlines() -> None:
    waiting = Waiting()
    for token, deadline in (("a", 300), ("b", 100), ("c", 200)):
        waiting.park(Receive(token), deadline)
    assert waiting.first().command.token == "a"
    assert waiting.earliest() == 100


def test_those_whose_deadline_has_come_are_taken_out_the_earliest_first() -> None:
    waiting = Waiting()
    for token, deadline in (("a", 300), ("b", 100), ("c", 200)):
        waiting.park(Receive(token), deadline)
    assert [waiter.command.token for waiter in waiting.overdue(99)] == []
    assert [waiter.command.token for waiter in waiting.overdue(200)] == ["b", "c"]
    assert waiting.earliest() == 300
    assert len(waiting) == 1


def test_a_receiver_is_forgotten_once() -> None:
    waiting = Waiting()
    waiting.park(Receive("a"), 100)
    assert waiting.cancel("a")
    assert not waiting.cancel("a")
    assert waiting.earliest() == NEVER
    assert waiting.overdue(100) == []


def test_receivers_that_were_served_leave_nothing_behind() -> None:
    """One that waits for hours, beside a hundred thousand that are served at once."""
    waiting = Waiting()
    waiting.park(Receive("patient"), 20_000)
    for number in range(100_000):
        token = object()
        waiting.park(Receive(token), 30_000 + number)
        waiting.cancel(token)
    assert len(waiting) == 1
    assert len(waiting._deadlines) < 100
    assert waiting.earliest() == 20_000

"""The checker, on histories made by hand: it accepts what a right server may do, and names each rule that is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from crash.checker import Checker
from crash.history import (
    DONE,
    NEVER_WAS,
    REFUSED,
    UNKNOWN,
    WINDOW,
    Change,
    Delete,
    History,
    Look,
    Outcome,
    Purge,
    Queue,
    Receive,
    Send,
    Sight,
    Span,
)

QUEUES = (
    Queue("plain"),
    Queue("late", delay=5_000),
    Queue("brief", retention=60_000),
    Queue("one.fifo", fifo=True),
    Queue("per.fifo", fifo=True, per_group=True),
    Queue("source", family="redrive", dead_letters="dead", most=2),
    Queue("dead", family="redrive"),
    Queue("source.fifo", family="rf", fifo=True, dead_letters="dead.fifo", most=2),
    Queue("dead.fifo", family="rf", fifo=True),
)
ARN = "arn:aws:sqs:us-east-1:000000000000:source"


class Story:
    """A history told in seconds: every call begins at ``at`` and takes ``long``, by both clocks."""

    def __init__(self) -> None:
        self.history = History(QUEUES)
        self.checker = Checker(self.history)

    def span(self, at: float, long: float = 0.1) -> Span:
        return Span(at, at + long, int(at * 1000), int((at + long) * 1000))

    def send(self, token: str, at: float, queue: str = "plain", outcome: Outcome = DONE, **parts: Any) -> None:
        id_ = parts.pop("id", f"id-{token}" if outcome is DONE else "")
        self.history.send(Send(self.span(at, parts.pop("long", 0.1)), queue, token, outcome, id=id_, **parts))

    def sight(self, token: str, at: float, queue: str = "plain", count: int = 1, **parts: Any) -> Sight:
        long, sent = parts.pop("long", 0.1), parts.pop("sent", None)
        life = self.history.lives.get(token)
        if sent is None:
            sent = life.sends[0].span.low + 50 if life is not None else 0
        id_ = parts.pop("id", f"id-{token}")
        first = parts.pop("first", int(at * 1000) + 50 if count == 1 else 1_050)
        made = Sight(self.span(at, long), queue, token, id_, count, sent, first, **parts)
        made.handle = made.handle or f"{token}/{made.id}/{count}"
        return made

    def receive(
        self, *sights: Sight, at: float, hidden: float = 30, queue: str = "plain", outcome: Outcome = DONE,
        attempt: str = "", long: float = 0.1,
    ) -> None:  # fmt: skip
        for sight in sights:
            sight.hidden, sight.attempt, sight.span = int(hidden * 1000), attempt, self.span(at, long)
        self.history.receive(Receive(self.span(at, long), queue, int(hidden * 1000), outcome, attempt, list(sights)))

    def take(
        self, token: str, at: float, count: int = 1, hidden: float = 30, queue: str = "plain", **parts: Any
    ) -> None:
        attempt, long = parts.pop("attempt", ""), parts.pop("long", 0.1)
        sight = self.sight(token, at, queue, count, **parts)
        self.receive(sight, at=at, hidden=hidden, queue=queue, attempt=attempt, long=long)

    def delete(
        self, token: str, at: float, outcome: Outcome = DONE, queue: str = "plain", count: int = 1, **parts: Any
    ) -> None:
        id_ = parts.pop("id", f"id-{token}")
        self.history.delete(Delete(self.span(at), queue, token, id_, count, outcome, **parts))

    def change(
        self, token: str, at: float, timeout: float, outcome: Outcome = DONE, queue: str = "plain", **parts: Any
    ) -> None:
        id_, count = parts.pop("id", f"id-{token}"), parts.pop("count", 1)
        change = Change(self.span(at), queue, token, id_, count, int(timeout * 1000), outcome, **parts)
        self.history.change(change)

    def purge(self, at: float, outcome: Outcome = DONE, queue: str = "plain") -> None:
        self.history.purge(Purge(self.span(at), queue, outcome))

    def look(self, *sights: Sight, at: float, queue: str = "plain", counts: tuple[int, int, int] | None = None) -> Look:
        states = [sight.state for sight in sights]
        told = counts or (states.count("visible"), states.count("in flight"), states.count("delayed"))
        return Look(self.span(at), queue, list(sights), told)

    def shown(self, token: str, at: float, state: str = "visible", count: int = 0, **parts: Any) -> Sight:
        return self.sight(token, at, parts.pop("queue", "plain"), count, state=state, **parts)

    def looks(self, *looks: Look) -> None:
        self.checker.judge()
        self.checker.judge_looks(list(looks))

    def broken(self) -> set[str]:
        """The rules that the checker finds broken."""
        self.checker.judge()
        return {violation.rule for violation in self.checker.violations}


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_message_sent_received_and_deleted_breaks_no_rule(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2)
    story.delete("a", 3)
    story.looks(story.look(at=4))
    assert story.broken() == set()
    assert "a" in story.history.gone


def test_everything_with_an_unknown_outcome_may_have_happened_or_not(story: Story) -> None:
    for token in "abcd":
        story.send(token, 1, outcome=UNKNOWN)
    story.receive(at=2, outcome=UNKNOWN)
    story.take("a", 40, count=2)
    story.take("b", 40.2, count=1, first=40_250)
    story.delete("a", 41, outcome=UNKNOWN)
    story.delete("b", 41, outcome=UNKNOWN)
    story.looks(story.look(story.shown("b", 100, count=1, first=40_250), story.shown("c", 100), at=100))
    assert story.broken() == set()
    assert story.history.gone["d"] == NEVER_WAS and "a" in story.history.gone
    assert {"b", "c"} == set(story.history.lives)


def deleted_returns(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2)
    story.delete("a", 3)
    story.take("a", 60, count=2, first=2_050)


def deleted_returns_in_a_later_round(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2)
    story.delete("a", 3)
    story.checker.judge()
    story.take("a", 60, count=2, first=2_050)


def comes_from_nowhere(story: Story) -> None:
    story.take("a", 2)


def is_lost(story: Story) -> None:
    story.send("a", 1)
    story.looks(story.look(at=4))


def is_lost_after_a_receive(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2)
    story.delete("a", 3, outcome=REFUSED)
    story.looks(story.look(at=4))


def was_not_there_and_comes_later(story: Story) -> None:
    story.send("a", 1, outcome=UNKNOWN)
    story.looks(story.look(at=4))
    story.take("a", 5)


def has_another_body(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, faults=["Body is 'b', not 'a'"])


def was_told_another_sum(story: Story) -> None:
    story.send("a", 1, faults=["MD5OfMessageBody is 1, not 2"])


def has_another_id(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, id="id-b")


def has_another_sequence(story: Story) -> None:
    story.send("a", 1, "one.fifo", group="g", deduplication="d", sequence=7)
    story.take("a", 2, queue="one.fifo", group="g", sequence=8)


def comes_before_its_timeout(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=30)
    story.take("a", 20, count=2, first=2_050)


def comes_before_its_changed_timeout(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=5)
    story.change("a", 3, 60)
    story.take("a", 20, count=2, first=2_050)


def is_shown_as_visible_in_flight(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=30)
    story.looks(story.look(story.shown("a", 20, count=1, first=2_050), at=20))


def stays_hidden_too_long(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=5)
    story.looks(story.look(story.shown("a", 20, "in flight", count=1, first=2_050), at=20))


def counts_less(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=0)
    story.take("a", 3, count=1, first=2_050)


def forgets_its_receives_in_a_look(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=0)
    story.looks(story.look(story.shown("a", 4, count=0), at=4))


def counts_too_much(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=0)
    story.take("a", 3, count=3, first=2_050)


def comes_before_its_delay(story: Story) -> None:
    story.send("a", 1, delay=10_000)
    story.take("a", 5)


def comes_before_its_queues_delay(story: Story) -> None:
    story.send("a", 1, "late")
    story.take("a", 5, queue="late")


def was_sent_at_another_time(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, sent=500)


def was_first_received_at_another_time(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=0)
    story.take("a", 3, count=2, first=3_050)


def comes_after_its_retention(story: Story) -> None:
    story.send("a", 1, "brief")
    story.take("a", 70, queue="brief")


def comes_back_after_a_purge(story: Story) -> None:
    story.send("a", 1, outcome=UNKNOWN)
    story.purge(2)
    story.take("a", 3)


def is_received_too_often(story: Story) -> None:
    story.send("a", 1, "source")
    for count in (1, 2, 3):
        story.take("a", count * 2, count=count, hidden=0, queue="source", first=2_050)


def dies_too_early(story: Story) -> None:
    story.send("a", 1, "source")
    story.take("a", 2, hidden=0, queue="source")
    story.take("a", 4, count=2, queue="dead", source=ARN, first=2_050)


def dies_without_its_source(story: Story) -> None:
    story.send("a", 1, "source")
    for count, queue in ((1, "source"), (2, "source"), (3, "dead")):
        story.take("a", count * 2, count=count, hidden=0, queue=queue, first=2_050)


def dies_under_another_id(story: Story) -> None:
    story.send("a", 1, "source")
    story.take("a", 2, count=3, queue="dead", id="other", source=ARN)


def is_in_both_queues(story: Story) -> None:
    story.send("a", 1, "source")
    story.take("a", 2, hidden=0, queue="source")
    story.take("a", 3, count=2, hidden=0, queue="source", first=2_050)
    story.looks(
        story.look(story.shown("a", 5, count=2, queue="source", first=2_050), at=5, queue="source"),
        story.look(story.shown("a", 5, count=2, queue="dead", source=ARN, first=2_050), at=5, queue="dead"),
    )


def is_in_neither_queue(story: Story) -> None:
    story.send("a", 1, "source")
    story.looks(story.look(at=5, queue="source"), story.look(at=5, queue="dead"))


def comes_back_from_the_dead(story: Story) -> None:
    story.send("a", 1, "source")
    story.take("a", 2, hidden=0, queue="source")
    story.take("a", 3, count=2, hidden=0, queue="source", first=2_050)
    story.take("a", 4, count=3, hidden=0, queue="dead", source=ARN, first=2_050)
    story.take("a", 5, count=2, hidden=0, queue="source", first=2_050)


def is_still_there_under_its_old_id_after_a_move(story: Story) -> None:
    story.send("a", 1, "source")
    story.take("a", 2, hidden=0, queue="source", id="id-a")
    story.take("a", 3, hidden=0, queue="source", id="moved", sent=2_500)
    story.take("a", 4, count=2, hidden=0, queue="source", id="id-a", first=2_050)


def fifo(story: Story, *tokens: str) -> None:
    for at, token in enumerate(tokens, 1):
        story.send(token, at, "one.fifo", group="g", deduplication=f"d-{token}", sequence=10 * at)


def front(story: Story, token: str, at: float, sequence: int, **parts: Any) -> Sight:
    return story.sight(token, at, "one.fifo", group="g", sequence=sequence, **parts)


def overtakes_in_its_group(story: Story) -> None:
    fifo(story, "a", "b")
    story.receive(front(story, "b", 5, 20), at=5, queue="one.fifo")


def overtakes_one_in_flight(story: Story) -> None:
    fifo(story, "a", "b")
    story.receive(front(story, "a", 5, 10), at=5, queue="one.fifo")
    story.receive(front(story, "b", 6, 20), at=6, queue="one.fifo")


def comes_in_the_wrong_order(story: Story) -> None:
    fifo(story, "a", "b")
    story.receive(front(story, "b", 5, 20), front(story, "a", 5, 10), at=5, queue="one.fifo")


def overtakes_one_that_is_seen_later(story: Story) -> None:
    fifo(story, "a", "b")
    story.delete("a", 4, outcome=UNKNOWN, queue="one.fifo")
    story.receive(front(story, "b", 5, 20), at=5, queue="one.fifo")
    story.receive(front(story, "a", 7, 10), at=7, queue="one.fifo")


def has_a_lower_sequence(story: Story) -> None:
    story.send("a", 1, "one.fifo", group="g", deduplication="1", sequence=20)
    story.send("b", 2, "one.fifo", group="g", deduplication="2", sequence=10)


def has_a_lower_sequence_than_in_the_round_before(story: Story) -> None:
    story.send("a", 1, "one.fifo", group="g", deduplication="1", sequence=20)
    story.checker.judge()
    story.send("b", 2, "one.fifo", group="g", deduplication="2", sequence=10)


def is_accepted_twice(story: Story) -> None:
    story.send("a", 1, "one.fifo", group="g", deduplication="d", sequence=10)
    story.send("b", 100, "one.fifo", group="h", deduplication="d", sequence=20)


def is_delivered_twice_after_an_unknown_send(story: Story) -> None:
    story.send("a", 1, "one.fifo", UNKNOWN, group="g", deduplication="d")
    story.send("a", 2, "one.fifo", group="g", deduplication="d", sequence=20)
    story.take("a", 3, hidden=0, queue="one.fifo", group="g", sequence=20)
    story.take("a", 4, hidden=0, queue="one.fifo", group="g", sequence=10, id="other")


def is_a_duplicate_for_too_long(story: Story) -> None:
    story.send("a", 1, "one.fifo", group="g", deduplication="d", sequence=10)
    story.send("b", 2 + WINDOW / 1000, "one.fifo", id="id-a", group="g", deduplication="d", sequence=10)


def is_a_duplicate_with_another_sequence(story: Story) -> None:
    story.send("a", 1, "one.fifo", group="g", deduplication="d", sequence=10)
    story.send("b", 9, "one.fifo", id="id-a", group="g", deduplication="d", sequence=11)


def gets_others_with_its_attempt(story: Story) -> None:
    fifo(story, "a", "b")
    story.receive(front(story, "a", 5, 10), at=5, queue="one.fifo", attempt="x")
    story.receive(front(story, "a", 6, 10, first=5_050), front(story, "b", 6, 20), at=6, queue="one.fifo", attempt="x")


def gets_other_handles_with_its_attempt(story: Story) -> None:
    fifo(story, "a")
    story.receive(front(story, "a", 5, 10), at=5, queue="one.fifo", attempt="x")
    story.receive(front(story, "a", 6, 10, first=5_050, handle="new"), at=6, queue="one.fifo", attempt="x")


def counts_a_lost_attempt_twice(story: Story) -> None:
    fifo(story, "a")
    story.receive(at=5, queue="one.fifo", attempt="x", outcome=UNKNOWN)
    story.receive(front(story, "a", 6, 10, count=2), at=6, queue="one.fifo", attempt="x")


def refuses_a_handle_in_flight(story: Story) -> None:
    fifo(story, "a")
    story.receive(front(story, "a", 5, 10), at=5, queue="one.fifo")
    story.delete("a", 6, outcome=REFUSED, queue="one.fifo", code="expired")


def refuses_a_standard_handle(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=1)
    story.change("a", 10, 5, outcome=REFUSED, code="not available")
    story.take("a", 12, count=2, first=2_050)


def counts_wrongly(story: Story) -> None:
    story.send("a", 1)
    story.looks(story.look(story.shown("a", 2), at=2, counts=(0, 1, 0)))


@pytest.mark.parametrize(
    ("tell", "rule"),
    [
        (deleted_returns, "deleted_stays_deleted"),
        (deleted_returns_in_a_later_round, "nothing_comes_from_nowhere"),
        (comes_from_nowhere, "nothing_comes_from_nowhere"),
        (is_lost, "nothing_is_lost"),
        (is_lost_after_a_receive, "nothing_is_lost"),
        (was_not_there_and_comes_later, "nothing_comes_from_nowhere"),
        (has_another_body, "content_is_unchanged"),
        (was_told_another_sum, "content_is_unchanged"),
        (has_another_id, "one_id"),
        (has_another_sequence, "one_id"),
        (comes_before_its_timeout, "hidden_while_in_flight"),
        (comes_before_its_changed_timeout, "hidden_while_in_flight"),
        (is_shown_as_visible_in_flight, "hidden_while_in_flight"),
        (stays_hidden_too_long, "shown_when_no_longer_in_flight"),
        (counts_less, "receives_are_counted"),
        (forgets_its_receives_in_a_look, "receives_are_counted"),
        (counts_too_much, "nothing_else_is_counted"),
        (comes_before_its_delay, "delayed_first"),
        (comes_before_its_queues_delay, "delayed_first"),
        (was_sent_at_another_time, "sent_when_it_was_sent"),
        (was_first_received_at_another_time, "first_received_once"),
        (comes_after_its_retention, "not_after_its_retention"),
        (comes_back_after_a_purge, "purged_stays_purged"),
        (is_received_too_often, "dead_after_its_last_receive"),
        (dies_too_early, "dead_after_its_last_receive"),
        (dies_without_its_source, "dead_after_its_last_receive"),
        (dies_under_another_id, "dead_after_its_last_receive"),
        (is_in_both_queues, "in_one_place"),
        (is_in_neither_queue, "nothing_is_lost"),
        (comes_back_from_the_dead, "in_one_place"),
        (is_still_there_under_its_old_id_after_a_move, "in_one_place"),
        (overtakes_in_its_group, "earlier_ones_come_first"),
        (overtakes_one_in_flight, "earlier_ones_come_first"),
        (comes_in_the_wrong_order, "earlier_ones_come_first"),
        (overtakes_one_that_is_seen_later, "earlier_ones_come_first"),
        (has_a_lower_sequence, "sequences_grow"),
        (has_a_lower_sequence_than_in_the_round_before, "sequences_grow"),
        (is_accepted_twice, "duplicates_are_one"),
        (is_delivered_twice_after_an_unknown_send, "one_id"),
        (is_a_duplicate_for_too_long, "duplicates_are_one"),
        (is_a_duplicate_with_another_sequence, "duplicates_are_one"),
        (gets_others_with_its_attempt, "attempts_repeat"),
        (gets_other_handles_with_its_attempt, "attempts_repeat"),
        (counts_a_lost_attempt_twice, "nothing_else_is_counted"),
        (refuses_a_handle_in_flight, "handles_work"),
        (refuses_a_standard_handle, "handles_work"),
        (counts_wrongly, "counts_are_true"),
    ],
)
def test_the_checker_names_the_rule_that_a_history_breaks(tell: Callable[[Story], None], rule: str) -> None:
    story = Story()
    tell(story)
    assert rule in story.broken()


def comes_when_its_timeout_may_be_over(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=5)
    story.take("a", 6.95, count=2, first=2_050)


def comes_after_a_change_that_may_have_shown_it(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=30)
    story.change("a", 3, 0, outcome=UNKNOWN)
    story.take("a", 4, count=2, first=2_050)


def comes_beside_a_delete(story: Story) -> None:
    story.send("a", 1)
    story.take("a", 2, hidden=0)
    story.delete("a", 3)
    story.take("a", 3.05, count=2, first=2_050)


def is_received_and_deleted_before_its_send_is_answered(story: Story) -> None:
    story.take("a", 1.2, sent=1_050)
    story.change("a", 1.4, 0)
    story.delete("a", 1.5)
    story.send("a", 1, long=1)
    story.looks(story.look(at=3))


def comes_beside_a_purge(story: Story) -> None:
    story.send("a", 1)
    story.send("b", 2)
    story.purge(2.05)
    story.take("b", 3)


def is_gone_after_an_unknown_purge(story: Story) -> None:
    story.send("a", 1)
    story.purge(2, outcome=UNKNOWN)
    story.looks(story.look(at=4))


def counts_a_receive_without_an_answer(story: Story) -> None:
    story.send("a", 1)
    story.receive(at=2, outcome=UNKNOWN)
    story.take("a", 60, count=2)


def dies_and_is_moved_back(story: Story) -> None:
    story.send("a", 1, "source")
    for count, queue in ((1, "source"), (2, "source"), (3, "dead")):
        source = ARN if queue == "dead" else ""
        story.take("a", count * 2, count=count, hidden=0, queue=queue, first=2_050, source=source)
    story.take("a", 10, hidden=0, queue="source", id="moved", sent=9_000)
    story.looks(story.look(story.shown("a", 12, count=1, queue="source", id="moved", sent=9_000, first=10_050),
                           at=12, queue="source"), story.look(at=12, queue="dead"))  # fmt: skip


def dies_is_moved_back_and_its_deduplication_id_is_used_again(story: Story) -> None:
    parts: dict[str, Any] = {"group": "g", "hidden": 0}
    story.send("a", 1, "source.fifo", group="g", deduplication="d", sequence=10)
    for count in (1, 2):
        story.take("a", count * 2, count=count, queue="source.fifo", sequence=10, first=2_050, **parts)
    source = ARN + ".fifo"
    story.take("a", 6, count=3, queue="dead.fifo", sequence=1, first=2_050, source=source, **parts)
    story.take("a", 10, queue="source.fifo", id="moved", sequence=11, sent=9_000, **parts)
    story.send("b", 20 + WINDOW / 1000, "source.fifo", group="g", deduplication="d", sequence=12)


def an_old_handle_deletes_nothing_where_it_died(story: Story) -> None:
    story.send("a", 1, "source")
    story.take("a", 2, hidden=1, queue="source")
    story.take("a", 4, count=2, hidden=1, queue="source", first=2_050)
    story.take("a", 6, count=3, hidden=60, queue="dead", source=ARN, first=2_050)
    story.delete("a", 7, queue="source", count=2)
    story.looks(
        story.look(at=8, queue="source"),
        story.look(story.shown("a", 8, "in flight", 3, queue="dead", source=ARN, first=2_050), at=8, queue="dead"),
    )


def a_group_goes_on_behind_what_may_be_deleted(story: Story) -> None:
    fifo(story, "a", "b", "c")
    story.receive(front(story, "a", 5, 10), at=5, queue="one.fifo")
    story.delete("a", 6, outcome=UNKNOWN, queue="one.fifo")
    story.receive(front(story, "b", 7, 20), front(story, "c", 7, 30), at=7, queue="one.fifo")


def the_same_id_in_two_groups_of_its_scope(story: Story) -> None:
    story.send("a", 1, "per.fifo", group="g", deduplication="d", sequence=10)
    story.send("b", 2, "per.fifo", group="h", deduplication="d", sequence=20)


def a_repeated_send_is_answered_as_the_first(story: Story) -> None:
    story.send("a", 1, "one.fifo", UNKNOWN, group="g", deduplication="d")
    story.take("a", 2, queue="one.fifo", group="g", sequence=10)
    story.delete("a", 3, queue="one.fifo")
    story.checker.judge()
    story.send("a", 4, "one.fifo", group="g", deduplication="d", sequence=10)
    story.send("b", 5, "one.fifo", id="id-a", group="g", deduplication="d", sequence=10)
    story.looks(story.look(at=6, queue="one.fifo"))


def a_deduplication_id_is_free_after_its_window(story: Story) -> None:
    story.send("a", 1, "one.fifo", group="g", deduplication="d", sequence=10)
    story.send("b", 1.05 + WINDOW / 1000, "one.fifo", group="g", deduplication="d", sequence=20)


def an_attempt_repeats(story: Story) -> None:
    fifo(story, "a")
    story.receive(front(story, "a", 5, 10), at=5, queue="one.fifo", attempt="x")
    story.receive(front(story, "a", 6, 10, first=5_050), at=6, queue="one.fifo", attempt="x")


def a_lost_attempt_counts_once(story: Story) -> None:
    fifo(story, "a")
    story.receive(at=5, queue="one.fifo", attempt="x", outcome=UNKNOWN)
    story.receive(front(story, "a", 6, 10, first=5_050), at=6, queue="one.fifo", attempt="x")


def a_lost_attempt_is_seen_in_a_look_and_repeated(story: Story) -> None:
    fifo(story, "a")
    story.receive(at=5, queue="one.fifo", attempt="x", outcome=UNKNOWN)
    there = story.shown("a", 6, "in flight", 1, queue="one.fifo", group="g", sequence=10, first=5_050)
    story.looks(story.look(there, at=6, queue="one.fifo"))
    story.receive(front(story, "a", 7, 10, first=5_050), at=7, queue="one.fifo", attempt="x")


def a_handle_past_its_timeout_is_refused(story: Story) -> None:
    fifo(story, "a")
    story.receive(front(story, "a", 5, 10), at=5, queue="one.fifo", hidden=1)
    story.delete("a", 9, outcome=REFUSED, queue="one.fifo", code="expired")


def a_handle_of_what_has_expired_is_refused(story: Story) -> None:
    story.send("a", 1, "brief")
    story.take("a", 2, queue="brief", hidden=600)
    story.change("a", 70, 5, outcome=REFUSED, queue="brief", code="not available")


def expires(story: Story) -> None:
    story.send("a", 1, "brief")
    story.looks(story.look(at=62, queue="brief"))


@pytest.mark.parametrize(
    "tell",
    [
        comes_when_its_timeout_may_be_over,
        comes_after_a_change_that_may_have_shown_it,
        comes_beside_a_delete,
        is_received_and_deleted_before_its_send_is_answered,
        comes_beside_a_purge,
        is_gone_after_an_unknown_purge,
        counts_a_receive_without_an_answer,
        dies_and_is_moved_back,
        dies_is_moved_back_and_its_deduplication_id_is_used_again,
        an_old_handle_deletes_nothing_where_it_died,
        a_group_goes_on_behind_what_may_be_deleted,
        the_same_id_in_two_groups_of_its_scope,
        a_repeated_send_is_answered_as_the_first,
        a_deduplication_id_is_free_after_its_window,
        an_attempt_repeats,
        a_lost_attempt_counts_once,
        a_lost_attempt_is_seen_in_a_look_and_repeated,
        a_handle_past_its_timeout_is_refused,
        a_handle_of_what_has_expired_is_refused,
        expires,
    ],
)
def test_the_checker_accuses_nobody_of_what_may_be_right(tell: Callable[[Story], None]) -> None:
    story = Story()
    tell(story)
    story.checker.judge()
    assert [str(violation) for violation in story.checker.violations] == []


def test_a_violation_shows_all_that_is_known_of_the_message(story: Story) -> None:
    deleted_returns(story)
    story.checker.judge()
    text = str(story.checker.violations[0])
    assert "message a" in text and "send to plain" in text and "delete from plain" in text
    assert text.count("received for 30000 ms") == 2


def test_what_came_back_after_its_end_is_shown_with_its_former_life(story: Story) -> None:
    deleted_returns_in_a_later_round(story)
    story.checker.judge()
    [violation] = story.checker.violations
    assert "it was deleted" in violation.text and "send to plain" in violation.messages

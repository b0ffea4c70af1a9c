"""The FIFO queue by arithmetic on time: one rule of the sheet to a test."""

from __future__ import annotations

from dataclasses import replace

import pytest
from queue_desk import DEAD_LETTER_ARN, RECEIPTS, START, Desk

from trunkline.kernel.time import DAY, MINUTE
from trunkline.services.sqs.commands import Accept, Configure, Delete, Purge, Receive, Send
from trunkline.services.sqs.rows import ATTEMPT, DEDUPLICATION, HISTOGRAM, MESSAGE, MessageRow


class Fifo(Desk):
    """``send("a1")`` sends a message of group a with the deduplication id a1; messages are told by that id."""

    def __init__(self, window: int = 10_000, **changes: object) -> None:
        super().__init__(window=window, **{"fifo": True, "visibility_timeout": 30_000, **changes})
        self.names: dict[int, str] = {}

    def put(self, *names: str, **parts: str) -> list[str]:
        drafts = [self.draft(**{"group": name[0], "deduplication": name, **parts}) for name in names]
        for draft, name in zip(drafts, names, strict=True):
            self.names[int.from_bytes(draft.id, "big")] = name
        return [self.names[number] for number in self.send(*drafts)]

    def reconfigure(self, restart: bool, **changes: object) -> None:
        """Settings change: told to the machine, or while it is not in memory."""
        self.settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        if restart:
            self.restart()
        else:
            self.ask(Configure(self.settings))

    def get(self, count: int = 10, visibility: int | None = None, **named: object) -> list[str]:
        return [self.names[number] for number in self.take(count, visibility, **named)]


def test_messages_of_a_group_come_in_their_order() -> None:
    desk = Fifo()
    desk.put("a1", "a2", "a3")
    assert desk.get(2) == ["a1", "a2"]


def test_a_group_is_locked_while_one_of_its_messages_is_in_flight() -> None:
    desk = Fifo()
    desk.put("a1", "a2", "b1")
    assert desk.get(1) == ["a1"]
    assert desk.get() == ["b1"]
    assert desk.get() == []
    desk.pass_time(30_000)
    assert desk.get() == ["a1", "a2", "b1"]


def test_a_delete_opens_the_group_for_the_rest() -> None:
    desk = Fifo()
    desk.put("a1", "a2")
    desk.delete(*desk.receive(1))
    assert desk.get() == ["a2"]


def test_what_comes_back_comes_before_what_is_behind_it() -> None:
    desk = Fifo()
    desk.put("a1", "a2", "a3")
    first, second = desk.receive(2)
    desk.change(second, 0)
    assert desk.get() == []  # a1 is still in flight
    desk.change(first, 0)
    assert desk.get() == ["a1", "a2", "a3"]


def test_a_receive_takes_as_much_as_it_can_from_one_group_and_goes_on_to_the_next() -> None:
    desk = Fifo()
    desk.put("a1", "b1", "a2", "b2")
    assert desk.get(3) == ["a1", "a2", "b1"]


def test_a_waiting_receiver_is_served_when_the_group_opens() -> None:
    desk = Fifo()
    desk.put("a1", "a2")
    taken = desk.receive(1)
    token = desk.call(Receive, 10, None, 20_000)
    assert not token.answers
    desk.delete(*taken)
    assert [desk.names[number] for number in desk.numbers(token.answer.taken)] == ["a2"]


def test_sequence_numbers_have_twenty_digits_and_rise_over_restarts_and_purges() -> None:
    desk = Fifo()
    seen = []
    for number in range(6):
        answer = desk.settled(desk.call(Send, [desk.draft(group="a", deduplication=str(number))]))
        seen += answer.sequences
        if number == 1:
            desk.restart()
        elif number == 3:
            desk.purge()
    assert seen == sorted(set(seen)) and all(len(str(each)) == 20 for each in seen)


# -- deduplication -----------------------------------------------------------------------------


def test_a_duplicate_within_five_minutes_is_answered_as_the_original_and_not_delivered() -> None:
    desk = Fifo()
    assert desk.put("a1") == ["a1"]
    desk.pass_time(5 * MINUTE - 1)
    assert desk.put("x", group="a", deduplication="a1") == ["a1"]
    assert desk.get() == ["a1"]
    desk.pass_time(1)
    assert desk.put("y", group="a", deduplication="a1") == ["y"]


def test_a_duplicate_does_not_extend_the_window() -> None:
    desk = Fifo()
    desk.put("a1")
    desk.pass_time(4 * MINUTE)
    desk.put("x", group="a", deduplication="a1")
    desk.pass_time(MINUTE)
    assert desk.put("y", group="a", deduplication="a1") == ["y"]


def test_a_duplicate_of_a_deleted_message_is_one_too() -> None:
    desk = Fifo()
    desk.put("a1")
    desk.delete(*desk.receive())
    assert desk.put("x", group="a", deduplication="a1") == ["a1"]
    assert desk.get() == []


@pytest.mark.parametrize(("per_group", "expected"), [(False, "a1"), (True, "x")])
def test_the_scope_says_whether_other_groups_count(per_group: bool, expected: str) -> None:
    desk = Fifo(deduplicate_per_group=per_group)
    desk.put("a1")
    assert desk.put("x", group="b", deduplication="a1") == [expected]


def test_duplicates_within_one_batch_are_found() -> None:
    desk = Fifo()
    assert desk.put("a1", "x", deduplication="same") == ["a1", "a1"]


def test_deduplication_survives_a_restart() -> None:
    desk = Fifo()
    for number in range(6_500):  # a run, and more than two pages behind it
        desk.put(f"a{number}")
    desk.restart()
    assert desk.put("x", group="a", deduplication="a6499") == ["a6499"]
    desk.restart()
    assert desk.put("x", group="a", deduplication="a7") == ["a7"]
    desk.restart()
    desk.pass_time(5 * MINUTE)
    assert desk.put("y", group="a", deduplication="a7") == ["y"]


def test_what_is_past_the_window_leaves_memory_and_disk() -> None:
    desk = Fifo()
    for number in range(40):
        desk.put(f"a{number}")
    desk.pass_time(5 * MINUTE)
    desk.put("b1")
    desk.put("b2")
    assert len([key for key in desk.rows if key.startswith(DEDUPLICATION)]) == 2


def test_what_is_past_the_window_when_a_queue_comes_into_memory_leaves_the_disk() -> None:
    desk = Fifo()
    for burst in range(3):
        desk.put(*[f"a{burst}{number}" for number in range(10)])
        desk.pass_time(60 * MINUTE)
        desk.restart()
    desk.put("b1")
    assert len([key for key in desk.rows if key.startswith(DEDUPLICATION)]) == 1


def test_a_purge_clears_the_deduplication_memory_and_its_rows() -> None:
    desk = Fifo()
    desk.put("a1")
    desk.purge()
    assert desk.put("x", group="a", deduplication="a1") == ["x"]
    assert len([key for key in desk.rows if key.startswith(DEDUPLICATION)]) == 1


def test_a_purge_hands_over_what_takes_long_to_be_freed_and_uses_it_no_more() -> None:
    desk = Fifo()
    desk.put(*[f"{group}1" for group in "abc"])
    desk.purge()
    heads, lines, buckets = desk.machine.shed(everything=False)
    assert (len(heads), len(lines), len(buckets)) == (3, 3, 1)
    for container in (heads, lines, buckets):
        container.clear()
    desk.put("a1")
    assert desk.get() == ["a1"]
    assert desk.machine.shed(everything=False) == []


def test_senders_that_wait_for_the_memory_are_answered_by_a_purge() -> None:
    desk = Fifo()
    desk.put("a1")
    desk.restart()
    waiting = desk.call(Send, [desk.draft(group="a", deduplication="a1")])
    assert not waiting.answers
    assert desk.call(Purge, 0).answer is None
    assert len(waiting.answer.ids) == 1
    desk.settle()
    assert len(desk.receive()) == 1


def test_a_queue_weighs_more_the_more_groups_it_has() -> None:
    one, many = Fifo(), Fifo()
    for number in range(100):
        one.put(f"a{number}")
        many.put(f"m{number}", group=str(number))
    assert 50_000 < many.machine.weight - one.machine.weight < 150_000


# -- receive attempts ----------------------------------------------------------------------------


def test_an_attempt_repeated_is_given_the_same_messages_and_handles_and_their_timeouts_anew() -> None:
    desk = Fifo()
    desk.put("a1", "a2", "b1")
    first = desk.receive(2, attempt="try")
    desk.pass_time(20_000)
    again = desk.receive(2, attempt="try")
    assert [each.handle for each in again] == [each.handle for each in first]
    assert [each.receives for each in again] == [1, 1]
    desk.pass_time(20_000)
    assert desk.get() == ["b1"]
    desk.pass_time(10_000)
    assert desk.get() == ["a1", "a2"]


def test_an_attempt_is_remembered_over_a_restart_and_for_five_minutes() -> None:
    desk = Fifo(visibility_timeout=DAY // 4)
    desk.put("a1")
    first = desk.receive(attempt="try")
    desk.restart()
    desk.pass_time(5 * MINUTE - 1)
    assert desk.get() == []
    assert [each.handle for each in desk.receive(attempt="try")] == [each.handle for each in first]
    desk.pass_time(1)
    assert desk.receive(attempt="try") == []


def test_an_attempt_is_void_once_a_message_of_it_was_changed_or_deleted() -> None:
    desk = Fifo()
    desk.put("a1", "b1", "c1", "d1")
    one = desk.receive(2, attempt="one")
    desk.delete(one[0])
    two = desk.receive(1, attempt="two")
    desk.change(two[0], 10_000)
    assert desk.get(1, attempt="one") == ["d1"]
    assert desk.get(1, attempt="two") == []


def test_a_retry_of_an_attempt_takes_nothing_from_those_who_wait_and_is_answered_before_them() -> None:
    desk = Fifo()
    desk.put("a1")
    first = desk.receive(attempt="try")
    waiting = desk.call(Receive, 10, None, 20_000)
    retry = desk.call(Receive, 10, None, 20_000, "try")
    assert [each.handle for each in retry.answer.taken] == [each.handle for each in first]
    assert not waiting.answers


def test_an_attempt_of_messages_far_behind_is_found_after_a_restart() -> None:
    desk = Fifo(visibility_timeout=20_000)
    names = [f"{group}1" for group in "abcdefgh"]
    desk.put(*names)
    front = desk.receive(6)
    back = desk.receive(2, 100_000, attempt="try")
    assert len(front) == 6
    desk.pass_time(20_000)
    desk.restart()
    desk.page = 2
    retry = desk.receive(2, attempt="try")
    assert [each.handle for each in retry] == [each.handle for each in back]
    assert len(desk.receive()) == 6


def test_attempts_leave_the_disk_with_later_ones() -> None:
    desk = Fifo()
    for number in range(5):
        desk.put(f"a{number}")
        desk.delete(*desk.receive(attempt=f"try {number}"))
        desk.pass_time(5 * MINUTE)
    assert len([key for key in desk.rows if key.startswith(ATTEMPT)]) == 1


# -- handles -------------------------------------------------------------------------------------


def test_the_handle_of_an_older_receive_deletes_nothing() -> None:
    desk = Fifo()
    desk.put("a1")
    [old] = desk.receive()
    desk.pass_time(30_000)
    [new] = desk.receive()
    [failure] = desk.delete(old)
    assert failure is not None and failure.message.endswith("Reason: The receipt handle has expired.")
    assert desk.delete(new) == [None]


def test_a_handle_whose_timeout_has_ended_deletes_nothing() -> None:
    desk = Fifo()
    desk.put("a1")
    [taken] = desk.receive()
    desk.pass_time(30_000)
    [failure] = desk.delete(taken)
    assert failure is not None
    assert desk.change(taken, 1_000) is not None
    assert desk.get() == ["a1"]


def test_a_handle_from_before_a_restart_still_deletes() -> None:
    desk = Fifo(window=5)
    desk.put("a1", "b1", "c1")
    [first, *_] = desk.receive(2)
    desk.restart()
    assert desk.delete(first) == [None]
    assert desk.get() == ["c1"]


# -- dead letters, retention, delay -----------------------------------------------------------------


def test_a_dead_letter_leaves_from_the_front_and_its_group_goes_on_behind_it() -> None:
    desk = Fifo(max_receive_count=1, dead_letter_arn=DEAD_LETTER_ARN, visibility_timeout=1_000)
    desk.put("a1", "a2")
    assert desk.get(1) == ["a1"]
    desk.pass_time(1_000)
    assert desk.get() == ["a2"]
    [(_, row, _)] = desk.moved
    assert (row.group, row.deduplication, row.receives_before) == ("a", "a1", 1)


def test_a_dead_letter_arrives_with_a_new_sent_time_at_the_end() -> None:
    source, dead = Fifo(max_receive_count=1, dead_letter_arn=DEAD_LETTER_ARN, visibility_timeout=1_000), Fifo()
    source.put("a1")
    source.get()
    source.pass_time(1_000)
    source.get()
    [(_, row, keep_sent)] = source.moved
    dead.put("a0")
    dead.pass_time(1_000)
    dead.ask(Accept([row.encode()], keep_sent))
    first, second = dead.receive()
    moved = MessageRow.decode(dead.rows[second.key])
    assert (moved.group, moved.deduplication, moved.sent) == ("a", "a1", START + 1_000)
    assert (second.receives, second.first_received) == (2, START)
    assert second.sequence > first.sequence


def test_expired_messages_do_not_block_their_group() -> None:
    desk = Fifo(retention=60_000, window=5)
    desk.put("a1")
    desk.pass_time(30_000)
    desk.put("a2")
    desk.pass_time(30_000)
    assert desk.get() == ["a2"]
    assert desk.counts() == (0, 1, 0)


def test_a_page_read_before_messages_expired_does_not_bring_them_back() -> None:
    desk = Fifo(retention=60_000, window=5)
    desk.put("a1", "b1", "c1")
    desk.restart()
    desk.call(Receive, 10, None, 0)
    while desk.needs:
        desk.read()  # the page, before
    desk.now += 60_000
    desk.wake()
    while desk.needs:
        desk.read()
        desk.hear(-1)  # what has expired is deleted
    desk.settle()
    assert desk.counts() == (0, 0, 0)
    assert not [key for key in desk.rows if MESSAGE <= key[:1] < DEDUPLICATION]
    desk.put("d1")
    assert desk.counts() == (1, 0, 0)


def test_a_delayed_message_holds_back_its_group_and_no_other() -> None:
    desk = Fifo(delay=5_000)
    desk.put("a1")
    desk.pass_time(4_000)
    desk.put("a2", "b1")
    assert desk.counts() == (0, 0, 3)
    desk.pass_time(1_000)
    assert desk.get() == ["a1"]
    desk.pass_time(4_000)
    assert desk.get() == ["b1"]


def test_a_new_delay_holds_for_what_is_in_the_queue_already_in_memory_or_not() -> None:
    for window in (10_000, 2):
        for restart in (False, True):
            desk = Fifo(window=window)
            desk.put("a1", "b1", "c1")
            desk.pass_time(10_000)
            desk.reconfigure(restart, delay=900_000)
            assert desk.counts() == (0, 0, 3)
            assert desk.get() == []
            desk.reconfigure(restart, delay=20_000)
            desk.pass_time(9_000)
            assert desk.counts() == (0, 0, 3)
            desk.pass_time(1_000)
            assert desk.counts() == (3, 0, 0)
            desk.reconfigure(restart, delay=600_000)
            assert desk.counts() == (0, 0, 3)
            desk.reconfigure(restart, delay=0)
            assert sorted(desk.get() + desk.get()) == ["a1", "b1", "c1"][: max(2, min(window, 3))]


def test_a_delay_is_over_for_what_was_received() -> None:
    desk = Fifo(visibility_timeout=1_000)
    desk.put("a1", "a2")
    assert desk.get(1) == ["a1"]
    desk.pass_time(1_000)
    desk.reconfigure(True, delay=900_000)
    assert desk.counts() == (1, 0, 1)
    assert desk.get() == ["a1"]


def test_a_dead_letter_is_delayed_as_any_other_message_and_stays_so_over_a_restart() -> None:
    source = Fifo(max_receive_count=1, dead_letter_arn=DEAD_LETTER_ARN, visibility_timeout=1_000)
    source.put("a1")
    source.get()
    source.pass_time(1_000)
    source.get()
    [(_, row, keep_sent)] = source.moved
    dead = Fifo(delay=600_000)
    dead.ask(Accept([row.encode()], keep_sent))
    assert dead.counts() == (0, 0, 1)
    dead.restart()
    assert dead.counts() == (0, 0, 1)
    dead.pass_time(600_000)
    assert dead.counts() == (1, 0, 0)
    assert len(dead.receive()) == 1


def test_seconds_in_which_nothing_can_be_delayed_any_more_leave_the_disk() -> None:
    desk = Fifo()
    for number in range(5):
        desk.put(f"a{number}")
        desk.pass_time(1_000)
    assert len([key for key in desk.rows if key[:1] == HISTOGRAM]) == 5
    desk.pass_time(900_000)
    desk.put("b1")
    assert len([key for key in desk.rows if key[:1] == HISTOGRAM]) == 1


# -- how far it looks ---------------------------------------------------------------------------------


def test_groups_beyond_the_eligible_messages_wait_for_room() -> None:
    desk = Fifo(window=3)
    desk.put("a1", "a2", "a3", "b1")
    taken = desk.receive(10)
    assert len(taken) == 3
    assert desk.get() == []
    desk.delete(taken[0])
    assert desk.get() == ["b1"]


def test_a_long_backlog_comes_in_order_page_by_page() -> None:
    desk = Fifo(window=5)
    names = [f"{group}{number}" for number in range(10) for group in "ab"]
    for name in names:
        desk.put(name)
    seen: list[str] = []
    while taken := desk.receive(2):
        seen += [desk.names[number] for number in desk.numbers(taken)]
        desk.delete(*taken)
    assert [name for name in seen if name[0] == "a"] == [f"a{number}" for number in range(10)]
    assert [name for name in seen if name[0] == "b"] == [f"b{number}" for number in range(10)]


def test_a_full_flight_returns_nothing_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fifo", "machine"):
        monkeypatch.setattr(f"trunkline.services.sqs.{module}.MAXIMUM_IN_FLIGHT", 2)
    desk = Fifo()
    desk.put("a1", "b1", "c1")
    assert desk.get() == ["a1", "b1"]
    assert desk.get() == []


def test_a_delete_waits_for_the_page_that_has_its_message() -> None:
    desk = Fifo(window=2)
    desk.put("a1", "b1")
    taken = desk.receive(2)
    desk.restart()
    token = desk.call(Delete, [RECEIPTS.read(each.handle) for each in taken], [each.handle for each in taken])
    assert not token.answers
    desk.settle()
    assert token.answer.failures == [None, None]
    assert desk.counts() == (0, 0, 0)

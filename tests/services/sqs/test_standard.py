"""The standard queue by arithmetic on time: one rule of the sheet to a test."""

from __future__ import annotations

from dataclasses import replace

import pytest
from queue_desk import DEAD_LETTER_ARN, DEAD_LETTERS, RECEIPTS, START, Desk, Token

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.step import Cancel
from trunkline.kernel.time import DAY, HOUR, NEVER
from trunkline.services.sqs.commands import Accept, Configure, Delete, Receive, Received, Send
from trunkline.services.sqs.rows import DEDUPLICATION, FLAG_MOVED, MESSAGE, STATE


def test_a_message_not_deleted_in_time_comes_back() -> None:
    desk = Desk(visibility_timeout=30_000)
    desk.send()
    assert desk.take() == [1]
    desk.pass_time(29_999)
    assert desk.take() == []
    desk.pass_time(1)
    [taken] = desk.receive()
    assert (desk.number(taken), taken.receives, taken.first_received) == (1, 2, START)


def test_a_timeout_of_zero_leaves_the_message_visible_to_the_next_receive_but_not_to_the_same_one() -> None:
    desk = Desk()
    desk.send()
    assert desk.take(10, 0) == [1]
    assert desk.take(10, 0) == [1]


def test_a_receive_takes_as_many_as_it_asks_for_and_no_more() -> None:
    desk = Desk()
    for _ in range(5):
        desk.send()
    assert desk.take(3) == [1, 2, 3]
    assert desk.take(10) == [4, 5]


def test_a_delay_hides_a_message_until_its_end_to_the_millisecond() -> None:
    desk = Desk()
    desk.send(delay=5_000)
    desk.send()
    assert desk.take() == [2]
    assert desk.counts() == (0, 1, 1)
    desk.pass_time(4_999)
    assert desk.take() == []
    desk.pass_time(1)
    assert desk.take() == [1]


def test_a_queue_delay_holds_for_messages_without_one_and_not_for_those_that_are_there() -> None:
    desk = Desk(delay=10_000)
    desk.send()
    desk.send(delay=0)
    assert desk.take() == [2]
    desk.ask(Configure(desk.settings.__class__(name="q", arn=desk.settings.arn, delay=0)))
    assert desk.take() == []
    desk.pass_time(10_000)
    assert desk.take() == [1]


def test_a_waiting_receiver_is_served_by_the_send_itself() -> None:
    desk = Desk()
    token = desk.call(Receive, 10, None, 20_000)
    assert not token.answers
    desk.send()
    assert [each.receives for each in token.answer.taken] == [1]
    assert desk.due() > START + HOUR  # nobody waits any longer; only the retention is left


def test_waiting_receivers_are_served_in_the_order_of_their_coming() -> None:
    desk = Desk()
    tokens = [desk.call(Receive, 1, None, 20_000) for _ in range(3)]
    desk.send()
    desk.send()
    assert [len(token.answers) for token in tokens] == [1, 1, 0]


def test_a_waiting_receiver_is_answered_with_nothing_at_its_deadline() -> None:
    desk = Desk()
    token = desk.call(Receive, 10, None, 3_000)
    assert desk.due() == START + 3_000
    desk.pass_time(2_999)
    assert not token.answers
    desk.pass_time(1)
    assert token.answer.taken == []


def test_a_waiting_receiver_is_served_when_a_timeout_or_a_delay_ends() -> None:
    desk = Desk(visibility_timeout=5_000)
    desk.send()
    desk.send(delay=7_000)
    desk.take()
    first, second = desk.call(Receive, 1, None, 20_000), desk.call(Receive, 1, None, 20_000)
    desk.pass_time(5_000)
    assert len(first.answer.taken) == 1 and not second.answers
    desk.pass_time(2_000)
    assert desk.numbers(second.answer.taken) == [2]


def test_a_receiver_that_waits_no_longer_takes_nothing() -> None:
    desk = Desk()
    token = desk.call(Receive, 10, None, 20_000)
    desk.ask(Cancel(token))
    assert token.answer == Received([])
    [number] = desk.send()
    assert desk.take() == [number]
    assert token.answer == Received([])


def test_a_receiver_that_was_served_is_not_answered_again_when_its_wait_ends() -> None:
    desk = Desk()
    token = desk.call(Receive, 10, None, 20_000)
    desk.send()
    desk.ask(Cancel(token))
    assert len(token.answer.taken) == 1


def test_a_message_past_its_retention_is_neither_returned_nor_counted_and_leaves_the_disk() -> None:
    desk = Desk(retention=60_000, window=3)
    for _ in range(8):
        desk.send()
    desk.take(2)
    desk.pass_time(59_999)
    assert sum(desk.counts()) == 8
    desk.pass_time(1)
    assert desk.take() == []
    assert desk.counts() == (0, 0, 0)
    assert not [key for key in desk.rows if key[:1] >= MESSAGE]
    assert desk.due() == NEVER


def test_a_message_sent_while_expired_ones_are_looked_for_expires_in_its_time_too() -> None:
    desk = Desk(retention=60_000)
    desk.send()
    desk.now += 60_000
    desk.wake()
    desk.send()
    desk.settle()
    desk.restart()
    desk.pass_time(59_999)
    assert desk.counts() == (1, 0, 0)
    desk.pass_time(1)
    assert desk.counts() == (0, 0, 0)
    assert not [key for key in desk.rows if key[:1] >= MESSAGE]


def test_a_queue_that_was_empty_at_a_restart_lets_messages_expire_in_their_time() -> None:
    desk = Desk(retention=60_000)
    desk.send()
    desk.delete(*desk.receive())
    desk.restart()
    desk.send()
    desk.pass_time(60_000)
    assert desk.counts() == (0, 0, 0)


def test_no_step_deletes_more_than_some_hundred_rows_of_what_is_past_its_retention() -> None:
    for fifo in (False, True):
        desk = Desk(retention=60_000, fifo=fifo)
        for number in range(0, 1_000, 10):
            desk.send(*[desk.draft(group="g", deduplication=f"{number + at}") for at in range(10)])
        desk.now += 60_000  # the alarm rings late
        desk.largest = 0
        assert desk.take() == []
        assert desk.counts() == (0, 0, 0)
        assert desk.largest < 800
        desk.pass_time(0)
        assert not [key for key in desk.rows if MESSAGE <= key[:1] < DEDUPLICATION]


def test_dead_letters_that_expire_in_flight_while_not_in_memory_are_counted_no_longer() -> None:
    source, dead = with_dead_letters(most=1), Desk(retention=60_000, visibility_timeout=DAY)
    source.send(*[source.draft() for _ in range(5)])
    source.take()
    source.pass_time(1_000)
    source.take()
    dead.pass_time(1_000)
    for _, row, keep_sent in source.moved:
        dead.ask(Accept([row.encode()], keep_sent))
    assert len(dead.take()) == 5
    dead.send()
    dead.restart()
    dead.page = 2
    dead.pass_time(59_999)
    assert dead.counts() == (1, 0, 0)
    assert not [key for key in dead.rows if key[:1] == STATE]


def test_after_a_restart_nothing_visible_is_said_without_reading_all_that_is_delayed() -> None:
    desk = Desk()
    desk.send(*[desk.draft(delay=600_000) for _ in range(2_000)])
    desk.restart()
    token = desk.call(Receive, 10, None, 0)
    assert token.answer.taken == []
    assert len(desk.needs) <= 2


def test_a_backlog_is_read_ahead_of_those_who_receive_it() -> None:
    desk = Desk(window=40)
    desk.send(*[desk.draft() for _ in range(300)])
    desk.take(10)
    pauses = 0
    for _ in range(29):
        token = desk.call(Receive, 10, None, 0)
        pauses += not token.answers
        desk.settle()
        assert len(token.answer.taken) == 10
    assert pauses <= 2


def test_retention_counts_from_the_send_whatever_receives_did() -> None:
    desk = Desk(retention=60_000)
    desk.send()
    desk.pass_time(59_000)
    assert desk.take(10, 30_000) == [1]
    desk.pass_time(31_000)
    assert desk.take() == []


def test_a_longer_retention_saves_what_is_there_still() -> None:
    desk = Desk(retention=60_000)
    desk.send()
    desk.pass_time(50_000)
    desk.ask(Configure(desk.settings.__class__(name="q", arn=desk.settings.arn, retention=DAY)))
    desk.pass_time(HOUR)
    assert desk.take() == [1]


def test_any_handle_of_a_message_deletes_it_even_an_old_one() -> None:
    desk = Desk(visibility_timeout=1_000)
    desk.send()
    [old] = desk.receive()
    desk.pass_time(1_000)
    desk.receive()
    assert desk.delete(old) == [None]
    desk.pass_time(DAY)
    assert desk.take() == []


def test_a_delete_of_a_deleted_message_succeeds() -> None:
    desk = Desk()
    desk.send()
    [taken] = desk.receive()
    assert desk.delete(taken) == [None]
    assert desk.delete(taken) == [None]
    assert desk.counts() == (0, 0, 0)


def test_visibility_can_be_changed_to_come_back_sooner_later_and_at_once() -> None:
    desk = Desk(visibility_timeout=30_000)
    desk.send()
    [taken] = desk.receive()
    assert desk.change(taken, 5_000) is None
    desk.pass_time(5_000)
    [taken] = desk.receive()
    assert desk.change(taken, 60_000) is None
    desk.pass_time(59_999)
    assert desk.take() == []
    assert desk.change(taken, 0) is None
    assert desk.take() == [1]


def test_all_timeouts_together_end_before_twelve_hours_from_the_receive() -> None:
    desk = Desk()
    desk.send()
    [taken] = desk.receive(10, 30_000)
    failure = desk.change(taken, 12 * HOUR)
    assert failure is not None and failure.message == (
        "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is "
        "beyond the limit [43200 seconds]"
    )
    assert desk.change(taken, 12 * HOUR - 1_000) is None
    desk.pass_time(HOUR)
    failure = desk.change(taken, 11 * HOUR)
    assert failure is not None and failure.name == "InvalidParameterValue"
    assert desk.change(taken, 11 * HOUR - 1) is None


def test_the_visibility_of_a_deleted_message_cannot_be_changed() -> None:
    desk = Desk()
    desk.send()
    [taken] = desk.receive()
    desk.delete(taken)
    failure = desk.change(taken, 1_000)
    assert failure is not None
    assert failure.message.endswith("Message does not exist or is not available for visibility timeout change.")


# -- dead letters ------------------------------------------------------------------------


def with_dead_letters(most: int = 2, **settings: object) -> Desk:
    return Desk(max_receive_count=most, dead_letter_arn=DEAD_LETTER_ARN, visibility_timeout=1_000, **settings)


def test_a_message_received_too_often_moves_instead_of_being_received_again() -> None:
    desk = with_dead_letters(most=2)
    desk.send()
    for _ in range(2):
        assert desk.take() == [1]
        desk.pass_time(1_000)
    assert desk.moved == []
    assert desk.take() == []
    [(partition, row, keep_sent)] = desk.moved
    assert (partition, row.sent, row.receives_before, row.first_received) == (DEAD_LETTERS, START, 2, START)
    assert row.source_arn == desk.settings.arn and keep_sent
    assert desk.counts() == (0, 0, 0)
    assert not [key for key in desk.rows if key[:1] >= MESSAGE]


def test_a_receiver_that_meets_a_dead_letter_gets_the_next_message() -> None:
    desk = with_dead_letters(most=1)
    desk.send()
    desk.take()
    desk.send()
    desk.pass_time(1_000)
    assert desk.take(1) == [2]
    desk.settle()
    assert len(desk.moved) == 1


def test_a_receiver_is_told_that_there_is_nothing_only_when_all_dead_letters_have_arrived() -> None:
    desk = with_dead_letters(most=1)
    for _ in range(3):
        desk.send()
    desk.take()
    desk.pass_time(1_000)
    token = desk.call(Receive, 10, None, 0)
    while desk.needs:
        assert not token.answers
        desk.read()
        desk.hear()
    assert token.answer.taken == []
    assert len(desk.moved) == 3


def test_no_step_gives_up_more_than_a_hundred_messages_and_all_go_in_the_end() -> None:
    desk = with_dead_letters(most=0)
    desk.send(*[desk.draft() for _ in range(250)])
    while desk.take():
        pass
    desk.pass_time(1_000)
    desk.settings = replace(desk.settings, max_receive_count=1)
    desk.ask(Configure(desk.settings))
    desk.largest = 0
    token = desk.call(Receive, 10, None, 0)
    rounds = 0
    while desk.needs:
        [need] = desk.needs
        assert len(need.keys) <= 100
        desk.read()
        desk.hear()
        rounds += 1
    assert token.answer.taken == []
    assert [int.from_bytes(row.id, "big") for _, row, _ in desk.moved] == list(range(1, 251))
    assert rounds == 3
    assert desk.largest < 1_000


def test_without_its_dead_letter_queue_a_message_stays() -> None:
    desk = with_dead_letters(most=1)
    desk.send()
    desk.take()
    desk.pass_time(1_000)
    desk.known.clear()
    assert desk.take() == [1]
    assert desk.moved == []


def test_a_message_deleted_on_its_way_to_the_dead_letter_queue_does_not_arrive() -> None:
    desk = with_dead_letters(most=1)
    desk.send()
    [taken] = desk.receive()
    desk.pass_time(1_000)
    token = desk.call(Receive, 1, None, 0)
    assert not token.answers  # its row is being read
    desk.call(Delete, [RECEIPTS.read(taken.handle)], [taken.handle])
    desk.settle()
    assert token.answer.taken == []
    assert desk.moved == []


def test_a_dead_letter_of_a_standard_queue_expires_by_its_first_sending() -> None:
    source, dead = with_dead_letters(most=1), Desk(retention=60_000, window=3)
    source.send()
    source.take()
    source.pass_time(30_000)
    source.take()
    [(_, row, keep_sent)] = source.moved
    dead.pass_time(30_000)
    for _ in range(4):
        dead.send()
    dead.ask(Accept([row.encode()], keep_sent))
    assert any(value[1] & FLAG_MOVED for key, value in dead.rows.items() if key[:1] == MESSAGE)
    dead.pass_time(29_999)
    assert sum(dead.counts()) == 5
    dead.pass_time(1)
    assert sum(dead.counts()) == 4
    dead.pass_time(30_000)
    assert sum(dead.counts()) == 0
    assert not [key for key in dead.rows if key[:1] >= MESSAGE]


# -- memory and rows ------------------------------------------------------------------------


def test_a_backlog_stays_on_the_disk_and_comes_in_pages_in_order() -> None:
    desk = Desk(window=3)
    for _ in range(20):
        desk.send()
    assert desk.machine.weight < 8_000 + 4 * 400
    seen: list[int] = []
    while taken := desk.receive(2):
        seen += desk.numbers(taken)
        desk.delete(*taken)
    assert seen == list(range(1, 21))
    assert not [key for key in desk.rows if key[:1] >= MESSAGE]


def test_a_delayed_message_sent_while_delayed_ones_are_read_is_not_forgotten() -> None:
    desk = Desk(window=3)
    desk.send()
    desk.restart()
    desk.call(Receive, 10, 60_000, 0)
    while desk.needs:
        desk.read()
    desk.call(Send, [desk.draft(delay=1_000)])
    desk.settle()
    desk.pass_time(1_000)
    assert desk.take() == [2]


def test_a_restart_keeps_timeouts_counts_and_delays() -> None:
    desk = Desk(visibility_timeout=30_000)
    desk.send()
    desk.send(delay=60_000)
    desk.send()
    [first] = desk.receive(1)
    desk.restart()
    assert desk.counts() == (1, 1, 1)
    assert desk.take() == [3]
    assert desk.change(first, 10_000) is None
    desk.pass_time(10_000)
    [again] = desk.receive()
    assert (desk.number(again), again.receives, again.first_received) == (1, 2, START)
    desk.pass_time(50_000)
    assert sorted(desk.take()) == [1, 2, 3]


def test_a_page_read_before_a_delete_does_not_bring_the_message_back() -> None:
    desk = Desk()
    desk.send()
    [taken] = desk.receive()
    desk.restart()
    desk.pass_time(60_000, settle=False)
    token = desk.call(Receive, 10, None, 0)
    while desk.needs:
        desk.read()
    assert any(loaded.rows for loaded in desk.late), "no page has the message"
    deleted = desk.call(Delete, [RECEIPTS.read(taken.handle)], [taken.handle])
    desk.read()
    desk.hear(-1)  # the row for the delete comes first
    assert deleted.answer.failures == [None]
    desk.settle()
    assert token.answer.taken == []
    assert desk.counts() == (0, 0, 0)


def test_a_delete_finds_messages_that_left_memory_while_it_waited_for_others() -> None:
    desk = Desk(window=3, visibility_timeout=5_000)
    desk.send(*[desk.draft() for _ in range(7)])
    taken = [each for _ in range(5) for each in desk.receive(10)]
    desk.restart()
    chosen = [taken[0], taken[5], taken[6]]
    handles = [each.handle for each in chosen]
    token = desk.call(Delete, [RECEIPTS.read(handle) for handle in handles], handles)
    desk.read()
    desk.hear()  # the first is in memory
    desk.now += 5_000
    desk.wake()  # all come back, and there is no room for all of them
    desk.settle()
    assert token.answer.failures == [None] * 3
    assert desk.counts() == (4, 0, 0)
    assert sorted(number for _ in range(4) for number in desk.take()) == [2, 3, 4, 5]


def test_messages_that_memory_has_no_room_for_are_found_again() -> None:
    desk = Desk(window=3, visibility_timeout=1_000)
    for _ in range(12):
        desk.send()
    assert len({number for _ in range(12) for number in desk.take(2)}) == 12
    desk.pass_time(1_000)
    assert sum(desk.counts()) == 12
    assert desk.machine.weight < 8_000 + 8 * 400
    assert sorted(number for _ in range(12) for number in desk.take(2)) == list(range(1, 13))


def test_messages_that_come_back_while_a_page_is_on_its_way_are_not_forgotten() -> None:
    desk = Desk(window=3, visibility_timeout=1_000)
    for _ in range(9):
        desk.send()
    taken = [desk.receive(3) for _ in range(2)]
    token = desk.call(Receive, 3, 60_000, 0)
    while desk.needs:
        desk.read()
    desk.pass_time(1_000, settle=False)  # six come back, and there is room for three
    desk.settle()
    assert len(token.answer.taken) == 3
    rest = [number for _ in range(6) for number in desk.take(3, 60_000)]
    assert sorted(rest + desk.numbers(token.answer.taken)) == list(range(1, 10))
    assert sum(len(each) for each in taken) == 6


def test_no_more_than_120_000_messages_are_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.services.sqs.standard.MAXIMUM_IN_FLIGHT", 4)
    monkeypatch.setattr("trunkline.services.sqs.machine.MAXIMUM_IN_FLIGHT", 4)
    desk = Desk()
    for _ in range(6):
        desk.send()
    taken = desk.receive(10)
    assert len(taken) == 4
    with pytest.raises(ServiceError, match="OverLimit"):
        desk.receive(10)
    desk.delete(taken[0])
    assert len(desk.receive(10)) == 1


def test_purge_empties_the_queue_in_one_row_and_old_handles_mean_nothing_new() -> None:
    desk = Desk(window=3)
    for _ in range(9):
        desk.send()
    taken = desk.receive(2)
    desk.send(delay=5_000)
    assert desk.purge() is None
    assert desk.counts() == (0, 0, 0)
    assert desk.take() == []
    assert desk.send() == [11]
    assert desk.delete(*taken) == [None, None]
    assert desk.change(taken[0], 1_000) is not None
    desk.restart()
    assert desk.take() == [11]


def test_a_second_purge_within_sixty_seconds_is_refused_when_the_setting_says_so() -> None:
    desk = Desk()
    assert desk.purge(60_000) is None
    refusal = desk.purge(60_000)
    assert isinstance(refusal, ServiceError) and refusal.name == "PurgeQueueInProgress"
    desk.pass_time(60_000)
    assert desk.purge(60_000) is None


def test_who_waits_in_a_deleted_queue_is_refused() -> None:
    desk = Desk()
    token = desk.call(Receive, 1, None, 20_000)
    gone = ServiceError("QueueDoesNotExist", "gone")
    desk.close(gone)
    assert token.answer is gone


def test_peek_shows_states_without_changing_them() -> None:
    desk = Desk(window=3)
    for _ in range(4):
        desk.send()
    desk.send(delay=5_000)
    desk.take(1)
    before = dict(desk.rows)
    peeked = desk.peek()
    assert [(each.state, each.receives) for each in peeked.seen] == [
        ("in flight", 1), ("visible", 0), ("visible", 0), ("visible", 0), ("delayed", 0),
    ]  # fmt: skip
    assert peeked.next == 0 and desk.rows == before
    assert desk.counts() == (3, 1, 1)


def test_peek_says_when_a_dead_letter_was_first_received_also_if_it_is_not_in_memory() -> None:
    source, dead = with_dead_letters(most=1), Desk()
    source.send()
    source.take(visibility=0)
    first = source.now
    source.pass_time(1_000)
    source.take()
    [(_, row, keep_sent)] = source.moved
    dead.ask(Accept([row.encode()], keep_sent))
    [there] = dead.peek().seen
    dead.restart()
    [after] = dead.peek().seen
    assert (there.receives, there.first_received) == (after.receives, after.first_received) == (1, first)


def test_peek_goes_page_by_page() -> None:
    desk = Desk()
    for _ in range(5):
        desk.send()
    first = desk.peek(limit=2)
    second = desk.peek(limit=10, after=first.next)
    assert len(first.seen) == 2 and len(second.seen) == 3 and second.next == 0


# -- fair queues ---------------------------------------------------------------------------


def test_a_quiet_group_goes_before_a_noisy_one() -> None:
    desk = Desk()
    for _ in range(30):
        desk.send(group="noisy")
    desk.send(group="quiet")
    assert desk.take(10) == list(range(1, 11))
    assert 31 in desk.take(1)


def test_a_quiet_group_is_found_far_behind_a_noisy_one_and_what_stood_aside_comes_in_its_order() -> None:
    desk = Desk()
    desk.send(*[desk.draft(group="noisy") for _ in range(900)])
    for _ in range(5):
        desk.take(10)
    desk.send(*[desk.draft(group="quiet") for _ in range(3)])
    assert desk.take(10) == [901, 902, 903, 51, 52, 53, 54, 55, 56, 57]
    assert desk.take(10) == list(range(58, 68))


def test_a_quiet_group_goes_before_messages_of_a_noisy_one_that_came_back() -> None:
    desk = Desk()
    desk.send(*[desk.draft(group="noisy") for _ in range(200)])
    taken = [each for _ in range(10) for each in desk.receive(10)]
    for each in taken[:60]:
        desk.change(each, 0)
    desk.send(group="quiet")
    assert desk.take(1) == [201]
    assert len(desk.take(10)) == 10


def test_a_group_that_has_become_quiet_comes_before_what_is_behind_it() -> None:
    desk = Desk(visibility_timeout=10_000)
    desk.send(*[desk.draft(group="once noisy") for _ in range(30)])
    desk.take(10)
    desk.send(*[desk.draft(group="quiet") for _ in range(5)])
    assert desk.take(1) == [31]
    desk.pass_time(10_000)
    assert sorted(desk.take(10)) == list(range(11, 21))


def test_no_more_than_memory_allows_stands_aside() -> None:
    desk = Desk(window=20)
    desk.send(*[desk.draft(group="noisy") for _ in range(200)])
    seen = []
    for _ in range(20):
        seen += desk.take(10)
        assert len(desk.machine._heads) - len(seen) <= 60
    assert sorted(seen) == list(range(1, 201))


def test_a_noisy_group_alone_is_not_held_back() -> None:
    desk = Desk()
    for _ in range(30):
        desk.send(group="noisy")
    assert sorted(number for _ in range(3) for number in desk.take(10)) == list(range(1, 31))


def test_messages_without_a_group_are_never_noisy() -> None:
    desk = Desk()
    for _ in range(20):
        desk.send()
    desk.send(group="quiet")
    desk.take(10)
    assert desk.take(1) == [11]


def test_an_answer_is_never_given_twice() -> None:
    desk = Desk()
    token = Token([])
    desk.ask(Receive(token, 1, None, 5_000))
    desk.send()
    desk.pass_time(10_000)
    assert isinstance(token.answer, Received)

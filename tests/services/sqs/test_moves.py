"""Message move tasks of a queue machine: cursor, rate, cancel, failure, restart."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

from queue_desk import Desk

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.time import HOUR
from trunkline.services.sqs.commands import Accept, CancelMove, ListMoves, MoveTask, StartMove
from trunkline.services.sqs.rows import MESSAGE, MessageRow

HOME = "arn:aws:sqs:us-east-1:000000000000:home"


class DeadLetters(Desk):
    """A dead-letter queue; ``home`` is partition 7."""

    def __init__(self, messages: int, window: int = 10_000, **changes: object) -> None:
        super().__init__(window=window, **changes)
        self.known[HOME] = 7
        for _ in range(messages):
            self.send()

    def start(self, destination: str = HOME, rate: int = 0) -> object:
        return self.settled(self.call(StartMove, destination, rate, b"i" * 16))

    @property
    def tasks(self) -> list[MoveTask]:
        found = self.settled(self.call(ListMoves, 10))
        assert isinstance(found, list)
        return found

    def moved_to(self, partition: int = 7) -> list[int]:
        # A moved message has a new id, but its MD5 is on the desk what its id was.
        return [int.from_bytes(row.md5, "big") for where, row, _ in self.moved if where == partition]


def test_a_task_moves_everything_and_ends() -> None:
    desk = DeadLetters(250, window=10)
    task = desk.start()
    assert isinstance(task, MoveTask) and task.to_move == 250
    desk.pass_time(0)
    [task] = desk.tasks
    assert (task.status, task.moved) == ("COMPLETED", 250)
    assert desk.moved_to() == list(range(1, 251))
    assert desk.counts() == (0, 0, 0)
    assert not [key for key in desk.rows if key[:1] >= MESSAGE]


def test_a_unit_moves_a_hundred_messages_at_the_most() -> None:
    desk = DeadLetters(250)
    steps: list[int] = []
    desk.after = lambda: steps.append(len(desk.moved))  # type: ignore[method-assign]
    desk.start()
    desk.pass_time(0)
    assert max(later - earlier for earlier, later in pairwise(steps)) == 100


def test_a_rate_is_kept_by_the_second() -> None:
    desk = DeadLetters(25)
    desk.start(rate=10)
    desk.pass_time(0)
    assert len(desk.moved) == 10
    desk.pass_time(999)
    assert len(desk.moved) == 10
    desk.pass_time(1)
    assert len(desk.moved) == 20
    desk.pass_time(1_000)
    assert len(desk.moved) == 25
    assert desk.tasks[0].status == "COMPLETED"


def test_a_task_goes_on_after_a_restart_where_it_was() -> None:
    desk = DeadLetters(30)
    desk.start(rate=10)
    desk.pass_time(1_000)
    assert len(desk.moved) == 20
    desk.restart()
    desk.pass_time(5_000)
    assert desk.moved_to() == list(range(1, 31))
    [task] = desk.tasks
    assert (task.status, task.moved) == ("COMPLETED", 30)


def test_a_rate_is_kept_over_a_restart() -> None:
    desk = DeadLetters(20)
    desk.start(rate=10)
    desk.pass_time(0)
    desk.restart()
    desk.pass_time(999)
    assert len(desk.moved_to()) == 10
    desk.pass_time(1)
    assert len(desk.moved_to()) == 20


def test_a_cancelled_task_stops_and_says_how_far_it_came() -> None:
    desk = DeadLetters(30)
    task = desk.start(rate=10)
    assert isinstance(task, MoveTask)
    desk.pass_time(0)
    assert desk.settled(desk.call(CancelMove, task.id)) == 10
    assert desk.tasks[0].status == "CANCELLING"
    desk.pass_time(0)
    assert desk.tasks[0].status == "CANCELLED"
    desk.pass_time(60_000)
    assert len(desk.moved) == 10 and desk.counts() == (20, 0, 0)


def test_only_a_running_task_can_be_cancelled() -> None:
    desk = DeadLetters(1)
    task = desk.start()
    assert isinstance(task, MoveTask)
    desk.pass_time(0)
    for id_ in (task.id, b"x" * 16):
        refusal = desk.settled(desk.call(CancelMove, id_))
        assert isinstance(refusal, ServiceError)
        assert (refusal.name, refusal.message) == ("ResourceNotFoundException", "Task does not exist.")


def test_a_second_task_is_refused_while_one_runs() -> None:
    desk = DeadLetters(30)
    desk.start(rate=10)
    refusal = desk.start()
    assert isinstance(refusal, ServiceError) and refusal.message.startswith("There is already a task running.")
    desk.pass_time(5_000)
    assert isinstance(desk.start(), MoveTask)


def test_messages_in_flight_and_those_sent_later_stay() -> None:
    desk = DeadLetters(5, visibility_timeout=HOUR)
    desk.take(2)
    desk.start()
    assert desk.send() == [6]
    desk.pass_time(0)
    assert desk.moved_to() == [3, 4, 5]
    assert desk.counts() == (1, 2, 0)


def test_a_message_without_a_known_source_fails_the_task() -> None:
    desk = DeadLetters(3)
    desk.start(destination="")
    desk.pass_time(0)
    [task] = desk.tasks
    assert (task.status, task.failure, task.moved) == ("FAILED", "CouldNotDetermineMessageSource", 0)
    assert desk.counts() == (3, 0, 0)


def test_a_destination_that_is_gone_fails_the_task() -> None:
    desk = DeadLetters(30)
    desk.start(rate=10)
    desk.pass_time(0)
    del desk.known[HOME]
    desk.pass_time(5_000)
    [task] = desk.tasks
    assert (task.status, task.failure, task.moved) == ("FAILED", "AWS.SimpleQueueService.NonExistentQueue", 10)


def test_a_task_ends_after_thirty_six_hours() -> None:
    desk = DeadLetters(36 * 3_600 + 100)
    desk.start(rate=1)
    desk.now += 36 * HOUR
    desk.wake()
    desk.settle()
    [task] = desk.tasks
    assert task.status == "FAILED" and "36 hours" in task.failure


def test_a_moved_message_starts_anew() -> None:
    desk = DeadLetters(1)
    desk.take(10, 0)
    desk.pass_time(5_000)
    desk.start()
    desk.pass_time(0)
    [(_, row, keep_sent)] = desk.moved
    assert (row.receives_before, row.first_received, row.source_arn, keep_sent) == (0, 0, "", False)
    assert row.id != row.md5 and UUID(bytes=row.id).version == 4


def test_a_message_deleted_while_its_batch_is_planned_does_not_move() -> None:
    desk = DeadLetters(2, visibility_timeout=1_000)
    taken = desk.receive(1)
    desk.pass_time(1_000)
    desk.call(StartMove, HOME, 0, b"i" * 16)
    desk.wake()
    while desk.needs:
        desk.read()
    desk.delete(*taken)
    desk.settle()
    desk.pass_time(0)
    assert desk.moved_to() == [2]


def test_a_message_deleted_after_its_batch_was_planned_does_not_move() -> None:
    desk = DeadLetters(1, window=1, visibility_timeout=1_000)
    desk.send(delay=1_000)
    desk.pass_time(1_000)
    taken = desk.receive(1)
    while desk.number(taken[0]) != 2:
        taken = desk.receive(1)
    desk.pass_time(1_000)
    desk.call(StartMove, HOME, 0, b"i" * 16)
    desk.wake()
    desk.settle()  # the batch is planned, and not moved yet
    desk.delete(*taken)
    assert desk.counts() == (1, 0, 0)
    desk.pass_time(0)
    assert desk.moved_to() == [1]
    assert desk.counts() == (0, 0, 0)


def test_delayed_messages_stay() -> None:
    desk = DeadLetters(2, window=1)
    desk.send(delay=60_000)
    desk.send(delay=60_000)
    task = desk.start()
    assert isinstance(task, MoveTask) and task.to_move == 2
    desk.pass_time(0)
    assert desk.moved_to() == [1, 2]
    assert desk.counts() == (0, 0, 2)
    desk.pass_time(60_000)
    assert sorted(desk.take() + desk.take()) == [3, 4]


def test_what_comes_before_a_message_without_a_source_is_moved() -> None:
    desk = DeadLetters(1)
    [row] = [value for key, value in desk.rows.items() if key[:1] == MESSAGE]
    for _ in range(3):
        moved = MessageRow.decode(row).moved(source_arn=HOME)
        desk.ask(Accept([moved.encode()]))
    desk.delete(*desk.receive(1))
    desk.send()
    desk.start(destination="")
    desk.pass_time(0)
    [task] = desk.tasks
    assert (task.status, task.failure, task.moved) == ("FAILED", "CouldNotDetermineMessageSource", 3)
    assert len(desk.moved_to()) == 3
    assert desk.counts() == (1, 0, 0)


def test_the_ten_newest_tasks_are_remembered_newest_first() -> None:
    desk = DeadLetters(0)
    for _ in range(12):
        desk.start()
        desk.pass_time(1_000)
    tasks = desk.tasks
    assert len(tasks) == 10
    assert [task.started for task in tasks] == sorted((task.started for task in tasks), reverse=True)
    desk.restart()
    assert [task.started for task in desk.tasks] == [task.started for task in tasks]

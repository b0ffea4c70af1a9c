"""Message move tasks: messages of a dead-letter queue go back, a hundred to a unit (aws/sqs.md section 4).

    04 started u64      JSON: id, status, destination, rate, moved, to_move, failure, cursor, tail, generation, next

A task is a durable cursor over the queue's sequence. A batch takes two turns:
first its rows are read and their destinations become companions of the
machine, then, when the runtime has those in memory, the batch is moved in one
unit with them (unless one of them is gone by then: that fails the task). The
task is done when it reaches what was the tail at its start. Messages in flight
or delayed stay.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from trunkline.kernel.step import Row, Step
from trunkline.kernel.time import NEVER, Millis
from trunkline.services.sqs.commands import MoveTask
from trunkline.services.sqs.rows import MOVE_TASK, MessageRow, u64

BATCH = 100
"""Messages moved in one unit at the most."""
_KEPT = 10
"""Finished tasks that are remembered: what ListMessageMoveTasks can show."""
LONGEST: Millis = 36 * 3_600_000
"""A task lives 36 hours at the most."""


@dataclass(slots=True)
class Progress:
    """A task, and how far it has come. Sequences above ``cursor`` and below ``tail`` are still to be looked at.

    ``next``: when the next batch may go, also after a restart.
    """

    task: MoveTask
    cursor: int
    tail: int
    generation: int
    next: Millis = 0

    def encode(self) -> bytes:
        task = self.task
        return json.dumps(
            {
                "id": task.id.hex(),
                "status": task.status,
                "destination": task.destination,
                "rate": task.rate,
                "moved": task.moved,
                "to_move": task.to_move,
                "failure": task.failure,
                "cursor": self.cursor,
                "tail": self.tail,
                "generation": self.generation,
                "next": self.next,
            }
        ).encode()

    @classmethod
    def decode(cls, started: Millis, value: bytes) -> Progress:
        row = json.loads(value)
        task = MoveTask(
            bytes.fromhex(row["id"]),
            started,
            row["status"],
            row["destination"],
            row["rate"],
            row["moved"],
            row["to_move"],
            row["failure"],
        )
        return cls(task, row["cursor"], row["tail"], row["generation"], row.get("next", 0))


@dataclass(slots=True)
class Batch:
    """Messages read and about to be moved: (sequence, row, was it ever received?, ARN of the destination)."""

    moves: list[tuple[int, MessageRow, bool, str]]
    cursor: int
    done: bool


@dataclass(slots=True)
class MoveTasks:
    """The tasks of one queue. ``next_at``: when the running one wants its next turn; NEVER if none runs."""

    tasks: list[Progress] = field(default_factory=list)
    batch: Batch | None = None
    next_at: Millis = NEVER

    @classmethod
    def restored(cls, rows: list[Row]) -> MoveTasks:
        """The tasks among a partition's head rows; a running one goes on."""
        found = [Progress.decode(int.from_bytes(key[1:], "big"), value) for key, value in rows if key[:1] == MOVE_TASK]
        tasks = cls(found)
        if tasks.running is not None:
            tasks.next_at = tasks.running.next
        return tasks

    @property
    def running(self) -> Progress | None:
        if self.tasks and self.tasks[-1].task.status in ("RUNNING", "CANCELLING"):
            return self.tasks[-1]
        return None

    @property
    def destinations(self) -> set[str]:
        """The ARNs of the queues that the batch at hand goes to."""
        return set() if self.batch is None else {arn for *_, arn in self.batch.moves}

    def start(self, progress: Progress, now: Millis, step: Step) -> None:
        if self.tasks and progress.task.started <= self.tasks[-1].task.started:
            # The time a task was started at is its key.
            progress.task.started = self.tasks[-1].task.started + 1
        self.tasks.append(progress)
        while len(self.tasks) > _KEPT:
            step.writes.append((_key(self.tasks.pop(0)), None))
        self.next_at = progress.next = now
        self.save(progress, step)

    def save(self, progress: Progress, step: Step) -> None:
        step.writes.append((_key(progress), progress.encode()))

    def end(self, status: str, step: Step, failure: str = "") -> None:
        progress = self.running
        self.batch = None
        self.next_at = NEVER
        if progress is not None:
            progress.task.status = status
            progress.task.failure = failure
            self.save(progress, step)

    def newest(self, limit: int) -> list[MoveTask]:
        return [progress.task for progress in reversed(self.tasks)][:limit]

    def pause(self, progress: Progress, moved: int, now: Millis) -> None:
        """Set when the next batch may go, so that the task's rate in messages a second is not exceeded."""
        rate = progress.task.rate
        self.next_at = progress.next = now + (-(-moved * 1000 // rate) if rate else 0)


def batch_size(rate: int) -> int:
    """Messages of one turn: a task with a rate moves at the most a second's worth."""
    return min(BATCH, rate) if rate else BATCH


def _key(progress: Progress) -> bytes:
    return MOVE_TASK + u64(progress.task.started)

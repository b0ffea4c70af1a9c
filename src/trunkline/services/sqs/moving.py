"""StartMessageMoveTask, CancelMessageMoveTask, ListMessageMoveTasks (aws/sqs.md section 4)."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable
from typing import Any

from trunkline.kernel.arn import Arn
from trunkline.kernel.call import Call, Operation
from trunkline.kernel.errors import ServiceError
from trunkline.kernel.ids import Ids
from trunkline.services.sqs.answers import Shaped
from trunkline.services.sqs.commands import CancelMove, ListMoves, MoveTask, StartMove
from trunkline.services.sqs.errors import invalid, invalid_value, missing
from trunkline.services.sqs.limits import MOVE_RATE, MOVE_TASKS
from trunkline.services.sqs.seams import Queue, Queues, Runtime

_LONGEST_HANDLE = 1_024
"""Characters of a TaskHandle, which is an id and a queue's ARN in base64."""


class Moving:
    def __init__(self, queues: Queues, runtime: Runtime, ids: Ids) -> None:
        self._queues = queues
        self._tell = runtime.tell
        self._ids = ids
        self._starts: deque[tuple[Queue, StartMove]] = deque()

    def operations(self) -> dict[str, Operation]:
        return {
            "StartMessageMoveTask": self.start_message_move_task,
            "CancelMessageMoveTask": self.cancel_message_move_task,
            "ListMessageMoveTasks": self.list_message_move_tasks,
        }

    def start_message_move_task(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html"""
        source = self._queue(params.get("SourceArn"), "SourceArn", call)
        rate = params.get("MaxNumberOfMessagesPerSecond")
        if rate is not None and not 1 <= rate <= MOVE_RATE:
            raise invalid_value(
                rate, "MaxNumberOfMessagesPerSecond", f"Must be between 1 and {MOVE_RATE}, if provided."
            )
        destination = params.get("DestinationArn", "")
        if destination:
            self._check_destination(self._queue(destination, "DestinationArn", call), source)
        if not self._queues.is_dead_letter_queue(source.arn):
            raise invalid("Source queue must be configured as a Dead Letter Queue.")
        token = Shaped(call, lambda task: {"TaskHandle": _handle(task, source.arn)})
        self._start(source, StartMove(token, destination, rate or 0, self._ids.raw()))

    def _check_destination(self, destination: Queue, source: Queue) -> None:
        """It must be of the same account and region, and of the same type: a message without a group cannot be FIFO."""
        if destination.arn.rpartition(":")[0] != source.arn.rpartition(":")[0]:
            raise _absent("DestinationArn")
        if destination.settings.fifo != source.settings.fifo:
            raise invalid_value(destination.arn, "DestinationArn", "It must be same type of queue as the source.")

    def _start(self, source: Queue, command: StartMove) -> None:
        """Start the task if fewer than a hundred are active. Where there are no more queues, nobody need count."""
        if len(self._queues.dead_letter_queues(source.arn)) <= MOVE_TASKS:
            self._tell(source.partition, command)
            return
        self._starts.append((source, command))
        if len(self._starts) == 1:
            self._count()

    def _count(self) -> None:
        """Ask every other dead-letter queue for its latest task. One count at a time, so that none is outdated."""
        source, command = self._starts[0]
        others = [each for each in self._queues.dead_letter_queues(source.arn) if each.arn != source.arn]
        census = _Census(len(others), lambda answer: self._counted(source, command, answer))
        for other in others:
            self._tell(other.partition, ListMoves(census, 1))
        if not others:
            self._counted(source, command, 0)

    def _counted(self, source: Queue, command: StartMove, answer: int | ServiceError) -> None:
        if isinstance(answer, ServiceError):
            command.token.release(answer)
        elif answer >= MOVE_TASKS:
            text = f"{MOVE_TASKS} message move tasks are active, which is the maximum for an account."
            command.token.release(ServiceError("OverLimit", text))
        else:
            self._tell(source.partition, command)
        self._starts.popleft()
        if self._starts:
            self._count()

    def cancel_message_move_task(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CancelMessageMoveTask.html"""
        handle = params.get("TaskHandle")
        if not handle:
            raise missing("TaskHandle")
        try:
            if len(handle) > _LONGEST_HANDLE:
                raise ValueError
            said = json.loads(b64decode(handle, validate=True))
            arn, id_ = str(said["sourceArn"]), bytes.fromhex(said["taskId"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise invalid("Value for parameter TaskHandle is invalid.") from None
        source = self._queues.by_arn(arn, call)
        if source is None:
            raise ServiceError("ResourceNotFoundException", "Task does not exist.")
        token = Shaped(call, lambda moved: {"ApproximateNumberOfMessagesMoved": moved})
        self._tell(source.partition, CancelMove(token, id_))

    def list_message_move_tasks(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ListMessageMoveTasks.html"""
        source = self._queue(params.get("SourceArn"), "SourceArn", call)
        most = params.get("MaxResults", 1)
        if not 1 <= most <= 10:
            raise invalid_value(most, "MaxResults", "Must be between 1 and 10, if provided.")

        def results(tasks: list[MoveTask]) -> dict[str, Any]:
            shown = [_shown(task, source.arn) for task in tasks]
            return {"Results": shown} if shown else {}

        self._tell(source.partition, ListMoves(Shaped(call, results), most))

    def _queue(self, arn: str | None, member: str, call: Call) -> Queue:
        if not arn:
            raise missing(member)
        parsed = Arn.parse(arn)
        if parsed is None or parsed.service != "sqs":
            raise invalid_value(arn, member, "Only SQS queue ARNs are valid.")
        queue = self._queues.by_arn(arn, call)
        if queue is None:
            raise _absent(member)
        return queue


def _absent(member: str) -> ServiceError:
    return ServiceError(
        "ResourceNotFoundException", f"The resource that you specified for the {member} parameter doesn't exist."
    )


def _handle(task: MoveTask, arn: str) -> str:
    return b64encode(json.dumps({"taskId": task.id.hex(), "sourceArn": arn}).encode()).decode()


def _shown(task: MoveTask, arn: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Status": task.status,
        "SourceArn": arn,
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "StartedTimestamp": task.started,
    }
    if task.status == "RUNNING":
        shown["TaskHandle"] = _handle(task, arn)
    if task.destination:
        shown["DestinationArn"] = task.destination
    if task.rate:
        shown["MaxNumberOfMessagesPerSecond"] = task.rate
    if task.failure:
        shown["FailureReason"] = task.failure
    return shown


class _Census:
    """Counts the active tasks among the answers of ``queues`` queues, then calls ``then`` once."""

    __slots__ = ("_active", "_failure", "_left", "_then")

    def __init__(self, queues: int, then: Callable[[int | ServiceError], None]) -> None:
        self._left = queues
        self._active = 0
        self._failure: ServiceError | None = None
        self._then = then

    def release(self, answer: Any) -> None:
        self._left -= 1
        if isinstance(answer, ServiceError):
            # A queue that was deleted meanwhile moves nothing.
            if answer.name != "QueueDoesNotExist":
                self._failure = answer
        elif answer and answer[0].status in ("RUNNING", "CANCELLING"):
            self._active += 1
        if not self._left:
            self._then(self._failure or self._active)

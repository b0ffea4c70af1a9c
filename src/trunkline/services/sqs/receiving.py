"""ReceiveMessage, DeleteMessage, ChangeMessageVisibility, their batches, PurgeQueue (aws/sqs.md sections 6, 7, 10)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from trunkline.kernel.call import Call, Operation
from trunkline.kernel.errors import RequestThrottled, ServiceError
from trunkline.kernel.measures import Traffic
from trunkline.kernel.refusals import Refusals
from trunkline.kernel.step import Cancel
from trunkline.services.sqs.answers import Answering, Done
from trunkline.services.sqs.batches import check_ids, failed
from trunkline.services.sqs.commands import ChangeVisibility, Delete, Purge, Receive, Received, Verdicts
from trunkline.services.sqs.errors import invalid_value, missing
from trunkline.services.sqs.limits import RECEIVE_MESSAGES, VISIBILITY_SECONDS, WAIT_SECONDS
from trunkline.services.sqs.messages import Wanted, render, wanted_attributes
from trunkline.services.sqs.receipts import Receipt, Receipts
from trunkline.services.sqs.seams import Queue, Queues, Runtime

log = logging.getLogger(__name__)

_ATTEMPT = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
_NO_SYSTEM: frozenset[str] = frozenset()

Timer = Callable[[float, Callable[[], None]], Callable[[], None]]
"""(real seconds, action) -> how to take it back."""


class Receiving:
    """``purge_wait``: ms between two purges of a queue. ``timer`` ends long polls when service time stands still.

    ``waiting``: receives that may wait and are not answered yet, of all queues. Beyond ``most_waiting`` one that may
    wait is refused, and counted in ``refused``; one that takes what there is now is let in, for it holds nothing. Which
    of the two it is stands in the request and in the queue's settings, so this cannot be said before they are read.
    """

    def __init__(
        self,
        queues: Queues,
        runtime: Runtime,
        receipts: Receipts,
        timer: Timer,
        monotonic: Callable[[], float],
        purge_wait: int = 0,
        most_waiting: int = 50_000,
    ) -> None:
        self._queues = queues
        self._runtime = runtime
        self._tell = runtime.tell
        self._receipts = receipts
        self._timer = timer
        self._purge_wait = purge_wait
        self._most_waiting = most_waiting
        self.waiting = 0
        self.refused = Refusals(
            f"Receives that may wait are refused: {most_waiting} wait already (max_waiting_receivers)", log, monotonic
        )

    def operations(self) -> dict[str, Operation]:
        return {
            "ReceiveMessage": self.receive_message,
            "DeleteMessage": self.delete_message,
            "DeleteMessageBatch": self.delete_message_batch,
            "ChangeMessageVisibility": self.change_message_visibility,
            "ChangeMessageVisibilityBatch": self.change_message_visibility_batch,
            "PurgeQueue": self.purge_queue,
        }

    def receive_message(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html"""
        queue = self._queues.find(params.get("QueueUrl"), call)
        count = params.get("MaxNumberOfMessages", 1)
        if not 1 <= count <= RECEIVE_MESSAGES:
            raise invalid_value(count, "MaxNumberOfMessages", f"Must be between 1 and {RECEIVE_MESSAGES}, if provided.")
        wait = _bounded(params.get("WaitTimeSeconds"), "WaitTimeSeconds", WAIT_SECONDS)
        visibility = _bounded(params.get("VisibilityTimeout"), "VisibilityTimeout", VISIBILITY_SECONDS)
        attempt = params.get("ReceiveRequestAttemptId")
        if attempt is not None and queue.settings.fifo and _ATTEMPT.fullmatch(attempt) is None:
            raise invalid_value(
                attempt,
                "ReceiveRequestAttemptId",
                "ReceiveRequestAttemptId can only include alphanumeric and punctuation characters. 1 to 128 in length.",
            )
        system = params.get("AttributeNames", []) + params.get("MessageSystemAttributeNames", [])
        token = _Received(
            call,
            queue.traffic,
            wanted_attributes(params.get("MessageAttributeNames", [])),
            frozenset(system) if system else _NO_SYSTEM,
        )
        effective = queue.settings.receive_wait if wait is None else wait
        if effective:
            if self.waiting >= self._most_waiting:
                self.refused.add()
                call.fail(RequestThrottled("too many receivers wait for messages"))
                return
            self._watch(token, queue.partition, call, effective / 1000)
        self._tell(queue.partition, Receive(token, count, visibility, wait, attempt or ""))

    def _watch(self, token: _Received, partition: int, call: Call, seconds: float) -> None:
        """A long poll ends when its client goes away, and after as many real seconds at the latest.

        However it ends, its token is released once; until then it counts.
        """
        self.waiting += 1
        token.counted = self

        def end() -> None:
            token.take_back()
            self._tell(partition, Cancel(token))

        call.when_gone(end)
        # A little later than the service time's own deadline, which is the usual end.
        token.take_back = self._timer(seconds + 0.25, end)

    def delete_message(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html"""
        queue = self._queues.find(params.get("QueueUrl"), call)
        handle = params.get("ReceiptHandle")
        if not handle:
            raise missing("ReceiptHandle")
        receipt = self._receipt(handle, queue)
        self._tell(queue.partition, Delete(_Deleted(call, queue.traffic), [receipt], [handle]))

    def delete_message_batch(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessageBatch.html"""
        queue = self._queues.find(params.get("QueueUrl"), call)
        entries = params.get("Entries")
        check_ids(entries, "DeleteMessageBatchRequestEntry")
        ids, receipts, handles, _, failures = self._entries(entries or [], queue, with_timeout=False)
        token = _DeletedBatch(call, ids, failures, queue.traffic)
        if receipts:
            self._tell(queue.partition, Delete(token, receipts, handles))
        else:
            token.release(Verdicts([]))

    def change_message_visibility(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html"""
        queue = self._queues.find(params.get("QueueUrl"), call)
        handle = params.get("ReceiptHandle")
        if not handle:
            raise missing("ReceiptHandle")
        timeout = _timeout(params)
        receipt = self._receipt(handle, queue)
        self._tell(queue.partition, ChangeVisibility(_Verdict(call), [receipt], [handle], [timeout]))

    def change_message_visibility_batch(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibilityBatch.html"""
        queue = self._queues.find(params.get("QueueUrl"), call)
        entries = params.get("Entries")
        check_ids(entries, "ChangeMessageVisibilityBatchRequestEntry")
        ids, receipts, handles, timeouts, failures = self._entries(entries or [], queue, with_timeout=True)
        token = _Batch(call, ids, failures)
        if receipts:
            self._tell(queue.partition, ChangeVisibility(token, receipts, handles, timeouts))
        else:
            token.release(Verdicts([]))

    def _entries(
        self, entries: list[dict[str, Any]], queue: Queue, with_timeout: bool
    ) -> tuple[list[str], list[Receipt], list[str], list[int], list[dict[str, Any]]]:
        """What can be asked of the queue, and what failed before."""
        ids: list[str] = []
        receipts: list[Receipt] = []
        handles: list[str] = []
        timeouts: list[int] = []
        failures: list[dict[str, Any]] = []
        for entry in entries:
            try:
                handle = entry.get("ReceiptHandle")
                if not handle:
                    raise missing("ReceiptHandle")
                timeout = _timeout(entry) if with_timeout else 0
                receipts.append(self._receipt(handle, queue))
            except ServiceError as error:
                failures.append(failed(entry["Id"], error))
                continue
            ids.append(entry["Id"])
            handles.append(handle)
            timeouts.append(timeout)
        return ids, receipts, handles, timeouts, failures

    def _receipt(self, handle: str, queue: Queue) -> Receipt:
        receipt = self._receipts.read(handle)
        if receipt is None:
            raise ServiceError(
                "ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.'
            )
        if receipt.partition != queue.partition:
            raise ServiceError("ReceiptHandleIsInvalid", f'The receipt handle "{handle}" is not valid for this queue.')
        return receipt

    def purge_queue(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html"""
        queue = self._queues.find(params.get("QueueUrl"), call)
        self._tell(queue.partition, Purge(Done(call), self._purge_wait))


def _bounded(seconds: int | None, name: str, most: int) -> int | None:
    """Seconds as ms; None stays None."""
    if seconds is None:
        return None
    if not 0 <= seconds <= most:
        raise invalid_value(seconds, name, f"Must be >= 0 and <= {most}, if provided.")
    return seconds * 1000


def _timeout(params: dict[str, Any]) -> int:
    seconds: int | None = params.get("VisibilityTimeout")
    if seconds is None:
        raise missing("VisibilityTimeout")
    if not 0 <= seconds <= VISIBILITY_SECONDS:
        raise invalid_value(
            seconds, "VisibilityTimeout", f"VisibilityTimeout must be an integer between 0 and {VISIBILITY_SECONDS}"
        )
    return seconds * 1000


def _keep() -> None:
    """There is no timer to take back."""


class _Received(Answering):
    """Answers ReceiveMessage."""

    __slots__ = ("_system", "_traffic", "_wanted", "counted", "take_back")

    def __init__(self, call: Call, traffic: Traffic, wanted: Wanted | None, system: frozenset[str]) -> None:
        self._call = call
        self._traffic = traffic
        self._wanted = wanted
        self._system = system
        self.take_back: Callable[[], None] = _keep
        self.counted: Receiving | None = None

    def release(self, answer: Any) -> None:
        self.take_back()
        if self.counted is not None:
            self.counted.waiting -= 1
            self.counted = None
        if not isinstance(answer, Received):
            self._call.fail(answer)
            return
        messages = [
            render(row, each.handle, each.receives, each.first_received, each.sequence, self._wanted, self._system)
            for each, row in zip(answer.taken, answer.rows, strict=False)
            if row is not None
        ]
        if messages:
            self._traffic.received += len(messages)
            self._call.answer({"Messages": messages})
        else:
            self._traffic.empty += 1
            self._call.answer({})


class _Verdict(Answering):
    """Answers an operation on one message."""

    __slots__ = ()

    def release(self, answer: Any) -> None:
        if not isinstance(answer, Verdicts):
            self._call.fail(answer)
        elif answer.failures[0] is not None:
            self._call.fail(answer.failures[0])
        else:
            self._call.answer({})


class _Deleted(_Verdict):
    """Answers DeleteMessage."""

    __slots__ = ("_traffic",)

    def __init__(self, call: Call, traffic: Traffic) -> None:
        self._call = call
        self._traffic = traffic

    def release(self, answer: Any) -> None:
        if isinstance(answer, Verdicts):
            self._traffic.deleted += answer.failures.count(None)
        super().release(answer)


class _Batch(Answering):
    """Answers an operation on a batch of messages."""

    __slots__ = ("_failures", "_ids")

    def __init__(self, call: Call, ids: list[str], failures: list[dict[str, Any]]) -> None:
        self._call = call
        self._ids = ids
        self._failures = failures

    def release(self, answer: Any) -> None:
        if not isinstance(answer, Verdicts):
            self._call.fail(answer)
            return
        done = []
        for id_, failure in zip(self._ids, answer.failures, strict=True):
            if failure is None:
                done.append({"Id": id_})
            else:
                self._failures.append(failed(id_, failure))
        result: dict[str, Any] = {}
        if done:
            result["Successful"] = done
        if self._failures:
            result["Failed"] = self._failures
        self._call.answer(result)


class _DeletedBatch(_Batch):
    """Answers DeleteMessageBatch."""

    __slots__ = ("_traffic",)

    def __init__(self, call: Call, ids: list[str], failures: list[dict[str, Any]], traffic: Traffic) -> None:
        super().__init__(call, ids, failures)
        self._traffic = traffic

    def release(self, answer: Any) -> None:
        if isinstance(answer, Verdicts):
            self._traffic.deleted += answer.failures.count(None)
        super().release(answer)

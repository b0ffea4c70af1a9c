"""SendMessage and SendMessageBatch: validation in AWS's order, then one command (aws/sqs.md section 5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import md5, sha256
from typing import Any, TypeVar

from trunkline.kernel.call import Call, Operation
from trunkline.kernel.errors import InternalFailure, ServiceError
from trunkline.kernel.ids import Ids, uuid_text
from trunkline.services.sqs.answers import Answering
from trunkline.services.sqs.batches import check_ids, failed
from trunkline.services.sqs.commands import Draft, QueueSettings, Send, Sent
from trunkline.services.sqs.errors import invalid, invalid_value, missing, no_room
from trunkline.services.sqs.limits import DELAY_SECONDS, MAXIMUM_BYTES
from trunkline.services.sqs.messages import (
    TRACE_BYTES,
    Attribute,
    bad_body,
    clean,
    digest,
    encode_tail,
    encoded,
    plain_tail,
    read_attributes,
    read_system_attributes,
)
from trunkline.services.sqs.seams import Aside, Queue, Queues, Runtime

_ID = re.compile(r"[A-Za-z0-9!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]{1,128}")
_ENTRY = "SendMessageBatchRequestEntry"
_NO_DEDUPLICATION = (
    "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
)
LARGE = 65_536
"""Characters or bytes beyond which validating and hashing would hold up the event loop for about a millisecond."""
_Drafted = tuple[list[Draft], list[dict[str, Any]], list[dict[str, Any]]]
"""Drafts, what their senders will be told, and the entries that failed."""
_Made = TypeVar("_Made")
_WRONG_QUEUE_TYPE = "The request include parameter that is not valid for this queue type"


class Sending:
    """``maximum``: the service's limit in bytes (1 MiB, or the older 256 KiB). ``aside``: for what takes long."""

    def __init__(self, queues: Queues, runtime: Runtime, ids: Ids, aside: Aside, maximum: int = MAXIMUM_BYTES) -> None:
        self._queues = queues
        self._runtime = runtime
        self._tell = runtime.tell
        self._new_id = ids.raw
        self._aside = aside
        self._maximum = maximum

    def operations(self) -> dict[str, Operation]:
        return {"SendMessage": self.send_message, "SendMessageBatch": self.send_message_batch}

    def send_message(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""
        queue = self._queues.find(params.get("QueueUrl"), call)
        if self._runtime.short:
            raise no_room()
        if len(params.get("MessageBody") or "") > LARGE:
            self._draft_aside(lambda: self._draft(queue.settings, params, call, ""), params, call, self._send_one)
            return
        draft, output = self._draft(queue.settings, params, call, "")
        self._tell(queue.partition, Send(_One(call, output, queue), [draft]))

    def _send_one(self, queue: Queue, made: tuple[Draft, dict[str, Any]], call: Call) -> None:
        draft, output = made
        self._tell(queue.partition, Send(_One(call, output, queue), [draft]))

    def send_message_batch(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html"""
        queue = self._queues.find(params.get("QueueUrl"), call)
        if self._runtime.short:
            raise no_room()
        settings = queue.settings
        entries = params.get("Entries")
        check_ids(entries, _ENTRY)
        assert entries is not None
        total = sum(_rough_size(entry) for entry in entries)
        if total > self._maximum:
            raise ServiceError(
                "BatchRequestTooLong",
                f"Batch requests cannot be longer than {self._maximum} bytes. You have sent {total} bytes.",
            )
        if total > LARGE:
            self._draft_aside(lambda: self._draft_all(settings, entries, call), params, call, self._send_many)
        else:
            self._send_many(queue, self._draft_all(settings, entries, call), call)

    def _send_many(self, queue: Queue, made: _Drafted, call: Call) -> None:
        drafts, outputs, failures = made
        if drafts:
            self._tell(queue.partition, Send(_Many(call, outputs, failures, queue), drafts))
        else:
            call.answer({"Failed": failures})

    def _draft_aside(
        self,
        make: Callable[[], _Made],
        params: dict[str, Any],
        call: Call,
        then: Callable[[Queue, _Made, Call], None],
    ) -> None:
        """Validate and hash beside the event loop; the queue is looked up again, for it may be gone by then.

        Until then the message is on nobody's books, so it is counted here among what waits to be committed.
        """
        hold = self._runtime.hold
        hold(call.size)

        def finish(made: _Made | Exception) -> None:
            hold(-call.size)
            try:
                if isinstance(made, Exception):
                    raise made
                then(self._queues.find(params.get("QueueUrl"), call), made, call)
            except ServiceError as error:
                call.fail(error)
            except Exception:
                call.fail(InternalFailure())
                raise

        self._aside(make, finish)

    def _draft_all(self, settings: QueueSettings, entries: list[dict[str, Any]], call: Call) -> _Drafted:
        drafts: list[Draft] = []
        outputs: list[dict[str, Any]] = []
        failures: list[dict[str, Any]] = []
        plain = not settings.fifo and not call.trace
        for number, entry in enumerate(entries, 1):
            if plain and len(entry) == 2 and (body := entry.get("MessageBody")):
                # An id and a body, as nearly all are: there is little to look at.
                raw = encoded(body)
                if raw is not None and len(raw) <= settings.maximum_size:
                    sum_ = md5(raw, usedforsecurity=False).digest()
                    tail = plain_tail(call.caller.principal) + raw
                    drafts.append(Draft(self._new_id(), sum_, len(raw), tail, None, "", ""))
                    outputs.append({"MD5OfMessageBody": sum_.hex(), "Id": entry["Id"]})
                    continue
            try:
                draft, output = self._draft(settings, entry, call, f"{_ENTRY}.{number}.")
            except ServiceError as error:
                if settings.fifo:
                    raise _as_whole(error) from None
                failures.append(failed(entry["Id"], error))
                continue
            drafts.append(draft)
            output["Id"] = entry["Id"]
            outputs.append(output)
        return drafts, outputs, failures

    def _draft(
        self, settings: QueueSettings, params: dict[str, Any], call: Call, where: str
    ) -> tuple[Draft, dict[str, Any]]:
        """A checked message and what its sender will be told. ``where``: the entry's place in a batch, or ""."""
        body = params.get("MessageBody")
        if not body:
            raise missing(f"{where}MessageBody")
        raw = encoded(body)
        if raw is None:
            raise bad_body()
        size = len(raw)
        output: dict[str, Any] = {}
        attributes: list[Attribute] = []
        if params.get("MessageAttributes"):
            attributes = read_attributes(params["MessageAttributes"])
            size += sum(each.size for each in attributes)
            output["MD5OfMessageAttributes"] = digest(attributes)
        if size > settings.maximum_size:
            problem = "cannot be validated" if where else "are invalid"
            raise invalid(
                f"One or more parameters {problem}. Reason: Message must be shorter than {settings.maximum_size} bytes."
            )
        trace = call.trace or ""
        if trace and (not clean(trace) or len(trace.encode()) > TRACE_BYTES):
            trace = ""
        if params.get("MessageSystemAttributes"):
            system = read_system_attributes(params["MessageSystemAttributes"])
            output["MD5OfMessageSystemAttributes"] = digest(system)
            trace = system[0].value.decode()
        delay = params.get("DelaySeconds")
        if delay is not None and not 0 <= delay <= DELAY_SECONDS:
            raise invalid_value(delay, "DelaySeconds", f"DelaySeconds must be >= 0 and <= {DELAY_SECONDS}.")
        group = params.get("MessageGroupId")
        deduplication = params.get("MessageDeduplicationId")
        if group is not None:
            _check_id("MessageGroupId", group)
        if deduplication is not None:
            _check_id("MessageDeduplicationId", deduplication)
        if settings.fifo:
            deduplication = _fifo_deduplication(settings, group, deduplication, delay, raw)
        elif deduplication is not None:
            raise invalid(
                _WRONG_QUEUE_TYPE
                if where
                else "The request include parameter MessageDeduplicationId which is not valid for this queue type"
            )
        sum_ = md5(raw, usedforsecurity=False).digest()
        draft = Draft(
            self._new_id(),
            sum_,
            size,
            encode_tail(call.caller.principal, trace, attributes, raw),
            None if delay is None else delay * 1000,
            group or "",
            deduplication or "",
        )
        output["MD5OfMessageBody"] = sum_.hex()
        return draft, output


def _check_id(name: str, value: str) -> None:
    if _ID.fullmatch(value) is None:
        raise invalid_value(
            value, name, f"{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
        )


def _fifo_deduplication(
    settings: QueueSettings, group: str | None, deduplication: str | None, delay: int | None, body: bytes
) -> str:
    if delay:
        raise invalid_value(
            delay, "DelaySeconds", "The request include parameter that is not valid for this queue type."
        )
    if group is None:
        raise missing("MessageGroupId")
    if deduplication is not None:
        return deduplication
    if not settings.content_deduplication:
        raise invalid(_NO_DEDUPLICATION)
    return sha256(body).hexdigest()


def _as_whole(error: ServiceError) -> ServiceError:
    """A fault of one entry fails a FIFO batch; the code is then InvalidParameterValue (recorded)."""
    if error.message.endswith("MessageGroupId."):
        return invalid(error.message)
    return error


def _rough_size(entry: dict[str, Any]) -> int:
    """What an entry counts for in its batch's limit, before its attributes are validated."""
    body = entry.get("MessageBody") or ""
    size = len(body) if body.isascii() else len(body.encode("utf-8", "surrogatepass"))
    if "MessageAttributes" not in entry:
        return size
    for name, value in (entry.get("MessageAttributes") or {}).items():
        size += len(name.encode("utf-8", "surrogatepass")) + len(value.get("DataType") or "")
        size += len(value.get("BinaryValue") or b"")
        size += len((value.get("StringValue") or "").encode("utf-8", "surrogatepass"))
    return size


class _One(Answering):
    """Answers SendMessage."""

    __slots__ = ("_output", "_queue")

    def __init__(self, call: Call, output: dict[str, Any], queue: Queue) -> None:
        self._call = call
        self._output = output
        self._queue = queue

    def release(self, answer: Any) -> None:
        if isinstance(answer, Sent):
            output = self._output
            queue = self._queue
            queue.traffic.sent += 1
            output["MessageId"] = uuid_text(answer.ids[0])
            if queue.settings.fifo:
                output["SequenceNumber"] = str(answer.sequences[0])
            self._call.answer(output)
        else:
            self._call.fail(answer)


class _Many(Answering):
    """Answers SendMessageBatch."""

    __slots__ = ("_failures", "_outputs", "_queue")

    def __init__(self, call: Call, outputs: list[dict[str, Any]], failures: list[dict[str, Any]], queue: Queue) -> None:
        self._call = call
        self._outputs = outputs
        self._failures = failures
        self._queue = queue

    def release(self, answer: Any) -> None:
        if not isinstance(answer, Sent):
            self._call.fail(answer)
            return
        queue = self._queue
        queue.traffic.sent += len(answer.ids)
        for output, raw, sequence in zip(self._outputs, answer.ids, answer.sequences, strict=True):
            output["MessageId"] = uuid_text(raw)
            if queue.settings.fifo:
                output["SequenceNumber"] = str(sequence)
        result: dict[str, Any] = {"Successful": self._outputs}
        if self._failures:
            result["Failed"] = self._failures
        self._call.answer(result)

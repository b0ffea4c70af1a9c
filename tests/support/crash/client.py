"""A client that writes down what it asks and is told, with the instants around it.

Every method returns what was answered. It raises Unknown when the outcome is
unknown, which is in the history by then; a refusal is in the history and
returned as nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from crash.content import content, faults_received, faults_sent, token_of
from crash.history import (
    DONE,
    REFUSED,
    UNKNOWN,
    Change,
    Delete,
    History,
    Look,
    Outcome,
    Purge,
    Receive,
    Send,
    Sight,
    Span,
)
from crash.servicetime import ServiceTime
from crash.wire import Connection, Refused, Unknown

BAD_BODY = "bad\x01body"
"""An entry that fails alone: a character that no message may have."""

TRIES = 3
"""Calls that one advance may take: each ends after ten real seconds."""


@dataclass(slots=True)
class Letter:
    """What is about to be sent. ``delay`` in seconds, None for the queue's own."""

    token: str
    delay: int | None = None
    group: str = ""
    deduplication: str = ""
    named: bool = True
    """Is the deduplication id told? If not, it is the body's hash."""


@dataclass(slots=True)
class Record:
    """What the clients of a campaign share."""

    history: History
    time: ServiceTime
    accuse: Callable[[str, str], None]
    acknowledged: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


class Client:
    def __init__(self, connection: Connection, record: Record) -> None:
        self.connection = connection
        self.record = record
        self.history = record.history

    @contextmanager
    def _span(self) -> Iterator[Span]:
        """Filled in when what stands in it ends, however it ends."""
        clock = self.record.time
        span = Span(time.monotonic(), 0.0, clock.low(), 0)
        try:
            yield span
        finally:
            span.ended, span.high = time.monotonic(), clock.high()

    async def _call(self, operation: str, parameters: dict[str, Any]) -> tuple[Span, Outcome, dict[str, Any], str]:
        """(span, outcome, answer, code of the refusal)."""
        with self._span() as span:
            try:
                answer = await self.connection.call(operation, parameters)
            except Refused as refusal:
                self.record.errors[f"{operation}: {refusal.code}"] += 1
                outcome, answer, code = REFUSED, {}, f"{refusal.code}: {refusal.message[-120:]}"
            except Unknown as unknown:
                self._note_unknown(operation, unknown)
                outcome, answer, code = UNKNOWN, {"unknown": unknown}, ""
            else:
                self.record.acknowledged[operation] += 1
                outcome, code = DONE, ""
        return span, outcome, answer, code

    def _note_unknown(self, operation: str, unknown: Unknown) -> None:
        self.record.unknown[operation] += 1
        if not unknown.lost:
            self.record.errors[f"{operation}: {unknown}"] += 1
            self.record.accuse("no_request_fails_where_nothing_is_wrong", f"{operation}: {unknown}")

    def _expect_no_refusal(self, span: Span, operation: str, code: str) -> None:
        if code:
            self.record.accuse("nothing_good_is_refused", f"{operation} at {span}: {code}")

    async def ask(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """An operation that the history does not know. Unknown, Refused."""
        try:
            answer = await self.connection.call(operation, parameters)
        except Unknown as unknown:
            self._note_unknown(operation, unknown)
            raise
        self.record.acknowledged[operation] += 1
        return answer

    # -- sending ---------------------------------------------------------------------

    async def send(self, queue: str, letter: Letter) -> bool:
        """Was it accepted?"""
        parameters = {"QueueUrl": queue, **_letter(letter)}
        span, outcome, answer, code = await self._call("SendMessage", parameters)
        self._expect_no_refusal(span, "SendMessage", code)
        self._sent(span, queue, letter, outcome, answer)
        _raise_unknown(answer)
        return outcome is DONE

    async def send_batch(self, queue: str, letters: list[Letter], spoilt: bool = False) -> list[str]:
        """The tokens that were accepted. ``spoilt``: with an entry that cannot be."""
        entries = [{"Id": f"e{at}", **_letter(letter)} for at, letter in enumerate(letters)]
        if spoilt:
            entries.insert(len(entries) // 2, {"Id": "bad", "MessageBody": BAD_BODY})
        span, outcome, answer, code = await self._call("SendMessageBatch", {"QueueUrl": queue, "Entries": entries})
        self._expect_no_refusal(span, "SendMessageBatch", code)
        done = {each["Id"]: each for each in answer.get("Successful", [])}
        failed = {each["Id"] for each in answer.get("Failed", [])}
        if outcome is DONE and (failed != ({"bad"} if spoilt else set()) or len(done) != len(letters)):
            self.record.accuse("entries_stand_alone", f"of a batch at {span} failed {failed}, and {len(done)} did not")
        for at, letter in enumerate(letters):
            told = done.get(f"e{at}")
            mine = outcome if outcome is not DONE or told is not None else REFUSED
            self._sent(span, queue, letter, mine, told or {})
        _raise_unknown(answer)
        return [letter.token for at, letter in enumerate(letters) if f"e{at}" in done]

    def _sent(self, span: Span, queue: str, letter: Letter, outcome: Outcome, answer: dict[str, Any]) -> None:
        if outcome is REFUSED:
            return
        send = Send(
            span, queue, letter.token, outcome, -1 if letter.delay is None else letter.delay * 1000, letter.group,
            letter.deduplication,
        )  # fmt: skip
        if outcome is DONE:
            send.id = answer["MessageId"]
            send.sequence = int(answer.get("SequenceNumber", 0))
            send.faults = faults_sent(letter.token, answer)
        self.history.send(send)

    # -- receiving -------------------------------------------------------------------

    async def receive(
        self, queue: str, count: int = 10, visibility: int | None = None, wait: int = 0, attempt: str = ""
    ) -> list[Sight]:
        """``visibility`` in seconds, None for the queue's own."""
        parameters: dict[str, Any] = {
            "QueueUrl": queue, "MaxNumberOfMessages": count, "WaitTimeSeconds": wait,
            "MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"],
        }  # fmt: skip
        if visibility is not None:
            parameters["VisibilityTimeout"] = visibility
        if attempt:
            parameters["ReceiveRequestAttemptId"] = attempt
        span, outcome, answer, code = await self._call("ReceiveMessage", parameters)
        self._expect_no_refusal(span, "ReceiveMessage", code)
        if outcome is REFUSED:
            return []
        hidden = self.history.queues[queue].visibility if visibility is None else visibility * 1000
        received = Receive(span, queue, hidden, outcome, attempt)
        for message in answer.get("Messages", []):
            sight = _sight(span, queue, message, message["Attributes"])
            sight.handle, sight.hidden, sight.attempt = message["ReceiptHandle"], hidden, attempt
            sight.faults = faults_received(message)
            received.seen.append(sight)
        self.history.receive(received)
        _raise_unknown(answer)
        return received.seen

    async def delete(self, sights: list[Sight], batch: bool = False) -> None:
        if batch:
            await self._batch("DeleteMessageBatch", sights, {}, self._deleted)
            return
        for sight in sights:
            parameters = {"QueueUrl": sight.queue, "ReceiptHandle": sight.handle}
            span, outcome, answer, code = await self._call("DeleteMessage", parameters)
            self._deleted(span, sight, outcome, code)
            _raise_unknown(answer)

    def _deleted(self, span: Span, sight: Sight, outcome: Outcome, code: str) -> None:
        self.history.delete(Delete(span, sight.queue, sight.token, sight.id, sight.count, outcome, code))

    async def change(self, sights: list[Sight], timeout: int, batch: bool = False) -> None:
        """``timeout`` in seconds."""

        def changed(span: Span, sight: Sight, outcome: Outcome, code: str) -> None:
            change = Change(span, sight.queue, sight.token, sight.id, sight.count, timeout * 1000, outcome, code)
            self.history.change(change)

        more = {"VisibilityTimeout": timeout}
        if batch:
            await self._batch("ChangeMessageVisibilityBatch", sights, more, changed)
            return
        for sight in sights:
            parameters = {"QueueUrl": sight.queue, "ReceiptHandle": sight.handle, **more}
            span, outcome, answer, code = await self._call("ChangeMessageVisibility", parameters)
            changed(span, sight, outcome, code)
            _raise_unknown(answer)

    async def _batch(
        self,
        operation: str,
        sights: list[Sight],
        more: dict[str, Any],
        note: Callable[[Span, Sight, Outcome, str], None],
    ) -> None:
        """``sights``: up to ten, of one queue."""
        entries = [{"Id": f"e{at}", "ReceiptHandle": sight.handle, **more} for at, sight in enumerate(sights)]
        span, outcome, answer, code = await self._call(operation, {"QueueUrl": sights[0].queue, "Entries": entries})
        done = {each["Id"] for each in answer.get("Successful", [])}
        failed = {each["Id"]: f"{each['Code']}: {each['Message'][-120:]}" for each in answer.get("Failed", [])}
        for at, sight in enumerate(sights):
            if outcome is not DONE:
                note(span, sight, outcome, code)
            elif f"e{at}" in done:
                note(span, sight, DONE, "")
            elif f"e{at}" in failed:
                note(span, sight, REFUSED, failed[f"e{at}"])
            else:
                self.record.accuse("entries_stand_alone", f"{operation} at {span} says nothing of entry {at}")
        _raise_unknown(answer)

    async def purge(self, queue: str) -> None:
        span, outcome, answer, code = await self._call("PurgeQueue", {"QueueUrl": queue})
        self._expect_no_refusal(span, "PurgeQueue", code)
        self.history.purge(Purge(span, queue, outcome))
        _raise_unknown(answer)

    # -- looking -----------------------------------------------------------------------

    async def look(self, queue: str) -> Look:
        """All of its messages and its counts, at a quiet point."""
        wanted = quote(queue)
        with self._span() as span:
            page = await self.connection.get(
                f"/_aws/sqs/messages?QueueUrl={wanted}&ShowInvisible=true&ShowDelayed=true"
            )
            names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible",
                     "ApproximateNumberOfMessagesDelayed"]  # fmt: skip
            counts = await self.ask("GetQueueAttributes", {"QueueUrl": queue, "AttributeNames": names})
        result = page["ReceiveMessageResponse"]["ReceiveMessageResult"] or {}
        seen = []
        for message in result.get("Message", []):
            attributes = {each["Name"]: each["Value"] for each in message["Attribute"]}
            sight = _sight(span, queue, message, attributes)
            hidden = attributes["IsVisible"] != "true"
            sight.state = "in flight" if hidden else "delayed" if attributes["IsDelayed"] == "true" else "visible"
            given = {each["Name"]: each["Value"] for each in message.get("MessageAttribute", [])}
            sight.faults = faults_received({**message, "MessageAttributes": given, "Attributes": attributes})
            seen.append(sight)
        visible, in_flight, delayed = (int(counts["Attributes"][name]) for name in names)
        return Look(span, queue, seen, (visible, in_flight, delayed))

    # -- the clock -----------------------------------------------------------------------

    async def clock(self) -> dict[str, Any]:
        return await self.connection.get("/_trunkline/clock")

    async def freeze(self) -> None:
        self.record.time.begin_freeze()
        self.record.time.learn(await self._drive("freeze", {}))

    async def resume(self) -> None:
        self.record.time.begin_resume()
        self.record.time.learn(await self._drive("resume", {}))

    async def advance(self, by: int) -> None:
        """``by`` in ms."""
        clock = self.record.time
        clock.begin_advance(by)
        answer = await self._drive("advance", {"seconds": by / 1000, "force": True})
        tries = 1
        while not answer["reached"]:
            if tries == TRIES:
                self.record.accuse("an_advance_comes_to_its_end", f"not after {tries} calls: {answer}")
                break
            tries += 1
            answer = await self._drive("set", {"to": clock.high(), "force": True})
        clock.learn(answer)

    async def _drive(self, how: str, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self.connection.post(f"/_trunkline/clock/{how}", parameters)
        except Unknown as unknown:
            self._note_unknown(f"clock {how}", unknown)
            raise
        self.record.acknowledged[f"clock {how}"] += 1
        return answer


def _letter(letter: Letter) -> dict[str, Any]:
    found = content(letter.token).parameters()
    if letter.delay is not None:
        found["DelaySeconds"] = letter.delay
    if letter.group:
        found["MessageGroupId"] = letter.group
    if letter.deduplication and letter.named:
        found["MessageDeduplicationId"] = letter.deduplication
    return found


def _sight(span: Span, queue: str, message: dict[str, Any], attributes: dict[str, str]) -> Sight:
    return Sight(
        span,
        queue,
        token_of(message["Body"]),
        message["MessageId"],
        int(attributes["ApproximateReceiveCount"]),
        int(attributes["SentTimestamp"]),
        int(attributes.get("ApproximateFirstReceiveTimestamp", 0)),
        int(attributes.get("SequenceNumber", 0)),
        attributes.get("MessageGroupId", ""),
        attributes.get("DeadLetterQueueSourceArn", ""),
    )


def _raise_unknown(answer: dict[str, Any]) -> None:
    if "unknown" in answer:
        raise answer["unknown"]

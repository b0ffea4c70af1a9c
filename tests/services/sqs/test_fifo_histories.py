"""Random histories of a FIFO queue that looks at five messages at a time, beside a model of a few lines.

The model is a list: a message may be handed out if it is visible and no
earlier message of its group is not. Groups beyond the first five messages
that are not deleted are not eligible.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from queue_desk import DEAD_LETTER_ARN, DEAD_LETTERS, RECEIPTS, Desk, Token

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.step import Cancel
from trunkline.services.sqs.commands import (
    ChangeVisibility,
    Configure,
    Count,
    Counts,
    Delete,
    Purge,
    Receive,
    Received,
    Send,
    Sent,
    Taken,
    Verdicts,
)
from trunkline.services.sqs.rows import MessageRow

RETENTION = 900_000
TIMEOUT = 5_000
WINDOW = 300_000
ELIGIBLE = 5


@dataclass
class Message:
    sent: int
    until: int
    group: str
    receives: int = 0


class Model:
    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.remembered: dict[tuple[str, str], tuple[int, bytes, int]] = {}
        self.dead: list[int] = []

    def live(self, now: int) -> dict[int, Message]:
        return {n: m for n, m in self.messages.items() if m.sent + RETENTION > now}

    def available(self, now: int, most: int) -> list[int]:
        """The visible fronts of the groups among the first ``ELIGIBLE`` messages; dead letters block."""
        blocked: set[str] = set()
        found = []
        for number, message in list(self.messages.items())[:ELIGIBLE]:
            if message.sent + RETENTION <= now:
                continue
            if message.until > now or (most and message.receives >= most):
                blocked.add(message.group)
            elif message.group not in blocked:
                found.append(number)
        return found


class FifoHistory(RuleBasedStateMachine):
    @initialize(most=st.sampled_from([0, 2]), per_group=st.booleans(), delay=st.sampled_from([0, 0, 2_500]))
    def begin(self, most: int, per_group: bool, delay: int) -> None:
        self.desk = Desk(
            window=ELIGIBLE, fifo=True, visibility_timeout=TIMEOUT, retention=RETENTION, max_receive_count=most,
            dead_letter_arn=DEAD_LETTER_ARN if most else "", deduplicate_per_group=per_group, delay=delay,
        )  # fmt: skip
        self.most, self.per_group, self.delay = most, per_group, delay
        self.model = Model()
        self.pending: dict[Token, Any] = {}
        self.taken: list[tuple[int, Taken]] = []
        self.moved_seen = 0
        self.last_sequence = 0
        self.counts_are_exact = True
        self.committed: list[tuple[Any, ...]] = []
        self.commit()
        self.desk.after = self.done

    def snapshot(self) -> tuple[Any, ...]:
        desk = self.desk
        return (
            dict(desk.rows), list(desk.moved), copy.deepcopy(self.model), list(self.taken), self.moved_seen,
            self.last_sequence,
        )  # fmt: skip

    @rule()
    def commit(self) -> None:
        self.committed = [self.snapshot()]

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Everything committed stands, and of the rest some first part."""
        at = data.draw(st.integers(0, len(self.committed) - 1))
        rows, moved, model, taken, self.moved_seen, self.last_sequence = self.committed[at]
        self.desk.rows, self.desk.moved = dict(rows), list(moved)
        self.model, self.taken = copy.deepcopy(model), list(taken)
        self.pending = {}
        self.desk.answered = []
        self.desk.restart()
        self.commit()

    def done(self) -> None:
        desk, now = self.desk, self.desk.now
        # A step that moves a dead letter does so before it serves those who wait.
        for partition, row, _ in desk.moved[self.moved_seen :]:
            number = int.from_bytes(row.id, "big")
            message = self.model.messages[number]
            assert partition == DEAD_LETTERS
            assert self.most and message.receives >= self.most and message.until <= now
            ahead = [n for n, m in self.model.live(now).items() if m.group == message.group and n < number]
            assert not ahead, "a dead letter left before an earlier message of its group"
            del self.model.messages[number]
            assert number not in self.model.dead, "a message moved twice"
            self.model.dead.append(number)
        self.moved_seen = len(desk.moved)
        heard, desk.answered = desk.answered, []
        for token in heard:
            what = self.pending.pop(token, None)
            if what is not None:
                what(token.answer)
        self.committed.append(self.snapshot())

    def call(self, what: Any, kind: Any, *parts: Any) -> Token:
        token = Token([])
        self.pending[token] = what
        self.desk.ask(kind(token, *parts))
        return token

    # -- what users do -------------------------------------------------------------------

    @rule(
        entries=st.lists(
            st.tuples(st.sampled_from("ABC"), st.sampled_from(["1", "2", "3", "new"])), min_size=1, max_size=3
        )
    )
    def send(self, entries: list[tuple[str, str]]) -> None:
        drafts = []
        for group, deduplication in entries:
            draft = self.desk.draft(group=group)
            draft.deduplication = draft.id.hex() if deduplication == "new" else deduplication
            drafts.append(draft)

        def sent(answer: Any) -> None:
            assert isinstance(answer, Sent), answer
            now = self.desk.now
            for draft, id_, sequence in zip(drafts, answer.ids, answer.sequences, strict=True):
                key = (draft.group if self.per_group else "", draft.deduplication)
                known = self.model.remembered.get(key)
                if known is not None and known[0] + WINDOW > now:
                    assert (id_, sequence) == known[1:], "a duplicate was taken for a new message"
                    continue
                assert id_ == draft.id, "a new message was taken for a duplicate"
                assert sequence > self.last_sequence
                self.last_sequence = sequence
                self.model.remembered[key] = (now, id_, sequence)
                number = int.from_bytes(id_, "big")
                self.model.messages[number] = Message(now, now + self.delay, draft.group)

        self.call(sent, Send, drafts)

    def taken_as_allowed(self, answer: Any, hidden: int) -> list[int]:
        assert isinstance(answer, Received), answer
        now = self.desk.now
        numbers = []
        for row in answer.rows:
            assert row is not None, "a body is gone"
            number = int.from_bytes(MessageRow.decode(row).id, "big")
            numbers.append(number)
            message = self.model.messages[number]
            assert message.until <= now, "a hidden message was handed out"
            assert message.sent + RETENTION > now, "a message past its retention was handed out"
            assert number in list(self.model.live(now))[:ELIGIBLE], "a message too far back was handed out"
            for other, earlier in self.model.live(now).items():
                if other < number and earlier.group == message.group:
                    assert other in numbers, "an earlier message of the group was passed over"
        for number, each in zip(numbers, answer.taken, strict=True):
            message = self.model.messages[number]
            message.receives += 1
            assert not self.most or message.receives <= self.most, "a dead letter was handed out"
            assert each.receives == message.receives
            message.until = now + hidden
            self.taken.append((number, each))
        return numbers

    @rule(count=st.integers(1, 4), hidden=st.sampled_from([None, 0, 500, 30_000]), wait=st.sampled_from([0, 0, 3_000]))
    def receive(self, count: int, hidden: int | None, wait: int) -> None:
        def received(answer: Any) -> None:
            assert len(self.taken_as_allowed(answer, TIMEOUT if hidden is None else hidden)) <= count

        self.call(received, Receive, count, hidden, wait)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        number, each = data.draw(st.sampled_from(self.taken))

        def deleted(answer: Any) -> None:
            assert isinstance(answer, Verdicts)
            [failure] = answer.failures
            message = self.model.messages.get(number)
            if message is None:
                assert failure is None
            elif message.until > self.desk.now and message.receives == RECEIPTS.read(each.handle).number:
                assert failure is None
                del self.model.messages[number]
            elif message.sent + RETENTION > self.desk.now:
                assert isinstance(failure, ServiceError) and failure.message.endswith("The receipt handle has expired.")
            elif failure is None:
                self.model.messages.pop(number)

        self.call(deleted, Delete, [RECEIPTS.read(each.handle)], [each.handle])

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), timeout=st.sampled_from([0, 1_000, 20_000]))
    def change_visibility(self, data: st.DataObject, timeout: int) -> None:
        number, each = data.draw(st.sampled_from(self.taken))

        def changed(answer: Any) -> None:
            assert isinstance(answer, Verdicts)
            now = self.desk.now
            message = self.model.live(now).get(number)
            latest = message is not None and message.receives == RECEIPTS.read(each.handle).number
            if message is not None and latest and message.until > now:
                assert answer.failures == [None]
                message.until = now + timeout
            elif message is not None:
                assert answer.failures[0] is not None

        self.call(changed, ChangeVisibility, [RECEIPTS.read(each.handle)], [each.handle], [timeout])

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def go_away(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(list(self.pending)))
        if self.pending[token].__name__ == "received":
            del self.pending[token]
            self.desk.ask(Cancel(token))
            assert not token.answers

    @rule(delay=st.sampled_from([0, 2_500, 7_000]))
    def set_the_delay(self, delay: int) -> None:
        """It holds for what is in the queue too."""
        self.delay = delay
        self.counts_are_exact = False
        self.desk.settings = replace(self.desk.settings, delay=delay)
        for message in self.model.messages.values():
            if not message.receives:
                message.until = message.sent + delay
        self.desk.ask(Configure(self.desk.settings))
        # The settings are the catalogue's, which commits them in the same unit.
        self.committed = [self.snapshot()]

    @rule()
    def purge(self) -> None:
        def purged(answer: Any) -> None:
            assert answer is None
            self.model.messages.clear()
            self.model.remembered.clear()
            self.taken.clear()

        self.call(purged, Purge)

    # -- what the world does -----------------------------------------------------------

    @precondition(lambda self: self.desk.needs)
    @rule(data=st.data())
    def store_answers(self, data: st.DataObject) -> None:
        self.desk.read(data.draw(st.integers(0, len(self.desk.needs) - 1)))

    @precondition(lambda self: self.desk.late)
    @rule(data=st.data())
    def machine_hears(self, data: st.DataObject) -> None:
        self.desk.hear(data.draw(st.integers(0, len(self.desk.late) - 1)))

    @rule(ms=st.sampled_from([1, 499, 1_000, 2_500, 5_000, 30_000, 300_001]))
    def time_passes(self, ms: int) -> None:
        self.desk.now += ms
        self.desk.wake()

    @rule()
    def everything_settles(self) -> None:
        """What must hold when the store has answered and alarms have rung."""
        desk = self.desk
        for _ in range(100):
            desk.wake()
            desk.settle()
            if not desk.needs and desk.due() > desk.now:
                break
        now = desk.now
        for number in [n for n, m in self.model.messages.items() if m.sent + RETENTION <= now]:
            del self.model.messages[number]
        token = Token([])
        desk.ask(Count(token))
        desk.settle()
        live = self.model.live(now)
        in_flight = [n for n, m in live.items() if m.until > now and m.receives]
        delayed = [n for n, m in live.items() if m.until > now and not m.receives]
        counts = token.answer
        assert isinstance(counts, Counts)
        assert counts.visible + counts.in_flight + counts.delayed == len(live) or not self.counts_are_exact
        ending = {n for n, m in live.items() if now < m.until < (now // 1000 + 1) * 1000}
        for count, exact in ((counts.in_flight, in_flight), (counts.delayed, delayed)):
            assert len(set(exact) - ending) <= count <= len(exact) or not self.counts_are_exact
        waiting = [what for what in self.pending.values() if what.__name__ == "received"]
        assert not (waiting and self.model.available(now, self.most)), "a receiver waits beside available messages"

    @rule()
    def drain(self) -> None:
        """Everything available can be had."""
        self.everything_settles()
        desk = self.desk
        for _ in range(200):
            before = list(self.model.messages)
            taken = len(self.taken)
            self.call(lambda answer: self.taken_as_allowed(answer, 40_000), Receive, 10, 40_000, 0)
            desk.settle()
            if taken == len(self.taken) and before == list(self.model.messages):
                break
        else:
            raise AssertionError("the queue never runs dry")
        assert not self.model.available(desk.now, self.most), "an available message cannot be had"
        self.committed = [self.snapshot()]


FifoHistory.TestCase.settings = settings(
    max_examples=int(os.environ.get("HISTORIES", "60")), stateful_step_count=60, deadline=None
)
TestFifoHistory = FifoHistory.TestCase

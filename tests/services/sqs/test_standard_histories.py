"""Random histories of a standard queue, with a window of three messages, beside a model of a few lines.

The model knows nothing of windows, pages or rows. After every step the queue
may only have done what the model allows; when everything has settled, it must
have done what the model demands.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from queue_desk import DEAD_LETTER_ARN, DEAD_LETTERS, RECEIPTS, Desk, Token

from trunkline.kernel.step import Cancel
from trunkline.services.sqs.commands import (
    ChangeVisibility,
    Count,
    Counts,
    Delete,
    Purge,
    Receive,
    Received,
    Send,
    Taken,
    Verdicts,
)
from trunkline.services.sqs.rows import MessageRow

RETENTION = 100_000
TIMEOUT = 5_000


@dataclass
class Message:
    sent: int
    until: int
    receives: int = 0


class Model:
    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.dead: set[int] = set()

    def live(self, now: int) -> dict[int, Message]:
        return {n: m for n, m in self.messages.items() if m.sent + RETENTION > now}


class StandardHistory(RuleBasedStateMachine):
    """Rows reach the machine when ``store_answers`` and ``machine_hears`` are drawn.

    A crash loses what was not committed.
    """

    @initialize(most=st.sampled_from([0, 2]))
    def begin(self, most: int) -> None:
        self.desk = Desk(
            window=3, visibility_timeout=TIMEOUT, retention=RETENTION, max_receive_count=most,
            dead_letter_arn=DEAD_LETTER_ARN if most else "",
        )  # fmt: skip
        self.most = most
        self.model = Model()
        self.pending: dict[Token, Any] = {}
        self.taken: list[tuple[int, Taken]] = []
        self.moved_seen = 0
        self.committed: list[tuple[Any, ...]] = []
        self.commit()
        self.desk.after = self.done

    # -- what the store has and what it will have --------------------------------------

    def snapshot(self) -> tuple[Any, ...]:
        desk = self.desk
        return dict(desk.rows), list(desk.moved), copy.deepcopy(self.model), list(self.taken), self.moved_seen

    @rule()
    def commit(self) -> None:
        self.committed = [self.snapshot()]

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """Everything committed stands, and of the rest some first part."""
        at = data.draw(st.integers(0, len(self.committed) - 1))
        rows, moved, model, taken, seen = self.committed[at]
        self.desk.rows, self.desk.moved = dict(rows), list(moved)
        self.model, self.taken, self.moved_seen = copy.deepcopy(model), list(taken), seen
        self.pending = {}
        self.desk.answered = []
        self.desk.restart()
        self.commit()

    def done(self) -> None:
        """Look at every answer that has come, and at what went to the dead-letter queue."""
        desk, now = self.desk, self.desk.now
        # A step that moves a dead letter does so before it serves those who wait.
        for partition, row, keep_sent in desk.moved[self.moved_seen :]:
            number = int.from_bytes(row.id, "big")
            message = self.model.messages.pop(number)
            assert partition == DEAD_LETTERS and keep_sent
            assert self.most and message.receives >= self.most and message.until <= now
            assert row.sent == message.sent and row.receives_before == message.receives
            assert number not in self.model.dead, "a message moved twice"
            self.model.dead.add(number)
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

    @rule(delays=st.lists(st.sampled_from([0, 0, 0, 1_000, 7_500]), min_size=1, max_size=4))
    def send(self, delays: list[int]) -> None:
        now = self.desk.now
        drafts = [self.desk.draft(delay=delay) for delay in delays]

        def sent(answer: Any) -> None:
            assert answer.ids == [draft.id for draft in drafts]
            for draft, delay in zip(drafts, delays, strict=True):
                self.model.messages[int.from_bytes(draft.id, "big")] = Message(now, now + delay)

        self.call(sent, Send, drafts)

    def taken_as_allowed(self, answer: Any, hidden: int) -> list[int]:
        assert isinstance(answer, Received), answer
        now = self.desk.now
        numbers = []
        for each, row in zip(answer.taken, answer.rows, strict=True):
            assert row is not None, "a body is gone"
            number = int.from_bytes(MessageRow.decode(row).id, "big")
            numbers.append(number)
            message = self.model.messages[number]
            assert message.until <= now, "a hidden message was handed out"
            assert message.sent + RETENTION > now, "a message past its retention was handed out"
            assert not self.most or message.receives < self.most, "a dead letter was handed out"
            message.receives += 1
            assert each.receives == message.receives
            message.until = now + hidden
            self.taken.append((number, each))
        assert len(set(numbers)) == len(numbers), "a message was handed out twice"
        return numbers

    @rule(count=st.integers(1, 4), hidden=st.sampled_from([None, 0, 500, 30_000]), wait=st.sampled_from([0, 0, 3_000]))
    def receive(self, count: int, hidden: int | None, wait: int) -> None:
        def received(answer: Any) -> None:
            assert len(self.taken_as_allowed(answer, TIMEOUT if hidden is None else hidden)) <= count

        self.call(received, Receive, count, hidden, wait)

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.integers(0, len(self.taken) - 1), min_size=1, max_size=3, unique=True))
        entries = [self.taken[at] for at in chosen]

        def deleted(answer: Any) -> None:
            assert isinstance(answer, Verdicts)
            assert answer.failures == [None] * len(entries)
            for number, _ in entries:
                self.model.messages.pop(number, None)

        handles = [each.handle for _, each in entries]
        self.call(deleted, Delete, [RECEIPTS.read(handle) for handle in handles], handles)

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), timeout=st.sampled_from([0, 1_000, 20_000]))
    def change_visibility(self, data: st.DataObject, timeout: int) -> None:
        number, each = data.draw(st.sampled_from(self.taken))

        def changed(answer: Any) -> None:
            assert isinstance(answer, Verdicts)
            now = self.desk.now
            message = self.model.live(now).get(number)
            if message is None:
                assert answer.failures[0] is not None
            elif answer.failures[0] is None:
                message.until = now + timeout
            else:
                # It is on its way to the dead-letter queue.
                assert self.most and message.receives >= self.most and message.until <= now

        self.call(changed, ChangeVisibility, [RECEIPTS.read(each.handle)], [each.handle], [timeout])

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def go_away(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(list(self.pending)))
        if self.pending[token].__name__ == "received":
            del self.pending[token]
            self.desk.ask(Cancel(token))
            assert not token.answers

    @rule()
    def purge(self) -> None:
        def purged(answer: Any) -> None:
            assert answer is None
            self.model.messages.clear()
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

    @rule(ms=st.sampled_from([1, 499, 1_000, 2_500, 5_000, 30_000, 60_001]))
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
        live = self.model.live(now)
        token = Token([])
        desk.ask(Count(token))
        desk.settle()
        live = self.model.live(now)
        visible = [n for n, m in live.items() if m.until <= now]
        delayed = [n for n, m in live.items() if m.until > now and not m.receives]
        in_flight = [n for n, m in live.items() if m.until > now and m.receives]
        counts = token.answer
        assert isinstance(counts, Counts)
        assert counts.visible + counts.in_flight + counts.delayed == len(live)
        # What ends within the present second may be counted as ended, if memory does not hold it.
        ending = {n for n, m in live.items() if now < m.until < (now // 1000 + 1) * 1000}
        for count, exact in ((counts.in_flight, in_flight), (counts.delayed, delayed)):
            assert len(set(exact) - ending) <= count <= len(exact)
        waiting = [what for what in self.pending.values() if what.__name__ == "received"]
        dying = [n for n in visible if self.most and live[n].receives >= self.most]
        assert not (waiting and set(visible) - set(dying)), "a receiver waits beside visible messages"

    @rule()
    def drain(self) -> None:
        """Every visible message can be had, and nothing else."""
        self.everything_settles()
        desk = self.desk
        for _ in range(200):
            before = set(self.model.messages)
            taken = len(self.taken)
            self.call(lambda answer: self.taken_as_allowed(answer, 40_000), Receive, 10, 40_000, 0)
            desk.settle()
            if taken == len(self.taken) and before == set(self.model.messages):
                break
        else:
            raise AssertionError("the queue never runs dry")
        live = self.model.live(desk.now)
        assert not [n for n, m in live.items() if m.until <= desk.now], "a visible message cannot be had"
        self.committed = [self.snapshot()]

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "desk"):
            assert self.desk.largest <= 1_000


StandardHistory.TestCase.settings = settings(
    max_examples=int(os.environ.get("HISTORIES", "60")), stateful_step_count=60, deadline=None
)
TestStandardHistory = StandardHistory.TestCase

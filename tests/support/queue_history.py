"""What the random histories of both kinds of queue share: crashes, late rows, time, and the reading of answers.

A history keeps ``state``, all that the model believes. A crash brings back the
rows and the state of some instant since the last commit: everything that was
committed stands, and of the rest some first part.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from queue_desk import DEAD_LETTERS, Desk, Token

from trunkline.kernel.step import Cancel
from trunkline.services.sqs.commands import Count, Counts, Purge, Receive, Taken
from trunkline.services.sqs.rows import MessageRow

TIMEOUT = 5_000
SETTINGS = settings(max_examples=int(os.environ.get("HISTORIES", "150")), stateful_step_count=60, deadline=None)


@dataclass
class Message:
    sent: int
    until: int
    group: str = ""
    receives: int = 0


@dataclass
class State:
    """``messages`` by number, in the order of their sending; ``taken``: (number, what a receive gave)."""

    messages: dict[int, Message] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    taken: list[tuple[int, Taken]] = field(default_factory=list)
    remembered: dict[tuple[str, str], tuple[int, bytes, int]] = field(default_factory=dict)
    last_sequence: int = 0
    moved_seen: int = 0


class History(RuleBasedStateMachine):
    """Rows reach the machine when ``store_answers`` and ``machine_hears`` are drawn."""

    desk: Desk
    most: int
    retention: int

    def begin_at(self, desk: Desk, most: int, retention: int) -> None:
        self.desk, self.most, self.retention = desk, most, retention
        self.state = State()
        self.pending: dict[Token, Any] = {}
        self.instants: list[tuple[dict[bytes, bytes], list[Any], State]] = []
        self.commit()
        desk.after = self.after_step  # type: ignore[method-assign]

    # -- what each kind of queue checks --------------------------------------------------

    def taken_as_allowed(self, answer: Any, hidden: int) -> list[int]:
        """Check what a receive gave, take it into the state, and return the numbers."""
        raise NotImplementedError

    def available(self) -> list[int]:
        """The messages that a receive may have now."""
        raise NotImplementedError

    def moved_as_allowed(self, number: int, row: MessageRow) -> None:
        """Check a dead letter that has left."""

    # -- what the store has and what it will have ------------------------------------------

    def instant(self) -> tuple[dict[bytes, bytes], list[Any], State]:
        return dict(self.desk.rows), list(self.desk.moved), copy.deepcopy(self.state)

    @rule()
    def commit(self) -> None:
        self.instants = [self.instant()]

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        rows, moved, state = self.instants[data.draw(st.integers(0, len(self.instants) - 1))]
        self.desk.rows, self.desk.moved, self.state = dict(rows), list(moved), copy.deepcopy(state)
        self.restart()
        self.commit()

    def restart(self) -> None:
        """Who waits is forgotten."""
        self.pending = {}
        self.desk.answered = []
        self.desk.restart()

    def after_step(self) -> None:
        """Look at what went to the dead-letter queue, and at every answer that has come, in their order."""
        desk, state = self.desk, self.state
        # A step that moves a dead letter does so before it serves those who wait.
        for partition, row, _ in desk.moved[state.moved_seen :]:
            number = int.from_bytes(row.id, "big")
            message = state.messages[number]
            assert partition == DEAD_LETTERS
            assert self.most and message.receives >= self.most and message.until <= desk.now
            assert row.receives_before == message.receives
            assert number not in state.dead, "a message moved twice"
            self.moved_as_allowed(number, row)
            del state.messages[number]
            state.dead.add(number)
        state.moved_seen = len(desk.moved)
        heard, desk.answered = desk.answered, []
        for token in heard:
            what = self.pending.pop(token, None)
            if what is not None:
                what(token.answer)
        self.instants.append(self.instant())

    def call(self, what: Any, kind: Any, *parts: Any) -> Token:
        """Ask; ``what`` judges the answer in the instant in which it comes."""
        token = Token([])
        self.pending[token] = what
        self.desk.ask(kind(token, *parts))
        return token

    def live(self) -> dict[int, Message]:
        now = self.desk.now
        return {n: m for n, m in self.state.messages.items() if m.sent + self.retention > now}

    # -- what users do -------------------------------------------------------------------

    @rule(count=st.integers(1, 4), hidden=st.sampled_from([None, 0, 500, 30_000]), wait=st.sampled_from([0, 0, 3_000]))
    def receive(self, count: int, hidden: int | None, wait: int) -> None:
        def received(answer: Any) -> None:
            assert len(self.taken_as_allowed(answer, TIMEOUT if hidden is None else hidden)) <= count

        self.call(received, Receive, count, hidden, wait)

    @property
    def receiving(self) -> list[Token]:
        return [token for token, what in self.pending.items() if what.__name__ == "received"]

    @precondition(lambda self: self.receiving)
    @rule(data=st.data())
    def go_away(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.receiving))
        del self.pending[token]
        self.desk.ask(Cancel(token))
        assert token.answer.taken == [], "who waits no longer is told so, and takes no message along"

    @rule()
    def purge(self) -> None:
        def purged(answer: Any) -> None:
            assert answer is None
            self.state.messages.clear()
            self.state.taken.clear()
            self.state.remembered.clear()

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

    @rule(ms=st.sampled_from([1, 499, 1_000, 2_500, 5_000, 30_000, 60_001, 300_001]))
    def time_passes(self, ms: int) -> None:
        self.desk.now += ms
        self.desk.wake()

    @rule()
    def everything_settles(self) -> None:
        """What must hold when the store has answered and alarms have rung."""
        desk = self.desk
        desk.pass_time(0)
        now = desk.now
        for number in set(self.state.messages) - set(self.live()):
            del self.state.messages[number]
        token = Token([])
        desk.ask(Count(token))
        desk.settle()
        counts, live = token.answer, self.live()
        assert isinstance(counts, Counts)
        assert counts.visible + counts.in_flight + counts.delayed == len(live)
        # What ends within the present second may be counted as ended, if memory does not hold it.
        ending = {n for n, m in live.items() if now < m.until < (now // 1000 + 1) * 1000}
        in_flight = {n for n, m in live.items() if m.until > now and m.receives}
        delayed = {n for n, m in live.items() if m.until > now and not m.receives}
        for count, exact in ((counts.in_flight, in_flight), (counts.delayed, delayed)):
            assert len(exact - ending) <= count <= len(exact)
        assert not (self.receiving and self.available()), "a receiver waits beside available messages"

    @rule()
    def drain(self) -> None:
        """Everything available can be had."""
        self.everything_settles()
        for _ in range(200):
            before, taken = set(self.state.messages), len(self.state.taken)
            self.call(lambda answer: self.taken_as_allowed(answer, 40_000), Receive, 10, 40_000, 0)
            self.desk.settle()
            if taken == len(self.state.taken) and before == set(self.state.messages):
                break
        else:
            raise AssertionError("the queue never runs dry")
        assert not self.available(), "an available message cannot be had"
        assert self.desk.largest <= 1_000, "a step touched too many rows"
        self.commit()

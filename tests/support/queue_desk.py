"""A queue machine on a desk: no runtime, no clock, no disk; rows in a dict, answers by token, time by arithmetic.

What the runtime promises a machine holds here too: rows that a Need asks for
are read behind every write made before, and may reach the machine late, in
another order than they were asked for, and after further commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.step import HEAD_END, Close, Loaded, Need, Step, Wake
from trunkline.services.sqs.commands import (
    Accept,
    ChangeVisibility,
    Count,
    Counts,
    Delete,
    Draft,
    Peek,
    Peeked,
    Purge,
    QueueSettings,
    Receive,
    Received,
    Send,
    Sent,
    Taken,
    Verdicts,
)
from trunkline.services.sqs.fifo import FifoQueue
from trunkline.services.sqs.machine import QueueMachine
from trunkline.services.sqs.receipts import Receipts
from trunkline.services.sqs.rows import MessageRow
from trunkline.services.sqs.standard import StandardQueue

START = 1_700_000_000_000
DEAD_LETTERS = 99
DEAD_LETTER_ARN = "arn:aws:sqs:us-east-1:000000000000:dead"
RECEIPTS = Receipts(b"desk")


@dataclass(eq=False)
class Token:
    """A caller. ``answers``: what it was told; it must be told once."""

    answers: list[Any]

    @property
    def answer(self) -> Any:
        assert len(self.answers) == 1, f"answered {len(self.answers)} times"
        return self.answers[0]


class Desk:
    def __init__(self, settings: QueueSettings | None = None, window: int = 10_000, **changes: Any) -> None:
        self.settings = settings or QueueSettings(
            **{"name": "q", "arn": "arn:aws:sqs:us-east-1:000000000000:q", **changes}
        )
        self.window = window
        self.now = START
        self.rows: dict[bytes, bytes] = {}
        self.needs: list[Need] = []
        self.late: list[Loaded] = []
        self.moved: list[tuple[int, MessageRow, bool]] = []
        self.answered: list[Token] = []
        self.known = {DEAD_LETTER_ARN: DEAD_LETTERS}
        self.largest = 0
        self.page = 10_000
        self._ids = 0
        self.build()

    def build(self) -> None:
        """Make the machine of the rows that are there, as after a restart."""
        kind = FifoQueue if self.settings.fifo else StandardQueue
        head = [(key, value) for key, value in sorted(self.rows.items()) if key < HEAD_END]
        self.machine: QueueMachine = kind(1, self.settings, head, RECEIPTS, self.known.get, self.window)
        self.needs = []
        self.late = []

    # -- commands ----------------------------------------------------------------

    def ask(self, command: Any) -> None:
        self.follow(self.machine.handle(command, self.now))

    def follow(self, step: Step) -> None:
        self.largest = max(self.largest, len(step.writes))
        for key, value in step.writes:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        for start, end in step.sweeps:
            for key in [key for key in self.rows if start <= key < end]:
                del self.rows[key]
        for delivery in step.deliveries:
            assert isinstance(delivery.command, Accept)
            for row in delivery.command.rows:
                self.moved.append((delivery.partition, MessageRow.decode(row), delivery.command.keep_sent))
        for token, answer in step.answers:
            if isinstance(answer, Received | Peeked):
                answer.rows = [self.rows.get(key) for key in answer.bodies]
            token.answers.append(answer)
            self.answered.append(token)
        self.needs += step.needs
        self.after()

    def after(self) -> None:
        """Called after every step; for a test to replace."""

    def call(self, kind: Any, *parts: Any, **named: Any) -> Token:
        token = Token([])
        self.ask(kind(token, *parts, **named))
        return token

    # -- rows, early and late ------------------------------------------------------

    def read(self, at: int = 0) -> None:
        """The store answers a Need; the machine has not heard of it yet."""
        need = self.needs.pop(at)
        if need.keys:
            some = need.keys[: 2 * self.page]
            found = [(key, self.rows[key]) for key in some if key in self.rows]
            self.late.append(Loaded(need, found, [], len(some) == len(need.keys), len(some)))
            return
        keys = [key for key in sorted(self.rows) if need.start <= key < need.end]
        page = keys[: min(need.limit, self.page)]
        beside = []
        if need.beside is not None and page:
            prefix, other = need.beside
            first, last = other + page[0][len(prefix) :], other + page[-1][len(prefix) :]
            beside = [(key, self.rows[key]) for key in sorted(self.rows) if first <= key <= last][: len(page)]
        self.late.append(Loaded(need, [(key, self.rows[key]) for key in page], beside, len(page) == len(keys)))

    def hear(self, at: int = 0) -> None:
        """The machine hears what the store answered."""
        self.ask(self.late.pop(at))

    def settle(self) -> None:
        for _ in range(10_000):
            if self.late:
                self.hear()
            elif self.needs:
                self.read()
            else:
                return
        raise AssertionError("the machine never stops asking for rows")

    # -- time ------------------------------------------------------------------------

    def due(self) -> int:
        return self.machine.wake_at

    def wake(self) -> None:
        """Ring what is due now; a machine that wants to be woken at once for ever has a defect."""
        for _ in range(10_000):
            if self.due() > self.now:
                return
            self.ask(Wake())
        raise AssertionError("the machine never stops wanting to be woken")

    def pass_time(self, ms: int, settle: bool = True) -> None:
        target = self.now + ms
        for _ in range(10_000):
            self.wake()
            if settle and (self.needs or self.late):
                self.settle()
            elif self.now == target:
                return
            else:
                self.now = min(target, self.due())
        raise AssertionError("the machine never comes to rest")

    def restart(self) -> None:
        """The process dies and another one begins with what is on the disk."""
        self.build()

    # -- the words of a queue's user ---------------------------------------------------

    def draft(self, **parts: Any) -> Draft:
        self._ids += 1
        id_ = self._ids.to_bytes(16, "big")
        return Draft(id_, id_, 1, b"", **parts)

    def send(self, *drafts: Draft, **parts: Any) -> list[int]:
        """Send; the numbers of the messages."""
        answer = self.settled(self.call(Send, list(drafts) or [self.draft(**parts)]))
        assert isinstance(answer, Sent), answer
        return [int.from_bytes(id_, "big") for id_ in answer.ids]

    def settled(self, token: Token) -> Any:
        if not token.answers:
            self.settle()
        return token.answer

    def receive(self, count: int = 10, visibility: int | None = None, **named: Any) -> list[Taken]:
        answer = self.settled(self.call(Receive, count, visibility, **{"wait": 0, **named}))
        if isinstance(answer, ServiceError):
            raise answer
        assert isinstance(answer, Received)
        return answer.taken

    def numbers(self, taken: list[Taken]) -> list[int]:
        return [self.number(each) for each in taken]

    def number(self, taken: Taken) -> int:
        return int.from_bytes(MessageRow.decode(self.rows[taken.key]).id, "big")

    def take(self, count: int = 10, visibility: int | None = None, **named: Any) -> list[int]:
        """Receive; the numbers of the messages."""
        return self.numbers(self.receive(count, visibility, **named))

    def delete(self, *taken: Taken) -> list[ServiceError | None]:
        handles = [each.handle for each in taken]
        receipts = [RECEIPTS.read(handle) for handle in handles]
        answer = self.settled(self.call(Delete, receipts, handles))
        assert isinstance(answer, Verdicts)
        return answer.failures

    def change(self, taken: Taken, ms: int) -> ServiceError | None:
        answer = self.settled(self.call(ChangeVisibility, [RECEIPTS.read(taken.handle)], [taken.handle], [ms]))
        assert isinstance(answer, Verdicts)
        return answer.failures[0]

    def counts(self) -> tuple[int, int, int]:
        """Visible, in flight, delayed."""
        answer = self.settled(self.call(Count))
        assert isinstance(answer, Counts)
        return answer.visible, answer.in_flight, answer.delayed

    def purge(self, wait: int = 0) -> Any:
        return self.settled(self.call(Purge, wait))

    def peek(self, limit: int = 256, after: int = 0) -> Peeked:
        answer = self.settled(self.call(Peek, limit, after))
        assert isinstance(answer, Peeked)
        return answer

    def close(self, error: ServiceError) -> None:
        self.ask(Close(error))

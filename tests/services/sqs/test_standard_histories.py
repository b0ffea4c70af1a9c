"""Random histories of a standard queue, with a window of three messages, beside a model of a few lines.

The model knows nothing of windows, pages or rows. After every step the queue
may only have done what the model allows; when everything has settled, it must
have done what the model demands.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from queue_desk import DEAD_LETTER_ARN, RECEIPTS, Desk
from queue_history import SETTINGS, TIMEOUT, History, Message

from trunkline.services.sqs.commands import ChangeVisibility, Delete, Received, Send, Verdicts
from trunkline.services.sqs.rows import MessageRow

RETENTION = 100_000


class StandardHistory(History):
    @initialize(most=st.sampled_from([0, 2]))
    def begin(self, most: int) -> None:
        arn = DEAD_LETTER_ARN if most else ""
        desk = Desk(
            window=3, visibility_timeout=TIMEOUT, retention=RETENTION, max_receive_count=most, dead_letter_arn=arn
        )
        self.begin_at(desk, most, RETENTION)

    def available(self) -> list[int]:
        now = self.desk.now
        return [
            n for n, m in self.live().items() if m.until <= now and not (self.most and m.receives >= self.most)
        ]  # fmt: skip

    def moved_as_allowed(self, number: int, row: MessageRow) -> None:
        assert row.sent == self.state.messages[number].sent

    @rule(delays=st.lists(st.sampled_from([0, 0, 0, 1_000, 7_500]), min_size=1, max_size=4))
    def send(self, delays: list[int]) -> None:
        now = self.desk.now
        drafts = [self.desk.draft(delay=delay) for delay in delays]

        def sent(answer: Any) -> None:
            assert answer.ids == [draft.id for draft in drafts]
            for draft, delay in zip(drafts, delays, strict=True):
                self.state.messages[int.from_bytes(draft.id, "big")] = Message(now, now + delay)

        self.call(sent, Send, drafts)

    def taken_as_allowed(self, answer: Any, hidden: int) -> list[int]:
        assert isinstance(answer, Received), answer
        now = self.desk.now
        numbers = []
        for each, row in zip(answer.taken, answer.rows, strict=True):
            assert row is not None, "a body is gone"
            number = int.from_bytes(MessageRow.decode(row).id, "big")
            numbers.append(number)
            message = self.state.messages[number]
            assert message.until <= now, "a hidden message was handed out"
            assert message.sent + RETENTION > now, "a message past its retention was handed out"
            assert not self.most or message.receives < self.most, "a dead letter was handed out"
            message.receives += 1
            assert each.receives == message.receives
            message.until = now + hidden
            self.state.taken.append((number, each))
        assert len(set(numbers)) == len(numbers), "a message was handed out twice"
        return numbers

    @precondition(lambda self: self.state.taken)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        taken = self.state.taken
        chosen = data.draw(st.lists(st.integers(0, len(taken) - 1), min_size=1, max_size=3, unique=True))
        entries = [taken[at] for at in chosen]

        def deleted(answer: Any) -> None:
            assert isinstance(answer, Verdicts)
            assert answer.failures == [None] * len(entries)
            for number, _ in entries:
                self.state.messages.pop(number, None)

        handles = [each.handle for _, each in entries]
        self.call(deleted, Delete, [RECEIPTS.read(handle) for handle in handles], handles)

    @precondition(lambda self: self.state.taken)
    @rule(data=st.data(), timeout=st.sampled_from([0, 1_000, 20_000]))
    def change_visibility(self, data: st.DataObject, timeout: int) -> None:
        number, each = data.draw(st.sampled_from(self.state.taken))

        def changed(answer: Any) -> None:
            assert isinstance(answer, Verdicts)
            now = self.desk.now
            message = self.live().get(number)
            if message is None:
                assert answer.failures[0] is not None
            elif answer.failures[0] is None:
                message.until = now + timeout
            else:
                # It is on its way to the dead-letter queue.
                assert self.most and message.receives >= self.most and message.until <= now

        self.call(changed, ChangeVisibility, [RECEIPTS.read(each.handle)], [each.handle], [timeout])


StandardHistory.TestCase.settings = SETTINGS
TestStandardHistory = StandardHistory.TestCase

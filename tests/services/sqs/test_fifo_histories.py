"""Random histories of a FIFO queue that looks at five messages at a time, beside a model of a few lines.

The model is a list: a message may be handed out if it is visible and no
earlier message of its group is not. Groups beyond the first five messages
that are not deleted are not eligible.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from queue_desk import DEAD_LETTER_ARN, RECEIPTS, Desk
from queue_history import SETTINGS, TIMEOUT, History, Message

from trunkline.kernel.errors import ServiceError
from trunkline.services.sqs.commands import ChangeVisibility, Configure, Delete, Received, Send, Sent, Verdicts
from trunkline.services.sqs.rows import MessageRow

RETENTION = 900_000
WINDOW = 300_000
ELIGIBLE = 5


class FifoHistory(History):
    @initialize(most=st.sampled_from([0, 2]), per_group=st.booleans(), delay=st.sampled_from([0, 0, 3_000]))
    def begin(self, most: int, per_group: bool, delay: int) -> None:
        self.per_group, self.delay = per_group, delay
        desk = Desk(
            window=ELIGIBLE, fifo=True, visibility_timeout=TIMEOUT, retention=RETENTION, max_receive_count=most,
            dead_letter_arn=DEAD_LETTER_ARN if most else "", deduplicate_per_group=per_group, delay=delay,
        )  # fmt: skip
        self.begin_at(desk, most, RETENTION)

    def available(self) -> list[int]:
        """The visible fronts of the groups among the first ``ELIGIBLE`` messages; dead letters block."""
        blocked: set[str] = set()
        found = []
        for number, message in list(self.state.messages.items())[:ELIGIBLE]:
            if number not in self.live():
                continue
            if message.until > self.desk.now or (self.most and message.receives >= self.most):
                blocked.add(message.group)
            elif message.group not in blocked:
                found.append(number)
        return found

    def moved_as_allowed(self, number: int, row: MessageRow) -> None:
        ahead = [n for n, m in self.live().items() if m.group == row.group and n < number]
        assert not ahead, "a dead letter left before an earlier message of its group"

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
            now, state = self.desk.now, self.state
            for draft, id_, sequence in zip(drafts, answer.ids, answer.sequences, strict=True):
                key = (draft.group if self.per_group else "", draft.deduplication)
                known = state.remembered.get(key)
                if known is not None and known[0] + WINDOW > now:
                    assert (id_, sequence) == known[1:], "a duplicate was taken for a new message"
                    continue
                assert id_ == draft.id, "a new message was taken for a duplicate"
                assert sequence > state.last_sequence
                state.last_sequence = sequence
                state.remembered[key] = (now, id_, sequence)
                state.messages[int.from_bytes(id_, "big")] = Message(now, now + self.delay, draft.group)

        self.call(sent, Send, drafts)

    def taken_as_allowed(self, answer: Any, hidden: int) -> list[int]:
        assert isinstance(answer, Received), answer
        now, live = self.desk.now, self.live()
        numbers: list[int] = []
        for row in answer.rows:
            assert row is not None, "a body is gone"
            number = int.from_bytes(MessageRow.decode(row).id, "big")
            numbers.append(number)
            message = self.state.messages[number]
            assert message.until <= now, "a hidden message was handed out"
            assert number in live, "a message past its retention was handed out"
            assert number in list(live)[:ELIGIBLE], "a message too far back was handed out"
            for other, earlier in live.items():
                if other < number and earlier.group == message.group:
                    assert other in numbers, "an earlier message of the group was passed over"
        for number, each in zip(numbers, answer.taken, strict=True):
            message = self.state.messages[number]
            message.receives += 1
            assert not self.most or message.receives <= self.most, "a dead letter was handed out"
            assert each.receives == message.receives
            message.until = now + hidden
            self.state.taken.append((number, each))
        return numbers

    @precondition(lambda self: self.state.taken)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        number, each = data.draw(st.sampled_from(self.state.taken))

        def deleted(answer: Any) -> None:
            assert isinstance(answer, Verdicts)
            [failure] = answer.failures
            now, messages = self.desk.now, self.state.messages
            message = messages.get(number)
            if message is None:
                assert failure is None
            elif message.until > now and message.receives == RECEIPTS.read(each.handle).number:
                assert failure is None
                del messages[number]
            elif number in self.live():
                assert isinstance(failure, ServiceError) and failure.message.endswith("The receipt handle has expired.")
            elif failure is None:
                messages.pop(number)

        self.call(deleted, Delete, [RECEIPTS.read(each.handle)], [each.handle])

    @precondition(lambda self: self.state.taken)
    @rule(data=st.data(), timeout=st.sampled_from([0, 1_000, 20_000]))
    def change_visibility(self, data: st.DataObject, timeout: int) -> None:
        number, each = data.draw(st.sampled_from(self.state.taken))

        def changed(answer: Any) -> None:
            assert isinstance(answer, Verdicts)
            now = self.desk.now
            message = self.live().get(number)
            latest = message is not None and message.receives == RECEIPTS.read(each.handle).number
            if message is not None and latest and message.until > now:
                assert answer.failures == [None]
                message.until = now + timeout
            elif message is not None:
                assert answer.failures[0] is not None

        self.call(changed, ChangeVisibility, [RECEIPTS.read(each.handle)], [each.handle], [timeout])

    @rule(delay=st.sampled_from([0, 3_000, 7_000]), in_memory=st.booleans())
    def set_the_delay(self, delay: int, in_memory: bool) -> None:
        """It holds for what is in the queue too, and if the queue is not in memory."""
        self.delay = delay
        self.desk.settings = replace(self.desk.settings, delay=delay)
        for message in self.state.messages.values():
            if not message.receives:
                message.until = message.sent + delay
        if in_memory:
            self.desk.ask(Configure(self.desk.settings))
        # The settings are the catalogue's, which commits them in the same unit.
        self.commit()
        if not in_memory:
            self.restart()


FifoHistory.TestCase.settings = SETTINGS
TestFifoHistory = FifoHistory.TestCase

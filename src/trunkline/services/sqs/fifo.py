"""A FIFO queue as a deterministic state machine.

One rule decides what may be handed out: a message may be returned if it is
visible and no earlier message of its group is not. Each group is a line of
heads in the order of their sequence, and what can be taken from it is the
visible part at its front. Groups whose front is visible stand in ``_open``,
those not touched for longest first; a receive takes as much as it can from
one and then goes on to the next.

Messages come into memory strictly in the order of their sequence, the first
120,000 that are not deleted; groups that only have messages beyond those are
not eligible (AWS's own rule). So nothing can overtake an earlier message of
its group that memory has not seen yet, and no search is ever needed.

Only the handle of the latest receive counts, and only while the message is in
flight: a consumer that was too slow cannot delete what another has now.
"""

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from itertools import islice, takewhile
from typing import Any

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.step import Close, Loaded, Need, Row, Step
from trunkline.kernel.time import Millis
from trunkline.services.sqs.commands import (
    Accept,
    ChangeVisibility,
    Configure,
    Delete,
    Purge,
    Receive,
    Send,
    Sent,
    Taken,
    Verdicts,
)
from trunkline.services.sqs.deduplication import RUN, WINDOW, Deduplication, key_of
from trunkline.services.sqs.machine import (
    EXPIRED_AT_MOST,
    GONE,
    IN_FLIGHT,
    LATER,
    MAXIMUM_IN_FLIGHT,
    PAGE,
    READY,
    Head,
    QueueMachine,
    Stalled,
    sequence_of,
)
from trunkline.services.sqs.receipts import Receipt
from trunkline.services.sqs.rows import ATTEMPT, MessageRow, StateRow, encode_state, heading, u32, u64
from trunkline.services.sqs.tally import SentTally
from trunkline.services.sqs.visibility import beyond_limit, expired, not_available

ELIGIBLE = 120_000
"""How many messages from the front are looked at for groups (AWS's quota since late 2024)."""
_FIRST_SEQUENCE = 18_849_496_460_467_696_128
"""Sequence numbers have 20 digits, and are not consecutive."""
_STRIDE = 256
_MEMORY_PAGE = 1_000
_LINE_BYTES = 900
_BEHIND = b"\xff" * 18
"""What is behind every row of a generation."""
_FORGOTTEN = 10
"""Receive request attempts past the window that one receive deletes: more than it adds."""

_TAKEN = struct.Struct(">QIQ")
_ATTEMPT = struct.Struct(">QQ")


class _Attempt:
    """What a receive request attempt was given: (sequence, receive number, received at), hidden until ``until``."""

    __slots__ = ("at", "taken", "until")

    def __init__(self, at: Millis, until: Millis, taken: list[tuple[int, int, Millis]]) -> None:
        self.at = at
        self.until = until
        self.taken = taken

    def encode(self) -> bytes:
        return _ATTEMPT.pack(self.at, self.until) + b"".join(_TAKEN.pack(*each) for each in self.taken)

    @classmethod
    def decode(cls, value: bytes) -> _Attempt:
        at, until = _ATTEMPT.unpack_from(value)
        return cls(at, until, [tuple(each) for each in _TAKEN.iter_unpack(value[_ATTEMPT.size :])])


class FifoQueue(QueueMachine):
    """See the module. ``window`` bounds the eligible messages, for tests."""

    @property
    def _delayed(self) -> SentTally[Head]:
        return self._unreceived

    def _due(self, row: MessageRow) -> Millis:
        return row.sent + self.settings.delay

    def _uncount_delay(self, row: MessageRow) -> None:
        """``_discard`` does it."""

    def _started(self) -> None:
        self._unreceived: SentTally[Head] = SentTally(self._generation, self.settings.delay)
        self._sought = 0
        self._eligible = min(ELIGIBLE, self._window)
        self._lines: dict[str, deque[Head]] = {}
        self._open: deque[str] = deque()
        self._listed: set[str] = set()
        self._memory = Deduplication(self._generation, complete=True, run=min(RUN, self._window))
        self._held: list[Send] = []
        # In the order of their time. Ordered: a plain dict would be searched for its first entry past all that left.
        self._attempts: OrderedDict[str, _Attempt] = OrderedDict()
        self._attempt_prefix = ATTEMPT + u32(self._generation)

    def _restored(self, rows: list[Row]) -> None:
        self._memory.complete = False
        width = len(self._attempt_prefix)
        found = [(key, _Attempt.decode(value)) for key, value in rows if key.startswith(self._attempt_prefix)]
        self._attempts.update((key[width:].decode(), made) for key, made in sorted(found, key=lambda each: each[1].at))

    @property
    def weight(self) -> int:
        return super().weight + _LINE_BYTES * len(self._lines) + self._memory.weight

    def _large(self) -> list[list[Any] | dict[Any, Any]]:
        return [*super()._large(), self._lines, self._memory.buckets]

    @property
    def idle(self) -> bool:
        return super().idle and not self._held

    def _repeats(self, command: Receive, now: Millis) -> bool:
        made = self._attempts.get(command.attempt)
        return made is not None and made.at + WINDOW > now

    def _public(self, seq: int) -> int:
        return _FIRST_SEQUENCE + _STRIDE * seq

    # -- sending ---------------------------------------------------------------------

    def _send(self, command: Send, now: Millis, step: Step) -> None:
        if not self._memory.complete:
            self._held.append(command)
            self._ask_memory(now, step)
            return
        self._come_up(now)
        self._send_now(command, now, step)
        self._finish(now, step)

    def _ask_memory(self, now: Millis, step: Step) -> None:
        """First the runs, then the single entries behind them."""
        if not self._asked("memory"):
            runs = self._memory.runs
            start = runs + u64(max(0, now - WINDOW + 1))
            step.sweeps.append((runs, start))  # what was left behind when the queue left memory
            self._ask(step, Need(start, runs + _BEHIND, _MEMORY_PAGE), "memory", self._memory.load_runs)

    def _send_now(self, command: Send, now: Millis, step: Step) -> None:
        ids, sequences = [], []
        settings = self.settings
        self._memory.tidy(now, step)
        for draft in command.drafts:
            key = key_of(draft.deduplication, draft.group if settings.deduplicate_per_group else "")
            original = self._memory.accept(key, draft.id, self._next_seq, now)
            if original is None:
                original = (draft.id, self._next_seq)
                row = MessageRow(
                    0, now, 0, 0, 0, draft.id, draft.md5, draft.size, draft.group, draft.deduplication, "", draft.tail
                )
                self._add(row, now, step)
            else:
                self._traffic.duplicates += 1
            ids.append(original[0])
            sequences.append(self._public(original[1]))
        self._memory.write(step)
        step.answers.append((command.token, Sent(ids, sequences)))

    def _add(self, row: MessageRow, now: Millis, step: Step) -> None:
        seq = self._next_seq
        self._next_seq = seq + 1
        self._live += 1
        self._note(row.sent)
        step.writes.append((self._message + u64(seq), row.encode()))
        self._delayed.sent(row.sent)
        if self._cursor != seq or len(self._heads) >= self._eligible:
            return
        self._cursor = seq + 1
        head = Head(seq, row.sent, 0, row.group, row.receives_before, row.first_received, False)
        self._line_up(head)
        self._delay(head, now)
        self._check(row.group)

    def _accept(self, command: Accept, now: Millis, step: Step) -> None:
        """Messages of another queue get a new sent time, hence a delay, and their place behind all others."""
        self._come_up(now)
        for value in command.rows:
            self._add(MessageRow.decode(value).moved(flags=0, sent=now, due=0), now, step)
        self._finish(now, step)

    # -- lines -----------------------------------------------------------------------

    def _line_up(self, head: Head) -> None:
        self._heads[head.seq] = head
        line = self._lines.get(head.group)
        if line is None:
            line = self._lines[head.group] = deque()
        line.append(head)

    def _check(self, group: str) -> None:
        """List the group if the front of its line is visible."""
        line = self._lines.get(group)
        if line is None:
            return
        while line and line[0].state == GONE:
            line.popleft()
        if not line:
            del self._lines[group]
        elif line[0].state == READY and group not in self._listed:
            self._listed.add(group)
            self._open.append(group)

    def _show(self, head: Head) -> None:
        head.state = READY
        self._check(head.group)

    def _come_up(self, now: Millis) -> None:
        for head in self._in_flight.up(now):
            self._show(head)
        for head in self._delayed.up(now):
            self._show(head)

    # -- receiving -------------------------------------------------------------------

    def _take(self, command: Receive, now: Millis, step: Step) -> list[Taken]:
        hidden = self.settings.visibility_timeout if command.visibility is None else command.visibility
        if command.attempt:
            again = self._repeat(command.attempt, hidden, now, step)
            if again or self._sought >= self._cursor:
                return again
        taken: list[Taken] = []
        for _ in range(len(self._open)):
            room = min(command.count - len(taken), MAXIMUM_IN_FLIGHT - self._in_flight.resident)
            if room <= 0:
                break
            group = self._open.popleft()
            self._listed.discard(group)
            for head in self._front(group, room, now, step):
                taken.append(self._hand_out(head, hidden, now, step))
            self._check(group)
        if command.attempt and taken:
            self._record(command.attempt, taken, now, now + hidden, step)
        return taken

    def _front(self, group: str, room: int, now: Millis, step: Step) -> list[Head]:
        """The visible part at the front of a line, ``room`` messages at the most."""
        found: list[Head] = []
        late: list[Head] = []
        for head in self._lines.get(group, ()):
            if head.state == GONE:
                continue
            if head.state != READY:
                break
            if self._is_expired(head.sent, now):
                if self._expired_met == EXPIRED_AT_MOST:
                    break
                self._expired_met += 1
                self._traffic.expired += 1
                late.append(head)
                continue
            if self._is_dead_letter(head):
                # On its way to the dead-letter queue, or soon: the group goes on behind it when it has left.
                self._give_up(head)
                break
            found.append(head)
            if len(found) == room:
                break
        for head in late:
            self._discard(head, step)
        return found

    def _hand_out(self, head: Head, hidden: Millis, now: Millis, step: Step) -> Taken:
        if not head.receives:
            self._delayed.received(head.sent)
        head.receives += 1
        if not head.first:
            head.first = now
        head.until = now + hidden
        key = u64(head.seq)
        step.writes.append((self._state + key, encode_state(head.until, head.receives, head.first)))
        if hidden:
            head.state = IN_FLIGHT
            self._in_flight.add(head)
        return self._taken(head, now)

    def _taken(self, head: Head, received_at: Millis) -> Taken:
        return Taken(
            self._message + u64(head.seq),
            self._receipts.handle(self.partition, self._generation, head.seq, head.receives, received_at),
            head.before + head.receives,
            head.first,
            self._public(head.seq),
        )

    def _repeat(self, attempt: str, hidden: Millis, now: Millis, step: Step) -> list[Taken]:
        """The same messages and handles again, if none of them has changed since; their timeouts start anew."""
        made = self._attempts.get(attempt)
        if made is None or made.at + WINDOW <= now:
            return []
        # After a restart they may not be in memory yet: then a page is asked for, and the receiver waits for it.
        self._sought = max(seq for seq, _, _ in made.taken)
        if self._cursor <= self._sought < self._next_seq:
            return []
        self._sought = 0
        heads = [self._heads.get(seq) for seq, _, _ in made.taken]
        found = [
            head
            for head, (_, number, _) in zip(heads, made.taken, strict=True)
            if head is not None and head.state == IN_FLIGHT and head.receives == number and head.until == made.until
        ]
        if len(found) < len(made.taken):
            return []
        for head in found:
            self._in_flight.remove(head)
            head.until = now + hidden
            state = encode_state(head.until, head.receives, head.first)
            step.writes.append((self._state + u64(head.seq), state))
            if hidden:
                self._in_flight.add(head)
            else:
                self._show(head)
        made.until = now + hidden
        step.writes.append((self._attempt_prefix + attempt.encode(), made.encode()))
        return [self._taken(head, at) for head, (_, _, at) in zip(found, made.taken, strict=True)]

    def _record(self, attempt: str, taken: list[Taken], now: Millis, until: Millis, step: Step) -> None:
        lapsed = takewhile(lambda item: item[1].at + WINDOW <= now, self._attempts.items())
        for old, _ in list(islice(lapsed, _FORGOTTEN)):
            del self._attempts[old]
            step.writes.append((self._attempt_prefix + old.encode(), None))
        heads = [self._heads[sequence_of(each.key)] for each in taken]
        made = _Attempt(now, until, [(head.seq, head.receives, now) for head in heads])
        self._attempts.pop(attempt, None)
        self._attempts[attempt] = made
        step.writes.append((self._attempt_prefix + attempt.encode(), made.encode()))

    # -- deleting, changing visibility -----------------------------------------------

    def _discard(self, head: Head, step: Step) -> None:
        if head.state == IN_FLIGHT:
            self._in_flight.remove(head)
        elif head.state == LATER:
            self._delayed.drop(head)
        if not head.receives:
            self._delayed.received(head.sent)
        head.state = GONE
        self._heads.pop(head.seq, None)
        self._live -= 1
        key = u64(head.seq)
        step.writes.append((self._message + key, None))
        if head.receives:
            step.writes.append((self._state + key, None))
        if self._remembers:
            self._deleted.add(head.seq)
        self._check(head.group)

    def _latest(self, receipt: Receipt) -> Head | None:
        """The message in flight that this is the latest receipt of."""
        head = self._heads.get(receipt.seq)
        if head is not None and head.state == IN_FLIGHT and head.receives == receipt.number:
            return head
        return None

    def _delete_known(self, command: Delete, now: Millis, step: Step) -> None:
        failures: list[ServiceError | None] = []
        for receipt, handle in zip(command.receipts, command.handles, strict=True):
            if receipt.generation != self._generation or receipt.seq not in self._heads:
                failures.append(None)
                continue
            head = self._latest(receipt)
            if head is None:
                failures.append(expired(handle))
            else:
                self._discard(head, step)
                failures.append(None)
        step.answers.append((command.token, Verdicts(failures)))

    def _change_known(self, command: ChangeVisibility, now: Millis, step: Step) -> None:
        failures: list[ServiceError | None] = []
        for receipt, handle, timeout in zip(command.receipts, command.handles, command.timeouts, strict=True):
            head = self._latest(receipt) if receipt.generation == self._generation else None
            failure = not_available(handle) if head is None else beyond_limit(receipt, timeout, now)
            failures.append(failure)
            if head is None or failure is not None:
                continue
            self._in_flight.remove(head)
            head.until = now + timeout
            state = encode_state(head.until, head.receives, head.first)
            step.writes.append((self._state + u64(head.seq), state))
            if timeout:
                self._in_flight.add(head)
            else:
                self._show(head)
        step.answers.append((command.token, Verdicts(failures)))

    def _stall(self, command: Delete | ChangeVisibility, absent: set[int], now: Millis, step: Step) -> bool:
        missing = {
            receipt.seq
            for receipt in command.receipts
            if receipt.generation == self._generation and self._cursor <= receipt.seq < self._next_seq
        }
        if missing:
            self._stalled.append(Stalled(command, missing, absent))
            self._refill(now, step)
        return bool(missing)

    # -- rows from the store ---------------------------------------------------------

    def _refill(self, now: Millis, step: Step) -> None:
        wanted = self._stalled or self._cursor <= self._sought or (not self._open and len(self._heads) < self._eligible)
        if self._cursor < self._next_seq and wanted and not self._asked("page"):
            start, end = self._message + u64(self._cursor), self._message + u64(self._next_seq)
            limit = max(1, min(PAGE, self._eligible - len(self._heads)))
            self._ask(step, Need(start, end, limit, beside=(self._message, self._state)), "page", self._next_seq)

    def _load_page(self, command: Loaded, end: int, now: Millis, step: Step) -> None:
        states = {sequence_of(key): StateRow.decode(value) for key, value in command.beside}
        groups: dict[str, None] = {}
        for key, value in command.rows:
            seq = sequence_of(key)
            if seq in self._heads or seq in self._deleted:
                continue
            _, sent, _, group, before, first = heading(value)
            head = Head(seq, sent, 0, group, before, first, False)
            self._line_up(head)
            groups[group] = None
            state = states.get(seq)
            if state is not None:
                head.receives, head.first, head.until = state.receives, state.first_received, state.visible_at
                if state.visible_at > now:
                    head.state = IN_FLIGHT
                    self._in_flight.hold(head)
            else:
                self._delay(head, now)
        self._cursor = end if command.done else sequence_of(command.rows[-1][0]) + 1
        for group in groups:
            self._check(group)
        for seq in [seq for stalled in self._stalled for seq in stalled.missing if seq < self._cursor]:
            self._unstall(seq, now, step)
        if self._stalled:
            self._refill(now, step)

    def _load_more(self, kind: str, about: Any, command: Loaded, now: Millis, step: Step) -> None:
        if kind != "memory":
            return
        memory = self._memory
        about(command.rows)
        if not command.done:
            self._ask(step, Need(command.rows[-1][0] + b"\0", command.need.end, _MEMORY_PAGE), "memory", about)
            return
        if about == memory.load_runs:
            need = Need(memory.after_runs, memory.singles + _BEHIND, _MEMORY_PAGE)
            self._ask(step, need, "memory", memory.load_singles)
            return
        memory.complete = True
        held, self._held = self._held, []
        for send in held:
            self._send_now(send, now, step)

    def _purge(self, command: Purge, now: Millis, step: Step) -> None:
        """A purge clears the deduplication memory too (recorded), so nobody need wait for it any longer."""
        generation, held = self._generation, self._held
        super()._purge(command, now, step)
        if self._generation != generation:
            for send in held:
                self._send_now(send, now, step)
            self._finish(now, step)

    def _configure(self, command: Configure, now: Millis, step: Step) -> None:
        """A new delay is also for messages that are in the queue already and were never received."""
        delay = self.settings.delay
        self.settings = command.settings
        self._come_up(now)
        if self.settings.delay != delay:
            self._delayed.delay = self.settings.delay
            for head in self._heads.values():
                if not head.receives and head.state in (READY, LATER):
                    self._delay(head, now)
            for group in list(self._lines):
                self._check(group)
        super()._configure(command, now, step)

    def _delay(self, head: Head, now: Millis) -> None:
        """Hide a message that was never received until its delay is over."""
        if head.state == LATER:
            self._delayed.drop(head)
        head.state = READY
        head.until = head.sent + self.settings.delay
        if head.until > now:
            head.state = LATER
            self._delayed.hold(head)

    # -- the rest ----------------------------------------------------------------------

    def _close(self, command: Close, now: Millis, step: Step) -> None:
        for send in self._held:
            step.answers.append((send.token, command.error))
        self._held = []
        super()._close(command, now, step)

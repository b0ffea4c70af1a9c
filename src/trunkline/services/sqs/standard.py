"""A standard queue as a deterministic state machine.

Messages come back in about the order of their sending, and any visible one may
come: no order is promised. Its memory is a window of heads (see machine).

A message without delay is found by its sequence. ``_cursor`` divides them:
every live one below it is in memory, except in-flight ones after a restart,
which come in as the scan from the start passes them (that is why a restart
sets it to 0). A send joins the window if that reaches the tail and is not
full; else it goes to the store only, and a Need brings it in later. When too
many messages become visible again, their heads are dropped and the cursor
goes back to the lowest of them.

A delayed message is found by its due time, in the delayed index, until its
first receive; ``_delayed_cursor`` divides that index in the same way. A
message row flagged DELAYED without a state row is therefore passed over by
the scan by sequence.

What was rejected: keeping state rows beside message rows (a receive would
split pages full of bodies), and an index by visibility time (two rows for
each receive instead of one).
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.step import Loaded, Need, Row, Step
from trunkline.kernel.time import NEVER, Millis
from trunkline.services.sqs.commands import (
    Accept,
    ChangeVisibility,
    Delete,
    Receive,
    Send,
    Sent,
    Taken,
    Verdicts,
)
from trunkline.services.sqs.fairness import Aside, Groups
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
    place_of,
    sequence_of,
)
from trunkline.services.sqs.rows import (
    DELAYED_UNTIL,
    FLAG_DELAYED,
    FLAG_MOVED,
    MessageRow,
    StateRow,
    encode_message,
    encode_state,
    heading,
    u64,
)
from trunkline.services.sqs.tally import Tally
from trunkline.services.sqs.visibility import beyond_limit, not_available

_LOOK_AHEAD = 1_000
"""How many messages of noisy groups one search puts aside: it takes a millisecond at the most."""

_INDEX = struct.Struct(">QIQ")


class StandardQueue(QueueMachine):
    """See the module."""

    @property
    def _delayed(self) -> Tally[Head]:
        return self._later

    def _due(self, row: MessageRow) -> Millis:
        return row.due

    def _uncount_delay(self, row: MessageRow) -> None:
        if row.due:
            self._delayed.uncount(row.due)

    def _started(self) -> None:
        self._later: Tally[Head] = Tally(DELAYED_UNTIL, self._generation)
        self._fresh: deque[Head] = deque()
        self._back: deque[Head] = deque()
        self._groups = Groups()
        self._aside: Aside[Head] = Aside()
        self._rewound: int | None = None
        self._delayed_cursor: tuple[int, int] | None = None
        self._delayed_since: tuple[int, int] | None = None

    def _restored(self, rows: list[Row]) -> None:
        if self._live:
            self._delayed_cursor = (0, 0)

    def _wakes(self) -> Millis:
        if self._delayed_cursor is None or self._asked("delayed"):
            return NEVER
        return self._delayed_cursor[0]

    def _load_more(self, kind: str, about: Any, command: Loaded, now: Millis, step: Step) -> None:
        if kind == "delayed":
            self._load_delayed(command, now)
        elif kind == "one":
            self._load_rows(command, now)
            self._unstall(about, now, step)

    def _send(self, command: Send, now: Millis, step: Step) -> None:
        ids = []
        for draft in command.drafts:
            delay = self.settings.delay if draft.delay is None else draft.delay
            due = now + delay if delay else 0
            flags = FLAG_DELAYED if due else 0
            head = Head(self._next_seq, now, due, draft.group, 0, 0, False)
            value = encode_message(
                flags, now, due, 0, 0, draft.id, draft.md5, draft.size, draft.group, draft.deduplication, "", draft.tail
            )
            self._add(head, value, step)
            ids.append(draft.id)
        step.answers.append((command.token, Sent(ids, [0] * len(ids))))
        self._finish(now, step)

    def _add(self, head: Head, value: bytes, step: Step) -> None:
        """Store a message; keep its head if the window reaches the tail and is not full."""
        seq = head.seq
        self._next_seq = seq + 1
        self._live += 1
        self._note(head.sent)
        step.writes.append((self._message + u64(seq), value))
        if head.moved:
            step.writes.append((self._by_sent + u64(head.sent) + u64(seq), b""))
        at_tail = self._cursor == seq
        if head.due:
            if at_tail:
                self._cursor = seq + 1
            self._add_delayed(head, step)
        elif at_tail and len(self._heads) < self._window:
            self._cursor = seq + 1
            self._heads[seq] = head
            head.queued = True
            self._fresh.append(head)

    def _add_delayed(self, head: Head, step: Step) -> None:
        value = _INDEX.pack(head.sent, head.before, head.first) + head.group.encode()
        step.writes.append((self._index + u64(head.due) + u64(head.seq), value))
        place = (head.due, head.seq)
        if self._delayed_cursor is None and len(self._heads) >= self._window:
            self._delayed_cursor = place
        if self._delayed_cursor is not None and place >= self._delayed_cursor:
            self._delayed.count(head.due)
            if self._delayed_since is None or place < self._delayed_since:
                self._delayed_since = place
            return
        head.state = LATER
        head.until = head.due
        self._heads[head.seq] = head
        self._delayed.add(head)

    def _accept(self, command: Accept, now: Millis, step: Step) -> None:
        """Messages of another queue: dead letters keep their sent time, moved ones get a new one."""
        for value in command.rows:
            row = MessageRow.decode(value)
            sent = row.sent if command.keep_sent else now
            delay = 0 if command.keep_sent else self.settings.delay
            due = now + delay if delay else 0
            flags = (FLAG_MOVED if command.keep_sent else 0) | (FLAG_DELAYED if due else 0)
            moved = bool(flags & FLAG_MOVED)
            head = Head(self._next_seq, sent, due, row.group, row.receives_before, row.first_received, moved)
            self._add(head, row.moved(flags=flags, sent=sent, due=due).encode(), step)
        self._finish(now, step)

    def _take(self, command: Receive, now: Millis, step: Step) -> list[Taken]:
        settings = self.settings
        hidden = settings.visibility_timeout if command.visibility is None else command.visibility
        taken: list[Taken] = []
        shown_again: list[Head] = []
        while len(taken) < command.count and self._in_flight.resident < MAXIMUM_IN_FLIGHT:
            head = self._next_ready(now, step)
            if head is None:
                break
            if self._is_dead_letter(head):
                if self._give_up(head):
                    continue
                head.queued = True
                self._back.appendleft(head)
                break
            if not head.receives and head.due:
                step.writes.append((self._index + u64(head.due) + u64(head.seq), None))
            head.receives += 1
            if not head.first:
                head.first = now
            head.until = now + hidden
            key = u64(head.seq)
            step.writes.append((self._state + key, encode_state(head.until, head.receives, head.first)))
            if hidden:
                self._hide(head)
            else:
                shown_again.append(head)
            handle = self._receipts.handle(self.partition, self._generation, head.seq, head.receives, now)
            taken.append(Taken(self._message + key, handle, head.before + head.receives, head.first))
        for head in shown_again:
            self._show(head)
        return taken

    def _next_ready(self, now: Millis, step: Step) -> Head | None:
        """The next visible message, of a quiet group if there is one near; out of all lines."""
        aside = self._aside
        while self._expired_met < EXPIRED_AT_MOST and aside and (head := aside.take(self._noisy)) is not None:
            if self._alive(head, now, step):
                return head
        passed = 0
        for line in (self._back, self._fresh):
            while line and self._expired_met < EXPIRED_AT_MOST:
                head = line.popleft()
                if not self._alive(head, now, step):
                    continue
                if not head.group or not self._noisy(head.group):
                    return head
                head.queued = True
                aside.put(head)
                passed += 1
                if passed >= _LOOK_AHEAD or len(aside) > self._window:
                    return self._oldest_aside(now, step)
        return self._oldest_aside(now, step)

    def _oldest_aside(self, now: Millis, step: Step) -> Head | None:
        while self._expired_met < EXPIRED_AT_MOST and (head := self._aside.take()) is not None:
            if self._alive(head, now, step):
                return head
        return None

    def _alive(self, head: Head, now: Millis, step: Step) -> bool:
        """Out of its line: may it be handed out? What is past its retention is deleted."""
        head.queued = False
        if head.state != READY:
            return False
        if head.sent + self.settings.retention <= now:
            self._expired_met += 1
            self._traffic.expired += 1
            self._discard(head, step)
            return False
        return True

    def _noisy(self, group: str) -> bool:
        return self._groups.noisy(group, self._in_flight.resident)

    def _hide(self, head: Head) -> None:
        head.state = IN_FLIGHT
        self._in_flight.add(head)
        if head.group:
            self._groups.more(head.group)

    def _unhide(self, head: Head) -> None:
        """Take a head out of flight; the tally has been or will be told."""
        if head.group:
            self._groups.less(head.group)

    def _show(self, head: Head) -> None:
        """A message is visible (again): queue it up, or drop its head if memory is full."""
        head.state = READY
        if head.queued:
            return
        if len(self._back) >= self._window:
            del self._heads[head.seq]
            if head.due and not head.receives:
                place = (head.due, head.seq)
                if self._delayed_cursor is None or place < self._delayed_cursor:
                    self._delayed_cursor = place
            else:
                self._rewind(head.seq)
            head.state = GONE
            return
        head.queued = True
        self._back.append(head)

    def _rewind(self, seq: int) -> None:
        self._cursor = min(self._cursor, seq)
        if self._rewound is None or seq < self._rewound:
            self._rewound = seq

    def _come_up(self, now: Millis) -> None:
        """What has become visible by ``now``: ends of timeouts and of delays."""
        for head in self._in_flight.up(now):
            self._unhide(head)
            self._show(head)
        for head in self._delayed.up(now):
            self._show(head)

    def _delete_known(self, command: Delete, now: Millis, step: Step) -> None:
        for receipt in command.receipts:
            head = self._heads.get(receipt.seq) if receipt.generation == self._generation else None
            if head is not None:
                self._discard(head, step)
        step.answers.append((command.token, Verdicts([None] * len(command.receipts))))

    def _discard(self, head: Head, step: Step) -> None:
        """Delete a message that is in memory."""
        if head.state == IN_FLIGHT:
            self._in_flight.remove(head)
            self._unhide(head)
        elif head.state == LATER:
            self._delayed.remove(head)
        head.state = GONE
        self._heads.pop(head.seq, None)
        self._live -= 1
        key = u64(head.seq)
        step.writes.append((self._message + key, None))
        if head.receives:
            step.writes.append((self._state + key, None))
        elif head.due:
            step.writes.append((self._index + u64(head.due) + key, None))
        if head.moved:
            step.writes.append((self._by_sent + u64(head.sent) + key, None))
        if self._remembers:
            self._deleted.add(head.seq)

    def _change_known(self, command: ChangeVisibility, now: Millis, step: Step) -> None:
        failures: list[ServiceError | None] = []
        for receipt, handle, timeout in zip(command.receipts, command.handles, command.timeouts, strict=True):
            head = self._heads.get(receipt.seq) if receipt.generation == self._generation else None
            if head is None or head.state not in (READY, IN_FLIGHT) or self._is_expired(head.sent, now):
                failures.append(not_available(handle))
                continue
            failure = beyond_limit(receipt, timeout, now)
            failures.append(failure)
            if failure is not None:
                continue
            if head.state == IN_FLIGHT:
                self._in_flight.remove(head)
                self._unhide(head)
            head.until = now + timeout
            state = encode_state(head.until, head.receives, head.first)
            step.writes.append((self._state + u64(head.seq), state))
            if timeout:
                self._hide(head)
            else:
                self._show(head)
        step.answers.append((command.token, Verdicts(failures)))

    def _stall(self, command: Delete | ChangeVisibility, absent: set[int], now: Millis, step: Step) -> bool:
        """Does the command touch messages that may live but are not in memory? Then it waits for their rows."""
        missing = {
            receipt.seq
            for receipt in command.receipts
            if receipt.seq not in self._heads
            and receipt.generation == self._generation
            and receipt.seq not in absent
            and (receipt.seq >= self._cursor or self._delayed_cursor is not None)
        }
        if not missing:
            return False
        self._stalled.append(Stalled(command, missing, absent))
        for seq in missing:
            key = self._message + u64(seq)
            self._ask(step, Need(key, key + b"\0", 1, beside=(self._message, self._state)), "one", seq)
        return True

    def _page_would_help(self, now: Millis, step: Step) -> bool:
        """Not if memory holds all that is visible: then a delayed backlog need not be read to say so."""
        helps = super()._page_would_help(now, step)
        hidden = self._in_flight.total(now) + self._delayed.total(now)
        return helps and self._live - hidden > 0

    def _receive(self, command: Receive, now: Millis, step: Step) -> None:
        super()._receive(command, now, step)
        if self._cursor < self._next_seq:
            self._refill(now, step)  # before the window runs dry, so that a backlog is handed out without a pause

    def _refill(self, now: Millis, step: Step) -> None:
        """Ask for the next page when the window runs low."""
        low = max(1, self._window // 4)
        if self._cursor < self._next_seq and len(self._fresh) < low and not self._asked("page"):
            self._rewound = None
            start, end = self._message + u64(self._cursor), self._message + u64(self._next_seq)
            limit = max(1, min(PAGE, self._window))
            self._ask(step, Need(start, end, limit, beside=(self._message, self._state)), "page", self._next_seq)
        cursor = self._delayed_cursor
        if cursor is not None and cursor[0] <= now and not self._asked("delayed"):
            self._delayed_since = None
            start = self._index + u64(cursor[0]) + u64(cursor[1])
            self._ask(step, Need(start, self._index + b"\xff" * 17, max(1, min(PAGE, self._window))), "delayed")

    def _load_page(self, command: Loaded, end: int, now: Millis, step: Step) -> None:
        self._load_rows(command, now)
        cursor = end if command.done else sequence_of(command.rows[-1][0]) + 1
        self._cursor = max(cursor, self._cursor)
        if self._rewound is not None:
            self._cursor = min(self._cursor, self._rewound)

    def _load_rows(self, command: Loaded, now: Millis) -> None:
        states = {sequence_of(key): StateRow.decode(value) for key, value in command.beside}
        for key, value in command.rows:
            seq = sequence_of(key)
            if seq in self._heads or seq in self._deleted:
                continue
            flags, sent, due, group, before, first = heading(value)
            state = states.get(seq)
            if state is None and flags & FLAG_DELAYED:
                continue
            self._install(Head(seq, sent, due, group, before, first, bool(flags & FLAG_MOVED)), state, now)

    def _install(self, head: Head, state: StateRow | None, now: Millis) -> None:
        self._heads[head.seq] = head
        if state is None:
            head.queued = True
            self._fresh.append(head)
            return
        head.receives = state.receives
        head.first = state.first_received
        head.until = state.visible_at
        if state.visible_at > now:
            head.state = IN_FLIGHT
            self._in_flight.hold(head)
            if head.group:
                self._groups.more(head.group)
        else:
            head.queued = True
            self._fresh.append(head)

    def _load_delayed(self, command: Loaded, now: Millis) -> None:
        # First the cursor: a head for which there is no room moves it back to its place again.
        if command.done:
            self._delayed_cursor = None
        elif self._delayed_cursor is not None:
            due, seq = place_of(command.rows[-1][0])
            self._delayed_cursor = max(self._delayed_cursor, (due, seq + 1))
        # What was sent while the rows were being read is perhaps not among them.
        since = self._delayed_since
        if since is not None and (self._delayed_cursor is None or since < self._delayed_cursor):
            self._delayed_cursor = since
        for key, value in command.rows:
            due, seq = place_of(key)
            if seq in self._heads or seq in self._deleted:
                continue
            sent, before, first = _INDEX.unpack_from(value)
            head = Head(seq, sent, due, value[_INDEX.size :].decode(), before, first, False)
            self._heads[seq] = head
            head.until = due
            if due > now:
                head.state = LATER
                self._delayed.hold(head)
            else:
                self._show(head)

"""A standard queue as a deterministic state machine.

Rule 1: nothing here reads a clock, draws a random number or awaits.
Rule 2: a method changes the machine and returns a Step; the runtime commits
        ``step.writes`` and only then lets the answers out.
Rule 3: memory holds *heads* (a message's times and counts), never bodies, and
        only a window of them: a backlog costs disk.

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
from collections.abc import Callable
from typing import Any

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.step import Cancel, Close, Delivery, Loaded, Need, Row, Step, Wake
from trunkline.kernel.time import NEVER, Millis
from trunkline.services.sqs.commands import (
    Accept,
    ChangeVisibility,
    Configure,
    Count,
    Counts,
    Delete,
    Glimpse,
    Open,
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
from trunkline.services.sqs.receipts import Receipt, Receipts
from trunkline.services.sqs.rows import (
    COUNTERS,
    DELAYED,
    FLAG_DELAYED,
    FLAG_MOVED,
    HISTOGRAM,
    MESSAGE,
    META,
    SENT_INDEX,
    STATE,
    MessageRow,
    StateRow,
    u32,
    u64,
)
from trunkline.services.sqs.tally import Tally
from trunkline.services.sqs.visibility import beyond_limit, not_available
from trunkline.services.sqs.waiting import Waiting

PAGE = 256
MAXIMUM_IN_FLIGHT = 120_000
"""AWS's quota for a standard queue (aws/sqs.md section 6)."""
_NOISY_LEAST = 10
"""A group with fewer messages in flight than this is never noisy."""
_LOOK_AHEAD = 100
"""How many messages of noisy groups are passed over in search of a quiet group's."""
_HEAD_BYTES = 320

_COUNTERS = struct.Struct(">QQQQ")
_INDEX = struct.Struct(">QIQ")

_READY, _IN_FLIGHT, _MOVING, _GONE, _LATER = range(5)


class Head:
    """What memory knows of a message. ``until``: visible again, or no longer delayed, at this instant."""

    __slots__ = ("before", "due", "first", "group", "moved", "queued", "receives", "sent", "seq", "state", "until")

    def __init__(self, seq: int, sent: Millis, due: Millis, group: str, before: int, first: Millis, moved: bool):
        self.seq = seq
        self.sent = sent
        self.due = due
        self.group = group
        self.before = before
        self.first = first
        self.moved = moved
        self.receives = 0
        self.until: Millis = 0
        self.state = _READY
        self.queued = False


class _Stalled:
    """A command that waits for the heads of some messages."""

    __slots__ = ("absent", "command", "missing")

    def __init__(self, command: Delete | ChangeVisibility, missing: set[int]) -> None:
        self.command = command
        self.missing = missing
        self.absent: set[int] = set()


class StandardQueue:
    """See the module. ``rows``: the head rows. ``resolve(arn)``: the partition of a queue that exists now, or None."""

    def __init__(
        self,
        partition: int,
        settings: QueueSettings,
        rows: list[Row],
        receipts: Receipts,
        resolve: Callable[[str], int | None],
        window: int = 10_000,
    ) -> None:
        self.partition = partition
        self.settings = settings
        self.wake_at: Millis = NEVER
        self.durable_wake_at: Millis = NEVER
        self._receipts = receipts
        self._resolve = resolve
        self._window = window
        self._waiting = Waiting()
        self._after_load: list[Receive] = []
        self._generation = 0
        self._purged_at: Millis = 0
        self._oldest: Millis = NEVER
        self._delayed_cursor: tuple[int, int] | None = None
        known = dict(rows)
        if META in known:
            self._generation = int.from_bytes(known[META][:4], "big")
        self._start_generation()
        counters = known.get(COUNTERS + u32(self._generation))
        if counters is not None:
            self._next_seq, self._live, self._oldest, self._purged_at = _COUNTERS.unpack(counters)
            self._in_flight.restore(rows)
            self._delayed.restore(rows)
            self._cursor = 1
            if self._live:
                self._delayed_cursor = (0, 0)
        self._set_durable_wake()
        self._handlers: dict[type, Callable[[Any, Millis, Step], None]] = {
            Send: self._send,
            Receive: self._receive,
            Delete: self._delete,
            ChangeVisibility: self._change_visibility,
            Loaded: self._loaded,
            Wake: self._wake,
            Cancel: self._cancel,
            Count: self._count,
            Peek: self._peek,
            Purge: self._purge,
            Accept: self._accept,
            Configure: self._configure,
            Open: self._open,
            Close: self._close,
        }

    def _start_generation(self) -> None:
        generation = u32(self._generation)
        self._message = MESSAGE + generation
        self._state = STATE + generation
        self._index = DELAYED + generation
        self._by_sent = SENT_INDEX + generation
        self._next_seq = 1
        self._live = 0
        self._oldest = NEVER
        self._heads: dict[int, Head] = {}
        self._fresh: deque[Head] = deque()
        self._back: deque[Head] = deque()
        self._in_flight: Tally[Head] = Tally(0, self._generation)
        self._delayed: Tally[Head] = Tally(1, self._generation)
        self._groups: dict[str, int] = {}
        self._cursor = 1
        self._rewound: int | None = None
        self._delayed_cursor = None
        self._needs: dict[Need, tuple[str, Any]] = {}
        self._deleted: set[int] = set()
        self._stalled: list[_Stalled] = []
        self._moving = 0

    # -- what the runtime asks -------------------------------------------------

    @property
    def companions(self) -> tuple[int, ...]:
        """The dead-letter queue, where messages may go in the next step."""
        settings = self.settings
        if settings.max_receive_count:
            partition = self._resolve(settings.dead_letter_arn)
            if partition is not None and partition != self.partition:
                return (partition,)
        return ()

    @property
    def weight(self) -> int:
        return 2_000 + _HEAD_BYTES * len(self._heads)

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._after_load or self._needs or self._stalled)

    def handle(self, command: Any, now: Millis) -> Step:
        step = Step()
        self._handlers[type(command)](command, now, step)
        return step

    # -- sending ----------------------------------------------------------------

    def _send(self, command: Send, now: Millis, step: Step) -> None:
        ids = []
        for draft in command.drafts:
            delay = self.settings.delay if draft.delay is None else draft.delay
            due = now + delay if delay else 0
            row = MessageRow(
                FLAG_DELAYED if due else 0,
                now, due, 0, 0, draft.id, draft.md5, draft.size, draft.group, draft.deduplication, "", draft.tail,
            )  # fmt: skip
            self._add(row, now, step)
            ids.append(draft.id)
        step.answers.append((command.token, Sent(ids, [0] * len(ids))))
        self._finish(now, step)

    def _add(self, row: MessageRow, now: Millis, step: Step) -> None:
        seq = self._next_seq
        self._next_seq = seq + 1
        self._live += 1
        if row.sent < self._oldest:
            self._oldest = row.sent
            self._set_durable_wake()
        step.writes.append((self._message + u64(seq), row.encode()))
        moved = bool(row.flags & FLAG_MOVED)
        if moved:
            step.writes.append((self._by_sent + u64(row.sent) + u64(seq), b""))
        at_tail = self._cursor == seq
        if row.due:
            if at_tail:
                self._cursor = seq + 1
            self._add_delayed(seq, row, step)
        elif at_tail and len(self._heads) < self._window:
            self._cursor = seq + 1
            head = Head(seq, row.sent, 0, row.group, row.receives_before, row.first_received, moved)
            self._heads[seq] = head
            head.queued = True
            self._fresh.append(head)

    def _add_delayed(self, seq: int, row: MessageRow, step: Step) -> None:
        value = _INDEX.pack(row.sent, row.receives_before, row.first_received) + row.group.encode()
        step.writes.append((self._index + u64(row.due) + u64(seq), value))
        place = (row.due, seq)
        if self._delayed_cursor is None and len(self._heads) >= self._window:
            self._delayed_cursor = place
        if self._delayed_cursor is not None and place >= self._delayed_cursor:
            self._delayed.count(row.due)
            return
        moved = bool(row.flags & FLAG_MOVED)
        head = Head(seq, row.sent, row.due, row.group, row.receives_before, row.first_received, moved)
        head.state = _LATER
        head.until = row.due
        self._heads[seq] = head
        self._delayed.add(head)

    def _accept(self, command: Accept, now: Millis, step: Step) -> None:
        """Messages of another queue: dead letters keep their sent time, moved ones get a new one."""
        for value in command.rows:
            row = MessageRow.decode(value)
            sent = row.sent if command.keep_sent else now
            delay = 0 if command.keep_sent else self.settings.delay
            due = now + delay if delay else 0
            flags = (FLAG_MOVED if command.keep_sent else 0) | (FLAG_DELAYED if due else 0)
            self._add(row.moved(flags=flags, sent=sent, due=due), now, step)
        self._finish(now, step)

    # -- receiving ----------------------------------------------------------------

    def _receive(self, command: Receive, now: Millis, step: Step) -> None:
        self._come_up(now)
        # Nobody overtakes those who wait already.
        if self._waiting and self._wait_of(command):
            self._park(command, now)
        else:
            self._serve(command, now, step)
        self._finish(now, step)

    def _wait_of(self, command: Receive) -> Millis:
        return self.settings.receive_wait if command.wait is None else command.wait

    def _park(self, command: Receive, now: Millis) -> None:
        self._waiting.park(command, now + self._wait_of(command))

    def _serve(self, command: Receive, now: Millis, step: Step) -> None:
        """Answer with what there is; else wait for a page, for a message, or answer with nothing."""
        moving = self._moving
        taken = self._take(command, now, step)
        if taken:
            step.answers.append((command.token, Received(taken, [each.key for each in taken])))
        elif self._moving > moving or self._page_would_help(now, step):
            self._after_load.append(command)
        elif self._wait_of(command):
            self._park(command, now)
        elif self._in_flight.resident >= MAXIMUM_IN_FLIGHT:
            error = ServiceError("OverLimit", f"Too many messages in flight: the limit is {MAXIMUM_IN_FLIGHT}.")
            step.answers.append((command.token, error))
        else:
            step.answers.append((command.token, Received([])))

    def _take(self, command: Receive, now: Millis, step: Step) -> list[Taken]:
        settings = self.settings
        hidden = settings.visibility_timeout if command.visibility is None else command.visibility
        taken: list[Taken] = []
        shown_again: list[Head] = []
        while len(taken) < command.count and self._in_flight.resident < MAXIMUM_IN_FLIGHT:
            head = self._next_ready(now, step)
            if head is None:
                break
            if settings.max_receive_count and head.receives >= settings.max_receive_count and self._give_up(head, step):
                continue
            if not head.receives and head.due:
                step.writes.append((self._index + u64(head.due) + u64(head.seq), None))
            head.receives += 1
            if not head.first:
                head.first = now
            head.until = now + hidden
            key = u64(head.seq)
            step.writes.append((self._state + key, StateRow(head.until, head.receives, head.first).encode()))
            if hidden:
                self._hide(head)
            else:
                shown_again.append(head)
            receipt = Receipt(self.partition, self._generation, head.seq, head.receives, now)
            handle = self._receipts.handle(receipt)
            taken.append(Taken(self._message + key, handle, head.before + head.receives, head.first))
        for head in shown_again:
            self._show(head)
        return taken

    def _next_ready(self, now: Millis, step: Step) -> Head | None:
        for line in (self._back, self._fresh):
            while line:
                head = line.popleft()
                head.queued = False
                if head.state != _READY:
                    continue
                if head.sent + self.settings.retention <= now:
                    self._discard(head, step)
                    continue
                if head.group and self._noisy(head.group):
                    head = self._quieter(line, head, now)
                return head
        return None

    def _noisy(self, group: str) -> bool:
        """Fair queues: has this group many messages in flight, for its share?"""
        count = self._groups.get(group, 0)
        return count >= _NOISY_LEAST and count * 10 >= self._in_flight.resident

    def _quieter(self, line: deque[Head], noisy: Head, now: Millis) -> Head:
        """The first message of a quiet group that is not far behind; ``noisy`` itself if there is none."""
        for at in range(min(_LOOK_AHEAD, len(line))):
            head = line[at]
            alive = head.state == _READY and head.sent + self.settings.retention > now
            if alive and not self._noisy(head.group):
                del line[at]
                head.queued = False
                noisy.queued = True
                line.appendleft(noisy)
                return head
        return noisy

    def _hide(self, head: Head) -> None:
        head.state = _IN_FLIGHT
        self._in_flight.add(head)
        if head.group:
            self._groups[head.group] = self._groups.get(head.group, 0) + 1

    def _unhide(self, head: Head) -> None:
        """Take a head out of flight; the tally has been or will be told."""
        if head.group:
            left = self._groups.get(head.group, 0) - 1
            if left > 0:
                self._groups[head.group] = left
            else:
                self._groups.pop(head.group, None)

    def _show(self, head: Head) -> None:
        """A message is visible (again): queue it up, or drop its head if memory is full."""
        head.state = _READY
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
            head.state = _GONE
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

    # -- dead letters ---------------------------------------------------------------

    def _give_up(self, head: Head, step: Step) -> bool:
        """Start moving a message to the dead-letter queue. False if there is none (any more)."""
        if self._resolve(self.settings.dead_letter_arn) is None:
            return False
        head.state = _MOVING
        self._moving += 1
        key = self._message + u64(head.seq)
        self._ask(step, Need(key, key + b"\0", 1), "move", head)
        return True

    def _move(self, head: Head, rows: list[Row], step: Step) -> None:
        self._moving -= 1
        if head.state != _MOVING:
            return
        target = self._resolve(self.settings.dead_letter_arn)
        if not rows or target is None:
            head.state = _READY
            self._show(head)
            return
        row = MessageRow.decode(rows[0][1]).moved(
            receives_before=head.before + head.receives,
            first_received=head.first,
            source_arn=self.settings.arn,
        )
        self._discard(head, step)
        step.deliveries.append(Delivery(target, Accept([row.encode()])))

    # -- deleting, changing visibility -------------------------------------------------

    def _delete(self, command: Delete, now: Millis, step: Step) -> None:
        self._come_up(now)
        if not self._stall(command, now, step):
            self._delete_known(command, now, step)
        self._finish(now, step)

    def _delete_known(self, command: Delete, now: Millis, step: Step) -> None:
        for receipt in command.receipts:
            head = self._heads.get(receipt.seq) if receipt.generation == self._generation else None
            if head is not None:
                self._discard(head, step)
        step.answers.append((command.token, Verdicts([None] * len(command.receipts))))

    def _discard(self, head: Head, step: Step) -> None:
        """Delete a message that is in memory."""
        if head.state == _IN_FLIGHT:
            self._in_flight.remove(head)
            self._unhide(head)
        elif head.state == _LATER:
            self._delayed.remove(head)
        head.state = _GONE
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
        if self._needs:
            self._deleted.add(head.seq)

    def _change_visibility(self, command: ChangeVisibility, now: Millis, step: Step) -> None:
        self._come_up(now)
        if not self._stall(command, now, step):
            self._change_known(command, now, step)
        self._finish(now, step)

    def _change_known(self, command: ChangeVisibility, now: Millis, step: Step) -> None:
        failures: list[ServiceError | None] = []
        for receipt, handle, timeout in zip(command.receipts, command.handles, command.timeouts, strict=True):
            head = self._heads.get(receipt.seq) if receipt.generation == self._generation else None
            if head is None or head.state not in (_READY, _IN_FLIGHT) or self._is_expired(head.sent, now):
                failures.append(not_available(handle))
                continue
            failure = beyond_limit(receipt, timeout, now)
            failures.append(failure)
            if failure is not None:
                continue
            if head.state == _IN_FLIGHT:
                self._in_flight.remove(head)
                self._unhide(head)
            head.until = now + timeout
            row = StateRow(head.until, head.receives, head.first)
            step.writes.append((self._state + u64(head.seq), row.encode()))
            if timeout:
                self._hide(head)
            else:
                self._show(head)
        step.answers.append((command.token, Verdicts(failures)))

    def _stall(self, command: Delete | ChangeVisibility, now: Millis, step: Step) -> bool:
        """Does the command touch messages that may live but are not in memory? Then it waits for their rows."""
        missing = {
            receipt.seq
            for receipt in command.receipts
            if receipt.generation == self._generation
            and receipt.seq not in self._heads
            and (receipt.seq >= self._cursor or self._delayed_cursor is not None)
        }
        if not missing:
            return False
        self._stalled.append(_Stalled(command, missing))
        for seq in missing:
            key = self._message + u64(seq)
            self._ask(step, Need(key, key + b"\0", 1, beside=(self._message, self._state)), "one", seq)
        return True

    def _unstall(self, seq: int, now: Millis, step: Step) -> None:
        for stalled in list(self._stalled):
            stalled.missing.discard(seq)
            if not stalled.missing:
                self._stalled.remove(stalled)
                if isinstance(stalled.command, Delete):
                    self._delete_known(stalled.command, now, step)
                else:
                    self._change_known(stalled.command, now, step)

    # -- rows from the store --------------------------------------------------------

    def _ask(self, step: Step, need: Need, kind: str, about: Any = None) -> None:
        self._needs[need] = (kind, about)
        step.needs.append(need)

    def _asked(self, kind: str) -> bool:
        return any(each == kind for each, _ in self._needs.values())

    def _page_would_help(self, now: Millis, step: Step) -> bool:
        """Are there messages that could be visible but are not in memory? Then a page of them is on its way."""
        self._refill(now, step)
        return self._asked("page") or self._asked("delayed")

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
            start = self._index + u64(cursor[0]) + u64(cursor[1])
            self._ask(step, Need(start, self._index + b"\xff" * 17, max(1, min(PAGE, self._window))), "delayed")

    def _loaded(self, command: Loaded, now: Millis, step: Step) -> None:
        kind, about = self._needs.pop(command.need, ("", None))
        self._come_up(now)
        if kind == "page":
            self._load_page(command, about, now, step)
        elif kind == "delayed":
            self._load_delayed(command, now)
        elif kind == "one":
            self._load_rows(command, now)
            self._unstall(about, now, step)
        elif kind == "move":
            self._move(about, command.rows, step)
        elif kind == "expire":
            self._expire(command, now, step)
        elif kind == "expire moved":
            self._expire_moved(command, now, step)
        elif kind == "peek":
            self._peeked(about, command, now, step)
        if not self._needs:
            self._deleted.clear()
        receivers, self._after_load = self._after_load, []
        for receiver in receivers:
            self._serve(receiver, now, step)
        self._finish(now, step)

    def _load_page(self, command: Loaded, end: int, now: Millis, step: Step) -> None:
        self._load_rows(command, now)
        cursor = end if command.done else _seq(command.rows[-1][0]) + 1
        self._cursor = max(cursor, self._cursor)
        if self._rewound is not None:
            self._cursor = min(self._cursor, self._rewound)

    def _load_rows(self, command: Loaded, now: Millis) -> None:
        states = {_seq(key): StateRow.decode(value) for key, value in command.beside}
        for key, value in command.rows:
            seq = _seq(key)
            if seq in self._heads or seq in self._deleted:
                continue
            row = MessageRow.decode(value)
            state = states.get(seq)
            if state is None and row.flags & FLAG_DELAYED:
                continue
            self._install(seq, row, state, now)

    def _install(self, seq: int, row: MessageRow, state: StateRow | None, now: Millis) -> None:
        moved = bool(row.flags & FLAG_MOVED)
        head = Head(seq, row.sent, row.due, row.group, row.receives_before, row.first_received, moved)
        self._heads[seq] = head
        if state is None:
            head.queued = True
            self._fresh.append(head)
            return
        head.receives = state.receives
        head.first = state.first_received
        head.until = state.visible_at
        if state.visible_at > now:
            head.state = _IN_FLIGHT
            self._in_flight.hold(head)
            if head.group:
                self._groups[head.group] = self._groups.get(head.group, 0) + 1
        else:
            head.queued = True
            self._fresh.append(head)

    def _load_delayed(self, command: Loaded, now: Millis) -> None:
        place = (0, 0)
        for key, value in command.rows:
            due, seq = _place(key)
            place = (due, seq + 1)
            if seq in self._heads or seq in self._deleted:
                continue
            sent, before, first = _INDEX.unpack_from(value)
            head = Head(seq, sent, due, value[_INDEX.size :].decode(), before, first, False)
            self._heads[seq] = head
            head.until = due
            if due > now:
                head.state = _LATER
                self._delayed.hold(head)
            else:
                self._show(head)
        if command.done:
            self._delayed_cursor = None
        elif self._delayed_cursor is not None and place > self._delayed_cursor:
            self._delayed_cursor = place

    # -- time -------------------------------------------------------------------------

    def _wake(self, command: Wake, now: Millis, step: Step) -> None:
        self._come_up(now)
        if self.durable_wake_at <= now and not self._asked("expire") and not self._asked("expire moved"):
            # Should the server die half-way, the alarm is still there to go on.
            self.durable_wake_at = now + 60_000
            self._ask_expired(step)
        self._finish(now, step)

    def _is_expired(self, sent: Millis, now: Millis) -> bool:
        return sent + self.settings.retention <= now

    def _set_durable_wake(self) -> None:
        oldest = self._oldest
        self.durable_wake_at = NEVER if not self._live or oldest >= NEVER else oldest + self.settings.retention

    def _ask_expired(self, step: Step) -> None:
        end = self._message + u64(self._next_seq)
        need = Need(self._message, end, PAGE, beside=(self._message, self._state))
        self._ask(step, need, "expire")

    def _expire(self, command: Loaded, now: Millis, step: Step) -> None:
        """Delete what is past its retention, lowest sequence first: sent times rise with it, but for moved ones."""
        states = {_seq(key): StateRow.decode(value) for key, value in command.beside}
        oldest = NEVER
        for key, value in command.rows:
            seq = _seq(key)
            row = MessageRow.decode(value)
            if row.flags & FLAG_MOVED or seq in self._deleted:
                continue
            if not self._is_expired(row.sent, now):
                oldest = row.sent
                break
            self._discard_row(seq, row, states.get(seq), now, step)
        else:
            if not command.done:
                self._ask_expired(step)
                return
        self._oldest = oldest
        self._ask(step, Need(self._by_sent, self._by_sent + b"\xff" * 17, PAGE), "expire moved")

    def _expire_moved(self, command: Loaded, now: Millis, step: Step) -> None:
        for key, _ in command.rows:
            sent, seq = _place(key)
            if not self._is_expired(sent, now):
                self._oldest = min(self._oldest, sent)
                break
            head = self._heads.get(seq)
            if head is None:
                head = Head(seq, sent, 0, "", 0, 0, True)
                head.receives = 1
            if seq not in self._deleted:
                self._discard(head, step)
        else:
            if not command.done:
                self._ask(step, Need(self._by_sent, self._by_sent + b"\xff" * 17, PAGE), "expire moved")
                return
        self._set_durable_wake()

    def _discard_row(self, seq: int, row: MessageRow, state: StateRow | None, now: Millis, step: Step) -> None:
        head = self._heads.get(seq)
        if head is None:
            head = Head(seq, row.sent, row.due, row.group, 0, 0, False)
            head.state = _GONE
            if state is not None:
                head.receives = state.receives
                if state.visible_at > now:
                    self._in_flight.uncount(state.visible_at)
            elif row.due > now:
                self._delayed.uncount(row.due)
        self._discard(head, step)

    # -- the rest ------------------------------------------------------------------------

    def _cancel(self, command: Cancel, now: Millis, step: Step) -> None:
        self._waiting.cancel(command.token)
        self._after_load = [each for each in self._after_load if each.token is not command.token]
        self._finish(now, step)

    def _count(self, command: Count, now: Millis, step: Step) -> None:
        self._come_up(now)
        in_flight, delayed = self._in_flight.total(now), self._delayed.total(now)
        visible = max(0, self._live - in_flight - delayed)
        step.answers.append((command.token, Counts(visible, in_flight, delayed)))
        self._finish(now, step)

    def _peek(self, command: Peek, now: Millis, step: Step) -> None:
        start, end = self._message + u64(command.after + 1), self._message + u64(self._next_seq)
        need = Need(start, end, max(1, min(command.limit, PAGE)), beside=(self._message, self._state))
        self._ask(step, need, "peek", command)

    def _peeked(self, command: Peek, loaded: Loaded, now: Millis, step: Step) -> None:
        states = {_seq(key): StateRow.decode(value) for key, value in loaded.beside}
        seen: list[Glimpse] = []
        last = 0
        for key, value in loaded.rows:
            last = _seq(key)
            row = MessageRow.decode(value)
            if last in self._deleted or self._is_expired(row.sent, now):
                continue
            head = self._heads.get(last)
            state = states.get(last)
            receives = head.receives if head is not None else (state.receives if state else 0)
            until = head.until if head is not None else (state.visible_at if state else row.due)
            first = head.first if head is not None else (state.first_received if state else 0)
            name = "visible" if until <= now else ("in flight" if receives else "delayed")
            seen.append(Glimpse(key, name, until if until > now else 0, row.receives_before + receives, first, last))
        bodies = [each.key for each in seen]
        step.answers.append((command.token, Peeked(seen, 0 if loaded.done else last, bodies)))

    def _purge(self, command: Purge, now: Millis, step: Step) -> None:
        if command.wait and self._purged_at and now < self._purged_at + command.wait:
            text = f"Only one PurgeQueue operation on {self.settings.name} is allowed every 60 seconds."
            step.answers.append((command.token, ServiceError("PurgeQueueInProgress", text)))
            return
        stalled, receivers = self._stalled, self._after_load
        peeking = [about for kind, about in self._needs.values() if kind == "peek"]
        old = u32(self._generation)
        for prefix in (COUNTERS, HISTOGRAM, MESSAGE, STATE, DELAYED, SENT_INDEX):
            step.sweeps.append((prefix + old, prefix + u32(self._generation + 1)))
        self._generation += 1
        self._start_generation()
        self._after_load = []
        self._purged_at = now
        step.writes.append((META, u32(self._generation)))
        step.answers.append((command.token, None))
        for each in stalled:
            if isinstance(each.command, Delete):
                self._delete_known(each.command, now, step)
            else:
                self._change_known(each.command, now, step)
        for peek in peeking:
            step.answers.append((peek.token, Peeked([], 0)))
        for receiver in receivers:
            self._serve(receiver, now, step)
        self._set_durable_wake()
        self._finish(now, step)

    def _configure(self, command: Configure, now: Millis, step: Step) -> None:
        self.settings = command.settings
        self._set_durable_wake()
        self._finish(now, step)

    def _open(self, command: Open, now: Millis, step: Step) -> None:
        self.settings = command.settings
        step.writes.append((META, u32(self._generation)))

    def _close(self, command: Close, now: Millis, step: Step) -> None:
        for waiter in self._waiting.clear():
            step.answers.append((waiter.command.token, command.error))
        for receiver in self._after_load:
            step.answers.append((receiver.token, command.error))
        for stalled in self._stalled:
            step.answers.append((stalled.command.token, command.error))
        for kind, about in self._needs.values():
            if kind == "peek":
                step.answers.append((about.token, command.error))
        self._after_load = []
        self._stalled = []
        self._needs = {}
        step.closed = True

    # -- the end of every step -------------------------------------------------------------

    def _finish(self, now: Millis, step: Step) -> None:
        """Serve who waits, say what changed in the counts, and when to wake."""
        if self._waiting:
            self._serve_waiting(now, step)
        else:
            self.wake_at = NEVER
        if step.writes:
            step.writes += self._in_flight.writes()
            step.writes += self._delayed.writes()
            counters = _COUNTERS.pack(self._next_seq, self._live, min(self._oldest, NEVER), self._purged_at)
            step.writes.append((COUNTERS + u32(self._generation), counters))
            if not self._live:
                self._oldest = NEVER
                self.durable_wake_at = NEVER

    def _serve_waiting(self, now: Millis, step: Step) -> None:
        while self._waiting:
            waiter = self._waiting.first()
            moving = self._moving
            taken = self._take(waiter.command, now, step)
            if not taken:
                if self._moving > moving:
                    continue
                break
            self._waiting.cancel(waiter.command.token)
            step.answers.append((waiter.command.token, Received(taken, [each.key for each in taken])))
        for waiter in self._waiting.overdue(now):
            step.answers.append((waiter.command.token, Received([])))
        if not self._waiting:
            self.wake_at = NEVER
            return
        self._refill(now, step)
        wake = min(self._waiting.earliest(), self._in_flight.next(), self._delayed.next())
        if self._delayed_cursor is not None and not self._asked("delayed"):
            wake = min(wake, self._delayed_cursor[0])
        self.wake_at = wake


def _seq(key: bytes) -> int:
    """The sequence at the end of a row key."""
    return int.from_bytes(key[-8:], "big")


def _place(key: bytes) -> tuple[int, int]:
    """The time and the sequence at the end of an index key."""
    return int.from_bytes(key[-16:-8], "big"), int.from_bytes(key[-8:], "big")

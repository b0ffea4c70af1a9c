"""What the two queue machines share: receivers, rows from the store, retention, dead letters, purge, peeking.

A queue machine is one of two: a standard queue (standard) or a FIFO queue
(fifo). Which message may be handed out next, and what a receipt handle still
allows, is each one's own; all that is here holds for both:

Rule 1: nothing reads a clock, draws a random number or awaits.
Rule 2: a method changes the machine and returns a Step; the runtime commits
        ``step.writes`` and only then lets the answers out.
Rule 3: memory holds *heads* (a message's times and counts), never bodies, and
        only so many of them: a backlog costs disk. ``_cursor`` is the first
        sequence that has not been looked at yet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from typing import Any, Protocol

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.ids import as_uuid
from trunkline.kernel.measures import Traffic
from trunkline.kernel.step import Cancel, Close, Delivery, Loaded, Need, Row, Step, Wake, Write
from trunkline.kernel.time import NEVER, Millis
from trunkline.services.sqs.commands import (
    Accept,
    CancelMove,
    ChangeVisibility,
    Configure,
    Count,
    Counts,
    Delete,
    Glimpse,
    ListMoves,
    MoveTask,
    Open,
    Peek,
    Peeked,
    Purge,
    QueueSettings,
    Receive,
    Received,
    Send,
    StartMove,
    Taken,
)
from trunkline.services.sqs.move_tasks import LONGEST, Batch, MoveTasks, Progress, batch_size
from trunkline.services.sqs.receipts import Receipts
from trunkline.services.sqs.rows import (
    ATTEMPT,
    COUNTERS,
    COUNTS,
    DEDUPLICATION,
    DEDUPLICATION_RUN,
    DELAYED,
    FLAG_MOVED,
    HISTOGRAM,
    IN_FLIGHT_UNTIL,
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
from trunkline.services.sqs.waiting import Waiting

PAGE = 256
"""Rows in a page: read in about a millisecond."""
MAXIMUM_IN_FLIGHT = 120_000
"""AWS's quota for both kinds of queue (aws/sqs.md sections 6 and 8)."""
MOVING_AT_MOST = 100
"""Dead letters on their way at a time: what one step and one unit may hold."""
_MACHINE_BYTES = 8_000
_HEAD_BYTES = 320
_LOOKED_AT = 256
"""Heads among which the oldest is looked for."""
_HELPFUL = frozenset({"page", "delayed", "memory"})
"""Rows under way that can bring a waiting receiver a message."""
_OF_A_GENERATION = (
    COUNTERS, HISTOGRAM, ATTEMPT, MESSAGE, STATE, DELAYED, SENT_INDEX, DEDUPLICATION, DEDUPLICATION_RUN,
)  # fmt: skip
"""Rows that a purge leaves behind."""
_EXPIRING = frozenset({"expire", "expire moved", "expire found"})
EXPIRED_AT_MOST = 100
"""Messages past their retention that one receive deletes on its way; the rest leaves page by page."""

READY, IN_FLIGHT, MOVING, GONE, LATER = range(5)
"""A head's states: visible; hidden by a receive; on its way to a dead-letter queue; deleted; delayed."""


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
        self.state = READY
        self.queued = False


class Delays(Protocol):
    """The tally of what a delay hides: see tally."""

    @property
    def unsaved(self) -> bool: ...
    def restore(self, rows: list[Row], /) -> None: ...
    def ahead(self, now: Millis) -> int: ...
    def writes(self) -> list[Write]: ...
    def next(self) -> Millis: ...
    def total(self, now: Millis) -> int: ...


class Stalled:
    """A command that waits for the heads of the messages ``missing``; those ``absent`` are known to be no more."""

    __slots__ = ("absent", "command", "missing")

    def __init__(self, command: Delete | ChangeVisibility, missing: set[int], absent: set[int]) -> None:
        self.command = command
        self.missing = missing
        self.absent = absent


_HANDLERS: Mapping[type, str] = {
    Send: "_send",
    Receive: "_receive",
    Delete: "_delete",
    ChangeVisibility: "_change_visibility",
    Loaded: "_loaded",
    Wake: "_wake",
    Cancel: "_cancel",
    Count: "_count",
    Peek: "_peek",
    Purge: "_purge",
    Accept: "_accept",
    Configure: "_configure",
    Open: "_open_up",
    Close: "_close",
    StartMove: "_start_move",
    CancelMove: "_cancel_move",
    ListMoves: "_list_moves",
}


class QueueMachine(ABC):
    """``rows``: the head rows. ``resolve(arn)``: the partition of a queue that exists now, or None.

    ``traffic`` is where it counts what becomes of messages; new ones have sequences from ``floor`` on.
    """

    _handlers: dict[type, Callable[[Any, Any, Millis, Step], None]]

    def __init_subclass__(cls) -> None:
        # Of the class: methods bound to a machine that it holds itself would keep it, and all its heads, from leaving
        # memory before the garbage collector finds them.
        cls._handlers = {kind: getattr(cls, name) for kind, name in _HANDLERS.items()}

    def __init__(
        self,
        partition: int,
        settings: QueueSettings,
        rows: list[Row],
        receipts: Receipts,
        resolve: Callable[[str], int | None],
        window: int = 10_000,
        traffic: Traffic | None = None,
        floor: int = 0,
    ) -> None:
        self.partition = partition
        self._traffic = traffic or Traffic()
        self.settings = settings
        self._serve_at: Millis = NEVER
        self.durable_wake_at: Millis = NEVER
        self._receipts = receipts
        self._resolve = resolve
        self._window = window
        self._waiting = Waiting()
        self._after_load: list[Receive] = []
        self._generation = 0
        self._purged_at: Millis = 0
        self._shed: list[list[Any] | dict[Any, Any]] = []
        self._oldest: Millis = NEVER
        self._expire_at: Millis = NEVER
        self._added: Millis = NEVER
        self._expired_met = 0
        known = dict(rows)
        if META in known:
            self._generation = int.from_bytes(known[META][:4], "big")
        self._moves = MoveTasks.restored(rows)
        self._next_seq = max(1, floor)
        self._start_generation()
        counters = known.get(COUNTERS + u32(self._generation))
        if counters is not None:
            following, self._live, oldest, self._purged_at = COUNTS.unpack(counters)
            self._next_seq = max(following, floor)
            self._oldest = oldest if self._live else NEVER
            self._in_flight.restore(rows)
            self._delayed.restore(rows)
            self._cursor = 1
            self._restored(rows)
        self._set_durable_wake()

    def _start_generation(self) -> None:
        """Begin with no messages. Sequences go on: those that clients see only ever rise."""
        generation = u32(self._generation)
        self._counters = COUNTERS + generation
        self._message = MESSAGE + generation
        self._state = STATE + generation
        self._index = DELAYED + generation
        self._by_sent = SENT_INDEX + generation
        self._live = 0
        self._oldest = NEVER
        self._heads: dict[int, Head] = {}
        self._in_flight: Tally[Head] = Tally(IN_FLIGHT_UNTIL, self._generation)
        self._cursor = self._next_seq
        self._needs: dict[Need, tuple[str, Any]] = {}
        self._deleted: set[int] = set()
        self._stalled: list[Stalled] = []
        self._expire_from = 0
        self._moving = 0
        self._leaving: list[Head] = []
        self._started()

    # -- what each kind of queue decides ------------------------------------------

    @property
    @abstractmethod
    def _delayed(self) -> Delays:
        """What a delay hides."""
        ...

    @abstractmethod
    def _started(self) -> None:
        """A generation begins, empty."""

    @abstractmethod
    def _restored(self, rows: list[Row]) -> None:
        """The machine was built of ``rows``, where messages may be."""

    @abstractmethod
    def _send(self, command: Send, now: Millis, step: Step) -> None: ...

    @abstractmethod
    def _accept(self, command: Accept, now: Millis, step: Step) -> None: ...

    @abstractmethod
    def _take(self, command: Receive, now: Millis, step: Step) -> list[Taken]:
        """Hand out what may be handed out now."""
        ...

    @abstractmethod
    def _come_up(self, now: Millis) -> None:
        """What has become visible by ``now``: ends of timeouts and of delays."""
        ...

    @abstractmethod
    def _show(self, head: Head) -> None:
        """A message is visible (again)."""
        ...

    @abstractmethod
    def _discard(self, head: Head, step: Step) -> None:
        """Delete a message that is in memory."""
        ...

    @abstractmethod
    def _due(self, row: MessageRow) -> Millis:
        """When the delay of a message ends that was never received."""
        ...

    @abstractmethod
    def _uncount_delay(self, row: MessageRow) -> None:
        """A message that is not in memory is about to be discarded, never having been received."""
        ...

    @abstractmethod
    def _delete_known(self, command: Delete, now: Millis, step: Step) -> None: ...

    @abstractmethod
    def _change_known(self, command: ChangeVisibility, now: Millis, step: Step) -> None: ...

    @abstractmethod
    def _stall(self, command: Delete | ChangeVisibility, absent: set[int], now: Millis, step: Step) -> bool:
        """Does the command touch messages that may live but are not in memory? Then it waits for their rows."""
        ...

    @abstractmethod
    def _refill(self, now: Millis, step: Step) -> None:
        """Ask for the next page when memory runs low of messages to hand out."""
        ...

    @abstractmethod
    def _load_page(self, command: Loaded, end: int, now: Millis, step: Step) -> None: ...

    @abstractmethod
    def _load_more(self, kind: str, about: Any, command: Loaded, now: Millis, step: Step) -> None:
        """Rows that this kind of queue asked for, beyond pages of messages."""
        ...

    def _repeats(self, command: Receive, now: Millis) -> bool:
        """Does a receive ask for what it was given before? Then it takes nothing from those who wait."""
        return False

    def _wakes(self) -> Millis:
        """Beside deadlines and what is held: when a waiting receiver may be served."""
        return NEVER

    def _public(self, seq: int) -> int:
        """A sequence as clients see it; 0 where they see none."""
        return 0

    @property
    def companions(self) -> tuple[int, ...]:
        """Where messages may go in the next step: the dead-letter queue, a move task's destinations."""
        settings = self.settings
        found: tuple[int, ...] = ()
        if settings.max_receive_count:
            partition = self._resolve(settings.dead_letter_arn)
            if partition is not None and partition != self.partition:
                found = (partition,)
        if self._moves.batch is not None:
            places = {self._resolve(arn) for arn in self._moves.destinations}
            found += tuple(each for each in places if each is not None and each != self.partition)
        return found

    @property
    def wake_at(self) -> Millis:
        """For those who wait; and for expiry and move tasks, if these do not wait for rows."""
        if self.durable_wake_at >= self._serve_at:
            return self._serve_at
        if not self._needs:
            return self.durable_wake_at
        expire_at = NEVER if self._expiring else self._expire_at
        move_at = NEVER if self._asked("task") else self._moves.next_at
        return min(self._serve_at, expire_at, move_at)

    @property
    def weight(self) -> int:
        return _MACHINE_BYTES + _HEAD_BYTES * len(self._heads)

    def _large(self) -> list[list[Any] | dict[Any, Any]]:
        """What takes long to be freed."""
        return [self._heads]

    def shed(self, everything: bool) -> list[list[Any] | dict[Any, Any]]:
        found, self._shed = self._shed, []
        return found + self._large() if everything else found

    @property
    def receivers(self) -> int:
        """How many receivers wait, for a message or for rows."""
        return len(self._waiting) + len(self._after_load)

    def levels(self, now: Millis) -> Counts:
        """As ``Count`` would tell, but that nothing comes up: what has since a second ago may not be counted yet."""
        in_flight, delayed = self._in_flight.ahead(now), self._delayed.ahead(now)
        return Counts(max(0, self._live - in_flight - delayed), in_flight, delayed)

    def oldest(self) -> Millis | None:
        """About when the oldest message was sent; NEVER if there is none, None if only the store can tell.

        Memory tells by the heads that came into it first, for a queue keeps about to the order of sending.
        """
        if not self._live:
            return NEVER
        first = next(iter(self._heads.values()), None)
        if first is None or (self._cursor < first.seq and len(self._heads) < self._live):
            return None
        return min(head.sent for head in islice(self._heads.values(), _LOOKED_AT))

    @property
    def idle(self) -> bool:
        return not (self._waiting or self._after_load or self._needs or self._stalled)

    def handle(self, command: Any, now: Millis) -> Step:
        step = Step()
        self._expired_met = 0
        self._handlers[type(command)](self, command, now, step)
        return step

    def _receive(self, command: Receive, now: Millis, step: Step) -> None:
        self._come_up(now)
        # Nobody overtakes those who wait already.
        if self._waiting and self._wait_of(command) and not self._repeats(command, now):
            self._park(command, now)
        else:
            self._serve(command, now, step)
        self._finish(now, step)

    def _wait_of(self, command: Receive) -> Millis:
        return self.settings.receive_wait if command.wait is None else command.wait

    def _park(self, command: Receive, now: Millis) -> None:
        self._waiting.park(command, now + self._wait_of(command))

    def _serve(self, command: Receive, now: Millis, step: Step) -> None:
        """Answer with what there is; else wait for a page, for a message, or answer with nothing.

        Nobody is told that there is nothing while dead letters are on their way: by then all of them have arrived.
        """
        taken = self._take(command, now, step)
        if taken:
            step.answers.append((command.token, Received(taken, [each.key for each in taken])))
        elif self._moving or self._more_expired(step) or self._page_would_help(now, step):
            self._after_load.append(command)
        elif self._wait_of(command):
            self._park(command, now)
        elif self._in_flight.resident >= MAXIMUM_IN_FLIGHT and not self.settings.fifo:
            # A FIFO queue says nothing: it just returns no messages.
            error = ServiceError("OverLimit", f"Too many messages in flight: the limit is {MAXIMUM_IN_FLIGHT}.")
            step.answers.append((command.token, error))
        else:
            step.answers.append((command.token, Received([])))

    def _is_dead_letter(self, head: Head) -> bool:
        """Was it received as often as it may be, and is there a dead-letter queue (still)?"""
        most = self.settings.max_receive_count
        return bool(most) and head.receives >= most and self._resolve(self.settings.dead_letter_arn) is not None

    def _give_up(self, head: Head) -> bool:
        """Start moving a message to the dead-letter queue. False if enough are on their way: then it is not its turn.

        Those of one step are read together when it ends, and move in one unit.
        """
        if self._moving >= MOVING_AT_MOST:
            return False
        head.state = MOVING
        self._moving += 1
        self._leaving.append(head)
        return True

    def _ask_leaving(self, heads: list[Head], step: Step) -> None:
        self._ask(step, Need.of([self._message + u64(head.seq) for head in heads]), "move", heads)

    def _move(self, heads: list[Head], rows: list[Row], step: Step) -> None:
        found = dict(rows)
        target = self._resolve(self.settings.dead_letter_arn)
        dead: list[bytes] = []
        for head in heads:
            self._moving -= 1
            if head.state != MOVING:
                continue
            value = found.get(self._message + u64(head.seq))
            if value is None or target is None:
                head.state = READY
                self._show(head)
                continue
            row = MessageRow.decode(value).moved(
                receives_before=head.before + head.receives,
                first_received=head.first,
                source_arn=self.settings.arn,
            )
            self._discard(head, step)
            dead.append(row.encode())
        if target is not None and dead:
            self._traffic.dead += len(dead)
            step.deliveries.append(Delivery(target, Accept(dead)))

    def _delete(self, command: Delete, now: Millis, step: Step) -> None:
        self._come_up(now)
        if not self._stall(command, set(), now, step):
            self._delete_known(command, now, step)
        self._finish(now, step)

    def _change_visibility(self, command: ChangeVisibility, now: Millis, step: Step) -> None:
        self._come_up(now)
        if not self._stall(command, set(), now, step):
            self._change_known(command, now, step)
        self._finish(now, step)

    def _unstall(self, seq: int, now: Millis, step: Step) -> None:
        for stalled in list(self._stalled):
            if seq in stalled.missing:
                stalled.missing.discard(seq)
                if seq not in self._heads:
                    stalled.absent.add(seq)
            if not stalled.missing:
                self._stalled.remove(stalled)
                # What came first may have had to leave memory again.
                if self._stall(stalled.command, stalled.absent, now, step):
                    continue
                if isinstance(stalled.command, Delete):
                    self._delete_known(stalled.command, now, step)
                else:
                    self._change_known(stalled.command, now, step)

    def _ask(self, step: Step, need: Need, kind: str, about: Any = None) -> None:
        self._needs[need] = (kind, about)
        step.needs.append(need)

    def _asked(self, kind: str) -> bool:
        return any(each == kind for each, _ in self._needs.values())

    def _page_would_help(self, now: Millis, step: Step) -> bool:
        """Are there messages that could be visible but are not in memory? Then a page of them is on its way."""
        self._refill(now, step)
        return any(kind in _HELPFUL for kind, _ in self._needs.values())

    def _loaded(self, command: Loaded, now: Millis, step: Step) -> None:
        kind, about = self._needs.pop(command.need, ("", None))
        self._come_up(now)
        if kind == "page":
            self._load_page(command, about, now, step)
        elif kind == "move":
            self._move(about[: command.looked], command.rows, step)
            if not command.done:
                self._ask_leaving(about[command.looked :], step)
        elif kind == "expire":
            self._expire(command, now, step)
        elif kind == "expire moved":
            self._find_moved(command, now, step)
        elif kind == "expire found":
            self._expire_found(about, command, now, step)
        elif kind == "task":
            self._plan_moves(command, about, now, step)
        elif kind == "peek":
            self._peeked(about, command, now, step)
        elif kind:
            self._load_more(kind, about, command, now, step)
        if not self._remembers:
            self._deleted.clear()
        receivers, self._after_load = self._after_load, []
        for receiver in receivers:
            self._serve(receiver, now, step)
        self._finish(now, step)

    @property
    def _remembers(self) -> bool:
        """Have rows been read, or are being read, of which some may be deleted before they are used?"""
        return bool(self._needs) or self._moves.batch is not None

    def _wake(self, command: Wake, now: Millis, step: Step) -> None:
        self._come_up(now)
        if self._expire_at <= now:
            self._ask_expired(step)
        if self._moves.next_at <= now:
            self._move_on(now, step)
        self._set_durable_wake()
        self._finish(now, step)

    def _more_expired(self, step: Step) -> bool:
        """Did this step meet more of what is past its retention than it may delete? Then it is deleted by pages."""
        if self._expired_met < EXPIRED_AT_MOST:
            return False
        self._ask_expired(step)
        return True

    def _is_expired(self, sent: Millis, now: Millis) -> bool:
        return sent + self.settings.retention <= now

    def _note(self, sent: Millis) -> None:
        """A message sent then has come into the queue."""
        if sent < self._added:
            self._added = sent
        if sent < self._oldest:
            self._oldest = sent
            self._set_durable_wake()

    def _set_durable_wake(self) -> None:
        """At the end of the oldest message's retention, or when a move task goes on."""
        self._expire_at = NEVER if not self._live or self._oldest >= NEVER else self._oldest + self.settings.retention
        self.durable_wake_at = min(self._expire_at, self._moves.next_at)

    @property
    def _expiring(self) -> bool:
        """Are rows under way of what is past its retention?"""
        return any(kind in _EXPIRING for kind, _ in self._needs.values())

    def _ask_expired(self, step: Step) -> None:
        """Begin to delete what is past its retention, unless that is under way."""
        if not self._expiring:
            self._added = NEVER
            self._ask_more_expired(step)

    def _ask_more_expired(self, step: Step) -> None:
        start, end = self._message + u64(self._expire_from), self._message + u64(self._next_seq)
        self._ask(step, Need(start, end, PAGE, beside=(self._message, self._state)), "expire")

    def _expire(self, command: Loaded, now: Millis, step: Step) -> None:
        """Delete what is past its retention, lowest sequence first: sent times rise with it, but for moved ones.

        Below ``_expire_from`` there are none but moved ones: a long dead-letter queue is not read again and again.
        """
        states = {sequence_of(key): StateRow.decode(value) for key, value in command.beside}
        oldest = NEVER
        for key, value in command.rows:
            seq = sequence_of(key)
            row = MessageRow.decode(value)
            if not row.flags & FLAG_MOVED and seq not in self._deleted:
                if not self._is_expired(row.sent, now):
                    oldest = row.sent
                    break
                self._discard_row(seq, row, states.get(seq), now, step)
            self._expire_from = seq + 1
        else:
            if not command.done:
                self._ask_more_expired(step)
                return
        # What came while rows were being read is not among them.
        self._oldest = min(oldest, self._added)
        self._ask_moved(step)

    def _ask_moved(self, step: Step) -> None:
        """Dead letters are found by their sent time, for it is out of the order of sequences."""
        self._ask(step, Need(self._by_sent, self._by_sent + b"\xff" * 17, PAGE), "expire moved")

    def _find_moved(self, command: Loaded, now: Millis, step: Step) -> None:
        found = [place_of(key) for key, _ in command.rows]
        expired = [u64(seq) for sent, seq in found if self._is_expired(sent, now)]
        if len(expired) < len(found):
            self._oldest = min(self._oldest, found[len(expired)][0])
        if not expired:
            self._set_durable_wake()
            return
        keys = [prefix + key for key in expired for prefix in (self._state, self._message)]
        self._ask(step, Need.of(keys), "expire found", len(expired) == len(found) and not command.done)

    def _expire_found(self, more: bool, command: Loaded, now: Millis, step: Step) -> None:
        states: dict[int, StateRow] = {}
        for key, value in command.rows:
            seq = sequence_of(key)
            if key[0] == STATE[0]:
                states[seq] = StateRow.decode(value)  # it stands before its message's
            elif seq not in self._deleted:
                self._discard_row(seq, MessageRow.decode(value), states.get(seq), now, step)
        if not command.done:
            self._ask(step, Need.of(command.need.keys[command.looked :]), "expire found", more)
        elif more:
            self._ask_moved(step)
        else:
            self._set_durable_wake()

    def _discard_row(self, seq: int, row: MessageRow, state: StateRow | None, now: Millis, step: Step) -> None:
        head = self._heads.get(seq)
        if head is None:
            head = Head(seq, row.sent, row.due, row.group, 0, 0, bool(row.flags & FLAG_MOVED))
            head.state = GONE
            if state is not None:
                head.receives = state.receives
                if state.visible_at > now:
                    self._in_flight.uncount(state.visible_at)
            else:
                self._uncount_delay(row)
        self._traffic.expired += 1
        self._discard(head, step)

    def _cancel(self, command: Cancel, now: Millis, step: Step) -> None:
        waits = len(self._after_load)
        self._after_load = [each for each in self._after_load if each.token is not command.token]
        if self._waiting.cancel(command.token) or len(self._after_load) < waits:
            step.answers.append((command.token, Received([])))
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
        states = {sequence_of(key): StateRow.decode(value) for key, value in loaded.beside}
        seen: list[Glimpse] = []
        last = 0
        for key, value in loaded.rows:
            last = sequence_of(key)
            row = MessageRow.decode(value)
            if last in self._deleted or self._is_expired(row.sent, now):
                continue
            head = self._heads.get(last)
            state = states.get(last)
            receives = head.receives if head is not None else (state.receives if state else 0)
            until = head.until if head is not None else (state.visible_at if state else self._due(row))
            first = head.first if head is not None else (state.first_received if state else row.first_received)
            name = "visible" if until <= now else ("in flight" if receives else "delayed")
            seen.append(
                Glimpse(
                    key, name, until if until > now else 0, row.receives_before + receives, first, self._public(last)
                )
            )
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
        for prefix in _OF_A_GENERATION:
            step.sweeps.append((prefix + old, prefix + u32(self._generation + 1)))
        if self._moves.running is not None:
            self._moves.end("COMPLETED", step)
        self._generation += 1
        self._shed += self._large()
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

    # -- message move tasks ------------------------------------------------------------

    def _start_move(self, command: StartMove, now: Millis, step: Step) -> None:
        if self._moves.running is not None:
            text = (
                "There is already a task running. Only one active task is allowed for a source queue arn at a given "
                "time."
            )
            step.answers.append((command.token, ServiceError("InvalidParameterValue", text)))
            return
        self._come_up(now)
        to_move = max(0, self._live - self._in_flight.total(now) - self._delayed.total(now))
        task = MoveTask(command.id, now, "RUNNING", command.destination, command.rate, 0, to_move)
        self._moves.start(Progress(task, 0, self._next_seq, self._generation), now, step)
        self._set_durable_wake()
        step.answers.append((command.token, task))
        self._finish(now, step)

    def _cancel_move(self, command: CancelMove, now: Millis, step: Step) -> None:
        running = self._moves.running
        if running is None or running.task.id != command.id or running.task.status != "RUNNING":
            step.answers.append((command.token, ServiceError("ResourceNotFoundException", "Task does not exist.")))
            return
        running.task.status = "CANCELLING"
        self._moves.next_at = running.next = now
        self._moves.save(running, step)
        self._set_durable_wake()
        step.answers.append((command.token, running.task.moved))
        self._finish(now, step)

    def _list_moves(self, command: ListMoves, now: Millis, step: Step) -> None:
        step.answers.append((command.token, [replace(task) for task in self._moves.newest(command.limit)]))

    def _move_on(self, now: Millis, step: Step) -> None:
        """The running task's turn: end it, move the batch at hand, or read the next one."""
        moves, progress = self._moves, self._moves.running
        if progress is None:
            moves.next_at = NEVER
        elif progress.task.status == "CANCELLING":
            moves.end("CANCELLED", step)
        elif now >= progress.task.started + LONGEST:
            moves.end("FAILED", step, "The task ran for 36 hours, the longest that a task may.")
        elif moves.batch is not None:
            self._move_batch(moves.batch, progress, now, step)
        elif not self._asked("task"):
            start, end = self._message + u64(progress.cursor + 1), self._message + u64(progress.tail)
            size = batch_size(progress.task.rate)
            self._ask(step, Need(start, end, size, beside=(self._message, self._state)), "task", progress)

    def _plan_moves(self, command: Loaded, progress: Progress, now: Millis, step: Step) -> None:
        """Rows have come: find where each goes. What is in flight, deleted or expired stays."""
        if self._moves.running is not progress:
            return
        states = {sequence_of(key): StateRow.decode(value) for key, value in command.beside}
        batch = Batch([], progress.cursor, command.done)
        for key, value in command.rows:
            batch.cursor = seq = sequence_of(key)
            row = MessageRow.decode(value)
            state = states.get(seq)
            until = state.visible_at if state else self._due(row)
            if seq in self._deleted or self._is_expired(row.sent, now) or until > now:
                continue
            destination = progress.task.destination or row.source_arn
            if not destination or self._resolve(destination) is None:
                if batch.moves:
                    # What comes before it is moved first; the next turn fails here.
                    batch.cursor, batch.done = seq - 1, False
                    break
                reason = "AWS.SimpleQueueService.NonExistentQueue" if destination else "CouldNotDetermineMessageSource"
                self._moves.end("FAILED", step, reason)
                self._set_durable_wake()
                return
            batch.moves.append((seq, row, state is not None, destination))
        self._moves.batch = batch
        self._moves.next_at = now
        self._set_durable_wake()

    def _move_batch(self, batch: Batch, progress: Progress, now: Millis, step: Step) -> None:
        partitions = {arn: self._resolve(arn) for arn in self._moves.destinations}
        self._moves.batch = None
        by_partition: dict[int, list[bytes]] = {}
        moved = 0
        for seq, row, received, destination in batch.moves:
            partition = partitions[destination]
            if partition is None:
                self._moves.end("FAILED", step, "AWS.SimpleQueueService.NonExistentQueue")
                break
            if seq in self._deleted:
                continue  # since it was read
            head = self._heads.get(seq)
            if head is None:
                head = Head(seq, row.sent, row.due, row.group, 0, 0, bool(row.flags & FLAG_MOVED))
                head.state = GONE
                head.receives = 1 if received else 0
            elif head.state != READY:
                continue
            self._discard(head, step)
            # A moved message is a new one, with an id of its own (docs); the same one if this turn is taken again.
            id_ = blake2b(row.id + progress.task.id, digest_size=16).digest()
            fresh = row.moved(id=as_uuid(id_), receives_before=0, first_received=0, source_arn="")
            by_partition.setdefault(partition, []).append(fresh.encode())
            moved += 1
        for partition, rows in by_partition.items():
            step.deliveries.append(Delivery(partition, Accept(rows, keep_sent=False)))
        progress.task.moved += moved
        if self._moves.running is None:
            self._moves.save(progress, step)
            return
        progress.cursor = batch.cursor
        if batch.done:
            self._moves.end("COMPLETED", step)
        else:
            self._moves.pause(progress, moved, now)
            self._moves.save(progress, step)

    def _configure(self, command: Configure, now: Millis, step: Step) -> None:
        self.settings = command.settings
        self._set_durable_wake()
        self._finish(now, step)

    def _open_up(self, command: Open, now: Millis, step: Step) -> None:
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

    def _finish(self, now: Millis, step: Step) -> None:
        """Serve who waits, say what changed in the counts, and when to wake."""
        if self._waiting:
            self._serve_waiting(now, step)
        else:
            self._serve_at = NEVER
        if self._leaving:
            heads, self._leaving = self._leaving, []
            self._ask_leaving(heads, step)
        if step.writes:
            if self._in_flight.unsaved:
                step.writes += self._in_flight.writes()
            if self._delayed.unsaved:
                step.writes += self._delayed.writes()
            if not self._live:
                self._oldest = NEVER
                self._expire_at = NEVER
                self.durable_wake_at = self._moves.next_at
            counters = COUNTS.pack(self._next_seq, self._live, self._oldest, self._purged_at)
            step.writes.append((self._counters, counters))

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
            self._serve_at = NEVER
            return
        self._refill(now, step)
        self._serve_at = min(self._waiting.earliest(), self._in_flight.next(), self._delayed.next(), self._wakes())


def sequence_of(key: bytes) -> int:
    """The sequence at the end of a row key."""
    return int.from_bytes(key[-8:], "big")


def place_of(key: bytes) -> tuple[int, int]:
    """The time and the sequence at the end of an index key."""
    return int.from_bytes(key[-16:-8], "big"), int.from_bytes(key[-8:], "big")

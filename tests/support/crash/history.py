"""What the clients asked and were told, message by message: what the rules judge.

A *life* is all that is known of one message, found by its token (content): the
sends that may have made it, where it was seen, who tried to delete it or to
change its visibility. Every event carries its *span*: real instants for what
came before what, service time for how long something lasts.

Events are of this *round* (since the last kill) until ``end_round``. A life
that has certainly ended is forgotten but for a line in ``gone``.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

WINDOW = 300_000
"""Deduplication, and receive request attempts: five minutes."""
DAYS = 86_400_000
REMEMBERED = 20_000
"""Ended lives whose events are kept, to be shown if the message comes back."""
NEVER_WAS = "it was not there after its send had failed"


class Outcome(Enum):
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "no answer"


DONE, REFUSED, UNKNOWN = Outcome


@dataclass(slots=True)
class Span:
    """When a call was under way: ``begun``/``ended`` by the real monotonic clock (s), ``low``/``high`` service time."""

    begun: float
    ended: float
    low: int
    high: int

    def before(self, other: Span) -> bool:
        """Had this ended when the other began?"""
        return self.ended < other.begun

    def __str__(self) -> str:
        return f"{self.begun:.6f}-{self.ended:.6f} ({self.low}..{self.high})"


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of the campaign. Times in ms. ``family``: the queues that its messages can be in."""

    name: str
    family: str = ""
    fifo: bool = False
    dead_letters: str = ""
    most: int = 0
    delay: int = 0
    visibility: int = 30_000
    retention: int = 4 * DAYS
    per_group: bool = False
    by_content: bool = False


@dataclass(slots=True)
class Send:
    """``delay`` in ms, -1 for the queue's own. ``copied``: the answer names another message, whose duplicate it is."""

    span: Span
    queue: str
    token: str
    outcome: Outcome
    delay: int = -1
    group: str = ""
    deduplication: str = ""
    id: str = ""
    sequence: int = 0
    copied: bool = False
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Sight:
    """A message as it was received, or (with a ``state``) looked at. ``hidden``: ms that it was taken for."""

    span: Span
    queue: str
    token: str
    id: str
    count: int
    sent: int = 0
    first: int = 0
    sequence: int = 0
    group: str = ""
    source: str = ""
    handle: str = ""
    hidden: int = 0
    attempt: str = ""
    state: str = ""
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Receive:
    """``hidden`` in ms. ``seen``: in the order of the answer."""

    span: Span
    queue: str
    hidden: int
    outcome: Outcome
    attempt: str = ""
    seen: list[Sight] = field(default_factory=list)


@dataclass(slots=True)
class Delete:
    """With the handle of the receive that counted ``count``, of the message ``id``."""

    span: Span
    queue: str
    token: str
    id: str
    count: int
    outcome: Outcome
    code: str = ""


@dataclass(slots=True)
class Change:
    """Of a visibility timeout, to ``timeout`` ms."""

    span: Span
    queue: str
    token: str
    id: str
    count: int
    timeout: int
    outcome: Outcome
    code: str = ""


@dataclass(slots=True)
class Purge:
    span: Span
    queue: str
    outcome: Outcome


@dataclass(slots=True)
class Look:
    """All of a queue's messages at a quiet point, and its counts: visible, in flight, delayed."""

    span: Span
    queue: str
    seen: list[Sight]
    counts: tuple[int, int, int]


Key = tuple[str, str, str]
"""(queue, group or "" where the scope is the queue, deduplication id)"""


class Life:
    """All that is known of a message. See the module."""

    __slots__ = ("changes", "deletes", "family", "first_seen", "sends", "sights", "token")

    def __init__(self, token: str, family: str) -> None:
        self.token = token
        self.family = family
        self.sends: list[Send] = []
        self.sights: list[Sight] = []
        self.deletes: list[Delete] = []
        self.changes: list[Change] = []
        self.first_seen = 0.0

    @property
    def receives(self) -> list[Sight]:
        return [sight for sight in self.sights if not sight.state]

    def ids(self) -> list[str]:
        """Its ids, in the order of their being known: more than one only where a move task moved it."""
        found = {send.id: None for send in self.sends if send.id}
        for sight in sorted(self.sights, key=lambda each: each.span.begun):
            found.setdefault(sight.id)
        return list(found)

    def seen_after(self, span: Span) -> bool:
        """Was it there after ``span``?"""
        return any(span.before(sight.span) for sight in self.sights)

    def hidden_until(self, at: Span, id_: str, count: int) -> int:
        """Until when it was hidden at the least, before its receive ``count``; 0 if that is not known.

        The last that set its timeout: the receive before, or a change that may have come after that. What certainly
        came between either of these and ``at`` takes its place.
        """
        setters = self._setters(at, id_, count)
        if setters is None:
            return 0
        standing = [
            (span, until)
            for span, until, _ in setters
            if not any(sure and span.before(later) and later.before(at) for later, _, sure in setters)
        ]
        return min(span.low + timeout for span, timeout in standing)

    def hidden_at_most(self, at: Span, id_: str, count: int) -> int:
        """Until when it can be hidden at the most by all that was asked with an answer; 0 if there is nothing."""
        setters = self._setters(at, id_, count)
        return max((span.high + timeout for span, timeout, _ in setters), default=0) if setters else 0

    def _setters(self, at: Span, id_: str, count: int) -> list[tuple[Span, int, bool]] | None:
        """(when, for how long, certainly?) of what may have set its visibility timeout last before ``at``."""
        ids = self.ids()
        rank = (ids.index(id_) if id_ in ids else len(ids), count)
        earlier = [
            (ids.index(sight.id), sight.count, sight)
            for sight in self.receives
            if (ids.index(sight.id), sight.count) < rank and sight.span.begun <= at.ended
        ]
        if not earlier:
            return None
        *last, base = max(earlier, key=lambda each: each[:2])
        found = [(sight.span, sight.hidden, True) for *place, sight in earlier if place == last]
        since = base.span if len(found) == 1 else min((span for span, *_ in found), key=lambda span: span.begun)
        found += [
            (change.span, change.timeout, change.outcome is DONE)
            for change in self.changes
            if change.outcome is not REFUSED and not change.span.before(since) and change.span.begun <= at.ended
        ]
        return found

    def describe(self) -> str:
        """Every event, in the order of the real clock."""
        lines: list[tuple[float, str]] = []
        for send in self.sends:
            what = f"send to {send.queue}, delay {send.delay}, group {send.group!r}, key {send.deduplication!r}"
            lines.append((send.span.begun, f"{what}: {send.outcome.value} {send.id} {send.sequence or ''}"))
        for sight in self.sights:
            what = f"{sight.state} at a look" if sight.state else f"received for {sight.hidden} ms"
            attempt = f", attempt {sight.attempt}" if sight.attempt else ""
            text = f"{what} in {sight.queue}: {sight.id}, count {sight.count}, sent {sight.sent}, {sight.sequence}"
            lines.append((sight.span.begun, text + attempt))
        for delete in self.deletes:
            text = f"delete from {delete.queue} by the handle of receive {delete.count} of {delete.id}"
            lines.append((delete.span.begun, f"{text}: {delete.outcome.value} {delete.code}"))
        for change in self.changes:
            text = f"change to {change.timeout} ms by the handle of receive {change.count} of {change.id}"
            lines.append((change.span.begun, f"{text}: {change.outcome.value} {change.code}"))
        events: list[Send | Sight | Delete | Change] = [*self.sends, *self.sights, *self.deletes, *self.changes]
        spans = sorted((event.span for event in events), key=lambda span: span.begun)
        ordered = [text for _, text in sorted(lines)]
        return f"message {self.token}\n" + "\n".join(
            f"    {span}  {text}" for span, text in zip(spans, ordered, strict=True)
        )


class History:
    """``queues``: by name. Events are told as they end; any that names a message that was never sent is kept apart."""

    def __init__(self, queues: Iterable[Queue]) -> None:
        self.queues = {queue.name: queue for queue in queues}
        self.lives: dict[str, Life] = {}
        self.gone: dict[str, str] = {}
        self.ended: OrderedDict[str, Life] = OrderedDict()
        self.alive: dict[str, dict[str, Life]] = defaultdict(dict)
        self.groups: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        self.keys: dict[Key, list[Send]] = defaultdict(list)
        self.unanswered: dict[str, list[Receive]] = defaultdict(list)
        self.purges: dict[str, list[Purge]] = defaultdict(list)
        self.attempts: dict[str, list[Receive]] = defaultdict(list)
        self.highest: dict[tuple[str, str], tuple[Span, int]] = {}
        self.last_ids: dict[str, list[str]] = {}
        # Of this round:
        self.touched: dict[str, Life] = {}
        self.touched_keys: dict[Key, None] = {}
        self.touched_attempts: dict[str, None] = {}
        self.receives: list[Receive] = []
        self.early: list[Sight | Delete | Change] = []

    def family(self, queue: str) -> str:
        return self.queues[queue].family or queue

    def members(self, family: str) -> list[Queue]:
        return [queue for queue in self.queues.values() if (queue.family or queue.name) == family]

    def moves(self, family: str) -> bool:
        """Can its messages be in more than one queue?"""
        return len(self.members(family)) > 1

    # -- events ----------------------------------------------------------------------

    def send(self, send: Send) -> None:
        key = self.key_of(send)
        if key is not None:
            others = [each for each in self.keys[key] if each.token != send.token]
            send.copied = bool(send.id) and any(each.id == send.id for each in others)
            self.keys[key].append(send)
            self.touched_keys[key] = None
        if send.token in self.gone:
            if self.gone[send.token] != NEVER_WAS:
                return  # a duplicate of what has been deleted since
            del self.gone[send.token]
        life = self.lives.get(send.token)
        if life is None:
            family = self.family(send.queue)
            life = self.lives[send.token] = self.alive[family][send.token] = Life(send.token, family)
        life.sends.append(send)
        self.touched[send.token] = life
        if send.sequence and not send.copied:
            self.groups[send.queue, send.group][send.token] = send.sequence

    def key_of(self, send: Send) -> Key | None:
        if not send.deduplication:
            return None
        return send.queue, send.group if self.queues[send.queue].per_group else "", send.deduplication

    def receive(self, receive: Receive) -> None:
        if receive.attempt:
            self.attempts[receive.attempt].append(receive)
            self.touched_attempts[receive.attempt] = None
        if receive.outcome is UNKNOWN:
            self.unanswered[receive.queue].append(receive)
            return
        self.receives.append(receive)
        for sight in receive.seen:
            self._see(sight)

    def look(self, look: Look) -> None:
        for sight in look.seen:
            self._see(sight)

    def _see(self, sight: Sight) -> None:
        life = self.lives.get(sight.token)
        if life is None:
            self.early.append(sight)
            return
        life.sights.append(sight)
        self.touched[sight.token] = life
        if sight.sequence:
            self.groups[sight.queue, sight.group][sight.token] = sight.sequence

    def delete(self, delete: Delete) -> None:
        life = self.lives.get(delete.token)
        if life is None:
            self.early.append(delete)
            return
        life.deletes.append(delete)
        self.touched[delete.token] = life

    def change(self, change: Change) -> None:
        life = self.lives.get(change.token)
        if life is None:
            self.early.append(change)
            return
        life.changes.append(change)
        self.touched[change.token] = life

    def foreign(self) -> Iterator[tuple[Sight, str]]:
        """What was seen though it was not there, and why it was not, when every call of the round has ended.

        A message can be received, and deleted, before its send is answered: that is put in its place now.
        """
        early, self.early = self.early, []
        for event in early:
            if event.token in self.lives:
                if isinstance(event, Sight):
                    self._see(event)
                elif isinstance(event, Delete):
                    self.delete(event)
                else:
                    self.change(event)
            elif isinstance(event, Sight):
                if event.token in self.ended:
                    self.ended[event.token].sights.append(event)
                yield event, self.gone.get(event.token, "nobody sent it")

    def purge(self, purge: Purge) -> None:
        if purge.outcome is not REFUSED:
            self.purges[purge.queue] = [*self.purges[purge.queue][-50:], purge]
        for token, life in self.alive[self.family(purge.queue)].items():
            self.touched[token] = life

    # -- endings ---------------------------------------------------------------------

    def end(self, life: Life, why: str) -> None:
        """It is certainly no more. Where a move task may have renamed it, its ids are kept."""
        if self.moves(life.family):
            self.last_ids[life.token] = life.ids()
        self.ended[life.token] = life
        if len(self.ended) > REMEMBERED:
            self.ended.popitem(last=False)
        del self.lives[life.token]
        del self.alive[life.family][life.token]
        self.gone[life.token] = why
        for queue, group in {(s.queue, s.group) for s in life.sends} | {(s.queue, s.group) for s in life.sights}:
            self.groups.get((queue, group), {}).pop(life.token, None)

    def end_round(self, now: int) -> None:
        """``now``: service time; what is behind all windows is forgotten."""
        self.touched = {}
        self.touched_keys = {}
        self.touched_attempts = {}
        self.receives = []
        for key in [key for key, sends in self.keys.items() if sends[-1].span.high + 2 * WINDOW < now]:
            del self.keys[key]
        for attempt in [each for each, made in self.attempts.items() if made[-1].span.high + 2 * WINDOW < now]:
            del self.attempts[attempt]

    def unanswered_of(self, family: str, after: float, before: float) -> Iterator[Receive]:
        """Receives without an answer that were under way in this real time, from any queue of the family."""
        for queue in self.members(family):
            for receive in self.unanswered[queue.name]:
                if receive.span.begun <= before and receive.span.ended >= after:
                    yield receive

"""What must be true of one message, whatever was killed when. The first line of each rule is the rule.

A rule is given a life and yields, for each breach, what is wrong. It accuses
only where no possible order of the calls could explain what was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from crash.history import DONE, REFUSED, UNKNOWN, Change, Delete, History, Life, Purge, Send, Sight, Span

SLACK = 2
"""Milliseconds: service time is made of whole ones, and its offset too."""

LONGEST = 43_200_000
"""Twelve hours: from its receive a message may be hidden no longer."""

Rule = Callable[[Life, History], Iterator[str]]


def content_is_unchanged(life: Life, history: History) -> Iterator[str]:
    """Bodies, attributes and their MD5 sums come back as they were sent."""
    events: list[Send | Sight] = [*life.sends, *life.sights]
    for event in events:
        yield from event.faults


def one_id(life: Life, history: History) -> Iterator[str]:
    """A message has one id and one sequence number, but where a move task makes a new message of it."""
    ids = {send.id for send in life.sends if send.id and not send.copied}
    if len(ids) > 1:
        yield f"its sends were answered with several ids: {ids}"
    if not history.moves(life.family):
        ids |= {sight.id for sight in life.sights}
        if len(ids) > 1:
            yield f"it has several ids: {ids}"
    for queue in history.members(life.family):
        if queue.fifo:
            found: dict[str, set[int]] = {}
            events: list[Send | Sight] = [*(s for s in life.sends if s.id and not s.copied), *life.sights]
            for event in events:
                if event.queue == queue.name:
                    found.setdefault(event.id, set()).add(event.sequence)
            for id_, sequences in found.items():
                if len(sequences) > 1:
                    yield f"{id_} has several sequence numbers in {queue.name}: {sequences}"


def deleted_stays_deleted(life: Life, history: History) -> Iterator[str]:
    """What was deleted with an answer is never returned, nor shown, again."""
    for delete in life.deletes:
        if surely_deleted(delete, life, history) and life.seen_after(delete.span):
            yield f"it was deleted at {delete.span} and seen again"


def surely_deleted(delete: Delete, life: Life, history: History) -> bool:
    """Where messages move, an old handle deletes nothing any more: there the message must still have been in flight."""
    if delete.outcome is not DONE:
        return False
    if not history.moves(life.family):
        return True
    return not _outdated(delete, life) and delete.span.high < life.hidden_until(
        delete.span, delete.id, delete.count + 1
    )


def _outdated(event: Delete | Change, life: Life) -> bool:
    """May the message have been received again by then, here or where it has moved to?"""
    ids = life.ids()
    rank = (ids.index(event.id), event.count)
    return any((ids.index(s.id), s.count) > rank and s.span.begun <= event.span.ended for s in life.receives)


def purged_stays_purged(life: Life, history: History) -> Iterator[str]:
    """What was sent before a purge that was answered is never returned, nor shown, after it."""
    for purge in history.purges[life.sends[0].queue] if life.sends else []:
        if purge.outcome is not DONE or not all(send.span.before(purge.span) for send in life.sends):
            continue
        if life.seen_after(purge.span):
            yield f"it was purged at {purge.span} and seen again"


def may_be_purged(life: Life, purges: list[Purge]) -> bool:
    return any(not purge.span.before(send.span) for purge in purges for send in life.sends)


def receives_are_counted(life: Life, history: History) -> Iterator[str]:
    """ApproximateReceiveCount never goes down and counts every receive that was answered, once."""
    for id_ in {sight.id for sight in life.sights}:
        sights = sorted((s for s in life.sights if s.id == id_), key=lambda each: each.span.begun)
        for at, sight in enumerate(sights):
            again = bool(sight.attempt) and any(
                (each.attempt, each.count) == (sight.attempt, sight.count) for each in sights[:at]
            )
            # What an attempt took without an answer shows in a look, and is counted once when the attempt is repeated.
            lost = bool(sight.attempt) and any(
                each.outcome is UNKNOWN for each in history.attempts.get(sight.attempt, ())
            )
            for earlier in sights[:at]:
                if earlier.span.before(sight.span):
                    same = sight.state or again or (lost and earlier.state)
                    least = earlier.count if same else earlier.count + 1
                    if sight.count < least:
                        yield f"{id_} counts {sight.count} at {sight.span}, after {earlier.count} at {earlier.span}"
                elif sight.count == earlier.count and not (sight.state or earlier.state or again):
                    yield f"{id_} was received twice with the count {sight.count}"


def nothing_else_is_counted(life: Life, history: History) -> Iterator[str]:
    """ApproximateReceiveCount counts nothing but receives that were answered or may have been carried out."""
    began = min((send.span.begun for send in life.sends), default=0.0)
    for id_ in {sight.id for sight in life.sights}:
        sights = sorted((s for s in life.sights if s.id == id_), key=lambda each: (each.count, each.span.begun))
        count, since = 0, began
        for sight in sights:
            more = sight.count - count - (0 if sight.state else 1)
            if more > 0:
                lost = [
                    receive
                    for receive in history.unanswered_of(life.family, since, sight.span.ended)
                    if not (
                        receive.attempt and receive.attempt == sight.attempt and _still_repeats(receive.span, sight)
                    )
                ]
                if more > len(lost):
                    yield (
                        f"{id_} counts {sight.count} at {sight.span}: {more} more than before, "
                        f"and {len(lost)} receives had no answer"
                    )
            if sight.count > count:
                count, since = sight.count, sight.span.begun


def _still_repeats(lost: Span, sight: Sight) -> bool:
    return sight.span.high < lost.low + sight.hidden


def hidden_while_in_flight(life: Life, history: History) -> Iterator[str]:
    """A message in flight is not returned, nor shown as visible, before its visibility timeout ends."""
    for sight in life.sights:
        if sight.state and sight.state != "visible":
            continue
        rank = sight.count + 1 if sight.state else sight.count
        until = life.hidden_until(sight.span, sight.id, rank)
        if sight.span.high + SLACK < until:
            yield f"it was seen at {sight.span}, and hidden until {until}"


def shown_when_no_longer_in_flight(life: Life, history: History) -> Iterator[str]:
    """A message is in flight no longer than somebody asked for."""
    for sight in life.sights:
        if sight.state != "in flight":
            continue
        bounds = [life.hidden_at_most(sight.span, sight.id, sight.count + 1)]
        bounds += [r.span.high + r.hidden for r in history.unanswered_of(life.family, 0.0, sight.span.begun)]
        if sight.span.low > max(bounds) + SLACK:
            yield f"it is in flight at {sight.span}, and was to be hidden until {max(bounds)} at the most"


def delayed_first(life: Life, history: History) -> Iterator[str]:
    """A message with a delay is not returned, nor shown as visible, before the delay ends."""
    if not life.sends:
        return
    send = min(life.sends, key=lambda each: each.span.low)
    delay = history.queues[send.queue].delay if send.delay < 0 else send.delay
    for sight in life.sights:
        if sight.state != "delayed" and sight.span.high + SLACK < send.span.low + delay:
            yield f"it was seen at {sight.span}, and delayed until {send.span.low + delay} at the least"


def sent_when_it_was_sent(life: Life, history: History) -> Iterator[str]:
    """SentTimestamp is an instant of the send, and stays (but for a move, which is a send)."""
    if not life.sends:
        return
    first = life.ids()[0] if life.ids() else ""
    low = min(send.span.low for send in life.sends) - SLACK
    high = max(send.span.high for send in life.sends) + SLACK
    for sight in life.sights:
        if sight.id == first and not sight.source and not low <= sight.sent <= high:
            yield f"it was sent between {low} and {high}, and says {sight.sent}"
    places: dict[tuple[str, str], set[int]] = {}
    for sight in life.sights:
        places.setdefault((sight.queue, sight.id), set()).add(sight.sent)
    for (queue, id_), times in places.items():
        if len(times) > 1:
            yield f"{id_} in {queue} says several times of sending: {times}"


def first_received_once(life: Life, history: History) -> Iterator[str]:
    """ApproximateFirstReceiveTimestamp is an instant of the first receive, and stays."""
    for id_ in {sight.id for sight in life.sights}:
        times = {sight.first for sight in life.sights if sight.id == id_ and sight.count}
        if len(times) > 1:
            yield f"{id_} says several times of its first receive: {times}"
        for sight in life.receives:
            if sight.id == id_ and sight.count == 1 and not sight.attempt:
                span = sight.span
                if not span.low - SLACK <= sight.first <= span.high + SLACK:
                    yield f"{id_} was first received at {span}, and says {sight.first}"


def not_after_its_retention(life: Life, history: History) -> Iterator[str]:
    """A message past its retention is not returned, nor shown."""
    for sight in life.sights:
        if sight.sent and sight.span.low >= sight.sent + history.queues[sight.queue].retention + SLACK:
            yield f"it was sent at {sight.sent} and seen at {sight.span}"


def dead_after_its_last_receive(life: Life, history: History) -> Iterator[str]:
    """A dead letter was received as often as it may be, no less and no more, keeps its id, and names its source."""
    for queue in history.members(life.family):
        if not queue.most:
            continue
        alive = {sight.id for sight in life.sights if sight.queue == queue.name} | {s.id for s in life.sends if s.id}
        since = min((send.span.begun for send in life.sends), default=0.0)
        lost = sum(1 for _ in history.unanswered_of(life.family, since, float("inf")))
        for sight in life.sights:
            if sight.queue == queue.name:
                if sight.count > queue.most:
                    yield f"it was received {sight.count} times in {queue.name}"
                if sight.source:
                    yield f"it is in {queue.name} and says that it is a dead letter of {sight.source}"
            elif sight.queue == queue.dead_letters:
                if sight.count < queue.most + (0 if sight.state else 1):
                    yield f"it is in {sight.queue} at {sight.span} after {sight.count} receives"
                if sight.id not in alive and alive and lost < queue.most:
                    yield f"it is in {sight.queue} as {sight.id}, and was in {queue.name} as {alive}"
                if not sight.source.endswith(":" + queue.name):
                    yield f"it is in {sight.queue} and says that it came from {sight.source!r}"


def in_one_place(life: Life, history: History) -> Iterator[str]:
    """A message is in its queue or in the dead-letter queue; when it is seen in the next place it has left the last."""
    if not history.moves(life.family):
        return
    ids = life.ids()
    for sight in life.sights:
        for later in life.sights:
            if ids.index(sight.id) < ids.index(later.id) and later.span.before(sight.span):
                yield f"it was {later.id} at {later.span} and {sight.id}, as before a move, at {sight.span}"
    for queue in history.members(life.family):
        dead = [s for s in life.sights if s.queue == queue.dead_letters]
        for sight in life.sights:
            if sight.queue == queue.name and any(s.id == sight.id and s.span.before(sight.span) for s in dead):
                yield f"{sight.id} came back from {queue.dead_letters} to {queue.name} under its old id"


def handles_work(life: Life, history: History) -> Iterator[str]:
    """A handle of a message in flight works, up to 12 hours; in a standard queue also when it is visible again."""
    events: list[Delete | Change] = [*life.deletes, *life.changes]
    for event in events:
        if event.outcome is not REFUSED or not event.code:
            continue
        if isinstance(event, Change) and any(
            event.span.high + event.timeout + SLACK >= receive.span.low + LONGEST
            for receive in life.receives
            if (receive.id, receive.count) == (event.id, event.count)
        ):
            continue
        text = f"the handle of receive {event.count} was refused at {event.span}: {event.code}"
        if event.span.high + SLACK < life.hidden_until(event.span, event.id, event.count + 1):
            if not (_outdated(event, life) or may_have_left(life, event.span, history)):
                yield text
        elif not history.queues[event.queue].fifo and not history.moves(life.family) and life.seen_after(event.span):
            yield text


RULES: tuple[Rule, ...] = (
    content_is_unchanged,
    one_id,
    deleted_stays_deleted,
    purged_stays_purged,
    receives_are_counted,
    nothing_else_is_counted,
    hidden_while_in_flight,
    shown_when_no_longer_in_flight,
    delayed_first,
    sent_when_it_was_sent,
    first_received_once,
    not_after_its_retention,
    dead_after_its_last_receive,
    in_one_place,
    handles_work,
)


def settle(life: Life, history: History) -> str:
    """Void the deletes that cannot have happened, for it was seen later; why the life has certainly ended, or ""."""
    for delete in life.deletes:
        if delete.outcome is REFUSED or surely_deleted(delete, life, history):
            continue
        if life.seen_after(delete.span):
            delete.outcome, delete.code = REFUSED, ""
    for delete in life.deletes:
        if surely_deleted(delete, life, history):
            return f"it was deleted at {delete.span}"
    purges = [p for p in history.purges[life.sends[0].queue] if p.outcome is DONE] if life.sends else []
    for purge in purges:
        if all(send.span.before(purge.span) for send in life.sends):
            return f"it was purged at {purge.span}"
    return ""


def exists(life: Life) -> bool:
    """Was it certainly made?"""
    return bool(life.sights) or any(send.outcome is DONE and not send.copied for send in life.sends)


def may_have_left(life: Life, at: Span, history: History) -> bool:
    """Could it be gone by ``at``?"""
    if any(delete.outcome is not REFUSED and delete.span.begun <= at.ended for delete in life.deletes):
        return True
    queue = history.queues[life.sends[0].queue]
    if may_be_purged(life, [purge for purge in history.purges[queue.name] if purge.span.begun <= at.ended]):
        return True
    sent = max((sight.sent for sight in life.sights), default=min(send.span.low for send in life.sends))
    return at.high >= sent + queue.retention - SLACK

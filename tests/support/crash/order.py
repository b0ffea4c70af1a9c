"""What must be true of the messages of a FIFO queue together. The first line of each rule is the rule.

Deliverability has one rule that all recorded cases fit (aws/sqs): a message
may be returned if it is visible and no earlier one of its group is not. So
whenever one is returned, each earlier one of its group is gone, or comes with
it, in front of it: that is the order and the exclusion of groups in one, and
needs no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from crash.history import DONE, REFUSED, WINDOW, Change, Delete, History, Key, Life, Receive, Send, Span
from crash.rules import SLACK, may_have_left

Breach = tuple[str, list[Life]]
"""What is wrong, and the messages concerned."""


def earlier_ones_come_first(receive: Receive, history: History) -> Iterator[Breach]:
    """A message is returned only when all earlier ones of its group are deleted, or come before it in the answer."""
    queue = history.queues[receive.queue]
    if not queue.fifo:
        return
    together: dict[str, list[str]] = {}
    for sight in receive.seen:
        together.setdefault(sight.group, []).append(sight.token)
    sequences = {sight.token: sight.sequence for sight in receive.seen}
    for group, tokens in together.items():
        numbers = [sequences[token] for token in tokens]
        if numbers != sorted(numbers):
            lives = [history.lives[token] for token in tokens if token in history.lives]
            yield f"{receive.span}: group {group} of {queue.name} came in the order {numbers}", lives
        last = max(numbers)
        for token, sequence in history.groups[queue.name, group].items():
            if sequence >= last or token in sequences:
                continue
            life = history.lives[token]
            if is_surely_in(life, queue.name, sequence, receive.span, history):
                found = next(token for token in tokens if sequences[token] == last)
                lives = [each for each in (life, history.lives.get(found)) if each is not None]
                yield f"{receive.span}: {last} of group {group} came while {sequence} was in {queue.name}", lives


def is_surely_in(life: Life, queue: str, sequence: int, at: Span, history: History) -> bool:
    """Was the message that has this sequence there certainly in the queue?"""
    if any(s.queue == queue and s.sequence == sequence and at.before(s.span) for s in life.sights):
        return True
    if may_have_left(life, at, history):
        return False
    family = life.family
    if not history.moves(family):
        return True
    traits = history.queues[queue]
    if not traits.most:
        return False  # a move task may have it
    took = sum(1 for sight in life.receives if sight.queue == queue and sight.span.begun <= at.ended)
    lost = sum(1 for _ in history.unanswered_of(family, 0.0, at.ended))
    ids = {sight.id for sight in life.sights} | {send.id for send in life.sends if send.id}
    return took + lost < traits.most and len(ids) == 1


def sequences_grow(history: History) -> Iterator[Breach]:
    """Of two sends to a group, one answered before the other began, the later has the higher sequence number."""
    fresh: dict[tuple[str, str], list[tuple[Span, int, Life]]] = {}
    for life in history.touched.values():
        sends = [send for send in life.sends if send.sequence and not send.copied]
        if not sends:
            continue
        begun = min(send.span.begun for send in life.sends)
        ended = min(send.span.ended for send in sends)
        span = Span(begun, ended, 0, 0)
        fresh.setdefault((sends[0].queue, sends[0].group), []).append((span, sends[0].sequence, life))
    for place, made in fresh.items():
        made.sort(key=lambda each: each[0].begun)
        for at, (span, sequence, life) in enumerate(made):
            for earlier, number, other in made[:at]:
                if earlier.before(span) and number >= sequence:
                    yield f"{place}: sequence {sequence} at {span} after {number} at {earlier}", [life, other]
            highest = history.highest.get(place)
            if highest is not None and highest[0].before(span) and highest[1] >= sequence:
                yield f"{place}: sequence {sequence} at {span} after {highest[1]} at {highest[0]}", [life]
        for span, sequence, _ in made:
            if place not in history.highest or history.highest[place][1] < sequence:
                history.highest[place] = (span, sequence)


def duplicates_are_one(key: Key, history: History) -> Iterator[Breach]:
    """A deduplication id makes one message in five minutes: to repeat the send tells its id; later it is a new one."""
    sends = history.keys[key]
    if any(purge.outcome is not REFUSED for purge in history.purges[key[0]]):
        return
    made = _made(sends, history)
    lives = [life for life in (history.lives.get(send.token) for send in sends) if life is not None]
    accepted = list(made.items())
    for at, (one, (low, high, _)) in enumerate(accepted):
        for other, (later_low, later_high, _) in accepted[:at]:
            if max(high - later_low, later_high - low) + SLACK < WINDOW:
                yield f"{key}: {one} and {other} were both accepted, between {low} and {later_high}", lives
    for send in sends:
        if send.outcome is DONE:
            _, high, sequence = made[send.id]
            if send.sequence != sequence:
                yield f"{key}: {send.id} has the sequence numbers {sequence} and {send.sequence}", lives
            if send.span.low - high > WINDOW + SLACK:
                yield f"{key}: a send at {send.span} was taken for a duplicate of one at {high} at the latest", lives


def _made(sends: list[Send], history: History) -> dict[str, tuple[int, int, int]]:
    """Message id -> (earliest, latest) service time at which it was accepted, and its sequence."""
    found: dict[str, tuple[int, int, int]] = {}
    owners: dict[str, str] = {}
    for send in sends:
        if send.outcome is DONE and send.id not in owners:
            owners[send.id] = send.token
            low = min(each.span.low for each in sends if each.token == send.token)
            found[send.id] = (low, send.span.high, send.sequence)
    for token in {send.token for send in sends}:
        life = history.lives.get(token)
        sights = life.sights if life is not None else []
        # What a move task brings back from the dead-letter queue has a new id and was not accepted from a sender.
        away = min((sight.span.begun for sight in sights if sight.queue != sends[0].queue), default=math.inf)
        for sight in sights:
            brought_back = sight.span.begun >= away and sight.id not in owners
            if not (sight.source or brought_back) and sight.sent and sight.queue == sends[0].queue:
                found[sight.id] = (sight.sent, sight.sent, sight.sequence)
    return found


def attempts_repeat(attempt: str, history: History) -> Iterator[Breach]:
    """A receive that is repeated with its attempt id, while nothing has changed, gets the same messages and handles."""
    tries = history.attempts[attempt]
    answered = [receive for receive in tries if receive.outcome is DONE]
    for first, again in pairwise(answered):
        if not first.seen or again.span.high + SLACK >= answered[0].span.low + WINDOW:
            continue
        lives = [life for life in (history.lives.get(sight.token) for sight in first.seen) if life is not None]
        if len(lives) < len(first.seen) or any(_changed(life, first, again) for life in lives):
            continue
        given = [(sight.token, sight.handle, sight.count) for sight in first.seen]
        got = [(sight.token, sight.handle, sight.count) for sight in again.seen]
        if given != got:
            yield f"attempt {attempt} got {given} at {first.span}, and {got} at {again.span}", lives


def _changed(life: Life, first: Receive, again: Receive) -> bool:
    """May the message have changed, or its timeout ended, between the two?"""
    if again.span.high + SLACK >= first.span.low + first.hidden:
        return True
    events: list[Delete | Change] = [*life.deletes, *life.changes]
    return any(
        event.outcome is not REFUSED and event.span.ended >= first.span.begun and event.span.begun <= again.span.ended
        for event in events
    )

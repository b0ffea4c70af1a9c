"""Holds a history against the rules: after every kill, and at quiet points.

``judge`` judges what happened since the last time. At a quiet point (nobody
calls, the clock stands still, what was due has happened) ``judge_looks`` is
given all the messages of a family of queues: what must be there is, what is
not there has ended for good, and the counts are what is to be seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from crash.history import NEVER_WAS, History, Life, Look
from crash.order import Breach, attempts_repeat, duplicates_are_one, earlier_ones_come_first, sequences_grow
from crash.rules import RULES, exists, may_have_left, settle


@dataclass(frozen=True, slots=True)
class Violation:
    """``rule``: the name of a function of ``rules`` or ``order``, or of one of the rules here."""

    rule: str
    text: str
    messages: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}" + (f"\n{self.messages}" if self.messages else "")


class Checker:
    def __init__(self, history: History) -> None:
        self.history = history
        self.violations: list[Violation] = []
        self.judged: Counter[str] = Counter()

    def accuse(self, rule: str, text: str, lives: Iterable[Life] = ()) -> None:
        told = "\n".join(life.describe() for life in lives)
        self.violations.append(Violation(rule, text, told))

    # -- after a kill ------------------------------------------------------------------

    def judge(self, now: int = 0) -> None:
        """Judge the round; ``now``: service time. What has certainly ended is forgotten."""
        history = self.history
        for sight, why in history.foreign():
            ended = [history.ended[sight.token]] if sight.token in history.ended else []
            text = f"{sight.token} in {sight.queue} at {sight.span}, but {why}"
            self.accuse("nothing_comes_from_nowhere", text, ended)
        for life in history.touched.values():
            self._judge_life(life)
        for receive in history.receives:
            self._accuse_all("earlier_ones_come_first", earlier_ones_come_first(receive, history))
        self._accuse_all("sequences_grow", sequences_grow(history))
        for key in history.touched_keys:
            self._accuse_all("duplicates_are_one", duplicates_are_one(key, history))
        for attempt in history.touched_attempts:
            self._accuse_all("attempts_repeat", attempts_repeat(attempt, history))
        self.judged["receives"] += len(history.receives)
        for life in history.touched.values():
            why = settle(life, history)
            if why and life.token in history.lives:
                history.end(life, why)
        history.end_round(now)

    def _judge_life(self, life: Life) -> None:
        self.judged["messages"] += 1
        for rule in RULES:
            for text in rule(life, self.history):
                self.accuse(rule.__name__, text, [life])

    def _accuse_all(self, rule: str, breaches: Iterable[Breach]) -> None:
        for text, lives in breaches:
            self.accuse(rule, text, lives)

    # -- at a quiet point ----------------------------------------------------------------

    def judge_looks(self, looks: list[Look]) -> None:
        """``looks``: at every queue of one family, at one instant of service time."""
        history = self.history
        family = history.family(looks[0].queue)
        found: Counter[str] = Counter()
        for look in looks:
            history.look(look)
            found.update(sight.token for sight in look.seen)
            self._judge_counts(look)
        for token, places in found.items():
            if places > 1:
                known = [history.lives[token]] if token in history.lives else []
                self.accuse("in_one_place", f"{token} is there {places} times", known)
        for life in list(history.alive[family].values()):
            if life.token in found:
                continue
            if exists(life):
                at = looks[-1].span
                if not may_have_left(life, at, history):
                    self.accuse("nothing_is_lost", f"{life.token} is not there at {at}", [life])
                why = f"it was not there at {at}"
            else:
                why = NEVER_WAS
            history.touched.pop(life.token, None)
            history.end(life, why)
        self.judged["looks"] += 1

    def _judge_counts(self, look: Look) -> None:
        seen = Counter(sight.state for sight in look.seen)
        truth = (seen["visible"], seen["in flight"], seen["delayed"])
        if look.counts != truth:
            self.accuse(
                "counts_are_true",
                f"{look.queue} says (visible, in flight, delayed) = {look.counts} and has {truth} at {look.span}",
            )

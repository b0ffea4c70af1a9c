"""What service time can be at this moment, as far as the clock's answers tell.

The server and its clients share the machine's clock, so after an answer of
``/_trunkline/clock`` service time is known: it runs ``offset`` ahead of real
time, or stands still. While a request that changes it is under way, and if its
answer was lost until the clock has been read again, there are two bounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any


class _Hand:
    """A bound: an instant that stands still, or one that runs ``offset`` ahead of real time. Milliseconds."""

    __slots__ = ("offset", "still")

    def __init__(self, still: int | None = None, offset: int = 0) -> None:
        self.still = still
        self.offset = offset


class ServiceTime:
    """``wall``: seconds since the epoch. Until the clock is read first, every instant is possible."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._low = _Hand(still=0)
        self._high = _Hand(still=1 << 62)
        self._proven = 0
        self.certain = False
        self.frozen = False

    def low(self) -> int:
        """Service time is not before this now."""
        hand = self._low
        at = hand.still if hand.still is not None else math.floor(self._wall() * 1000) + hand.offset
        if at > self._proven:
            self._proven = at
        return self._proven

    def high(self) -> int:
        """Service time is not after this now."""
        hand = self._high
        at = hand.still if hand.still is not None else math.ceil(self._wall() * 1000) + hand.offset
        return max(at, self._proven)

    # -- requests that change it ---------------------------------------------------

    def begin_freeze(self) -> None:
        self._begin()

    def begin_resume(self) -> None:
        if self._high.still is not None:
            self._high = _Hand(offset=self._high.still - math.floor(self._wall() * 1000))
        self._begin()

    def begin_advance(self, by: int) -> None:
        hand = self._high
        self._high = _Hand(None if hand.still is None else hand.still + by, hand.offset + by)
        self._begin()

    def _begin(self) -> None:
        self._low = _Hand(still=self.low())
        self.certain = False

    def learn(self, answer: dict[str, Any]) -> None:
        """Take up what the clock said when nothing was changing it."""
        now = int(answer["now"])
        self.frozen = bool(answer["frozen"])
        self._proven = max(self._proven, now)
        self._low = self._high = _Hand(now if self.frozen else None, int(answer["offset"]))
        self.certain = True

    # -- after a restart -----------------------------------------------------------

    def faults(self, answer: dict[str, Any]) -> list[str]:
        """What is wrong with the clock as it is found after a restart, before anybody has changed it."""
        now, frozen, offset = int(answer["now"]), bool(answer["frozen"]), int(answer["offset"])
        found = []
        if now < self._proven:
            found.append(f"service time went back: it is {now}, and {self._proven} had been reached")
        if now > self.high():
            found.append(f"service time is {now}, later than {self.high()}, the latest that it can be")
        if self.certain:
            if frozen != self.frozen:
                found.append(f"the clock was {'frozen' if self.frozen else 'running'} and is no longer")
            elif not frozen and abs(offset - self._low.offset) > 1:
                found.append(f"the clock was {self._low.offset} ms ahead and is {offset} ms ahead")
            elif frozen and now != self._low.still:
                found.append(f"the clock stood at {self._low.still} and stands at {now}")
        return found

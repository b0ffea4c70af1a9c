"""The two clocks: service time and real time.

Service time is what AWS would compute with (visibility, delay, retention,
deduplication, long-poll deadlines). It can be frozen and advanced; it never
goes backward. Real time is for what meets the real world (signature skew,
socket time-outs, measurements). Both are handed in; nothing else in Trunkline
reads a clock.
"""

from __future__ import annotations

import time
from typing import Protocol

Millis = int
"""Milliseconds since the Unix epoch (or, where a name says so, a length)."""

NEVER: Millis = 2**63 - 1
"""Later than any instant that a machine can be woken at."""

SECOND: Millis = 1_000
MINUTE: Millis = 60_000
HOUR: Millis = 3_600_000
DAY: Millis = 86_400_000


class Clock(Protocol):
    """Service time, in milliseconds since the epoch; never decreases."""

    def now(self) -> Millis: ...


class RealClock:
    """The machine's own clocks."""

    def wall(self) -> float:
        """Seconds since the epoch; may step backward."""
        return time.time()

    # The function itself, for it is called twice for each request.
    monotonic = staticmethod(time.monotonic)
    """Seconds since an arbitrary instant; never decreases."""

    def rest(self, seconds: float) -> None:
        """Hold the calling thread for so long. Never on the event loop."""
        time.sleep(seconds)


class ServiceClock:
    """Service time: the real clock plus an offset, or an instant at which it stands still.

    It stands still because a user has frozen it, which a restart keeps, or
    because it is held while it is being advanced, which a restart ends. Steps
    of the machine's clock to the past are absorbed: ``now`` holds still until
    real time has caught up.
    """

    def __init__(self, real: RealClock, offset: Millis = 0, high_water: Millis = 0) -> None:
        self._wall = real.wall
        self._offset = offset
        self._still: Millis | None = None
        self._frozen = False
        self._latest = high_water

    def now(self) -> Millis:
        if self._still is not None:
            return self._still
        now = int(self._wall() * 1000) + self._offset
        if now > self._latest:
            self._latest = now
            return now
        return self._latest

    def restore(self, offset: Millis, high_water: Millis, frozen: bool) -> None:
        """Go on from what a former process wrote down."""
        self._offset = offset
        self._latest = high_water
        self._frozen = frozen
        self._still = high_water if frozen else None

    @property
    def offset(self) -> Millis:
        """How far service time is ahead of real time, in milliseconds."""
        return self._offset

    @property
    def frozen(self) -> bool:
        return self._frozen

    def freeze(self) -> Millis:
        """Let service time stand still at the present instant, and return it."""
        self._frozen = True
        return self.hold()

    def hold(self) -> Millis:
        """Let it stand still until ``let_go``."""
        now = self.now()
        self._still = now
        return now

    def let_go(self) -> None:
        """Let it run on from where it stands, unless it is frozen."""
        if not self._frozen:
            self.resume()

    def move_to(self, instant: Millis) -> None:
        """Set service time. ValueError if that would be the past."""
        if instant < self.now():
            raise ValueError("service time never goes backward")
        if self._still is not None:
            self._still = instant
        self._offset = instant - int(self._wall() * 1000)
        self._latest = instant

    def resume(self) -> Millis:
        """Let service time run on from where it stands; return it."""
        now = self.now()
        self._offset = now - int(self._wall() * 1000)
        self._frozen = False
        self._still = None
        self._latest = now
        return now

"""Whether work on the disk is done where it is asked for, on the event loop, or on a thread.

Handing work to a thread and back costs more than most of the work itself: each
change of the interpreter lock's holder stops a busy loop for about 0.1 ms, and
SQLite's binding lets the lock go for every row. But a slow disk may stall
nobody who does not wait for it. So work stays on the loop while it is quick;
when two of a kind in a row took longer than 2 ms the next ones go to the
thread, and now and then one is tried on the loop again.
"""

from __future__ import annotations

from collections.abc import Callable

SLOW_SECONDS = 0.002
"""Two in a row that take longer send the next ones to the thread for a while:"""
_MOST_SLOW = 5
"""forty times as long as the second took, and up to 320 times if that repeats itself."""


class Pace:
    """Of one kind of work. ``clock``: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._slow = 0
        self.aside_until = 0.0
        """The instant until which the thread does the work."""

    @property
    def quick(self) -> bool:
        """Is it to be done on the event loop now?"""
        return self._clock() >= self.aside_until

    def took(self, begun: float, ended: float) -> None:
        """It was done on the event loop, from ``begun`` to ``ended``."""
        seconds = ended - begun
        self._slow = 0 if seconds < SLOW_SECONDS else min(self._slow + 1, _MOST_SLOW)
        if self._slow > 1:
            self.aside_until = begun + seconds * 10 * 2**self._slow

    def leave(self, seconds: float) -> None:
        """It has failed: leave it to the thread for so long at the least."""
        self.aside_until = max(self.aside_until, self._clock() + seconds)

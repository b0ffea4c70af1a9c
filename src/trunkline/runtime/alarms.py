"""Timers of machines, in service time.

One heap of (due, partition) serves every machine, loaded or not; an entry is
live while it equals the partition's present alarm. A real timer is set for
the earliest one only. While the clock is frozen only what is due already rings;
for the rest ``advance`` walks from instant to instant.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from trunkline.kernel.time import NEVER, Millis, ServiceClock

_BURST = 64
"""Alarms run before other work gets a turn."""


class Alarms:
    """``ring(partition)`` is called on the event loop when an alarm is due."""

    def __init__(self, clock: ServiceClock, ring: Callable[[int], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._heap: list[tuple[Millis, int]] = []
        self._due: dict[int, Millis] = {}
        self._timer: asyncio.Handle | None = None
        self._timer_due: Millis = NEVER
        self.held = False
        """While True (an advance is under way) no real timer rings."""

    def set(self, partition: int, due: Millis) -> None:
        """Let ``partition`` be woken at ``due``; NEVER takes its alarm away."""
        if self._due.get(partition, NEVER) == due:
            return
        if due >= NEVER:
            self._due.pop(partition, None)
            return
        self._due[partition] = due
        heapq.heappush(self._heap, (due, partition))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._due):
            self._heap = [(when, who) for who, when in self._due.items()]
            heapq.heapify(self._heap)
        if due < self._timer_due:
            self.rearm()

    def earliest(self) -> Millis:
        """When the next alarm is due; NEVER if there is none."""
        heap = self._heap
        while heap:
            due, partition = heap[0]
            if self._due.get(partition) == due:
                return due
            heapq.heappop(heap)
        return NEVER

    def run(self, until: Millis, most: int = _BURST) -> bool:
        """Ring up to ``most`` alarms due at ``until`` or before; True if none is left."""
        until = min(until, NEVER - 1)
        for _ in range(most):
            if self.earliest() > until:
                return True
            _, partition = heapq.heappop(self._heap)
            del self._due[partition]
            self._ring(partition)
        return self.earliest() > until

    def rearm(self) -> None:
        """Set the real timer to the earliest alarm. To be called when the clock was frozen, moved or resumed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_due = NEVER
        if self.held:
            return
        due = self.earliest()
        if due >= NEVER:
            return
        wait = (due - self._clock.now()) / 1000
        if wait > 0 and self._clock.frozen:
            return
        self._timer_due = due
        loop = asyncio.get_running_loop()
        # An hour at the most: a timer of days would not notice that the machine slept.
        self._timer = loop.call_later(min(wait, 3600.0), self._ring_due) if wait > 0 else loop.call_soon(self._ring_due)

    def stop(self) -> None:
        self.held = True
        self.rearm()

    def _ring_due(self) -> None:
        self._timer = None
        self._timer_due = NEVER
        if not self.held:
            self.run(self._clock.now())
            self.rearm()

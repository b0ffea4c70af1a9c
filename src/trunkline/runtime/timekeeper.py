"""Moves service time on purpose, for people's tests.

Advance(d): repeat {take the earliest alarm up to the target; set now to its
due time; run every alarm of that instant; settle}, then set now to the target
and settle. *Settled*: no command queued, no page outstanding, every unit
enqueued committed. One advance at a time. While it runs, time stands still
between the instants, so what it does is the same on a slow machine.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from trunkline.kernel.time import Millis, RealClock, ServiceClock
from trunkline.runtime.partitions import Partitions

MANY_INSTANTS = 100_000
"""More instants with alarms than this in one advance want ``force``: it may take minutes."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """``now`` in ms since the epoch. ``reached``: False if it stopped early; then ``reason`` says why, and calling
    again goes on."""

    now: Millis
    instants: int
    reached: bool
    reason: str = ""


class Timekeeper:
    """``timeout``: real seconds that one call may take before it stops at the instant it has reached."""

    def __init__(self, clock: ServiceClock, real: RealClock, partitions: Partitions, timeout: float = 10.0) -> None:
        self._clock = clock
        self._real = real
        self._partitions = partitions
        self._timeout = timeout
        self._turn = asyncio.Lock()

    @property
    def now(self) -> Millis:
        return self._clock.now()

    @property
    def frozen(self) -> bool:
        return self._clock.frozen

    @property
    def offset(self) -> Millis:
        return self._clock.offset

    async def freeze(self) -> Millis:
        """Stop service time; durable when it returns."""
        async with self._turn:
            now = self._clock.freeze()
            await self._changed()
            return now

    async def resume(self) -> Millis:
        """Let service time run on; durable when it returns."""
        async with self._turn:
            now = self._clock.resume()
            await self._changed()
            return now

    async def advance(self, by: Millis, force: bool = False) -> Advanced:
        """Move service time ``by`` ms. ValueError if negative."""
        if by < 0:
            raise ValueError("service time never goes backward")
        async with self._turn:
            return await self._walk(self._clock.now() + by, force)

    async def move_to(self, instant: Millis, force: bool = False) -> Advanced:
        """Move service time to ``instant``. ValueError if that is the past."""
        async with self._turn:
            if instant < self._clock.now():
                raise ValueError("service time never goes backward")
            return await self._walk(instant, force)

    async def _walk(self, target: Millis, force: bool) -> Advanced:
        alarms = self._partitions.alarms
        deadline = self._real.monotonic() + self._timeout
        self._clock.hold()
        alarms.held = True
        alarms.rearm()
        instants = 0
        reason = ""
        try:
            reason = await self._settle(deadline)
            while not reason:
                due = alarms.earliest()
                if due > target:
                    self._clock.move_to(target)
                    reason = await self._run_instant(deadline)
                    if alarms.earliest() > target:
                        break
                    continue
                instants += 1
                self._clock.move_to(max(due, self._clock.now()))
                reason = await self._run_instant(deadline)
                if not reason and not force and instants >= MANY_INSTANTS:
                    reason = f"{instants} instants had alarms; say force to go on without this limit"
        finally:
            self._clock.let_go()
            alarms.held = False
            await self._changed()
        return Advanced(self._clock.now(), instants, not reason, reason)

    async def _run_instant(self, deadline: float) -> str:
        """Run every alarm of the present instant and settle; why not to go on, or ""."""
        alarms = self._partitions.alarms
        while not alarms.run(self._clock.now(), most=64):
            await asyncio.sleep(0)
        return await self._settle(deadline)

    async def _settle(self, deadline: float) -> str:
        settled = await self._partitions.settle(deadline)
        if settled and self._real.monotonic() <= deadline:
            return ""
        pending = "" if settled else f" with {self._partitions.pending} under way"
        return f"stopped after {self._timeout:g} real seconds{pending}; call again to go on"

    async def _changed(self) -> None:
        self._partitions.alarms.rearm()
        await self._partitions.save_clock()

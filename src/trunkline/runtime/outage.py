"""While nothing can be made durable: what is wrong, since when, and whether it still is.

It begins when the store fails at something. Then no batch is handed to it until
a probe has gone through: one at once, for most failures are over when they are
seen, and if that fails too, one each PROBE_SECONDS of real time, whether
somebody writes or not. So the log and the health page say that the cause is
gone when it is, and not at the next request. After a probe that took longer (a
checkpoint may be a part of it) the disk rests as long.

Between the failure and the first probe units gather, as behind a slow disk.
Once that has failed, the store is *failing*: requests that change something are
refused before they reach a machine (admission), and what has gathered all the
same (alarms, pages of ours) is refused with every probe that fails. What was
let in by then, and reads, go on.

Whoever cannot write could tell so a thousand times a second. The log has one
line when an outage begins, one when its kind changes, and one when it ends;
outages that come in quick succession share their lines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from trunkline.storage.store import KINDS, StoreError, StoreLost

log = logging.getLogger(__name__)

PROBE_SECONDS = 1.0
"""Real seconds between two probes."""
QUIET_SECONDS = 30.0
"""Between two lines that say that an outage begins."""


class Outage:
    """``probe``: see storage.store; ``refuse``: refuse what has gathered, and say how many; ``resume``: it is over.

    ``failures``: how often the store failed, by kind. ``refused``: requests that were kept out or refused, ever.
    ``error``: what is wrong, while something is; ``since``: when it began, in seconds of ``monotonic``.
    ``on``: nothing is to be handed to the store now. ``failing``: nothing is to be let in that changes something.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        refuse: Callable[[], int],
        resume: Callable[[], None],
        on_lost: Callable[[Exception], None] | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._probe = probe
        self._refuse = refuse
        self._resume = resume
        self._on_lost = on_lost
        self._monotonic = monotonic
        self.failures = dict.fromkeys(KINDS, 0)
        self.refused = 0
        self.error: StoreError | None = None
        self.since = 0.0
        self.on = False
        self.failing = False
        self._lost = False
        self._refused_before = 0
        self._told: type[StoreError] | None = None
        """What the log says is wrong."""
        self._quiet_until = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._over = asyncio.Event()
        self._over.set()
        self._stopping = False

    def begin(self, error: StoreError) -> None:
        """The store failed at something."""
        self._count(error)
        if isinstance(error, StoreLost):
            self._lose(error)
        elif self._task is None and not self._stopping and not self._lost:
            self.since = self._monotonic()
            self._refused_before = self.refused
            self.error = error
            self.on = True
            self._over.clear()
            self._task = asyncio.get_running_loop().create_task(self._run(), name="outage")

    async def over(self) -> None:
        """Return when the store can be asked for something."""
        await self._over.wait()

    async def stop(self) -> None:
        """Probe once more if need be, and leave it at that."""
        self._stopping = True
        self._hurry.set()
        if self._task is not None:
            await self._task

    @property
    def seconds(self) -> float:
        """For how long something has been wrong."""
        return 0.0 if self.error is None else self._monotonic() - self.since

    def _count(self, error: StoreError) -> None:
        self.failures[error.kind] += 1

    async def _run(self) -> None:
        first = self.error
        try:
            while True:
                hurried = self._hurry.is_set()
                begun = self._monotonic()
                try:
                    await self._probe()
                    break
                except StoreError as error:
                    self._count(error)
                    self._still(error)
                except Exception as error:
                    log.exception("A probe failed in an unforeseen way")
                    self._still(StoreError(str(error)))
                self.refused += self._refuse()
                if hurried or self._lost:
                    break
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), max(PROBE_SECONDS, self._monotonic() - begun))
        finally:
            self._task = None
            self.on = False
            if not self._lost:
                self._end(first)
            self._over.set()
            self._resume()

    def _still(self, error: StoreError) -> None:
        """A probe has failed."""
        if isinstance(error, StoreLost):
            self._lose(error)
            return
        self.error = error
        self.failing = True
        now = self._monotonic()
        if type(error) is not self._told and (self._told is not None or now >= self._quiet_until):
            self._told, self._quiet_until = type(error), now + QUIET_SECONDS
            log.error(
                "Nothing can be stored: %s. %s Requests that change something are answered with 503 until it can; "
                "that is tried each second, and nothing needs to be restarted",
                error,
                error.advice,
            )

    def _end(self, first: StoreError | None) -> None:
        refused = self.refused - self._refused_before
        now = self._monotonic()
        if self._told is not None:
            log.warning("The store works again, after %.1f s; %d requests were refused", self.seconds, refused)
        elif now >= self._quiet_until and not self.failing:
            self._quiet_until = now + QUIET_SECONDS
            log.error("The store failed once: %s. %d requests were refused; it works again", first, refused)
        self._told = self.error = None
        self.failing = False

    def _lose(self, error: StoreLost) -> None:
        """For good: nothing is probed any more, and whoever stops the server is told."""
        self.error = error
        self.failing = True
        if not self._lost:
            self._lost = True
            log.critical("The store is gone: %s. %s", error, error.advice)
            if self._on_lost is not None:
                self._on_lost(error)

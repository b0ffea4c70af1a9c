"""How late the event loop is: a timer that notes how much later than asked it was called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from trunkline.kernel.measures import SHORT_SECONDS, Histogram

_SECONDS = 0.25


class Lag:
    """``monotonic``: real seconds. Timers are to the millisecond, so what is below that tells nothing."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.seconds = Histogram(SHORT_SECONDS)

    def start(self) -> None:
        self._due = self._monotonic() + _SECONDS
        self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._called)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _called(self) -> None:
        self.seconds.observe(max(0.0, self._monotonic() - self._due))
        self.start()

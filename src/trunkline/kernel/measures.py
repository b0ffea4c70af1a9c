"""Plain counters that the parts keep of themselves; what is made of them when somebody looks is in metrics.

Counting happens on the hot path, so a counter is an attribute that is added
to, and a histogram one search in a tuple of a dozen numbers. Nobody locks:
all of it happens on the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Upper bounds for how long an answer took: from a commit on a quick disk to the longest long poll."""
SHORT_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Upper bounds for what the event loop or the disk takes."""
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096)
"""Upper bounds for how many there are of something."""
MOST_CODES = 64
"""Error codes of an operation that are told apart; more than AWS has for any. The others count as ``Other``."""


class Histogram:
    """How many values lay in each interval. ``bounds``: their upper ends, rising; what lies above is counted too."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Answers(Histogram):
    """The answers of one operation: how long each took, in seconds of ``monotonic``, and the errors among them."""

    __slots__ = ("_monotonic", "errors")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__(SECONDS)
        self._monotonic = monotonic
        self.errors: dict[str, int] = {}

    def given(self, begun: float) -> None:
        """A request that came at ``begun`` has been answered, whatever with."""
        took = self._monotonic() - begun
        self.counts[bisect_left(SECONDS, took)] += 1
        self.sum += took

    def failed(self, code: str) -> None:
        """An answer, counted by ``given`` too, was this error."""
        errors = self.errors
        if code not in errors and len(errors) >= MOST_CODES:
            code = "Other"
        errors[code] = errors.get(code, 0) + 1

    @property
    def succeeded(self) -> int:
        return sum(self.counts) - sum(self.errors.values())


class Traffic:
    """What went through a queue since this server started, or since the queue was made.

    As AWS's metrics count: ``sent``, ``received`` and ``deleted`` (NumberOfMessagesSent and so on) as they were
    answered, so without dead letters and moved messages, and a deletion each time that it is said; ``empty`` receives
    got nothing. ``duplicates``: sends that a FIFO queue has answered with the message that it had. ``expired``: deleted
    at the end of the retention; ``dead``: given to the dead-letter queue. The last three count when the machine
    decides, once more if the commit fails and it decides again.

    ``loads``: how often its machine was built. Until the next time nothing but time changes a queue that is not in
    memory.
    """

    __slots__ = ("dead", "deleted", "duplicates", "empty", "expired", "loads", "received", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.deleted = 0
        self.duplicates = 0
        self.empty = 0
        self.expired = 0
        self.dead = 0
        self.loads = 0

"""Requests that are refused, because too much is under way or something is broken: counted, and told once a spell.

Whoever is over a bound is over it for thousands of requests, and a line for
each would be a second load on top of the first. So the first refusal is
logged, and the next line comes after a while in which nothing was refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

SPELL_SECONDS = 30.0
"""Real seconds without a refusal after which the next one begins a new spell."""


class Refusals:
    """``count``: how many there were since the start. ``text``: what is logged, with the setting to look at.

    ``monotonic``: real seconds.
    """

    __slots__ = ("_before", "_last", "_log", "_monotonic", "_text", "count")

    def __init__(self, text: str, log: logging.Logger, monotonic: Callable[[], float]) -> None:
        self.count = 0
        self._text = text
        self._log = log
        self._monotonic = monotonic
        self._last = float("-inf")
        self._before = 0
        """``count`` when the present spell began."""

    def add(self, why: object = "") -> None:
        """One more was refused; ``why`` is logged if this begins a spell."""
        now = self._monotonic()
        if now - self._last >= SPELL_SECONDS:
            past = self.count - self._before
            reason = f": {why}" if why else ""
            self._log.warning("%s%s%s", self._text, reason, f" (the last such spell refused {past})" if past else "")
            self._before = self.count
        self._last = now
        self.count += 1

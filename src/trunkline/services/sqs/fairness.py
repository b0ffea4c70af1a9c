"""Fair queues: messages of noisy groups stand aside while there are any of quiet ones (aws/sqs.md section 9).

A group is noisy while it has many messages in flight, by itself and for its
share of all: so there are ten such groups at the most. Whoever looks for the
next message puts those of noisy groups that it meets aside, once each, and
goes on. They come back in their order when their group has become quiet, or
when nothing else is to be had: a queue with one tenant is not slowed down.

It is the messages in memory among which quiet ones are found. A message
without a group belongs to nobody, and is never noisy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

NOISY_LEAST = 10
"""A group with fewer messages in flight than this is never noisy."""
NOISY_SHARE = 10
"""Nor is one with less than a tenth of all that is in flight."""


class Grouped(Protocol):
    seq: int
    group: str


T = TypeVar("T", bound=Grouped)


class Groups:
    """How many messages of each group are in flight."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def more(self, group: str) -> None:
        self._counts[group] = self._counts.get(group, 0) + 1

    def less(self, group: str) -> None:
        left = self._counts.get(group, 0) - 1
        if left > 0:
            self._counts[group] = left
        else:
            self._counts.pop(group, None)

    def noisy(self, group: str, in_flight: int) -> bool:
        """Has ``group`` many of the ``in_flight`` messages?"""
        count = self._counts.get(group, 0)
        return count >= NOISY_LEAST and count * NOISY_SHARE >= in_flight


class Aside(Generic[T]):
    """Messages put aside, in a line for each group. ``len``: how many."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, item: T) -> None:
        line = self._lines.get(item.group)
        if line is None:
            line = self._lines[item.group] = deque()
        line.append(item)
        self._size += 1

    def take(self, noisy: Callable[[str], bool] | None = None) -> T | None:
        """The first message by its sequence, or with ``noisy`` the first of a group that is noisy no longer."""
        best: deque[T] | None = None
        for group, line in self._lines.items():
            if (best is None or line[0].seq < best[0].seq) and (noisy is None or not noisy(group)):
                best = line
        if best is None:
            return None
        item = best.popleft()
        if not best:
            del self._lines[item.group]
        self._size -= 1
        return item

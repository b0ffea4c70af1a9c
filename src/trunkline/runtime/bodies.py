"""The node's cache of body rows, bounded in bytes.

Bodies go in when they are written or read in a page, and out when they are
deleted, or oldest first when the budget is spent: a queue hands out its
oldest messages first, and those of a long backlog come in again page by page.
"""

from __future__ import annotations

_OVERHEAD = 150
"""About what CPython spends on a key, a value and a dict slot."""


class Bodies:
    def __init__(self, budget: int) -> None:
        """``budget``: bytes, overhead included."""
        self._budget = budget
        self._rows: dict[tuple[int, bytes], bytes] = {}
        self.held = 0

    def put(self, partition: int, key: bytes, value: bytes) -> None:
        rows = self._rows
        place = (partition, key)
        if place in rows:
            self.held += len(value) - len(rows[place])
        else:
            self.held += len(value) + _OVERHEAD
        rows[place] = value
        while self.held > self._budget and rows:
            oldest = next(iter(rows))
            self.held -= len(rows.pop(oldest)) + _OVERHEAD

    def drop(self, partition: int, key: bytes) -> None:
        value = self._rows.pop((partition, key), None)
        if value is not None:
            self.held -= len(value) + _OVERHEAD

    def get(self, partition: int, key: bytes) -> bytes | None:
        return self._rows.get((partition, key))

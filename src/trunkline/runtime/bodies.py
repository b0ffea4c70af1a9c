"""The node's cache of body rows, bounded in bytes.

Bodies go in when they are written or read in a page, and out when they are
deleted, or oldest first when the budget is spent: a queue hands out its
oldest messages first, and those of a long backlog come in again page by page.
"""

from __future__ import annotations

from collections import OrderedDict

_OVERHEAD = 250
"""About what CPython spends on a key, a value and an entry of an ordered dict."""


class Bodies:
    def __init__(self, budget: int) -> None:
        """``budget``: bytes, overhead included."""
        self._budget = budget
        # A plain dict would be searched for its first entry past all those that were taken out before it.
        self._rows: OrderedDict[tuple[int, bytes], bytes] = OrderedDict()
        self.held = 0

    def put(self, partition: int, key: bytes, value: bytes) -> None:
        rows = self._rows
        place = (partition, key)
        old = rows.get(place)
        self.held += len(value) + _OVERHEAD if old is None else len(value) - len(old)
        rows[place] = value
        while self.held > self._budget and rows:
            _, oldest = rows.popitem(last=False)
            self.held -= len(oldest) + _OVERHEAD

    def drop(self, partition: int, key: bytes) -> None:
        value = self._rows.pop((partition, key), None)
        if value is not None:
            self.held -= len(value) + _OVERHEAD

    def get(self, partition: int, key: bytes) -> bytes | None:
        return self._rows.get((partition, key))

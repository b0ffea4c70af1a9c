"""The node's cache of body rows, bounded in bytes.

Bodies go in when they are written or read in a page, and out when they are
deleted, or oldest first when the budget is spent: a queue hands out its
oldest messages first, and those of a long backlog come in again page by page.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from trunkline.kernel.step import BODY, Row, Write

_OVERHEAD = 250
"""About what CPython spends on a key, a value and an entry of an ordered dict."""


class Bodies:
    def __init__(self, budget: int) -> None:
        """``budget``: bytes, overhead included."""
        self._budget = budget
        # A plain dict would be searched for its first entry past all those that were taken out before it.
        self._rows: OrderedDict[tuple[int, bytes], bytes] = OrderedDict()
        self.held = 0

    def follow(self, partition: int, writes: Iterable[Write]) -> None:
        """Do to the cache what rows being written or read, of which some are bodies, do to the store."""
        rows = self._rows
        held = self.held
        for key, value in writes:
            if key[0] != BODY:
                continue
            if value is None:
                old = rows.pop((partition, key), None)
                if old is not None:
                    held -= len(old) + _OVERHEAD
                continue
            place = (partition, key)
            old = rows.get(place)
            held += len(value) + _OVERHEAD if old is None else len(value) - len(old)
            rows[place] = value
        while held > self._budget and rows:
            _, oldest = rows.popitem(last=False)
            held -= len(oldest) + _OVERHEAD
        self.held = held

    def found(self, partition: int, rows: Iterable[Row]) -> None:
        """Rows were read, of which some are bodies: they are likely to be asked for next, so they leave last."""
        held = self._rows
        for key, _ in rows:
            if (partition, key) in held:
                held.move_to_end((partition, key))
        self.follow(partition, rows)

    def get(self, partition: int, keys: Iterable[bytes]) -> list[bytes | None]:
        """Of each key the body, None where it is not held."""
        get = self._rows.get
        return [get((partition, key)) for key in keys]

"""What a FIFO queue remembers of the last five minutes' sends (aws/sqs.md section 8).

    70 gen accepted u64, key 16s      id 16s, sequence u64

The key is a digest of the deduplication id, with the group if the scope is the
message group. All of the window is in memory, so a send decides without a
read; after a restart the rows of the window are read first, and senders wait.
A duplicate does not extend the window. Rows leave in the order of their time.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b

from trunkline.kernel.step import Row, Step
from trunkline.kernel.time import Millis
from trunkline.services.sqs.rows import DEDUPLICATION, u32, u64

WINDOW: Millis = 300_000
_FORGOTTEN = 32
"""Rows past the window that one send deletes: more than it adds."""


def key_of(deduplication: str, group: str) -> bytes:
    """``group`` is "" where the scope is the queue."""
    return blake2b(f"{group}\0{deduplication}".encode(), digest_size=16).digest()


class Deduplication:
    """What is remembered of a send is one string of bytes, the row's key and value behind the prefix, which the garbage
    collector does not look at: a million of them are about 250 MB, and no pause."""

    def __init__(self, generation: int, complete: bool) -> None:
        """``complete``: there is nothing to be read from the store."""
        self.prefix = DEDUPLICATION + u32(generation)
        self.complete = complete
        self._known: dict[bytes, bytes] = {}
        self._order: deque[bytes] = deque()

    def original(self, key: bytes, now: Millis) -> tuple[bytes, int] | None:
        """(id, sequence) of the message that ``key`` was accepted for inside the window."""
        found = self._known.get(key)
        if found is None or _accepted(found) + WINDOW <= now:
            return None
        return found[_KEY_END:_ID_END], int.from_bytes(found[_ID_END:], "big")

    def remember(self, key: bytes, id_: bytes, sequence: int, now: Millis, step: Step) -> None:
        row, value = u64(now) + key, id_ + u64(sequence)
        self._add(key, row + value)
        step.writes.append((self.prefix + row, value))

    def _add(self, key: bytes, entry: bytes) -> None:
        self._known[key] = entry
        self._order.append(entry)

    def forget(self, now: Millis, step: Step) -> None:
        """Let go of what is past the window."""
        order = self._order
        for _ in range(_FORGOTTEN):
            if not order or _accepted(order[0]) + WINDOW > now:
                return
            entry = order.popleft()
            step.writes.append((self.prefix + entry[:_KEY_END], None))
            key = entry[_TIME_END:_KEY_END]
            if self._known.get(key) is entry:  # else it was accepted anew
                del self._known[key]

    def load(self, rows: list[Row]) -> None:
        """Take up rows of the store, in the order of their keys."""
        width = len(self.prefix)
        for row, value in rows:
            self._add(row[width + _TIME_END :], row[width:] + value)

    def __len__(self) -> int:
        return len(self._known)


_TIME_END, _KEY_END, _ID_END = 8, 24, 40
"""Where the parts of an entry end: accepted at, key, id; the sequence is the rest."""


def _accepted(entry: bytes) -> Millis:
    return int.from_bytes(entry[:_TIME_END], "big")

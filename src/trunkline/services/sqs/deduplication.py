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
    def __init__(self, generation: int, complete: bool) -> None:
        """``complete``: there is nothing to be read from the store."""
        self.prefix = DEDUPLICATION + u32(generation)
        self.complete = complete
        self._known: dict[bytes, tuple[Millis, bytes, int]] = {}
        self._order: deque[tuple[Millis, bytes]] = deque()

    def original(self, key: bytes, now: Millis) -> tuple[bytes, int] | None:
        """(id, sequence) of the message that ``key`` was accepted for inside the window."""
        found = self._known.get(key)
        if found is None or found[0] + WINDOW <= now:
            return None
        return found[1], found[2]

    def remember(self, key: bytes, id_: bytes, sequence: int, now: Millis, step: Step) -> None:
        self._known[key] = (now, id_, sequence)
        self._order.append((now, key))
        step.writes.append((self.prefix + u64(now) + key, id_ + u64(sequence)))

    def forget(self, now: Millis, step: Step) -> None:
        """Let go of what is past the window."""
        order = self._order
        for _ in range(_FORGOTTEN):
            if not order or order[0][0] + WINDOW > now:
                return
            accepted, key = order.popleft()
            step.writes.append((self.prefix + u64(accepted) + key, None))
            if self._known.get(key, (0,))[0] == accepted:
                del self._known[key]

    def load(self, rows: list[Row]) -> None:
        """Take up rows of the store, in the order of their keys."""
        width = len(self.prefix)
        for row, value in rows:
            accepted = int.from_bytes(row[width : width + 8], "big")
            key = row[width + 8 :]
            self._known[key] = (accepted, value[:16], int.from_bytes(value[16:], "big"))
            self._order.append((accepted, key))

    def __len__(self) -> int:
        return len(self._known)

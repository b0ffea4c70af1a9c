"""A store in memory: for throw-away servers and for tests. Public API.

Rows lie in a dict for each partition, beside a sorted list of its keys, so that
scans read as they do on disk. Nothing survives ``close``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice

from trunkline.kernel.step import Row
from trunkline.storage.store import SHARDS, Outcome, Sizes, StoreError, Unit


class _Partition:
    """``keys`` may name rows that are gone: taking each out at once would move all keys behind it."""

    __slots__ = ("dead", "keys", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []
        self.dead = 0

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.rows:
            # Queues mostly append: the last place is the right one without a search.
            if not self.keys or key > self.keys[-1]:
                self.keys.append(key)
            else:
                at = bisect_left(self.keys, key)
                if self.keys[at] == key:
                    self.dead -= 1
                else:
                    self.keys.insert(at, key)
        self.rows[key] = value

    def drop(self, key: bytes) -> None:
        if self.rows.pop(key, None) is not None:
            self.dead += 1
            if self.dead > 64 and self.dead > len(self.rows):
                self.keys = [each for each in self.keys if each in self.rows]
                self.dead = 0

    def range(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        """The keys of rows from ``start`` to before ``end`` (None: to the last), in order."""
        rows = self.rows
        last = len(self.keys) if end is None else bisect_left(self.keys, end)
        for at in range(bisect_left(self.keys, start), last):
            key = self.keys[at]
            if key in rows:
                yield key


class MemoryStore:
    """Implements storage.store.Store; a commit is 'durable' at once."""

    short = False
    doubt: StoreError | None = None

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._epochs: dict[int, int] = {}

    def sizes(self) -> Sizes | None:
        return None

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    async def lease(self, shard: int) -> int:
        self._epochs[shard] = self._epochs.get(shard, 0) + 1
        return self._epochs[shard]

    async def lease_all(self, shards: Iterable[int]) -> dict[int, int]:
        return {shard: await self.lease(shard) for shard in shards}

    async def commit(self, units: list[Unit]) -> Outcome:
        stale = []
        for index, unit in enumerate(units):
            if any(part.epoch != self._epochs.get(part.partition % SHARDS, 0) for part in unit):
                stale.append(index)
                continue
            for part in unit:
                self._apply(part.partition, part.writes)
        return Outcome(frozenset(stale))

    def _apply(self, number: int, writes: list[tuple[bytes, bytes | None]]) -> None:
        partition = self._partitions.get(number)
        if partition is None:
            partition = self._partitions[number] = _Partition()
        for key, value in writes:
            if value is None:
                partition.drop(key)
            else:
                partition.put(key, value)

    async def probe(self) -> None:
        return

    def look(self) -> None:
        return

    async def load(self, partition: int, epoch: int, keys: list[bytes]) -> list[bytes | None]:
        held = self._partitions.get(partition)
        return [None if held is None else held.rows.get(key) for key in keys]

    async def scan(
        self, partition: int, epoch: int, start: bytes, end: bytes, limit: int, max_bytes: int = 1 << 20
    ) -> tuple[list[Row], bool]:
        held = self._partitions.get(partition)
        if held is None:
            return [], True
        found: list[Row] = []
        size = 0
        for key in held.range(start, end):
            value = held.rows[key]
            size += len(value)
            if len(found) == limit or (found and size > max_bytes):
                return found, False
            found.append((key, value))
        return found, True

    async def erase(self, partition: int, start: bytes, end: bytes, limit: int) -> bool:
        held = self._partitions.get(partition)
        if held is None:
            return True
        keys = list(islice(held.range(start, end or None), limit + 1))
        for key in keys[:limit]:
            held.drop(key)
        if not held.rows:
            del self._partitions[partition]
        return len(keys) <= limit

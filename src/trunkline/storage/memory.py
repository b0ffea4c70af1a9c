"""A store in memory: for throw-away servers and for tests. Public API.

Rows lie in one sorted list of keys for each partition beside a dict, so that
scans read as they do on disk. Nothing survives ``close``.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from trunkline.kernel.step import Row
from trunkline.storage.store import SHARDS, Outcome, Unit


class _Partition:
    __slots__ = ("keys", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.rows:
            # Queues mostly append: the last place is the right one without a search.
            if not self.keys or key > self.keys[-1]:
                self.keys.append(key)
            else:
                insort(self.keys, key)
        self.rows[key] = value

    def drop(self, key: bytes) -> None:
        if self.rows.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]


class MemoryStore:
    """Implements storage.store.Store; a commit is 'durable' at once."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._epochs: dict[int, int] = {}

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

    async def load(self, partition: int, epoch: int, keys: list[bytes]) -> list[bytes | None]:
        held = self._partitions.get(partition)
        return [None if held is None else held.rows.get(key) for key in keys]

    async def scan(
        self, partition: int, epoch: int, start: bytes, end: bytes, limit: int, max_bytes: int = 1 << 20
    ) -> tuple[list[Row], bool]:
        held = self._partitions.get(partition)
        if held is None:
            return [], True
        first, last = bisect_left(held.keys, start), bisect_left(held.keys, end)
        found: list[Row] = []
        size = 0
        for key in held.keys[first : min(last, first + limit)]:
            value = held.rows[key]
            size += len(value)
            if found and size > max_bytes:
                break
            found.append((key, value))
        return found, first + len(found) >= last

    async def erase(self, partition: int, start: bytes, end: bytes, limit: int) -> bool:
        held = self._partitions.get(partition)
        if held is None:
            return True
        if not start and not end and len(held.keys) <= limit:
            del self._partitions[partition]
            return True
        first = bisect_left(held.keys, start)
        last = bisect_left(held.keys, end) if end else len(held.keys)
        cut = min(last, first + limit)
        for key in held.keys[first:cut]:
            del held.rows[key]
        del held.keys[first:cut]
        return cut >= last

"""Each engine beside a dict, driven by Hypothesis."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trunkline.storage.faulty import FaultyStore
from trunkline.storage.memory import MemoryStore
from trunkline.storage.sqlite import SqliteStore
from trunkline.storage.store import SHARDS, Part, Store, StoreError

PARTITIONS = [0, 1, SHARDS, 5]
keys = st.binary(max_size=3) | st.sampled_from([b"a", b"b", b"\x00", b"\xff"])
writes = st.lists(st.tuples(keys, st.none() | st.binary(max_size=20)), max_size=6)
parts = st.tuples(st.sampled_from(PARTITIONS), writes, st.sampled_from([0, 0, 0, 0, -1, 1]))
units = st.lists(st.lists(parts, max_size=3), max_size=5)


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.rows: dict[tuple[int, bytes], bytes] = {}
        self.epochs: dict[int, int] = {}
        self.store = self.make()
        self.runner.run(self.store.open())

    def make(self) -> Store:
        return MemoryStore()

    def run(self, call: Any) -> Any:
        return self.runner.run(asyncio.wait_for(call, 30))

    def part(self, partition: int, writes: list[Any], off: int) -> Part:
        return Part(partition, self.epochs.get(partition % SHARDS, 0) + off, writes)

    def applied(self, units: list[Any]) -> tuple[dict[tuple[int, bytes], bytes], set[int]]:
        rows, stale = dict(self.rows), set()
        for index, unit in enumerate(units):
            if any(off for _, _, off in unit):
                stale.add(index)
                continue
            for partition, writes, _ in unit:
                for key, value in writes:
                    rows.pop((partition, key), None)
                    if value is not None:
                        rows[partition, key] = value
        return rows, stale

    def commit_of(self, units: list[Any]) -> list[list[Part]]:
        return [[self.part(*each) for each in unit] for unit in units]

    @rule(units=units)
    def commit(self, units: list[Any]) -> None:
        outcome = self.run(self.store.commit(self.commit_of(units)))
        self.rows, stale = self.applied(units)
        assert outcome.stale == stale

    @rule(partition=st.sampled_from(PARTITIONS))
    def lease(self, partition: int) -> None:
        shard = partition % SHARDS
        epoch = self.run(self.store.lease(shard))
        assert epoch > self.epochs.get(shard, 0)
        self.epochs[shard] = epoch

    @rule(partition=st.sampled_from(PARTITIONS), wanted=st.lists(keys, max_size=5))
    def load(self, partition: int, wanted: list[bytes]) -> None:
        found = self.run(self.store.load(partition, 0, wanted))
        assert found == [self.rows.get((partition, key)) for key in wanted]

    @rule(
        partition=st.sampled_from(PARTITIONS),
        start=keys,
        end=keys,
        limit=st.integers(1, 8),
        max_bytes=st.sampled_from([1, 20, 1 << 20]),
    )
    def scan(self, partition: int, start: bytes, end: bytes, limit: int, max_bytes: int) -> None:
        inside = sorted((key, value) for (p, key), value in self.rows.items() if p == partition and start <= key < end)
        found, done = self.run(self.store.scan(partition, 0, start, end, limit, max_bytes))
        size, expected = 0, []
        for row in inside[:limit]:
            size += len(row[1])
            if expected and size > max_bytes:
                break
            expected.append(row)
        assert found == expected
        assert done == (len(expected) == len(inside))

    @rule(partition=st.sampled_from(PARTITIONS), start=keys | st.just(b""), end=keys, limit=st.integers(1, 5))
    def erase(self, partition: int, start: bytes, end: bytes, limit: int) -> None:
        inside = sorted(k for p, k in self.rows if p == partition and k >= start and (not end or k < end))
        done = self.run(self.store.erase(partition, start, end, limit))
        for key in inside[:limit]:
            del self.rows[partition, key]
        assert not (done and len(inside) > limit), "said to be empty though rows are left"
        assert done or len(inside) >= limit, "said to have more though it had room to take all"

    @invariant()
    def holds_the_same_rows(self) -> None:
        for partition in PARTITIONS:
            found, done = self.run(self.store.scan(partition, 0, b"", b"\xff" * 8, 10_000))
            assert done
            assert found == sorted((key, value) for (p, key), value in self.rows.items() if p == partition)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()


class SqliteModel(Model):
    def make(self) -> Store:
        self.directory = tempfile.mkdtemp()
        return SqliteStore(self.directory, durability="os")

    @rule()
    def reopen(self) -> None:
        self.run(self.store.close())
        self.store = SqliteStore(self.directory, durability="os")
        self.run(self.store.open())

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


class FaultyModel(Model):
    def make(self) -> Store:
        return FaultyStore(MemoryStore())

    @rule(units=units, after=st.booleans())
    def fail(self, units: list[Any], after: bool) -> None:
        assert isinstance(self.store, FaultyStore)
        (self.store.fail_after if after else self.store.fail_before)()
        try:
            self.run(self.store.commit(self.commit_of(units)))
        except StoreError:
            pass
        else:
            raise AssertionError("it was told to fail")
        if after:
            self.rows, _ = self.applied(units)


few = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestMemoryModel = Model.TestCase
TestMemoryModel.settings = few
TestSqliteModel = SqliteModel.TestCase
TestSqliteModel.settings = settings(few, max_examples=25)
TestFaultyModel = FaultyModel.TestCase
TestFaultyModel.settings = few

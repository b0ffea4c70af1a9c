"""The engines that the contract of storage.store is asked of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from trunkline.kernel.time import RealClock
from trunkline.storage.faulty import FaultyStore
from trunkline.storage.memory import MemoryStore
from trunkline.storage.sqlite import SqliteStore
from trunkline.storage.store import Store

Scenario = Callable[[Store], Awaitable[None]]
InStore = Callable[[Scenario], None]


class SlowDisk(RealClock):
    """A clock by which every commit takes long: SqliteStore goes to its writer thread, and tries again now and then."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def monotonic(self) -> float:
        self._seconds += 1
        return self._seconds


@pytest.fixture(params=["memory", "sqlite", "sqlite-os", "sqlite-slow", "faulty"])
def in_store(request: pytest.FixtureRequest, tmp_path: Path) -> InStore:
    """Runs a scenario in an open store of each engine."""
    made: dict[str, Callable[[], Store]] = {
        "memory": MemoryStore,
        "sqlite": lambda: SqliteStore(tmp_path),
        "sqlite-os": lambda: SqliteStore(tmp_path, durability="os"),
        "sqlite-slow": lambda: SqliteStore(tmp_path, real=SlowDisk()),
        "faulty": lambda: FaultyStore(MemoryStore(), delay_ms=0.1),
    }

    def run(scenario: Scenario) -> None:
        async def whole() -> None:
            store = made[request.param]()
            await store.open()
            try:
                await asyncio.wait_for(scenario(store), 60)
            finally:
                await store.close()
                await store.close()  # idempotent

        asyncio.run(whole())

    return run

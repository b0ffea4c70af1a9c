"""Deletes rows that are dead already: old generations, deleted queues.

Logically they are gone the moment their unit is durable; here they leave the
disk, a chunk at a time, giving way to commits. The list of dead ranges is
durable, so a crash only repeats a chunk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from trunkline.runtime.outage import Outage
from trunkline.runtime.system import DeadRange
from trunkline.storage.store import Store, StoreError

CHUNK_ROWS = 512
_PAUSE = 0.002
"""Seconds between chunks, so that commits are never behind more than one."""
_RETRY = 1.0


class Sweeper:
    """``forget(range)`` is called when a range is empty, to delete its row. ``outage`` is told when the store fails."""

    def __init__(self, store: Store, forget: Callable[[DeadRange], None], outage: Outage) -> None:
        self._store = store
        self._outage = outage
        self._forget = forget
        self._ranges: deque[DeadRange] = deque()
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def behind(self) -> int:
        """How many dead ranges are not swept yet."""
        return len(self._ranges)

    def add(self, dead: DeadRange) -> None:
        self._ranges.append(dead)
        self._bell.set()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sweeper")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            while not self._ranges:
                self._bell.clear()
                await self._bell.wait()
            dead = self._ranges[0]
            try:
                finished = await self._store.erase(dead.partition, dead.start, dead.end, CHUNK_ROWS)
            except StoreError as error:
                self._outage.begin(error)
                await asyncio.sleep(_RETRY)
                await self._outage.over()
                continue
            if finished:
                self._ranges.popleft()
                self._forget(dead)
            else:
                await asyncio.sleep(_PAUSE)

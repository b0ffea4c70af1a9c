"""A store that fails on command, around any other. Public API, for tests of what is built on a store.

    store = FaultyStore(MemoryStore())
    store.fail_before()        # the next commit fails and nothing of it is applied
    store.fail_after(3)        # the third commit from now is applied, but its answer is lost
    store.fail()               # every commit, erasure and probe fails from now on ...
    store.mend()               # ... until now
    store.delay_ms = 20        # every call takes 20 ms longer
    store.refuse_reads = True  # load and scan raise StoreError
    store.told_short = True    # it says that there is hardly any room
    store.hold()               # commits wait here ...
    store.release()            # ... until now
    store.crash()              # what was not awaited to its end is dropped; all calls raise StoreLost

A commit that is delayed or held reaches the store within only afterwards, so
that ``crash`` finds it unapplied, as a power cut would. ``inner`` is what the
disk holds then: hand it, or a new FaultyStore around it, to the next server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from trunkline.kernel.step import Row
from trunkline.storage.store import Outcome, Sizes, Store, StoreError, StoreLost, Unit


class FaultyStore:
    """Implements storage.store.Store. ``commits`` and ``probes`` count the calls, failed ones too."""

    def __init__(self, inner: Store, delay_ms: float = 0) -> None:
        self.inner = inner
        self.delay_ms = delay_ms
        self.refuse_reads = False
        self.told_short = False
        self.commits = 0
        self._ill: StoreError | None = None
        self._doubt: StoreError | None = None
        self.probes = 0
        self._before: dict[int, StoreError] = {}
        self._after: dict[int, StoreError] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._crashed = False
        self._turn = asyncio.Lock()
        self._failures = 0

    # -- faults --------------------------------------------------------------------

    def fail_before(self, nth: int = 1, error: StoreError | None = None) -> None:
        """The ``nth`` commit from now raises ``error`` (a StoreError) and is not applied."""
        self._before[self.commits + nth] = error or StoreError("told to fail before the commit")

    def fail_after(self, nth: int = 1, error: StoreError | None = None) -> None:
        """The ``nth`` commit from now is applied and then raises: its answer is lost."""
        self._after[self.commits + nth] = error or StoreError("told to lose the answer of a commit")

    def fail(self, error: StoreError | None = None) -> None:
        """From now on nothing can be made durable: ``error`` is raised. ``look`` finds it out too."""
        self._ill = error or StoreError("told to fail")

    def mend(self) -> None:
        """The end of ``fail``; ``doubt`` stays until a probe or a commit has gone through."""
        self._ill = None

    def hold(self) -> None:
        """Commits from now on wait, unapplied, for ``release`` (or ``crash``)."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def crash(self) -> None:
        """Drop every commit that has not reached the store within; refuse all further calls with StoreLost."""
        self._crashed = True
        self._open.set()

    async def _pass(self) -> None:
        if self.delay_ms:
            await asyncio.sleep(self.delay_ms / 1000)
        if self._crashed:
            raise StoreLost("told to crash")

    async def _write(self) -> None:
        await self._pass()
        if self._ill is not None:
            self._doubt = self._ill
            raise self._ill

    async def _read(self) -> None:
        await self._pass()
        if self.refuse_reads:
            raise StoreError("told to refuse reads")

    # -- the contract --------------------------------------------------------------

    @property
    def short(self) -> bool:
        return self.told_short or self.inner.short

    @property
    def doubt(self) -> StoreError | None:
        return self._doubt or self.inner.doubt

    async def probe(self) -> None:
        self.probes += 1
        await self._write()
        await self.inner.probe()
        self._doubt = None

    def look(self) -> None:
        self._doubt = self._ill or self._doubt

    def sizes(self) -> Sizes | None:
        return self.inner.sizes()

    async def open(self) -> None:
        await self._pass()
        await self.inner.open()

    async def close(self) -> None:
        """Never fails; a crashed store leaves the one within open, for whoever comes next."""
        if not self._crashed:
            await self.inner.close()

    async def lease(self, shard: int) -> int:
        await self._write()
        return await self.inner.lease(shard)

    async def lease_all(self, shards: Iterable[int]) -> dict[int, int]:
        await self._write()
        return await self.inner.lease_all(shards)

    async def commit(self, units: list[Unit]) -> Outcome:
        self.commits += 1
        before, after = self._before.pop(self.commits, None), self._after.pop(self.commits, None)
        known = self._failures
        async with self._turn:
            await self._open.wait()
            await self._pass()
            if known != self._failures:
                raise StoreError("an earlier commit failed")
            if self._ill is not None:
                self._failures += 1
                self._doubt = self._ill
                raise self._ill
            if before is not None:
                self._failures += 1
                raise before
            outcome = await self.inner.commit(units)
            self._doubt = None
            if after is not None:
                self._failures += 1
                raise after
            return outcome

    async def load(self, partition: int, epoch: int, keys: list[bytes]) -> list[bytes | None]:
        await self._read()
        return await self.inner.load(partition, epoch, keys)

    async def scan(
        self, partition: int, epoch: int, start: bytes, end: bytes, limit: int, max_bytes: int = 1 << 20
    ) -> tuple[list[Row], bool]:
        await self._read()
        return await self.inner.scan(partition, epoch, start, end, limit, max_bytes)

    async def erase(self, partition: int, start: bytes, end: bytes, limit: int) -> bool:
        await self._write()
        return await self.inner.erase(partition, start, end, limit)

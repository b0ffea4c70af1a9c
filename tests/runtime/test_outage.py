"""When an outage begins, how it is tried whether it is over, and what the log says of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from trunkline.runtime import outage as outages
from trunkline.runtime.outage import Outage
from trunkline.storage.store import StoreError, StoreFull, StoreGone, StoreLost

FULL = StoreFull("/data: No space left")


class Ward:
    """An outage of a store whose probes end as ``ends`` says, the last one again and again."""

    def __init__(self, *ends: Exception | None) -> None:
        self.ends = list(ends)
        self.probes = self.refusals = self.resumed = 0
        self.now = 1_000.0
        self.lost: list[Exception] = []
        self.outage = Outage(self._probe, self._refuse, self._resume, self.lost.append, lambda: self.now)

    async def _probe(self) -> None:
        self.probes += 1
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if end is not None:
            raise end

    def _refuse(self) -> int:
        self.refusals += 1
        return 2

    def _resume(self) -> None:
        self.resumed += 1

    async def pass_through(self, error: StoreError) -> None:
        self.outage.begin(error)
        await self.outage.over()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "PROBE_SECONDS", 0.001)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(scenario(), 60)

    asyncio.run(whole())


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_what_the_first_probe_finds_over_keeps_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        ward = Ward(None)
        outage = ward.outage
        outage.begin(StoreError("a sync failed"))
        outage.refused += 3
        assert outage.on and not outage.failing
        await outage.over()
        assert not outage.on and outage.error is None
        assert (ward.probes, ward.refusals, ward.resumed) == (1, 0, 1)
        assert outage.failures["io"] == 1

    run(scenario)
    assert said(caplog) == ["The store failed once: a sync failed. 3 requests were refused; it works again"]


def test_it_is_tried_until_it_works_and_said_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        ward = Ward(FULL, FULL, FULL, None)
        outage = ward.outage
        outage.begin(StoreError("a write failed"))
        while not outage.failing:
            await asyncio.sleep(0)
        assert outage.error is FULL and outage.on
        outage.begin(FULL)  # a batch that was under way
        ward.now += 12.5
        assert outage.seconds == 12.5
        await outage.over()
        assert not outage.failing and outage.seconds == 0
        assert (ward.probes, ward.refusals, ward.resumed) == (4, 3, 1)
        assert outage.failures == {"io": 1, "full": 4, "read_only": 0, "gone": 0, "lost": 0}
        assert outage.refused == 6

    run(scenario)
    begun, over = said(caplog)
    assert begun.startswith(f"Nothing can be stored: {FULL}. {FULL.advice} Requests that change something are answered")
    assert over == "The store works again, after 12.5 s; 6 requests were refused"


def test_another_kind_of_failure_is_said_too(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        await Ward(FULL, FULL, StoreGone("/data is gone"), None).pass_through(FULL)

    run(scenario)
    assert [line.partition(":")[0] for line in said(caplog)] == [
        "Nothing can be stored", "Nothing can be stored", "The store works again, after 0.0 s; 6 requests were refused",
    ]  # fmt: skip


def test_failures_in_quick_succession_share_their_lines(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        ward = Ward(None)
        for _ in range(5):
            ward.now += outages.QUIET_SECONDS / 3
            await ward.pass_through(StoreError("a page cannot be read"))
        assert ward.outage.failures["io"] == 5

    run(scenario)
    assert len(said(caplog)) == 2


def test_a_long_outage_soon_after_another_one_is_said_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        ward = Ward(FULL, None)
        await ward.pass_through(FULL)
        ward.now += 1
        ward.ends = [FULL]
        ward.outage.begin(FULL)
        before = ward.probes
        while ward.probes < before + 3:
            await asyncio.sleep(0)
        assert len(said(caplog)) == 2, "not yet"
        ward.now += outages.QUIET_SECONDS
        while len(said(caplog)) == 2:
            await asyncio.sleep(0)
        ward.ends = [None]
        await ward.outage.over()

    run(scenario)
    assert [line[:9] for line in said(caplog)] == ["Nothing c", "The store"] * 2


@pytest.mark.parametrize("first", [True, False], ids=["met by a commit", "met by a probe"])
def test_a_store_that_is_lost_is_not_tried_any_more_and_the_server_is_told_once(
    caplog: pytest.LogCaptureFixture, first: bool
) -> None:
    async def scenario() -> None:
        lost = StoreLost("the file is damaged")
        ward = Ward(lost)
        ward.outage.begin(lost if first else FULL)
        await ward.outage.over()
        ward.outage.begin(lost)
        ward.outage.begin(FULL)
        await ward.outage.over()
        assert ward.lost == [lost] and ward.probes == (0 if first else 1)
        # Who asks is refused by the store itself, so nothing is held back.
        assert ward.outage.failing and not ward.outage.on
        await ward.outage.stop()

    run(scenario)
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]


def test_a_stop_tries_once_more_and_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "PROBE_SECONDS", 1_000.0)

    async def scenario() -> None:
        ward = Ward(FULL)
        ward.outage.begin(FULL)
        while not ward.outage.failing:
            await asyncio.sleep(0)
        await ward.outage.stop()
        assert ward.probes == 2 and ward.refusals == 2 and not ward.outage.on
        ward.outage.begin(FULL)
        assert not ward.outage.on, "nothing begins any more"

    run(scenario)


def test_a_probe_that_fails_in_an_unforeseen_way_is_a_failure_like_another(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        ward = Ward(ValueError("a defect of ours"), None)
        await ward.pass_through(FULL)
        assert ward.probes == 2 and not ward.outage.failing

    run(scenario)
    assert any("a defect of ours" in line for line in said(caplog))

"""Alarms ring in order of their due time, and only while they stand."""

from __future__ import annotations

import asyncio

from trunkline.kernel.time import NEVER, RealClock, ServiceClock
from trunkline.runtime.alarms import Alarms


class Still(RealClock):
    def wall(self) -> float:
        return 1_000.0


def alarms_and_rung() -> tuple[Alarms, list[int], ServiceClock]:
    rung: list[int] = []
    clock = ServiceClock(Still())
    clock.freeze()
    return Alarms(clock, rung.append), rung, clock


def test_alarms_ring_earliest_first_and_not_before_they_are_due() -> None:
    alarms, rung, clock = alarms_and_rung()
    now = clock.now()
    alarms.set(1, now + 30)
    alarms.set(2, now + 10)
    alarms.set(3, now + 20)
    assert alarms.earliest() == now + 10
    assert alarms.run(now + 20)
    assert rung == [2, 3]
    assert alarms.earliest() == now + 30


def test_an_alarm_that_was_moved_or_taken_away_does_not_ring() -> None:
    alarms, rung, clock = alarms_and_rung()
    now = clock.now()
    alarms.set(1, now + 10)
    alarms.set(1, now + 50)
    alarms.set(2, now + 10)
    alarms.set(2, NEVER)
    alarms.run(now + 40)
    assert rung == []
    alarms.run(now + 50)
    assert rung == [1]


def test_a_burst_is_cut_so_that_other_work_gets_a_turn() -> None:
    alarms, rung, clock = alarms_and_rung()
    for partition in range(10):
        alarms.set(partition, clock.now())
    assert not alarms.run(clock.now(), most=4)
    assert len(rung) == 4
    assert alarms.run(clock.now(), most=6)
    assert sorted(rung) == list(range(10))


def test_moving_alarms_a_thousand_times_does_not_grow_the_heap() -> None:
    alarms, _, clock = alarms_and_rung()
    for turn in range(5_000):
        alarms.set(1, clock.now() + 1 + turn % 97)
    assert len(alarms._heap) <= 66


def test_a_real_timer_rings_while_the_clock_runs() -> None:
    async def scenario() -> None:
        rung = asyncio.Event()
        clock = ServiceClock(RealClock())
        alarms = Alarms(clock, lambda _: rung.set())
        alarms.set(1, clock.now() + 5)
        await asyncio.wait_for(rung.wait(), 5)
        alarms.stop()

    asyncio.run(scenario())

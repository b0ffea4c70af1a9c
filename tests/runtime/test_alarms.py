"""Alarms ring in order of their due time, and only while they stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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
    alarms.held = True  # or they would ring of themselves
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


def test_running_to_the_end_of_time_with_no_alarm_rings_nothing() -> None:
    alarms, rung, _ = alarms_and_rung()
    assert alarms.run(NEVER)
    alarms.set(1, NEVER - 1)
    assert alarms.run(NEVER + 1)
    assert rung == [1]


def test_an_alarm_may_be_taken_away_twice() -> None:
    alarms, rung, clock = alarms_and_rung()
    alarms.set(1, clock.now() + 1)
    alarms.set(1, NEVER)
    alarms.set(1, NEVER + 1)
    assert alarms.run(clock.now() + 1)
    assert rung == []


def test_what_is_due_now_rings_although_the_clock_stands_still_and_what_is_due_later_does_not() -> None:
    async def scenario() -> None:
        alarms, rung, clock = alarms_and_rung()
        alarms.set(1, clock.now() + 1)
        alarms.set(2, clock.now())
        alarms.set(3, clock.now() - 1)
        assert rung == [], "not within the call that sets it"
        await settled(lambda: len(rung) == 2)
        assert rung == [3, 2]
        clock.move_to(clock.now() + 1)
        alarms.rearm()
        await settled(lambda: len(rung) == 3)
        assert rung == [3, 2, 1]
        alarms.stop()

    asyncio.run(scenario())


def test_an_alarm_that_is_set_as_one_rings_under_a_frozen_clock_rings_too() -> None:
    async def scenario() -> None:
        rung: list[int] = []
        clock = ServiceClock(Still())
        clock.freeze()

        def ring(partition: int) -> None:
            rung.append(partition)
            if partition < 200:
                alarms.set(partition + 1, clock.now())

        alarms = Alarms(clock, ring)
        alarms.set(0, clock.now())
        await settled(lambda: len(rung) == 201)
        assert rung == list(range(201))

    asyncio.run(scenario())


def test_nothing_rings_of_itself_while_an_advance_is_under_way() -> None:
    async def scenario() -> None:
        alarms, rung, clock = alarms_and_rung()
        alarms.set(1, clock.now())
        alarms.held = True
        alarms.rearm()
        alarms.set(2, clock.now())
        for _ in range(10):
            await asyncio.sleep(0)
        assert rung == []
        alarms.held = False
        alarms.rearm()
        await settled(lambda: len(rung) == 2)

    asyncio.run(scenario())


async def settled(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds."""
    for _ in range(1_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come about")


def test_a_real_timer_rings_while_the_clock_runs() -> None:
    async def scenario() -> None:
        rung = asyncio.Event()
        clock = ServiceClock(RealClock())
        alarms = Alarms(clock, lambda _: rung.set())
        alarms.set(1, clock.now() + 5)
        await asyncio.wait_for(rung.wait(), 5)
        alarms.stop()

    asyncio.run(scenario())

"""What a campaign knows of service time: never less than it can be, never more."""

from __future__ import annotations

from typing import Any

from crash.servicetime import ServiceTime


class Wall:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def told(now: int, frozen: bool = False, offset: int = 0) -> dict[str, Any]:
    return {"now": now, "frozen": frozen, "offset": offset}


def running(offset: int = 0) -> tuple[ServiceTime, Wall]:
    wall = Wall()
    clock = ServiceTime(wall)
    clock.learn(told(1_000_000 + offset, offset=offset))
    return clock, wall


def test_a_running_clock_is_its_offset_ahead_of_real_time() -> None:
    clock, wall = running(5_000)
    wall.now += 2
    assert (clock.low(), clock.high()) == (1_007_000, 1_007_000)


def test_while_it_is_advanced_it_is_anywhere_up_to_the_target() -> None:
    clock, wall = running()
    clock.begin_advance(60_000)
    wall.now += 1
    assert (clock.low(), clock.high()) == (1_000_000, 1_061_000)
    clock.learn(told(1_060_900, offset=59_900))
    assert (clock.low(), clock.high()) == (1_060_900, 1_060_900)


def test_a_frozen_clock_stands_and_a_resumed_one_may_have_run_on() -> None:
    clock, wall = running()
    clock.begin_freeze()
    wall.now += 1
    assert (clock.low(), clock.high()) == (1_000_000, 1_001_000)
    clock.learn(told(1_000_400, frozen=True))
    wall.now += 5
    assert (clock.low(), clock.high()) == (1_000_400, 1_000_400)
    clock.begin_resume()
    wall.now += 1
    assert (clock.low(), clock.high()) == (1_000_400, 1_001_400)


def test_a_clock_that_goes_on_after_a_restart_has_no_faults() -> None:
    clock, wall = running(5_000)
    wall.now += 3
    assert clock.faults(told(1_008_000, offset=5_000)) == []
    clock.begin_advance(1_000)
    assert clock.faults(told(1_008_500, offset=5_500)) == []
    clock.learn(told(1_009_000, frozen=True))
    assert clock.faults(told(1_009_000, frozen=True)) == []


def test_every_way_in_which_it_can_be_wrong_is_a_fault() -> None:
    clock, _ = running(5_000)
    clock.low()
    assert "went back" in clock.faults(told(1_004_000, offset=5_000))[0]
    assert "later than" in clock.faults(told(1_006_000, offset=5_000))[0]
    assert "5000 ms ahead and is 4000" in clock.faults(told(1_005_000, offset=4_000))[0]
    assert "running and is no longer" in clock.faults(told(1_005_000, frozen=True))[0]
    clock.learn(told(1_005_000, frozen=True))
    assert clock.faults(told(1_005_001, frozen=True)) != []
    assert "frozen and is no longer" in clock.faults(told(1_005_000))[0]

"""Service time: freeze, move, resume; never backward."""

from __future__ import annotations

import pytest

from trunkline.kernel.time import RealClock, ServiceClock


class Hand(RealClock):
    """A real clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def wall(self) -> float:
        return self.seconds


def test_a_step_of_the_machines_clock_to_the_past_is_absorbed() -> None:
    hand = Hand()
    clock = ServiceClock(hand)
    before = clock.now()
    hand.seconds -= 60
    assert clock.now() == before
    hand.seconds += 61
    assert clock.now() == before + 1_000


def test_a_frozen_clock_stands_until_it_is_moved_or_resumed() -> None:
    hand = Hand()
    clock = ServiceClock(hand)
    start = clock.freeze()
    hand.seconds += 500
    assert clock.now() == start
    clock.move_to(start + 10_000)
    assert clock.now() == start + 10_000
    assert clock.resume() == start + 10_000
    hand.seconds += 1
    assert clock.now() == start + 11_000


def test_a_held_clock_stands_too_but_is_not_frozen() -> None:
    hand = Hand()
    clock = ServiceClock(hand)
    start = clock.hold()
    hand.seconds += 500
    clock.move_to(start + 10_000)
    assert (clock.now(), clock.frozen) == (start + 10_000, False)
    clock.let_go()
    hand.seconds += 1
    assert clock.now() == start + 11_000


def test_a_frozen_clock_that_was_held_stays_frozen() -> None:
    hand = Hand()
    clock = ServiceClock(hand)
    start = clock.freeze()
    clock.hold()
    clock.move_to(start + 5)
    clock.let_go()
    hand.seconds += 1
    assert (clock.now(), clock.frozen) == (start + 5, True)


def test_service_time_is_not_set_to_the_past() -> None:
    clock = ServiceClock(Hand())
    with pytest.raises(ValueError, match="never goes backward"):
        clock.move_to(clock.now() - 1)


def test_a_restart_goes_on_from_what_was_written_down() -> None:
    hand = Hand()
    first = ServiceClock(hand)
    first.move_to(first.now() + 3_600_000)
    second = ServiceClock(hand)
    second.restore(first.offset, first.now(), frozen=False)
    assert second.now() == first.now()
    hand.seconds -= 10
    assert second.now() == first.now()

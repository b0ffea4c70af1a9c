"""The cache of bodies keeps within its budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.kernel.step import BODY
from trunkline.runtime.bodies import Bodies


def test_the_oldest_bodies_leave_first() -> None:
    bodies = Bodies(budget=1_000)
    for number in range(10):
        bodies.follow(1, [(bytes([BODY, number]), b"x" * 100)])
    assert bodies.get(1, [bytes([BODY, 0]), bytes([BODY, 9])]) == [None, b"x" * 100]
    assert bodies.held <= 1_000


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.booleans())))
def test_what_is_held_is_what_was_counted(moves: list[tuple[int, int, bool]]) -> None:
    bodies = Bodies(budget=900)
    for key, size, put in moves:
        bodies.follow(7, [(bytes([BODY, key]), b"y" * size if put else None)])
        assert 0 <= bodies.held <= 900
    bodies.follow(7, [(bytes([BODY, key]), None) for key in range(4)])
    assert bodies.held == 0


def test_rows_that_are_no_bodies_are_not_held() -> None:
    bodies = Bodies(budget=900)
    bodies.follow(7, [(b"\x02counters", b"1"), (bytes([BODY + 1]), b"2")])
    assert bodies.held == 0


def test_what_was_read_again_leaves_after_what_was_not() -> None:
    bodies = Bodies(budget=1_000)
    keys = [bytes([BODY, number]) for number in range(4)]
    bodies.follow(1, [(key, b"x" * 100) for key in keys])
    bodies.found(1, [(keys[0], b"x" * 100)])
    bodies.follow(1, [(bytes([BODY, 9]), b"x" * 400)])
    held = [body is not None for body in bodies.get(1, keys)]
    assert held[0] and not held[1]

"""The cache of bodies keeps within its budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline.runtime.bodies import Bodies


def test_the_oldest_bodies_leave_first() -> None:
    bodies = Bodies(budget=1_000)
    for number in range(10):
        bodies.put(1, bytes([number]), b"x" * 100)
    assert bodies.get(1, bytes([0])) is None
    assert bodies.get(1, bytes([9])) == b"x" * 100
    assert bodies.held <= 1_000


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.booleans())))
def test_what_is_held_is_what_was_counted(moves: list[tuple[int, int, bool]]) -> None:
    bodies = Bodies(budget=900)
    for key, size, put in moves:
        if put:
            bodies.put(7, bytes([key]), b"y" * size)
        else:
            bodies.drop(7, bytes([key]))
        assert 0 <= bodies.held <= 900
    for key in range(4):
        bodies.drop(7, bytes([key]))
    assert bodies.held == 0

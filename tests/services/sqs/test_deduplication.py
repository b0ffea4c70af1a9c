"""What the memory of five minutes' sends costs."""

from __future__ import annotations

import gc
import sys

from trunkline.kernel.step import Step
from trunkline.services.sqs.deduplication import WINDOW, Deduplication, key_of

SENDS = 2_000


def filled() -> Deduplication:
    memory = Deduplication(1, complete=True)
    for number in range(SENDS):
        memory.remember(key_of(str(number), ""), bytes(16), number, number, Step())
    return memory


def test_a_send_is_remembered_in_less_than_300_bytes_that_no_collector_looks_at() -> None:
    memory = filled()
    held = list(memory._known.items())
    assert not any(gc.is_tracked(part) for pair in held for part in pair)
    assert all(entry is ordered for (_, entry), ordered in zip(held, memory._order, strict=True))
    parts = sum(sys.getsizeof(part) for pair in held for part in pair)
    assert (parts + sys.getsizeof(memory._known) + sys.getsizeof(memory._order)) / SENDS < 300


def test_what_is_past_the_window_is_let_go_of_though_a_key_was_accepted_anew_meanwhile() -> None:
    memory = filled()
    late = SENDS + WINDOW
    memory.remember(key_of("0", ""), bytes(16), SENDS, late, Step())
    deleted: list[bytes] = []
    for _ in range(SENDS):
        step = Step()
        memory.forget(late, step)
        deleted += [key for key, value in step.writes if value is None]
    assert len(deleted) == len(set(deleted)) == SENDS
    assert len(memory) == 1
    assert memory.original(key_of("0", ""), late) == (bytes(16), SENDS)

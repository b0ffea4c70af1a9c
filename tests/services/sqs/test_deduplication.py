"""The memory of five minutes' sends: what it finds, what it costs, and what it leaves on the disk."""

from __future__ import annotations

import gc
import sys
from random import Random

import pytest

from trunkline.kernel.step import Row, Step
from trunkline.services.sqs.deduplication import WINDOW, Deduplication, entries_of, key_of

SENDS = 20_000


class Remembering:
    """A memory, the rows that it has written, and what it ought to know: by key (id, sequence, accepted)."""

    def __init__(self, run: int = 4_096) -> None:
        self.run = run
        self.memory = Deduplication(1, complete=True, run=run)
        self.rows: dict[bytes, bytes] = {}
        self.known: dict[bytes, tuple[bytes, int, int]] = {}
        self.now = 1_700_000_000_000
        self.sequence = 0

    def send(self, name: object) -> bool:
        """False if it was found to be a duplicate."""
        self.sequence += 1
        step, key = Step(), key_of(str(name), "")
        id_ = self.sequence.to_bytes(16, "big")
        self.memory.tidy(self.now, step)
        found = self.memory.accept(key, id_, self.sequence, self.now)
        self.memory.write(step)
        expected = self.known.get(key)
        if expected is not None and expected[2] + WINDOW > self.now:
            assert found == expected[:2]
        else:
            assert found is None
            self.known[key] = (id_, self.sequence, self.now)
        self.write(step)
        return found is None

    def write(self, step: Step) -> None:
        for row, value in step.writes:
            if value is None:
                del self.rows[row]  # nothing is deleted twice
            else:
                self.rows[row] = value
        for start, end in step.sweeps:
            self.rows = {row: value for row, value in self.rows.items() if not start <= row < end}

    def restart(self) -> None:
        """A new memory of the rows, as a queue loads it."""
        self.memory = Deduplication(1, complete=False, run=self.run)
        first = self.memory.runs + (self.now - WINDOW + 1).to_bytes(8, "big")
        self.rows = {row: value for row, value in self.rows.items() if not self.memory.runs <= row < first}
        runs = self.between(first, self.memory.runs + b"\xff" * 18)
        for at in range(0, len(runs), 300):
            self.memory.load_runs(runs[at : at + 300])
        self.memory.load_singles(self.between(self.memory.after_runs, self.memory.singles + b"\xff" * 18))

    def between(self, start: bytes, end: bytes) -> list[Row]:
        return [(row, self.rows[row]) for row in sorted(self.rows) if start <= row < end]

    @property
    def written(self) -> list[int]:
        """The sequences in the rows."""
        found = []
        for value in self.rows.values():
            found += [sequence for *_, sequence in entries_of(value)]
        return sorted(found)


def test_a_send_is_remembered_in_less_than_70_bytes_that_no_collector_looks_at() -> None:
    desk = Remembering()
    for number in range(SENDS):
        desk.send(number)
    memory = desk.memory
    buckets = memory.buckets
    assert not any(gc.is_tracked(bucket) for bucket in buckets)
    held = sys.getsizeof(buckets) + sum(sys.getsizeof(bucket) for bucket in buckets)
    single = sum(sys.getsizeof(entry) + 8 for entry in memory._single)
    assert len(memory) == SENDS and held / SENDS < 70 and len(memory._single) <= 4_096
    assert 0.9 * (held + single) < memory.weight < 1.1 * (held + single)
    assert max(len(bucket) for bucket in buckets) < 60 * 44


@pytest.mark.parametrize("run", [1, 7, 300])
def test_whatever_is_sent_and_forgotten_and_read_anew_duplicates_are_found_and_nothing_else_is(run: int) -> None:
    chance = Random(run)
    desk = Remembering(run)
    names = 0
    for _ in range(12_000):
        if chance.random() < 0.7:
            desk.send(names)
            names += 1
        else:
            desk.send(chance.randrange(max(0, names - 3_000), names + 1))
        desk.now += chance.choice([0, 1, 5, 20, 200])
        if chance.random() < 0.002:
            desk.restart()
        if chance.random() < 0.001:
            desk.now += chance.randrange(2 * WINDOW)
    live = {sequence for _, sequence, accepted in desk.known.values() if accepted + WINDOW > desk.now}
    assert live <= set(desk.written) and len(set(desk.written)) == len(desk.written)


def test_a_million_are_taken_up_without_looking_at_each_and_spread_by_the_sends_that_follow() -> None:
    desk = Remembering()
    for number in range(SENDS):
        desk.send(number)
    desk.restart()
    assert len(desk.memory) == SENDS and len(desk.memory.buckets) == 256
    for number in range(SENDS):
        assert not desk.send(number)
    for number in range(SENDS, SENDS + 2_000):
        assert desk.send(number)
    assert len(desk.memory.buckets) >= SENDS / 16


def test_what_is_past_the_window_leaves_memory_and_disk_while_others_come() -> None:
    desk = Remembering(run=100)
    for number in range(SENDS):
        desk.send(number)
        desk.now += 100  # 3,000 in a window
    assert len(desk.memory) < 2 * 3_000
    assert len(desk.written) <= 3_000 + 2 * 100
    desk.now += 2 * WINDOW
    for number in range(20):
        desk.send(number)
    assert len(desk.memory) == len(desk.written) == 20


def test_a_step_writes_little_however_much_is_past() -> None:
    desk = Remembering(run=4_000)
    for number in range(3_999):
        desk.send(number)
    desk.now += WINDOW
    step = Step()
    desk.memory.tidy(desk.now, step)
    assert 0 < len(step.writes) <= 64

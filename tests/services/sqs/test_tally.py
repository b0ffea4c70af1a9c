"""The tally of what is in flight or delayed, beside a list that is searched from end to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trunkline.kernel.time import NEVER
from trunkline.services.sqs.tally import Tally


@dataclass(eq=False)
class Item:
    """A message that counts how often anybody looks at its time."""

    seq: int
    instant: int
    looks: ClassVar[int] = 0

    @property
    def until(self) -> int:
        Item.looks += 1
        return self.instant

    @until.setter
    def until(self, instant: int) -> None:
        self.instant = instant


def tally_of(instants: list[int]) -> tuple[Tally[Item], list[Item]]:
    tally: Tally[Item] = Tally(0, 0)
    items = [Item(seq, instant) for seq, instant in enumerate(instants)]
    for item in items:
        tally.add(item)
    return tally, items


def test_what_comes_up_in_one_second_comes_in_the_order_of_its_instants() -> None:
    tally, _ = tally_of([5_900, 5_100, 4_500, 5_100, 4_100])
    assert [item.seq for item in tally.up(5_899)] == [4, 2, 1, 3]
    assert [item.seq for item in tally.up(5_900)] == [0]
    assert tally.resident == 0


def test_the_time_to_wake_is_the_beginning_of_a_later_second_and_exact_in_the_present_one() -> None:
    tally, items = tally_of([5_900, 7_100])
    assert list(tally.up(1_000)) == []
    assert tally.next() == 5_000
    assert list(tally.up(5_000)) == []
    assert tally.next() == 5_900
    tally.remove(items[0])
    assert tally.next() == 7_000
    tally.remove(items[1])
    assert tally.next() == NEVER


def test_a_message_put_off_within_the_present_second_keeps_no_other_one_back() -> None:
    tally, items = tally_of([5_100, 5_200])
    assert list(tally.up(5_050)) == []
    tally.remove(items[0])
    items[0].until = 5_900
    tally.add(items[0])
    assert list(tally.up(5_300)) == [items[1]]
    assert tally.next() == 5_900


def test_no_call_looks_at_all_that_is_held() -> None:
    """50,000 in flight over 30 seconds, as under load: a call's work is that of what comes up in it."""
    tally, items = tally_of([1_000 + at * 30_000 // 50_000 for at in range(50_000)])
    for _ in tally.up(2_500):  # sorts the present second, once
        pass
    Item.looks = 0
    for now in range(2_500, 2_600):
        coming = list(tally.up(now))
        assert tally.next() > now
        if coming:
            assert tally.total(now) == 50_000 - coming[-1].seq - 1
    tally.remove(items[-1])
    assert Item.looks < 2_000


class TallyHistories(RuleBasedStateMachine):
    """The same commands to a tally and to a list; restarts forget what is held and keep what is counted."""

    @initialize()
    def begin(self) -> None:
        self.tally: Tally[Item] = Tally(1, 7)
        self.rows: dict[bytes, bytes] = {}
        self.held: dict[int, Item] = {}
        self.absent: list[int] = []
        self.seq = 0
        self.now = 10_000
        assert list(self.tally.up(self.now)) == []

    def _save(self) -> None:
        for key, value in self.tally.writes():
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value

    @rule(after=st.integers(1, 4_000))
    def add(self, after: int) -> None:
        self.seq += 1
        self.held[self.seq] = Item(self.seq, self.now + after)
        self.tally.add(self.held[self.seq])

    @rule(after=st.integers(1, 4_000))
    def count_one_that_is_not_held(self, after: int) -> None:
        self.absent.append(self.now + after)
        self.tally.count(self.now + after)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        self.tally.remove(self.held.pop(data.draw(st.sampled_from(sorted(self.held)))))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), after=st.integers(1, 4_000))
    def change(self, data: st.DataObject, after: int) -> None:
        item = self.held[data.draw(st.sampled_from(sorted(self.held)))]
        self.tally.remove(item)
        item.until = self.now + after
        self.tally.add(item)

    @rule(passing=st.sampled_from([0, 1, 10, 300, 1_000, 2_700]))
    def pass_time(self, passing: int) -> None:
        before = self.now
        self.now += passing
        due = sorted(
            (item for item in self.held.values() if item.instant <= self.now), key=lambda i: (i.instant, i.seq)
        )
        if due:
            assert before < self.tally.next() <= due[0].instant
        assert list(self.tally.up(self.now)) == due
        for item in due:
            del self.held[item.seq]

    @rule()
    def restart(self) -> None:
        self._save()
        self.tally = Tally(1, 7)
        self.tally.restore(list(self.rows.items()))
        assert list(self.tally.up(self.now)) == []
        self.absent += [item.instant for item in self.held.values()]
        self.held = {}

    @invariant()
    def the_count_is_right(self) -> None:
        if hasattr(self, "tally"):
            present = self.now // 1000
            held = sum(1 for item in self.held.values() if item.instant > self.now)
            # What is not in memory is counted to the second.
            absent = sum(1 for instant in self.absent if instant // 1000 > present)
            assert self.tally.total(self.now) == held + absent
            assert self.tally.resident == len(self.held)


TestTallyHistories = TallyHistories.TestCase

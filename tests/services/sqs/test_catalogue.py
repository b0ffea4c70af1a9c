"""The catalogue machine: what it decides, what it writes, and that it comes back from its rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.step import Close, Step
from trunkline.services.sqs.catalogue import (
    AddPermission,
    Clear,
    Cleared,
    Create,
    Entry,
    QueueCatalogue,
    Remove,
    RemovePermission,
    SetAttributes,
    Show,
    Tag,
    Untag,
)
from trunkline.services.sqs.commands import Configure, Open

REGION, ACCOUNT = "eu-west-1", "000000000000"
HERE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"
NOW = 1_700_000_000_000


class Bench:
    """A catalogue and its rows: every step's writes are applied, so that it can be built anew at any time."""

    def __init__(self, delete_wait: int = 0) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.delete_wait = delete_wait
        self.now = NOW
        self.partition = 100
        self.step = Step()
        self.catalogue = self.built()

    def built(self) -> QueueCatalogue:
        return QueueCatalogue(1, REGION, ACCOUNT, sorted(self.rows.items()), self.delete_wait)

    def ask(self, command: Any) -> Any:
        """The answer; a refusal is raised."""
        self.step = self.catalogue.handle(command, self.now)
        for key, value in self.step.writes:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
        [(_, answer)] = self.step.answers
        if isinstance(answer, ServiceError):
            assert not self.step.writes and not self.step.deliveries and not self.step.dead
            raise answer
        return answer

    def create(self, name: str, tags: dict[str, str] | None = None, **attributes: str) -> Entry:
        self.partition += 1
        entry = self.ask(Create(None, name, self.partition, attributes, tags or {}))
        assert isinstance(entry, Entry)
        return entry

    def set(self, name: str, **attributes: str) -> Entry:
        assert self.ask(SetAttributes(None, name, attributes)) is None
        return self.get(name)

    def get(self, name: str) -> Entry:
        found = self.catalogue.find(name)
        assert found is not None
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def redrive(name: str, count: int = 3) -> str:
    return json.dumps({"deadLetterTargetArn": HERE + name, "maxReceiveCount": count})


def test_a_new_queue_is_opened_in_the_same_step(bench: Bench) -> None:
    entry = bench.create("q", VisibilityTimeout="7")
    [delivery] = bench.step.deliveries
    assert delivery.fresh and delivery.partition == entry.partition == 101
    assert isinstance(delivery.command, Open)
    assert delivery.command.settings.visibility_timeout == 7_000
    assert (entry.arn, entry.created, entry.modified) == (HERE + "q", NOW, NOW)
    assert bench.catalogue.by_arn(HERE + "q") is entry
    assert bench.catalogue.by_partition(101) is entry


def test_creating_a_queue_again_with_its_own_attributes_changes_nothing(bench: Bench) -> None:
    entry = bench.create("q", DelaySeconds="5")
    for attributes in ({}, {"DelaySeconds": "5"}, {"DelaySeconds": "05", "VisibilityTimeout": "30"}):
        assert bench.create("q", **attributes) is entry
        assert not bench.step.writes and not bench.step.deliveries


def test_creating_a_queue_again_with_another_value_is_refused_by_name(bench: Bench) -> None:
    bench.create("q", DelaySeconds="5")
    bench.set("q", DelaySeconds="6")
    with pytest.raises(ServiceError) as caught:
        bench.create("q", DelaySeconds="5")
    assert caught.value.name == "QueueNameExists"
    assert caught.value.message == (
        "A queue already exists with the same name and a different value for attribute DelaySeconds"
    )


def test_policies_are_compared_by_what_they_say(bench: Bench) -> None:
    bench.create("dead")
    entry = bench.create("q", RedrivePolicy=redrive("dead"))
    assert bench.create("q", RedrivePolicy=redrive("dead").replace(" ", "")) is entry
    with pytest.raises(ServiceError, match="RedrivePolicy"):
        bench.create("q", RedrivePolicy=redrive("dead", 4))


def test_a_refused_creation_leaves_no_trace(bench: Bench) -> None:
    with pytest.raises(ServiceError, match="Dead letter target does not exist"):
        bench.create("q", RedrivePolicy=redrive("nobody"))
    assert bench.catalogue.find("q") is None and not bench.rows


def test_a_deleted_queues_partition_is_dead(bench: Bench) -> None:
    entry = bench.create("q")
    assert bench.ask(Remove(None, "q")) is None
    assert bench.step.dead == [entry.partition]
    [delivery] = bench.step.deliveries
    assert delivery.optional and isinstance(delivery.command, Close)
    assert delivery.command.error.name == "QueueDoesNotExist"
    assert bench.catalogue.find("q") is None and not bench.rows
    assert bench.create("q").partition != entry.partition


@pytest.mark.parametrize(
    "command",
    [
        Remove(None, "q"),
        SetAttributes(None, "q", {}),
        Tag(None, "q", {}),
        Untag(None, "q", []),
        AddPermission(None, "q", "l", ["111111111111"], ["*"]),
        RemovePermission(None, "q", "l"),
    ],
)
def test_nothing_can_be_done_to_a_queue_that_is_not_there(bench: Bench, command: Any) -> None:
    with pytest.raises(ServiceError) as caught:
        bench.ask(command)
    assert (caught.value.name, caught.value.message) == ("QueueDoesNotExist", "The specified queue does not exist.")


def test_a_strict_server_keeps_a_deleted_name_for_a_minute() -> None:
    bench = Bench(delete_wait=60_000)
    bench.create("q")
    bench.ask(Remove(None, "q"))
    bench.catalogue = bench.built()
    bench.now += 59_999
    with pytest.raises(ServiceError) as caught:
        bench.create("q")
    assert caught.value.name == "QueueDeletedRecently"
    assert caught.value.message == (
        "You must wait 60 seconds after deleting a queue before you can create another with the same name."
    )
    bench.now += 1
    bench.create("q")
    assert len(bench.rows) == 1


def test_names_that_are_free_again_are_forgotten() -> None:
    bench = Bench(delete_wait=60_000)
    for name in ("z", "a"):
        bench.create(name)
        bench.ask(Remove(None, name))
        bench.now += 1_000
    assert len(bench.rows) == 2
    bench.catalogue = bench.built()
    bench.now += 58_000
    bench.create("m")
    bench.ask(Remove(None, "m"))
    assert sorted(bench.rows) == [b"\x11a", b"\x11m"]


def test_new_settings_reach_the_queue_in_the_same_step(bench: Bench) -> None:
    bench.create("q")
    bench.now += 5_000
    entry = bench.set("q", VisibilityTimeout="9")
    [delivery] = bench.step.deliveries
    assert delivery.optional and isinstance(delivery.command, Configure)
    assert delivery.command.settings.visibility_timeout == 9_000
    assert (entry.created, entry.modified) == (NOW, NOW + 5_000)


def test_only_what_was_set_is_stored(bench: Bench) -> None:
    bench.create("q", DelaySeconds="1")
    assert bench.set("q", VisibilityTimeout="9").attributes == {"DelaySeconds": "1", "VisibilityTimeout": "9"}
    assert bench.get("q").full["MessageRetentionPeriod"] == "345600"


def test_a_refused_change_changes_nothing(bench: Bench) -> None:
    entry = bench.create("q")
    before = entry.encode()
    with pytest.raises(ServiceError):
        bench.set("q", VisibilityTimeout="9", DelaySeconds="901")
    assert bench.get("q").encode() == before


def test_a_queue_keeps_its_type(bench: Bench) -> None:
    bench.create("q.fifo", FifoQueue="true")
    assert bench.get("q.fifo").settings.fifo
    bench.set("q.fifo", FifoQueue="true")
    with pytest.raises(ServiceError) as caught:
        bench.set("q.fifo", FifoQueue="false")
    assert (caught.value.name, caught.value.message) == (
        "InvalidAttributeValue",
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.",
    )


def test_dead_letter_sources_follow_the_redrive_policies(bench: Bench) -> None:
    for name in ("dead", "other"):
        bench.create(name)
    for name in ("b", "a"):
        bench.create(name, RedrivePolicy=redrive("dead"))
    assert bench.catalogue.sources_of(HERE + "dead") == ["a", "b"]
    bench.set("a", RedrivePolicy=redrive("other"))
    assert bench.catalogue.sources_of(HERE + "dead") == ["b"]
    assert bench.catalogue.sources_of(HERE + "other") == ["a"]
    bench.set("b", RedrivePolicy="")
    bench.ask(Remove(None, "a"))
    assert not bench.catalogue.sources_of(HERE + "dead") and not bench.catalogue.sources_of(HERE + "other")


def test_a_queue_may_name_itself_as_its_dead_letter_queue(bench: Bench) -> None:
    bench.create("new", RedrivePolicy=redrive("new"))
    bench.create("closed", RedriveAllowPolicy='{"redrivePermission":"denyAll"}')
    with pytest.raises(ServiceError, match="RedrivePolicy"):
        bench.set("closed", RedrivePolicy=redrive("closed"))
    bench.set("closed", RedrivePolicy=redrive("closed"), RedriveAllowPolicy="")


def test_a_dead_letter_queue_may_refuse_its_sources(bench: Bench) -> None:
    bench.create("dead", RedriveAllowPolicy='{"redrivePermission":"denyAll"}')
    with pytest.raises(ServiceError, match="RedrivePolicy"):
        bench.create("q", RedrivePolicy=redrive("dead"))
    bench.set("dead", RedriveAllowPolicy='{"redrivePermission":"allowAll"}')
    bench.create("q", RedrivePolicy=redrive("dead"))


def test_permissions_are_kept_in_the_policy_and_count_as_a_change(bench: Bench) -> None:
    bench.create("q")
    bench.now += 1_000
    bench.ask(AddPermission(None, "q", "l", ["111111111111"], ["SendMessage"]))
    assert json.loads(bench.get("q").full["Policy"])["Statement"][0]["Sid"] == "l"
    assert bench.get("q").modified == NOW + 1_000
    assert bench.get("q").attributes.keys() == {"Policy"}
    with pytest.raises(ServiceError, match=r"Already exists\."):
        bench.ask(AddPermission(None, "q", "l", ["222222222222"], ["SendMessage"]))
    bench.ask(RemovePermission(None, "q", "l"))
    assert "Policy" not in bench.get("q").full


def test_names_are_paged_in_order(bench: Bench) -> None:
    for name in ("b2", "a", "b1", "c", "b3", "B"):
        bench.create(name)
    names = bench.catalogue.names
    assert names("", "", 100) == ["B", "a", "b1", "b2", "b3", "c"]
    assert names("b", "", 2) == ["b1", "b2"]
    assert names("b", "b2", 2) == ["b3"]
    assert names("b", "a", 9) == ["b1", "b2", "b3"]
    assert names("", "b3", 9) == ["c"]
    assert names("x", "", 9) == []


def test_clear_deletes_every_queue_and_frees_every_name() -> None:
    bench = Bench(delete_wait=60_000)
    partitions = [bench.create(name).partition for name in ("a", "b")]
    bench.create("gone")
    bench.ask(Remove(None, "gone"))
    assert bench.ask(Clear(None, 100)) == Cleared(2, more=False)
    assert sorted(bench.step.dead) == partitions
    assert not bench.rows
    for name in ("a", "gone"):
        bench.create(name)


def test_clear_deletes_so_many_queues_at_once_and_no_more() -> None:
    bench = Bench(delete_wait=60_000)
    for number in range(5):
        bench.create(f"q{number}")
    steps = []
    while True:
        cleared = bench.ask(Clear(None, 2))
        steps.append((cleared.queues, len(bench.step.dead)))
        assert len(bench.step.writes) <= 4
        if not cleared.more:
            break
    assert steps == [(2, 2), (2, 2), (1, 1), (0, 0), (0, 0)]
    assert not bench.rows


def test_what_was_read_is_answered_behind_what_was_written(bench: Bench) -> None:
    assert bench.ask(Show("token", {"QueueUrls": []})) == {"QueueUrls": []}
    step = bench.step
    assert step.answers == [("token", {"QueueUrls": []})]
    assert not (step.writes or step.deliveries or step.needs or step.sweeps or step.dead or step.closed)


def test_arns_of_other_places_are_not_found(bench: Bench) -> None:
    bench.create("q")
    assert bench.catalogue.by_arn(f"arn:aws:sqs:us-east-1:{ACCOUNT}:q") is None
    assert bench.catalogue.by_arn(f"arn:aws:sqs:{REGION}:111111111111:q") is None
    assert bench.catalogue.by_arn("q") is None


NAMES = st.sampled_from(["a", "b", "c", "dead"])


class Restarts(RuleBasedStateMachine):
    """Whatever happens, a catalogue built from its rows is the catalogue that wrote them."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(delete_wait=1_000)

    def attempt(self, command: Any) -> None:
        self.bench.partition += 1
        try:
            self.bench.ask(command)
        except ServiceError as error:
            assert error.message

    @rule(name=NAMES, delay=st.sampled_from(["0", "5", "x"]), wait=st.integers(0, 1_500))
    def create(self, name: str, delay: str, wait: int) -> None:
        self.bench.now += wait
        self.attempt(Create(None, name, self.bench.partition + 1, {"DelaySeconds": delay}, {"k": name}))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.attempt(Remove(None, name))

    @rule(name=NAMES, to=st.one_of(st.just(""), NAMES))
    def redrive(self, name: str, to: str) -> None:
        self.attempt(SetAttributes(None, name, {"RedrivePolicy": redrive(to) if to else ""}))

    @rule(name=NAMES, key=st.sampled_from("xyz"), value=st.sampled_from(["", "1"]))
    def tag(self, name: str, key: str, value: str) -> None:
        self.attempt(Tag(None, name, {key: value}) if value else Untag(None, name, [key]))

    @rule(name=NAMES, label=st.sampled_from("lm"), add=st.booleans())
    def permit(self, name: str, label: str, add: bool) -> None:
        if add:
            self.attempt(AddPermission(None, name, label, ["111111111111"], ["*"]))
        else:
            self.attempt(RemovePermission(None, name, label))

    @invariant()
    def the_rows_say_it_all(self) -> None:
        here, there = self.bench.catalogue, self.bench.built()
        names = here.names("", "", 10)
        assert names == there.names("", "", 10) == sorted(names)
        for name in names:
            assert here.find(name) == there.find(name)
            entry = self.bench.get(name)
            assert here.by_partition(entry.partition) is entry
            assert here.sources_of(entry.arn) == there.sources_of(entry.arn)
            assert here.sources_of(entry.arn) == [
                each for each in names if self.bench.get(each).settings.dead_letter_arn == entry.arn
            ]


Restarts.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestRestarts = Restarts.TestCase

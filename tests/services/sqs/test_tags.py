"""Tags of queues: limits, merging, removal."""

from __future__ import annotations

import pytest

from trunkline.kernel.errors import ServiceError
from trunkline.services.sqs.catalogue import Create, QueueCatalogue, Tag, Untag


def catalogue() -> QueueCatalogue:
    made = QueueCatalogue(1, "us-east-1", "000000000000", [])
    made.handle(Create(None, "q", 2, {}, {}), 0)
    return made


def tags_after(*commands: Tag | Untag) -> dict[str, str]:
    """The queue's tags; a refusal is raised."""
    made = catalogue()
    for command in commands:
        [(_, answer)] = made.handle(command, 1_000).answers
        if isinstance(answer, ServiceError):
            raise answer
    entry = made.find("q")
    assert entry is not None and entry.modified == 0  # tags are no attributes
    return entry.tags


def tag(**tags: str) -> Tag:
    return Tag(None, "q", tags)


def test_tags_are_merged_and_later_values_win() -> None:
    assert tags_after(tag(a="1", b="1"), tag(b="2", c="")) == {"a": "1", "b": "2", "c": ""}


def test_untagging_is_silent_about_keys_that_are_not_there() -> None:
    assert tags_after(tag(a="1", b="2"), Untag(None, "q", ["a", "nobody"])) == {"b": "2"}


def test_fifty_tags_are_the_most() -> None:
    fifty = {f"k{number}": "" for number in range(50)}
    assert len(tags_after(tag(**fifty), tag(k0="again"))) == 50
    for commands in ([tag(**fifty, more="")], [tag(**fifty), tag(more="")]):
        with pytest.raises(ServiceError) as caught:
            tags_after(*commands)
        assert (caught.value.name, caught.value.message) == (
            "InvalidParameterValue",
            "Too many tags added for queue q.",
        )


@pytest.mark.parametrize("key", ["k", "k" * 128, "cost centre_.:/=+-@", "größe"])
def test_keys_consist_of_letters_digits_spaces_and_a_few_signs(key: str) -> None:
    assert tags_after(tag(**{key: "v" * 256})) == {key: "v" * 256}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", "v"),
        ("k" * 129, "v"),
        ("k", "v" * 257),
        ("aws:k", "v"),
        ("AWS:k", "v"),
        ("k!", "v"),
        ("k", "v#"),
        ("k\n", "v"),
        ("k", "\tv"),
    ],
)
def test_other_tags_are_refused(key: str, value: str) -> None:
    with pytest.raises(ServiceError) as caught:
        tags_after(tag(**{key: value}))
    assert caught.value.name == "InvalidParameterValue"


def test_a_queue_is_created_with_its_tags_or_not_at_all() -> None:
    made = catalogue()
    made.handle(Create(None, "tagged", 3, {}, {"a": "1"}), 0)
    made.handle(Create(None, "refused", 4, {}, {"aws:a": "1"}), 0)
    entry = made.find("tagged")
    assert entry is not None and entry.tags == {"a": "1"}
    assert made.find("refused") is None


def test_tags_are_not_compared_when_a_queue_is_created_again() -> None:
    made = catalogue()
    [(_, answer)] = made.handle(Create(None, "q", 3, {}, {"a": "1"}), 0).answers
    assert answer is made.find("q") and answer.tags == {}

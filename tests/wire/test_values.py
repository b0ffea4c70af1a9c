"""How many values a JSON text holds, counted before it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.kernel.errors import ServiceError
from trunkline.wire.protocols import values
from trunkline.wire.protocols.values import MOST_VALUES, too_many

MUCH = 2 * MOST_VALUES
LONG = "x" * values.FREE


@pytest.mark.parametrize(
    "body",
    ['{"a":[' + "{}," * MUCH + "1]}", '{"a":[' + "[]," * MUCH + "1]}", '{"a":[' + "1," * 2 * MUCH + "1]}",
     "{" + ",".join(f'"{n}":1' for n in range(MUCH)) + "}", '{"a":[' + '"",' * MUCH + "1]}", "[" * 5 * MUCH,
     '"' * 5 * MUCH, '{"a":"' + "\\\\" * MUCH + '",' + '"b":1,' * MUCH],
    ids=["objects", "lists", "numbers", "members", "strings", "deep", "quotes", "behind backslashes"],
)  # fmt: skip
def test_a_long_body_of_more_values_than_any_operation_takes_is_refused_unread(
    read_json: Any, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline.wire.protocols.json.orjson.loads", lambda _: pytest.fail("it was read"))
    with pytest.raises(ServiceError, match=f"more than {MOST_VALUES} values"):
        read_json("ListQueues", body)


@pytest.mark.parametrize(
    "text",
    [",[{" * MUCH, json.dumps([{"a": [1, 2]}] * MUCH), "\\" * 3 * MUCH, '\\"' * MUCH, '"' * 3 * MUCH, "\n,\t" * MUCH],
    ids=["marks", "JSON in a string", "backslashes", "escaped quotes", "quotes", "lines"],
)
def test_a_long_message_may_hold_all_the_marks_of_json(read_json: Any, text: str) -> None:
    for tail in ("", "\\", '"'):
        body = json.dumps({"QueueUrl": "q", "MessageBody": LONG + text + tail})
        assert read_json("SendMessage", body)["MessageBody"] == LONG + text + tail


def test_a_short_body_is_not_counted(read_json: Any) -> None:
    assert read_json("ListQueues", '{"a":[' + "{}," * (values.FREE // 3 - 10) + "1]}") == {}


texts = st.text(st.sampled_from('",[{}]:\\x\n€'), max_size=30)
documents = st.recursive(
    texts | st.integers() | st.none(), lambda below: st.lists(below) | st.dictionaries(texts, below), max_leaves=40
)


def counted(value: Any) -> int:
    """Commas, opening brackets and strings, as the text of a value has them outside of its strings."""
    if isinstance(value, str):
        return 1
    if isinstance(value, list):
        return 1 + max(len(value) - 1, 0) + sum(map(counted, value))
    if isinstance(value, dict):
        return 1 + max(len(value) - 1, 0) + sum(counted(k) + counted(v) for k, v in value.items())
    return 0


@settings(max_examples=150, deadline=None)
@given(documents, st.integers(1, 9))
def test_marks_in_strings_do_not_count_wherever_the_text_is_cut(document: Any, size: int) -> None:
    text = json.dumps(document, ensure_ascii=False).encode()
    wanted = counted(document)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "FREE", 0)
        patch.setattr(values, "_SLICE", size)
        # What a cut adds is at most one for each piece: a bound may be reached early, never late.
        patch.setattr(values, "MOST_VALUES", wanted - 1)
        assert too_many(text) or wanted == 0
        patch.setattr(values, "MOST_VALUES", wanted + len(text) // size + 1)
        assert not too_many(text)

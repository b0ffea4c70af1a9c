"""The JSON protocol, on the model of SQS."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.kernel.errors import InternalFailure, ServiceError
from trunkline.wire.message import HttpRequest
from trunkline.wire.protocols import Codec, codec
from trunkline.wire.shapes import ServiceModel

OBJECT = "Start of structure or map found where not expected."
LIST = "Start of list found where not expected"

OPERATIONS = sorted(ServiceModel.load("sqs").operations)


@pytest.mark.parametrize(
    ("operation", "body", "message"),
    [
        ("CreateQueue", '{"QueueName": {}}', OBJECT),
        ("CreateQueue", '{"QueueName": []}', LIST),
        ("CreateQueue", '{"Attributes": []}', LIST),
        ("CreateQueue", '{"Attributes": {"DelaySeconds": {}}}', OBJECT),
        ("CreateQueue", '{"Attributes": {"DelaySeconds": []}}', "Unrecognized collection type class java.lang.String"),
        ("CreateQueue", "[]", LIST),
        ("ReceiveMessage", '{"MaxNumberOfMessages": "5"}', "STRING_VALUE can not be converted to an Integer"),
        ("ReceiveMessage", '{"MaxNumberOfMessages": true}', "TRUE_VALUE can not be converted to an Integer"),
        ("ReceiveMessage", '{"MaxNumberOfMessages": []}', LIST),
        ("ReceiveMessage", '{"MaxNumberOfMessages": {}}', OBJECT),
        ("ReceiveMessage", '{"AttributeNames": {}}', OBJECT),
        ("ReceiveMessage", '{"AttributeNames": [[]]}', LIST),
        ("ReceiveMessage", '{"AttributeNames": [{}]}', OBJECT),
        ("SendMessage", '{"MessageAttributes": {"a": []}}', LIST),
        ("SendMessage", '{"MessageAttributes": {"a": {"BinaryValue": {}}}}', OBJECT),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_text_of_aws(
    read_json: Any, operation: str, body: str, message: str
) -> None:
    with pytest.raises(ServiceError) as refused:
        read_json(operation, body)
    assert (refused.value.name, refused.value.message) == ("SerializationException", message)


@pytest.mark.parametrize(
    "body", ["", "{", '"text"', "3", "null", " ", '{"a": NaN}', '{"a": -Infinity}', "{} {}", "\ufeff{}"]
)
def test_a_body_that_is_not_one_json_object_is_refused_unless_it_is_empty(read_json: Any, body: str) -> None:
    if not body:
        assert read_json("ListQueues", body) == {}
        return
    with pytest.raises(ServiceError) as refused:
        read_json("ListQueues", body)
    assert refused.value.name == "SerializationException"


def test_a_body_that_is_not_utf8_is_refused(read_json: Any) -> None:
    with pytest.raises(ServiceError, match="SerializationException"):
        read_json("ListQueues", b'{"QueueNamePrefix": "\xff"}')


@pytest.mark.parametrize("body", ["[" * 100_000, '{"a":' * 100_000, '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_a_body_nested_without_end_is_refused(read_json: Any, body: str) -> None:
    with pytest.raises(ServiceError, match="SerializationException"):
        read_json("ListQueues", body)


def test_numbers_and_truth_values_become_the_text_they_were_written_as(read_json: Any) -> None:
    body = '{"Attributes": {"a": true, "b": false, "c": 20, "d": 1.5}}'
    assert read_json("SetQueueAttributes", body)["Attributes"] == {"a": "true", "b": "false", "c": "20", "d": "1.5"}


def test_a_fraction_given_for_a_whole_number_is_cut(read_json: Any) -> None:
    assert read_json("ReceiveMessage", '{"MaxNumberOfMessages": 5.7}') == {"MaxNumberOfMessages": 5}


def test_a_number_beyond_all_bounds_is_refused(read_json: Any) -> None:
    with pytest.raises(ServiceError, match="can not be converted to an Integer"):
        read_json("ReceiveMessage", '{"MaxNumberOfMessages": 1e400}')


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**63, 2**64, 10**25, -(10**25), 3e9])
def test_a_number_that_its_type_does_not_hold_is_refused(read_json: Any, number: float) -> None:
    with pytest.raises(ServiceError, match="NUMBER_VALUE can not be converted to an Integer"):
        read_json("ReceiveMessage", f'{{"MaxNumberOfMessages": {number}}}')


@pytest.mark.parametrize("number", [2**31 - 1, -(2**31)])
def test_a_number_that_its_type_just_holds_is_read(read_json: Any, number: int) -> None:
    assert read_json("ReceiveMessage", f'{{"MaxNumberOfMessages": {number}}}') == {"MaxNumberOfMessages": number}


def test_a_long_number_has_sixty_four_bits() -> None:
    shapes = {
        "In": {"type": "structure", "members": {"n": {"shape": "Long"}}},
        "Long": {"type": "long"},
    }
    data = {"metadata": {}, "operations": {"Do": {"input": {"shape": "In"}}}, "shapes": shapes}
    reader = codec(ServiceModel("x", data), "json")

    def read(number: int) -> Any:
        return reader.decode("Do", HttpRequest("POST", "/", "", {}, json.dumps({"n": number}).encode()))["n"]

    assert [read(number) for number in (2**63 - 1, -(2**63))] == [2**63 - 1, -(2**63)]
    for number in (2**63, 10**25, -(2**63) - 2_000):
        with pytest.raises(ServiceError, match="NUMBER_VALUE can not be converted to a Long"):
            read(number)


def test_a_null_member_is_as_if_it_were_not_there(read_json: Any) -> None:
    body = '{"QueueName": "q", "Attributes": null, "tags": {"a": null, "b": "c"}}'
    assert read_json("CreateQueue", body) == {"QueueName": "q", "tags": {"b": "c"}}


def test_a_null_in_a_list_is_left_out(read_json: Any) -> None:
    assert read_json("ReceiveMessage", '{"AttributeNames": [null, "All", null]}') == {"AttributeNames": ["All"]}


def test_a_null_in_a_sparse_list_or_map_stays() -> None:
    shapes = {
        "In": {"type": "structure", "members": {"list": {"shape": "List"}, "map": {"shape": "Map"}}},
        "List": {"type": "list", "member": {"shape": "Text"}, "sparse": True},
        "Map": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Text"}, "sparse": True},
        "Text": {"type": "string"},
    }
    operations = {"Do": {"input": {"shape": "In"}}}
    sparse = codec(ServiceModel("x", {"metadata": {}, "operations": operations, "shapes": shapes}), "json")
    body = {"list": ["a", None], "map": {"k": None}}
    assert sparse.decode("Do", HttpRequest("POST", "/", "", {}, json.dumps(body).encode())) == body


def test_an_unknown_member_is_passed_over_whatever_is_in_it(read_json: Any) -> None:
    assert read_json("ListQueues", '{"Colour": {"a": [1, {}]}, "queuenameprefix": "x"}') == {}


def test_the_last_of_a_repeated_member_counts(read_json: Any) -> None:
    assert read_json("ListQueues", '{"QueueNamePrefix": "a", "QueueNamePrefix": "b"}') == {"QueueNamePrefix": "b"}


def test_a_binary_value_is_base64(read_json: Any) -> None:
    body = '{"MessageAttributes": {"a": {"DataType": "Binary", "BinaryValue": "/wA="}}}'
    assert read_json("SendMessage", body)["MessageAttributes"]["a"]["BinaryValue"] == b"\xff\x00"


@pytest.mark.parametrize("value", ['"Y"', '"YQ"', '"Y\\u00e9=="', '"Y Q=="', "3", "true"])
def test_a_binary_value_that_is_not_base64_is_refused(read_json: Any, value: str) -> None:
    with pytest.raises(ServiceError, match="SerializationException"):
        read_json("SendMessage", f'{{"MessageAttributes": {{"a": {{"BinaryValue": {value}}}}}}}')


def test_a_required_member_that_is_missing_is_named(read_json: Any) -> None:
    with pytest.raises(ServiceError) as refused:
        read_json("ChangeMessageVisibility", '{"QueueUrl": "q", "ReceiptHandle": "r", "VisibilityTimeout": null}')
    assert refused.value.name == "MissingParameter"
    assert refused.value.message == "The request must contain the parameter VisibilityTimeout."


def test_an_error_has_its_prefixed_type_and_its_query_code(by_json: Codec) -> None:
    answer = by_json.encode_error(ServiceError("QueueDoesNotExist", "The specified queue does not exist."), "id-1")
    headers = dict(answer.headers)
    assert answer.status == 400
    assert headers["x-amzn-query-error"] == "AWS.SimpleQueueService.NonExistentQueue;Sender"
    assert headers["x-amzn-RequestId"] == "id-1"
    assert headers["Content-Type"] == "application/x-amz-json-1.0"
    assert json.loads(answer.body) == {
        "__type": "com.amazonaws.sqs#QueueDoesNotExist",
        "message": "The specified queue does not exist.",
    }


def test_an_error_is_named_in_a_header_without_its_prefix_for_the_java_sdk(by_json: Codec) -> None:
    answer = by_json.encode_error(ServiceError("QueueDoesNotExist", "The specified queue does not exist."), "id-1")
    assert dict(answer.headers)["x-amzn-errortype"] == "QueueDoesNotExist"


@pytest.mark.parametrize(
    ("name", "kind", "code", "status"),
    [
        (
            "InvalidParameterValue",
            "com.amazon.coral.service#InvalidParameterValueException",
            "InvalidParameterValue",
            400,
        ),
        ("MissingParameter", "com.amazon.coral.service#MissingRequiredParameterException", "MissingParameter", 400),
        ("QueueNameExists", "com.amazonaws.sqs#QueueNameExists", "QueueAlreadyExists", 400),
        ("ResourceNotFoundException", "com.amazonaws.sqs#ResourceNotFoundException", "ResourceNotFoundException", 404),
        ("OverLimit", "com.amazonaws.sqs#OverLimit", "OverLimit", 403),
    ],
)
def test_an_error_that_no_model_lists_has_another_type_than_code(
    by_json: Codec, name: str, kind: str, code: str, status: int
) -> None:
    answer = by_json.encode_error(ServiceError(name, "m"), "id")
    assert json.loads(answer.body)["__type"] == kind
    assert dict(answer.headers)["x-amzn-query-error"] == f"{code};Sender"
    assert answer.status == status


def test_a_failure_of_ours_is_the_receivers_fault(by_json: Codec) -> None:
    answer = by_json.encode_error(InternalFailure(), "id")
    assert answer.status == 500
    assert dict(answer.headers)["x-amzn-query-error"] == "InternalFailure;Receiver"


def test_an_answer_leaves_null_members_out_and_writes_bytes_as_base64(by_json: Codec) -> None:
    value = {"DataType": "Binary", "BinaryValue": b"\xff", "StringValue": None}
    answer = by_json.encode("ReceiveMessage", {"Messages": [{"MessageAttributes": {"a": value}}]}, "id")
    assert json.loads(answer.body) == {
        "Messages": [{"MessageAttributes": {"a": {"DataType": "Binary", "BinaryValue": "/w=="}}}]
    }


def test_an_answer_is_utf8_whatever_is_in_it(by_json: Codec) -> None:
    answer = by_json.encode("ListQueueTags", {"Tags": {"a": "é\ud800"}}, "id")
    assert json.loads(answer.body.decode()) == {"Tags": {"a": "é?"}}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An operation, and for its members (and some that it lacks) anything at all."""
    model = ServiceModel.load("sqs")
    operation = draw(st.sampled_from(OPERATIONS))
    members = sorted(model.shape(model.operations[operation]["input"])["members"])
    return operation, draw(st.dictionaries(st.sampled_from([*members, "Unknown"]), _like_a_member() | ANYTHING))


def _like_a_member() -> st.SearchStrategy[Any]:
    """Near to what SQS takes, so that the reading goes on to the innermost shapes."""
    names = st.sampled_from(["Id", "DataType", "StringValue", "BinaryValue", "MessageAttributes", "a", "DelaySeconds"])
    inner = st.dictionaries(names, ANYTHING | st.dictionaries(names, ANYTHING, max_size=3), max_size=4)
    return inner | st.lists(inner, max_size=3)


@given(_bodies())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_object_decodes_to_members_of_the_model_or_is_refused(case: tuple[str, dict[str, Any]]) -> None:
    operation, value = case
    model = ServiceModel.load("sqs")
    request = HttpRequest("POST", "/", "", {}, json.dumps(value).encode())
    try:
        found = codec(model, "json").decode(operation, request)
    except ServiceError as refused:
        assert refused.name in ("SerializationException", "MissingParameter")
    else:
        reference = model.operations[operation]["input"]
        _check(model, reference, found)
        assert set(found) == {name for name in value if value[name] is not None and name != "Unknown"}


def _check(model: ServiceModel, reference: dict[str, Any], value: Any) -> None:
    shape = model.shape(reference)
    kind = shape["type"]
    if kind == "structure":
        assert isinstance(value, dict)
        for name, item in value.items():
            _check(model, shape["members"][name], item)
    elif kind == "list":
        assert isinstance(value, list)
        for item in value:
            _check(model, shape["member"], item)
    elif kind == "map":
        assert isinstance(value, dict)
        for item in value.values():
            _check(model, shape["value"], item)
    else:
        assert type(value) is {"string": str, "integer": int, "long": int, "boolean": bool, "blob": bytes}[kind]


@given(st.sampled_from(OPERATIONS), st.binary())
def test_any_bytes_decode_or_are_refused(operation: str, body: bytes) -> None:
    try:
        found = codec(ServiceModel.load("sqs"), "json").decode(operation, HttpRequest("POST", "/", "", {}, body))
    except ServiceError:
        return
    assert isinstance(found, dict)

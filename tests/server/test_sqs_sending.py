"""Sending, as aws/sqs.md section 5 has it: texts, codes, limits, order."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest

BAD_CHARACTERS = (
    "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | "
    "#x10000 to #x10FFFF"
)
NO_DEDUPLICATION = (
    "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
)


def call(server: Any, operation: str, **body: Any) -> tuple[int, dict[str, Any]]:
    """A JSON request as it is, for boto3 would refuse some of them itself."""
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"}
    status, text = server.http("POST", "/", body, headers)
    return status, json.loads(text)


def refusal(server: Any, operation: str, **body: Any) -> tuple[str, str]:
    """The type (after #) and the text of the error 400 that a request must end in."""
    status, answer = call(server, operation, **body)
    assert status == 400, answer
    return answer["__type"].rpartition("#")[2], answer["message"]


def send(server: Any, queue: str, **more: Any) -> tuple[str, str]:
    return refusal(server, "SendMessage", **{"QueueUrl": queue, "MessageBody": "x", **more})


def batch(server: Any, queue: str, *entries: dict[str, Any]) -> tuple[str, str]:
    return refusal(server, "SendMessageBatch", QueueUrl=queue, Entries=list(entries))


def attribute(server: Any, queue: str, name: str, **value: Any) -> str:
    """The text with which a message attribute is refused."""
    code, text = send(server, queue, MessageAttributes={name: value})
    assert code == "InvalidParameterValueException"
    return text


@pytest.fixture
def fifo(sqs: Any) -> str:
    url: str = sqs.create_queue(QueueName=f"{uuid.uuid4()}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    return url


@pytest.mark.parametrize("body", [{"MessageBody": ""}, {"MessageBody": None}])
def test_a_message_without_a_body_is_refused(shared: Any, queue: str, body: dict[str, Any]) -> None:
    assert send(shared, queue, **body) == (
        "MissingRequiredParameterException",
        "The request must contain the parameter MessageBody.",
    )


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff"])
def test_a_character_that_xml_cannot_hold_is_refused(shared: Any, queue: str, character: str) -> None:
    assert send(shared, queue, MessageBody=f"a{character}b") == ("InvalidMessageContents", BAD_CHARACTERS)


def test_the_characters_at_the_edges_are_accepted(sqs: Any, queue: str) -> None:
    body = "\t\n\r \ud7ff\ue000\ufffd\U00010000\U0010ffff"
    sqs.send_message(QueueUrl=queue, MessageBody=body)
    [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert message["Body"] == body


def test_names_types_and_values_of_attributes_count_for_the_size(sqs: Any, shared: Any, queue: str) -> None:
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"MaximumMessageSize": "1024"})
    attributes = {"name": {"DataType": "String", "StringValue": "välue"}}
    extra = len("name") + len("String") + len("välue".encode())
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "t" * 500}}
    sqs.send_message(
        QueueUrl=queue,
        MessageBody="x" * (1024 - extra),
        MessageAttributes=attributes,
        MessageSystemAttributes=trace,
    )
    assert send(shared, queue, MessageBody="x" * (1025 - extra), MessageAttributes=attributes) == (
        "InvalidParameterValueException",
        "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.",
    )


def test_the_size_counts_bytes_and_not_characters(sqs: Any, shared: Any, queue: str) -> None:
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"MaximumMessageSize": "1024"})
    sqs.send_message(QueueUrl=queue, MessageBody="ä" * 512)
    assert send(shared, queue, MessageBody="ä" * 512 + "x")[0] == "InvalidParameterValueException"


def test_a_message_of_exactly_a_mebibyte_is_accepted(sqs: Any, shared: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x" * 1_048_576)
    assert send(shared, queue, MessageBody="x" * 1_048_577)[1] == (
        "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes."
    )


@pytest.mark.parametrize("delay", [-1, 901, 1000])
def test_a_delay_beyond_fifteen_minutes_is_refused(shared: Any, queue: str, delay: int) -> None:
    assert send(shared, queue, DelaySeconds=delay) == (
        "InvalidParameterValueException",
        f"Value {delay} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.",
    )


def test_a_fifo_message_has_no_delay_of_its_own(shared: Any, fifo: str) -> None:
    assert send(shared, fifo, DelaySeconds=2, MessageGroupId="g", MessageDeduplicationId="d") == (
        "InvalidParameterValueException",
        "Value 2 for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid for "
        "this queue type.",
    )


def test_a_standard_queue_deduplicates_nothing(shared: Any, queue: str) -> None:
    assert send(shared, queue, MessageDeduplicationId="d") == (
        "InvalidParameterValueException",
        "The request include parameter MessageDeduplicationId which is not valid for this queue type",
    )
    _, answer = call(
        shared,
        "SendMessageBatch",
        QueueUrl=queue,
        Entries=[{"Id": "a", "MessageBody": "x", "MessageDeduplicationId": "d"}],
    )
    assert "Successful" not in answer
    assert answer["Failed"] == [
        {
            "Id": "a",
            "Code": "InvalidParameterValue",
            "Message": "The request include parameter that is not valid for this queue type",
            "SenderFault": True,
        }
    ]


def test_a_group_of_a_standard_queue_comes_back_with_the_message(sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageGroupId="tenant-1")
    [message] = sqs.receive_message(QueueUrl=queue, MessageSystemAttributeNames=["MessageGroupId"])["Messages"]
    assert message["Attributes"] == {"MessageGroupId": "tenant-1"}


@pytest.mark.parametrize("name", ["MessageGroupId", "MessageDeduplicationId"])
@pytest.mark.parametrize("value", ["", "group 123", "ä", "x" * 129])
def test_an_id_has_1_to_128_letters_digits_and_signs(shared: Any, fifo: str, name: str, value: str) -> None:
    ids = {"MessageGroupId": "g", "MessageDeduplicationId": "d", name: value}
    assert send(shared, fifo, **ids) == (
        "InvalidParameterValueException",
        f"Value {value} for parameter {name} is invalid. Reason: {name} can only include alphanumeric and punctuation "
        "characters. 1 to 128 in length.",
    )


def test_every_sign_is_allowed_in_an_id(sqs: Any, fifo: str) -> None:
    signs = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
    sqs.send_message(QueueUrl=fifo, MessageBody="x", MessageGroupId=signs, MessageDeduplicationId="d" * 128)
    [message] = sqs.receive_message(QueueUrl=fifo, MessageSystemAttributeNames=["All"])["Messages"]
    assert message["Attributes"]["MessageGroupId"] == signs
    assert message["Attributes"]["MessageDeduplicationId"] == "d" * 128


def test_the_answer_has_a_digest_for_each_kind_of_attributes_that_was_sent(sqs: Any, queue: str) -> None:
    plain = sqs.send_message(QueueUrl=queue, MessageBody="x")
    del plain["ResponseMetadata"]
    assert set(plain) == {"MessageId", "MD5OfMessageBody"}
    assert plain["MD5OfMessageBody"] == hashlib.md5(b"x").hexdigest()


def test_a_trace_header_travels_with_the_message(shared: Any, sqs: Any, queue: str) -> None:
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "AmazonSQS.SendMessage",
        "X-Amzn-Trace-Id": "Root=1-2-3",
    }
    status, answer = shared.http("POST", "/", {"QueueUrl": queue, "MessageBody": "x"}, headers)
    assert status == 200
    assert "MD5OfMessageSystemAttributes" not in json.loads(answer)
    [message] = sqs.receive_message(QueueUrl=queue, AttributeNames=["AWSTraceHeader"])["Messages"]
    assert message["Attributes"] == {"AWSTraceHeader": "Root=1-2-3"}


def test_the_trace_header_is_the_only_system_attribute(shared: Any, queue: str) -> None:
    value = {"DataType": "String", "StringValue": "x"}
    assert send(shared, queue, MessageSystemAttributes={"SenderId": value}) == (
        "InvalidParameterValueException",
        "Message system attribute name 'SenderId' is invalid.",
    )
    for bad in ({"DataType": "Number", "StringValue": "1"}, {"DataType": "String", "StringValue": ""}):
        assert send(shared, queue, MessageSystemAttributes={"AWSTraceHeader": bad})[0] == (
            "InvalidParameterValueException"
        )


def test_a_trace_header_that_no_row_can_hold_is_refused(shared: Any, queue: str) -> None:
    value = {"DataType": "String", "StringValue": "x" * 65_536}
    assert send(shared, queue, MessageSystemAttributes={"AWSTraceHeader": value}) == (
        "InvalidParameterValueException",
        "Message (system) attribute 'AWSTraceHeader' must be shorter than 65535 bytes.",
    )


# -- message attributes ------------------------------------------------------------


def test_a_message_has_ten_attributes_at_the_most(sqs: Any, shared: Any, queue: str) -> None:
    attributes = {str(number): {"DataType": "Number", "StringValue": "1"} for number in range(11)}
    assert send(shared, queue, MessageAttributes=attributes) == (
        "InvalidParameterValueException",
        "Number of message attributes [11] exceeds the allowed maximum [10].",
    )
    del attributes["10"]
    assert sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes=attributes)["MD5OfMessageAttributes"]


@pytest.mark.parametrize("kind", ["String", "Number", "Binary"])
def test_an_attribute_without_a_value_is_refused(shared: Any, queue: str, kind: str) -> None:
    text = f"Message (user) attribute 'X' must contain a non-empty value of type '{kind}'."
    assert attribute(shared, queue, "X", DataType=kind) == text
    member = "BinaryValue" if kind == "Binary" else "StringValue"
    assert attribute(shared, queue, "X", DataType=f"{kind}.custom", **{member: ""}) == text


def test_an_attribute_that_is_empty_is_refused(shared: Any, queue: str) -> None:
    assert attribute(shared, queue, "X") == (
        "The message (user) attribute 'X' must contain a non-empty message attribute value."
    )


@pytest.mark.parametrize("text", ["", "abc", "1e", "0x10", "1,5", "NaN", "Infinity", "1e127", "-2e128", "1" * 39])
def test_what_is_no_number_is_refused(shared: Any, queue: str, text: str) -> None:
    if text:
        expected = "Can't cast the value of message (user) attribute 'X' to a number."
    else:
        expected = "Message (user) attribute 'X' must contain a non-empty value of type 'Number'."
    assert attribute(shared, queue, "X", DataType="Number", StringValue=text) == expected


@pytest.mark.parametrize("text", ["0", "-1.5", "+2", "1e126", "-1e128", ".5", "1" * 38, "1" + "0" * 100, "0.0010"])
def test_numbers_are_kept_as_they_were_written(sqs: Any, queue: str, text: str) -> None:
    value = {"DataType": "Number.int", "StringValue": text}
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes={"X": value})
    [message] = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["X"])["Messages"]
    assert message["MessageAttributes"] == {"X": value}


def test_an_attribute_has_a_name(shared: Any, queue: str) -> None:
    assert attribute(shared, queue, "", DataType="String", StringValue="x") == (
        "The request must contain non-empty message (user) attribute names."
    )


def test_an_attributes_name_and_type_have_256_characters_at_the_most(sqs: Any, shared: Any, queue: str) -> None:
    value = {"DataType": "String", "StringValue": "x"}
    assert attribute(shared, queue, "n" * 257, **value) == (
        "Message (user) attribute name must be shorter than 256 bytes."
    )
    assert attribute(shared, queue, "n", DataType="String." + "t" * 250, StringValue="x") == (
        "Message (user) attribute type must be shorter than 256 bytes."
    )
    long = {"n" * 256: {"DataType": "String." + "t" * 249, "StringValue": "x"}}
    assert sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes=long)["MD5OfMessageAttributes"]


@pytest.mark.parametrize("name", ["AWS.x", "aws.x", "Amazon.x", "AMAZON.x"])
def test_names_of_amazon_are_reserved(shared: Any, queue: str, name: str) -> None:
    assert attribute(shared, queue, name, DataType="String", StringValue="x") == (
        "You can't use message attribute names beginning with 'AWS.' or 'Amazon'. These strings are reserved for "
        "internal use."
    )


@pytest.mark.parametrize("name", ["a!", 'a"', "a§", "a(", "a?", "a b", ".a", "a."])
def test_other_signs_are_refused_in_a_name(shared: Any, queue: str, name: str) -> None:
    assert f"'{name}'" in attribute(shared, queue, name, DataType="String", StringValue="x")


@pytest.mark.parametrize("name", ["a-b_c.d", "øßä", "a..b", "9", "Awsome.x"])
def test_names_of_letters_digits_and_three_signs_are_accepted(sqs: Any, queue: str, name: str) -> None:
    value = {"DataType": "String", "StringValue": "x"}
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes={name: value})
    [message] = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
    assert list(message["MessageAttributes"]) == [name]


@pytest.mark.parametrize("kind", ["", "Float", "string", ".String", "Stringer", "String.\ud800"])
def test_a_type_is_text_a_number_or_bytes(shared: Any, queue: str, kind: str) -> None:
    assert attribute(shared, queue, "X", DataType=kind, StringValue="x") == (
        "The type of message (user) attribute 'X' is invalid. You must use only the following supported type "
        "prefixes: Binary, Number, String."
    )


@pytest.mark.parametrize("member", ["StringListValues", "BinaryListValues"])
def test_lists_are_not_supported_as_values(shared: Any, queue: str, member: str) -> None:
    assert attribute(shared, queue, "X", DataType="String", StringValue="x", **{member: ["eA=="]}) == (
        "Message attribute list values in SendMessage operation are not supported."
    )


def test_a_control_character_in_a_value_makes_the_parameter_invalid(shared: Any, queue: str) -> None:
    assert "'X'" in attribute(shared, queue, "X", DataType="String", StringValue="a\x00b")


# -- batches -----------------------------------------------------------------------

OPERATIONS = [
    ("SendMessageBatch", {"MessageBody": "x"}),
    ("DeleteMessageBatch", {"ReceiptHandle": "h"}),
    ("ChangeMessageVisibilityBatch", {"ReceiptHandle": "h", "VisibilityTimeout": 1}),
]


@pytest.mark.parametrize(("operation", "entry"), OPERATIONS)
def test_a_batch_is_refused_as_a_whole_for_its_ids(
    shared: Any, queue: str, operation: str, entry: dict[str, Any]
) -> None:
    def of(*ids: Any) -> tuple[str, str]:
        return refusal(shared, operation, QueueUrl=queue, Entries=[{**entry, "Id": id_} for id_ in ids])

    bad = (
        "InvalidBatchEntryId",
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 "
        "letters long.",
    )
    assert of() == ("EmptyBatchRequest", f"There should be at least one {operation}RequestEntry in the request.")
    assert refusal(shared, operation, QueueUrl=queue) == (
        "MissingRequiredParameterException",
        "The request must contain the parameter Entries.",
    )
    assert of(*map(str, range(20))) == (
        "TooManyEntriesInBatchRequest",
        "Maximum number of entries per request are 10. You have sent 20.",
    )
    for id_ in ("", "a b", "ä", "x" * 81, "a.b"):
        assert of("ok", id_) == bad
    assert of("ok", None) == (
        "MissingRequiredParameterException",
        f"The request must contain the parameter {operation}RequestEntry.2.Id.",
    )
    assert of("some-id", "b", "some-id") == ("BatchEntryIdsNotDistinct", "Id some-id repeated.")


def test_a_batch_of_more_than_a_mebibyte_is_refused(sqs: Any, shared: Any, queue: str) -> None:
    half = "x" * 524_288
    fits = sqs.send_message_batch(
        QueueUrl=queue, Entries=[{"Id": "a", "MessageBody": half}, {"Id": "b", "MessageBody": half}]
    )
    assert [entry["Id"] for entry in fits["Successful"]] == ["a", "b"]
    assert "Failed" not in fits
    assert batch(shared, queue, {"Id": "a", "MessageBody": half}, {"Id": "b", "MessageBody": half + "x"}) == (
        "BatchRequestTooLong",
        "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes.",
    )
    with_attribute = {"Id": "b", "MessageBody": half, "MessageAttributes": {"n": {"DataType": "String"}}}
    with_attribute["MessageAttributes"]["n"]["StringValue"] = "v"  # type: ignore[index]
    assert batch(shared, queue, {"Id": "a", "MessageBody": half}, with_attribute)[1].endswith("1048584 bytes.")


def test_ids_are_judged_before_the_size_of_the_batch(shared: Any, queue: str) -> None:
    entry = {"Id": "a", "MessageBody": "x" * 600_000}
    assert batch(shared, queue, entry, entry)[0] == "BatchEntryIdsNotDistinct"


def test_a_queues_own_limit_is_for_each_entry_and_not_for_the_batch(sqs: Any, queue: str) -> None:
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"MaximumMessageSize": "2048"})
    answer = sqs.send_message_batch(
        QueueUrl=queue, Entries=[{"Id": "a", "MessageBody": "x" * 2048}, {"Id": "b", "MessageBody": "x"}]
    )
    assert len(answer["Successful"]) == 2


def test_each_entry_of_a_standard_queue_fails_alone(shared: Any, queue: str) -> None:
    status, answer = call(
        shared,
        "SendMessageBatch",
        QueueUrl=queue,
        Entries=[
            {"Id": "none"},
            {"Id": "ok", "MessageBody": "x"},
            {"Id": "bad", "MessageBody": "\x00"},
            {"Id": "late", "MessageBody": "x", "DelaySeconds": 901},
        ],
    )
    assert status == 200
    [sent] = answer["Successful"]
    assert set(sent) == {"Id", "MessageId", "MD5OfMessageBody"}
    assert [(each["Id"], each["Code"], each["Message"], each["SenderFault"]) for each in answer["Failed"]] == [
        (
            "none",
            "MissingParameter",
            "The request must contain the parameter SendMessageBatchRequestEntry.1.MessageBody.",
            True,
        ),
        ("bad", "InvalidMessageContents", BAD_CHARACTERS, True),
        (
            "late",
            "InvalidParameterValue",
            "Value 901 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.",
            True,
        ),
    ]


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        (
            {"MessageGroupId": None},
            "InvalidParameterValueException",
            "The request must contain the parameter MessageGroupId.",
        ),
        ({"MessageDeduplicationId": None}, "InvalidParameterValueException", NO_DEDUPLICATION),
        (
            {"MessageBody": None},
            "MissingRequiredParameterException",
            "The request must contain the parameter SendMessageBatchRequestEntry.2.MessageBody.",
        ),
        ({"MessageBody": "\x01"}, "InvalidMessageContents", BAD_CHARACTERS),
        (
            {"MessageBody": "x" * 1025},
            "InvalidParameterValueException",
            "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes.",
        ),
        (
            {"DelaySeconds": 2},
            "InvalidParameterValueException",
            "Value 2 for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid "
            "for this queue type.",
        ),
    ],
)
def test_one_faulty_entry_fails_a_whole_fifo_batch(
    sqs: Any, shared: Any, fifo: str, fault: dict[str, Any], code: str, text: str
) -> None:
    sqs.set_queue_attributes(QueueUrl=fifo, Attributes={"MaximumMessageSize": "1024"})
    good = {"MessageBody": "x", "MessageGroupId": "g"}
    entries = [
        {**good, "Id": "a", "MessageDeduplicationId": "1"},
        {**good, "Id": "b", "MessageDeduplicationId": "2", **fault},
    ]
    assert batch(shared, fifo, *entries) == (code, text)
    assert "Messages" not in sqs.receive_message(QueueUrl=fifo)


@pytest.mark.parametrize("length", [65_536, 65_537, 1_048_576])
def test_a_large_message_arrives_as_it_was_sent(sqs: Any, queue: str, length: int) -> None:
    body = "é" + "x" * (length - 2)
    sent = sqs.send_message(QueueUrl=queue, MessageBody=body)
    assert sent["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert message["Body"] == body


def test_a_large_batch_reports_what_failed(sqs: Any, queue: str) -> None:
    entries = [{"Id": "good", "MessageBody": "x" * 200_000}, {"Id": "bad", "MessageBody": "y" * 200_000 + "\x02"}]
    answer = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert [each["Id"] for each in answer["Successful"]] == ["good"]
    assert [(each["Id"], each["Code"]) for each in answer["Failed"]] == [("bad", "InvalidMessageContents")]


def test_a_large_message_with_a_bad_character_is_refused(sqs: Any, queue: str) -> None:
    with pytest.raises(sqs.exceptions.InvalidMessageContents):
        sqs.send_message(QueueUrl=queue, MessageBody="x" * 100_000 + "\x02")

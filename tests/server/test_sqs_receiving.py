"""Receiving and receipt handles, as aws/sqs.md sections 6, 7, 10 and 11 have them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest


def refusal(server: Any, operation: str, **body: Any) -> tuple[str, str]:
    """The type (after #) and the text of the error 400 that a JSON request must end in."""
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"}
    status, text = server.http("POST", "/", body, headers)
    assert status == 400, text
    answer = json.loads(text)
    return answer["__type"].rpartition("#")[2], answer["message"]


def receive(sqs: Any, url: str, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sqs.receive_message(QueueUrl=url, **more).get("Messages", [])
    return found


def counts(sqs: Any, url: str) -> tuple[str, str, str]:
    """Visible, in flight, delayed."""
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    names = ("", "NotVisible", "Delayed")
    visible, hidden, delayed = (shown["ApproximateNumberOfMessages" + name] for name in names)
    return visible, hidden, delayed


@pytest.fixture
def still(frozen: Any) -> Iterator[tuple[Any, str]]:
    """A client and a queue of a server whose clock stands."""
    sqs = frozen.client()
    yield sqs, sqs.create_queue(QueueName="q")["QueueUrl"]


@pytest.mark.parametrize(
    ("parameter", "value", "reason"),
    [
        ("MaxNumberOfMessages", 0, "Must be between 1 and 10, if provided."),
        ("MaxNumberOfMessages", 11, "Must be between 1 and 10, if provided."),
        ("WaitTimeSeconds", -1, "Must be >= 0 and <= 20, if provided."),
        ("WaitTimeSeconds", 21, "Must be >= 0 and <= 20, if provided."),
        ("VisibilityTimeout", -1, "Must be >= 0 and <= 43200, if provided."),
        ("VisibilityTimeout", 43_201, "Must be >= 0 and <= 43200, if provided."),
    ],
)
def test_a_number_out_of_range_is_refused(shared: Any, queue: str, parameter: str, value: int, reason: str) -> None:
    assert refusal(shared, "ReceiveMessage", QueueUrl=queue, **{parameter: value}) == (
        "InvalidParameterValueException",
        f"Value {value} for parameter {parameter} is invalid. Reason: {reason}",
    )


def test_a_receive_gives_one_message_unless_more_are_asked_for(sqs: Any, queue: str) -> None:
    entries = [{"Id": str(number), "MessageBody": str(number)} for number in range(10)]
    sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    sqs.send_message(QueueUrl=queue, MessageBody="10")
    assert len(receive(sqs, queue, VisibilityTimeout=0)) == 1
    assert len(receive(sqs, queue, MaxNumberOfMessages=10)) == 10


def test_a_message_has_exactly_the_members_that_were_asked_for(sqs: Any, queue: str) -> None:
    attributes = {"a": {"DataType": "String", "StringValue": "x"}}
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes=attributes)
    plain = {"MessageId", "ReceiptHandle", "MD5OfBody", "Body"}
    [message] = receive(sqs, queue, VisibilityTimeout=0)
    assert set(message) == plain
    assert message["MD5OfBody"] == hashlib.md5(b"x").hexdigest()
    [message] = receive(sqs, queue, MessageAttributeNames=["All"], AttributeNames=["All"])
    assert set(message) == plain | {"Attributes", "MessageAttributes", "MD5OfMessageAttributes"}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["All"], "Hello Help.me other"),
        ([".*"], "Hello Help.me other"),
        (["*"], "Hello Help.me other"),
        (["Hel.*"], "Hello Help.me"),
        (["Help.*"], "Help.me"),
        (["other", "Hello"], "Hello other"),
        (["hello"], ""),
        (["AWS."], ""),
        (["..foo"], ""),
        (["Nothing", "Nothing.*"], ""),
    ],
)
def test_names_choose_message_attributes(sqs: Any, queue: str, names: list[str], found: str) -> None:
    value = {"DataType": "String", "StringValue": "World"}
    attributes = {name: value for name in ("Hello", "Help.me", "other")}
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes=attributes)
    [message] = receive(sqs, queue, MessageAttributeNames=names)
    assert " ".join(sorted(message.get("MessageAttributes", {}))) == found
    assert ("MD5OfMessageAttributes" in message) == bool(found)


def test_old_and_new_names_of_system_attributes_are_taken_together(sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    [message] = receive(sqs, queue, AttributeNames=["SenderId"], MessageSystemAttributeNames=["SentTimestamp"])
    assert set(message["Attributes"]) == {"SenderId", "SentTimestamp"}


def test_times_are_epoch_milliseconds_and_the_first_receive_stays(frozen: Any, still: tuple[Any, str]) -> None:
    sqs, url = still
    now = frozen.clock()["now"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    frozen.clock("advance", seconds=7)
    for number, seconds in ((1, 0), (2, 30)):
        frozen.clock("advance", seconds=seconds)
        [message] = receive(sqs, url, AttributeNames=["All"])
        assert message["Attributes"] == {
            "SenderId": "000000000000",
            "SentTimestamp": str(now),
            "ApproximateFirstReceiveTimestamp": str(now + 7_000),
            "ApproximateReceiveCount": str(number),
        }


def test_a_timeout_of_nothing_leaves_the_message_visible_and_counts(sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    handles = set()
    for number in ("1", "2", "3"):
        [message] = receive(sqs, queue, VisibilityTimeout=0, AttributeNames=["ApproximateReceiveCount"])
        assert message["Attributes"] == {"ApproximateReceiveCount": number}
        handles.add(message["ReceiptHandle"])
    assert len(handles) == 3


def test_the_counters_say_where_messages_are(frozen: Any, still: tuple[Any, str]) -> None:
    sqs, url = still
    for delay in (0, 0, 10):
        sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=delay)
    assert counts(sqs, url) == ("2", "0", "1")
    receive(sqs, url)
    assert counts(sqs, url) == ("1", "1", "1")
    frozen.clock("advance", seconds=10)
    assert counts(sqs, url) == ("2", "1", "0")
    frozen.clock("advance", seconds=20)
    assert counts(sqs, url) == ("3", "0", "0")


def test_a_message_in_flight_is_gone_after_its_retention_and_may_still_be_deleted(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="q", Attributes={"MessageRetentionPeriod": "60"})["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(sqs, url, VisibilityTimeout=600)
    frozen.clock("advance", seconds=61)
    assert counts(sqs, url) == ("0", "0", "0")
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    frozen.clock("advance", seconds=600)
    assert receive(sqs, url) == []


def test_a_new_retention_holds_for_messages_that_are_there(frozen: Any, still: tuple[Any, str]) -> None:
    sqs, url = still
    sqs.send_message(QueueUrl=url, MessageBody="x")
    frozen.clock("advance", seconds=100)
    assert counts(sqs, url) == ("1", "0", "0")
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": "60"})
    # AWS takes up to 15 minutes for it.
    frozen.clock("advance", seconds=900)
    assert counts(sqs, url) == ("0", "0", "0")
    assert receive(sqs, url) == []


def test_a_new_delay_is_for_new_messages_only(sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="old")
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"DelaySeconds": "900"})
    sqs.send_message(QueueUrl=queue, MessageBody="new")
    assert counts(sqs, queue) == ("1", "0", "1")
    assert [message["Body"] for message in receive(sqs, queue, MaxNumberOfMessages=10)] == ["old"]


def test_the_queues_own_timeout_holds_where_none_is_given(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="q", Attributes={"VisibilityTimeout": "5"})["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    assert len(receive(sqs, url)) == 1
    frozen.clock("advance", seconds=4.999)
    assert receive(sqs, url) == []
    frozen.clock("advance", seconds=0.001)
    assert len(receive(sqs, url, VisibilityTimeout=60)) == 1
    frozen.clock("advance", seconds=59)
    assert receive(sqs, url) == []


# -- handles -----------------------------------------------------------------------


def test_a_handle_must_be_given(shared: Any, queue: str) -> None:
    missing = ("MissingRequiredParameterException", "The request must contain the parameter ReceiptHandle.")
    assert refusal(shared, "DeleteMessage", QueueUrl=queue) == missing
    assert refusal(shared, "ChangeMessageVisibility", QueueUrl=queue, VisibilityTimeout=1) == missing


def test_garbage_is_no_handle(shared: Any, queue: str) -> None:
    expected = ("ReceiptHandleIsInvalid", 'The input receipt handle "garbage" is not a valid receipt handle.')
    assert refusal(shared, "DeleteMessage", QueueUrl=queue, ReceiptHandle="garbage") == expected
    change = {"QueueUrl": queue, "ReceiptHandle": "garbage", "VisibilityTimeout": 1}
    assert refusal(shared, "ChangeMessageVisibility", **change) == expected


def test_a_handle_of_another_queue_is_refused_and_named(sqs: Any, shared: Any, queue: str) -> None:
    other = sqs.create_queue(QueueName="handles-of-others")["QueueUrl"]
    sqs.send_message(QueueUrl=other, MessageBody="x")
    [message] = receive(sqs, other)
    handle = message["ReceiptHandle"]
    assert refusal(shared, "DeleteMessage", QueueUrl=queue, ReceiptHandle=handle) == (
        "ReceiptHandleIsInvalid",
        f'The receipt handle "{handle}" is not valid for this queue.',
    )


def test_an_old_handle_still_changes_the_timeout_of_a_standard_message(frozen: Any, still: tuple[Any, str]) -> None:
    sqs, url = still
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [first] = receive(sqs, url)
    frozen.clock("advance", seconds=31)
    [_] = receive(sqs, url)
    assert receive(sqs, url) == []
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"], VisibilityTimeout=0)
    assert len(receive(sqs, url)) == 1


def test_a_lapsed_timeout_may_be_set_anew_while_nobody_else_has_the_message(
    frozen: Any, still: tuple[Any, str]
) -> None:
    sqs, url = still
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(sqs, url)
    frozen.clock("advance", seconds=31)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=10)
    assert receive(sqs, url) == []
    frozen.clock("advance", seconds=10)
    assert len(receive(sqs, url)) == 1


def test_the_timeout_of_a_deleted_message_cannot_be_changed(sqs: Any, shared: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    [message] = receive(sqs, queue)
    handle = message["ReceiptHandle"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
    change = {"QueueUrl": queue, "ReceiptHandle": handle, "VisibilityTimeout": 1}
    assert refusal(shared, "ChangeMessageVisibility", **change) == (
        "InvalidParameterValueException",
        f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available "
        "for visibility timeout change.",
    )


def test_twelve_hours_are_counted_from_each_receive(frozen: Any, still: tuple[Any, str]) -> None:
    sqs, url = still
    sqs.send_message(QueueUrl=url, MessageBody="x")

    def change(handle: str, seconds: int) -> tuple[str, str]:
        body = {"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": seconds}
        return refusal(frozen, "ChangeMessageVisibility", **body)

    [message] = receive(sqs, url)
    code, text = change(message["ReceiptHandle"], 43_200)
    assert code == "InvalidParameterValueException"
    assert text == (
        "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is "
        "beyond the limit [43200 seconds]"
    )
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=43_199)
    frozen.clock("advance", seconds=20_000)
    assert "beyond the limit" in change(message["ReceiptHandle"], 23_200)[1]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=23_199)
    frozen.clock("advance", seconds=23_199)
    [again] = receive(sqs, url)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"], VisibilityTimeout=43_199)


def test_a_changed_timeout_is_not_remembered_for_the_next_receive(frozen: Any, still: tuple[Any, str]) -> None:
    sqs, url = still
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(sqs, url)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=1)
    frozen.clock("advance", seconds=1)
    assert len(receive(sqs, url)) == 1
    frozen.clock("advance", seconds=29)
    assert receive(sqs, url) == []
    frozen.clock("advance", seconds=1)
    assert len(receive(sqs, url)) == 1


@pytest.mark.parametrize("seconds", [-1, 43_201])
def test_a_timeout_beyond_twelve_hours_is_refused(shared: Any, sqs: Any, queue: str, seconds: int) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    [message] = receive(sqs, queue)
    change = {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds}
    code, text = refusal(shared, "ChangeMessageVisibility", **change)
    assert code == "InvalidParameterValueException"
    assert text.startswith(f"Value {seconds} for parameter VisibilityTimeout is invalid. Reason: ")


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"])
def test_entries_without_a_good_handle_fail_alone(shared: Any, sqs: Any, queue: str, operation: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    [message] = receive(sqs, queue)
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"}
    entries = [
        {"Id": "none", "VisibilityTimeout": 0},
        {"Id": "bad", "ReceiptHandle": "garbage", "VisibilityTimeout": 0},
        {"Id": "ok", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0},
    ]
    status, text = shared.http("POST", "/", {"QueueUrl": queue, "Entries": entries}, headers)
    assert status == 200
    answer = json.loads(text)
    assert answer["Successful"] == [{"Id": "ok"}]
    garbage = 'The input receipt handle "garbage" is not a valid receipt handle.'
    assert [(each["Id"], each["Code"], each["Message"], each["SenderFault"]) for each in answer["Failed"]] == [
        ("none", "MissingParameter", "The request must contain the parameter ReceiptHandle.", True),
        ("bad", "ReceiptHandleIsInvalid", garbage, True),
    ]


# -- purging -----------------------------------------------------------------------


def test_a_second_purge_within_a_minute_is_refused_by_a_strict_server(start: Any) -> None:
    server = start("--memory", "--strict")
    server.clock("freeze")
    sqs = server.client()
    url = sqs.create_queue(QueueName="to-purge")["QueueUrl"]
    sqs.purge_queue(QueueUrl=url)
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.PurgeQueue"}
    for _ in range(2):
        status, text = server.http("POST", "/", {"QueueUrl": url}, headers)
        assert status == 403
        assert json.loads(text) == {
            "__type": "com.amazonaws.sqs#PurgeQueueInProgress",
            "message": "Only one PurgeQueue operation on to-purge is allowed every 60 seconds.",
        }
        server.clock("advance", seconds=29)
    server.clock("advance", seconds=2)
    sqs.purge_queue(QueueUrl=url)


def test_a_strict_server_keeps_a_deleted_queues_name_for_a_minute(start: Any) -> None:
    server = start("--memory", "--strict")
    server.clock("freeze")
    sqs = server.client()
    url = sqs.create_queue(QueueName="again")["QueueUrl"]
    sqs.delete_queue(QueueUrl=url)
    assert refusal(server, "CreateQueue", QueueName="again") == (
        "QueueDeletedRecently",
        "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
    )
    assert refusal(server, "DeleteQueue", QueueUrl=url)[0] == "QueueDoesNotExist"
    server.clock("advance", seconds=60)
    assert sqs.create_queue(QueueName="again")["QueueUrl"] == url

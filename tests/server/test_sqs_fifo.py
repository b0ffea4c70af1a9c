"""FIFO queues through boto3, as aws/sqs.md section 8 has them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

CONTENT = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}


class Fifo:
    """A FIFO queue of a server whose clock stands."""

    def __init__(self, server: Any, name: str = "q.fifo", **attributes: str) -> None:
        self.server = server
        self.sqs = server.client()
        self.url: str = self.sqs.create_queue(QueueName=name, Attributes={**CONTENT, **attributes})["QueueUrl"]

    def send(self, *bodies: str, **more: Any) -> dict[str, Any]:
        """Send messages; the group is what a body has before its digits."""
        answer: dict[str, Any] = {}
        for body in bodies:
            group = {"MessageGroupId": body.rstrip("0123456789")}
            answer = self.sqs.send_message(**{"QueueUrl": self.url, "MessageBody": body, **group, **more})
        return answer

    def take(self, count: int = 10, **more: Any) -> dict[str, dict[str, Any]]:
        """The messages of one receive by their bodies, in order."""
        found = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=count, **more).get("Messages", [])
        return {message["Body"]: message for message in found}

    def bodies(self, count: int = 10, **more: Any) -> list[str]:
        return list(self.take(count, **more))

    def delete(self, message: dict[str, Any]) -> None:
        self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])

    def hide(self, message: dict[str, Any], seconds: int) -> None:
        self.sqs.change_message_visibility(
            QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds
        )

    def refused(self, operation: str, **body: Any) -> tuple[str, str]:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"}
        status, text = self.server.http("POST", "/", {"QueueUrl": self.url, **body}, headers)
        assert status == 400, text
        answer = json.loads(text)
        return answer["__type"].rpartition("#")[2], answer["message"]


@pytest.fixture
def fifo(frozen: Any) -> Fifo:
    return Fifo(frozen)


# -- groups ------------------------------------------------------------------------


def test_a_group_is_required(fifo: Fifo) -> None:
    assert fifo.refused("SendMessage", MessageBody="x") == (
        "MissingRequiredParameterException",
        "The request must contain the parameter MessageGroupId.",
    )


def test_a_deduplication_id_is_required_unless_bodies_are_compared(frozen: Any) -> None:
    fifo = Fifo(frozen, ContentBasedDeduplication="false")
    assert fifo.refused("SendMessage", MessageBody="x", MessageGroupId="g") == (
        "InvalidParameterValueException",
        "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
    )


def test_one_receive_takes_a_group_in_order_and_then_the_next(fifo: Fifo) -> None:
    fifo.send("a1", "b1", "a2", "a3")
    assert fifo.bodies() == ["a1", "a2", "a3", "b1"]


def test_a_message_in_flight_locks_what_comes_later_in_its_group(fifo: Fifo) -> None:
    fifo.send("a1", "a2", "b1")
    [a1] = fifo.take(1).values()
    assert a1["Body"] == "a1"
    fifo.send("a3")
    assert fifo.bodies() == ["b1"]
    assert fifo.bodies() == []
    fifo.delete(a1)
    assert fifo.bodies() == ["a2", "a3"]


def test_a_group_stays_locked_until_all_of_a_batch_is_deleted(fifo: Fifo) -> None:
    fifo.send("a1", "a2", "a3")
    taken = fifo.take(2)
    fifo.delete(taken["a1"])
    assert fifo.bodies() == []
    fifo.delete(taken["a2"])
    assert fifo.bodies() == ["a3"]


def test_a_group_comes_back_in_order_when_the_timeout_is_over(fifo: Fifo) -> None:
    fifo.send("a1", "a2", "a3")
    assert fifo.bodies() == ["a1", "a2", "a3"]
    fifo.server.clock("advance", seconds=29)
    assert fifo.bodies() == []
    fifo.server.clock("advance", seconds=1)
    assert fifo.bodies() == ["a1", "a2", "a3"]


def test_the_first_message_made_visible_comes_alone_while_the_second_is_in_flight(fifo: Fifo) -> None:
    fifo.send("a1", "a2", "a3")
    taken = fifo.take(2)
    fifo.hide(taken["a1"], 0)
    assert fifo.bodies() == ["a1"]
    assert fifo.bodies() == []


def test_extending_the_second_of_three_lets_only_the_first_come_back(fifo: Fifo) -> None:
    fifo.send("a1", "a2", "a3")
    taken = fifo.take()
    fifo.hide(taken["a2"], 100)
    fifo.server.clock("advance", seconds=30)
    assert fifo.bodies() == ["a1"]


def test_extending_the_first_hides_the_whole_group(fifo: Fifo) -> None:
    fifo.send("a1", "a2", "a3")
    taken = fifo.take()
    fifo.hide(taken["a1"], 100)
    fifo.server.clock("advance", seconds=30)
    assert fifo.bodies() == []
    fifo.server.clock("advance", seconds=70)
    assert fifo.bodies() == ["a1", "a2", "a3"]


def test_messages_behind_one_in_flight_count_as_visible(fifo: Fifo) -> None:
    fifo.send("a1", "a2", "a3")
    fifo.take(1)
    shown = fifo.sqs.get_queue_attributes(QueueUrl=fifo.url, AttributeNames=["All"])["Attributes"]
    assert shown["ApproximateNumberOfMessages"] == "2"
    assert shown["ApproximateNumberOfMessagesNotVisible"] == "1"


# -- deduplication -----------------------------------------------------------------


def test_the_deduplication_id_of_a_body_is_its_sha_256(fifo: Fifo) -> None:
    attributes = {"a": {"DataType": "String", "StringValue": "x"}}
    fifo.send("Test", MessageAttributes=attributes)
    [message] = fifo.take(AttributeNames=["All"]).values()
    shown = message["Attributes"]
    assert shown["MessageDeduplicationId"] == "532eaabd9574880dbf76b9b8cc00832c20a6ec113d682299550d7a6e0f345e25"
    assert shown["MessageGroupId"] == "Test"
    assert set(shown) == {
        "SenderId",
        "SentTimestamp",
        "ApproximateReceiveCount",
        "ApproximateFirstReceiveTimestamp",
        "MessageDeduplicationId",
        "MessageGroupId",
        "SequenceNumber",
    }


def test_an_explicit_id_goes_before_the_body(fifo: Fifo) -> None:
    fifo.send("a1", MessageDeduplicationId="one")
    fifo.send("a1", MessageDeduplicationId="two")
    fifo.send("a2", MessageDeduplicationId="two")
    assert [message["Body"] for message in fifo.take().values()] == ["a1"]
    shown = fifo.sqs.get_queue_attributes(QueueUrl=fifo.url, AttributeNames=["All"])["Attributes"]
    assert shown["ApproximateNumberOfMessagesNotVisible"] == "2"


def test_a_duplicate_is_answered_with_the_original_and_the_digest_of_its_own_body(fifo: Fifo) -> None:
    first = fifo.send("a1", MessageDeduplicationId="d")
    [taken] = fifo.take().values()
    fifo.delete(taken)
    again = fifo.send("other", MessageDeduplicationId="d")
    assert again["MessageId"] == first["MessageId"]
    assert again["SequenceNumber"] == first["SequenceNumber"]
    assert again["MD5OfMessageBody"] == hashlib.md5(b"other").hexdigest()
    assert fifo.bodies() == []


def test_a_duplicate_does_not_make_the_five_minutes_longer(fifo: Fifo) -> None:
    first = fifo.send("a1")
    fifo.server.clock("advance", seconds=299)
    assert fifo.send("a1")["MessageId"] == first["MessageId"]
    fifo.server.clock("advance", seconds=1)
    assert fifo.send("a1")["MessageId"] != first["MessageId"]


def test_the_scope_says_whether_groups_share_their_ids(frozen: Any) -> None:
    for name, scope, expected in (("q.fifo", "queue", 1), ("g.fifo", "messageGroup", 2)):
        fifo = Fifo(frozen, name, DeduplicationScope=scope)
        fifo.send("a1", "b1", MessageDeduplicationId="d")
        assert len(fifo.bodies()) == expected


def test_a_purge_forgets_what_was_sent(fifo: Fifo) -> None:
    first = fifo.send("a1")
    fifo.sqs.purge_queue(QueueUrl=fifo.url)
    assert fifo.bodies() == []
    assert fifo.send("a1")["MessageId"] != first["MessageId"]
    assert fifo.bodies() == ["a1"]


def test_sequence_numbers_have_20_digits_and_rise(fifo: Fifo) -> None:
    numbers = [fifo.send(f"a{number}")["SequenceNumber"] for number in range(3)]
    assert all(len(number) == 20 and number.isdigit() for number in numbers)
    assert numbers == sorted(set(numbers))
    taken = fifo.take(AttributeNames=["SequenceNumber"])
    assert [message["Attributes"]["SequenceNumber"] for message in taken.values()] == numbers


# -- handles, delays, attempts -----------------------------------------------------


def test_a_handle_ends_with_its_timeout(fifo: Fifo) -> None:
    fifo.send("a1", "b1")
    taken = fifo.take()
    handle = taken["a1"]["ReceiptHandle"]
    fifo.hide(taken["b1"], 60)
    fifo.server.clock("advance", seconds=30)
    assert fifo.refused("DeleteMessage", ReceiptHandle=handle) == (
        "InvalidParameterValueException",
        f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
    )
    fifo.delete(taken["b1"])
    assert fifo.bodies() == ["a1"]


def test_a_handle_of_a_receive_without_timeout_is_over_at_once(fifo: Fifo) -> None:
    fifo.send("a1")
    [message] = fifo.take(VisibilityTimeout=0).values()
    assert "has expired" in fifo.refused("DeleteMessage", ReceiptHandle=message["ReceiptHandle"])[1]


def test_deleting_twice_succeeds(fifo: Fifo) -> None:
    fifo.send("a1")
    [message] = fifo.take().values()
    fifo.delete(message)
    fifo.delete(message)


def test_the_queues_delay_holds_although_the_message_says_none(frozen: Any) -> None:
    fifo = Fifo(frozen, DelaySeconds="10")
    fifo.send("a1", DelaySeconds=0)
    assert fifo.bodies() == []
    frozen.clock("advance", seconds=10)
    assert fifo.bodies() == ["a1"]


def test_a_new_delay_is_also_for_messages_that_are_there(fifo: Fifo) -> None:
    fifo.send("a1")
    fifo.sqs.set_queue_attributes(QueueUrl=fifo.url, Attributes={"DelaySeconds": "60"})
    assert fifo.bodies() == []
    fifo.server.clock("advance", seconds=60)
    assert fifo.bodies() == ["a1"]


def test_an_attempt_repeated_gets_the_same_messages_and_handles(fifo: Fifo) -> None:
    fifo.send("a1", "a2", "b1")
    first = fifo.take(2, ReceiveRequestAttemptId="try-1")
    fifo.server.clock("advance", seconds=20)
    again = fifo.take(2, ReceiveRequestAttemptId="try-1")
    assert [(each["Body"], each["ReceiptHandle"]) for each in again.values()] == [
        (each["Body"], each["ReceiptHandle"]) for each in first.values()
    ]
    # The timeout began anew.
    fifo.server.clock("advance", seconds=29)
    assert fifo.bodies() == ["b1"]
    fifo.delete(again["a1"])
    assert fifo.bodies(2, ReceiveRequestAttemptId="try-1") == []


@pytest.mark.parametrize("attempt", ["", "a b", "ä", "x" * 129])
def test_an_attempts_id_is_made_like_a_groups(fifo: Fifo, attempt: str) -> None:
    code, text = fifo.refused("ReceiveMessage", ReceiveRequestAttemptId=attempt)
    assert code == "InvalidParameterValueException"
    assert text.startswith(f"Value {attempt} for parameter ReceiveRequestAttemptId is invalid. Reason: ")


def test_a_standard_queue_takes_no_notice_of_attempts(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="standard")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    assert len(sqs.receive_message(QueueUrl=url, ReceiveRequestAttemptId="try")["Messages"]) == 1
    assert "Messages" not in sqs.receive_message(QueueUrl=url, ReceiveRequestAttemptId="try")


# -- creating ----------------------------------------------------------------------


def test_a_fifo_queue_that_exists_is_asked_for_without_attributes(fifo: Fifo) -> None:
    assert fifo.sqs.create_queue(QueueName="q.fifo")["QueueUrl"] == fifo.url
    assert fifo.sqs.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "True"})["QueueUrl"] == fifo.url
    assert fifo.refused("CreateQueue", QueueName="new.fifo")[0] == "InvalidParameterValueException"
    assert fifo.refused("CreateQueue", QueueName="new.fifo", Attributes={"FifoQueue": "false"}) == (
        "InvalidAttributeName",
        "Unknown Attribute FifoQueue.",
    )
    assert fifo.refused("CreateQueue", QueueName="new", Attributes={"FifoQueue": "true"})[0] == (
        "InvalidParameterValueException"
    )


def test_a_queue_keeps_its_type(fifo: Fifo) -> None:
    assert fifo.refused("SetQueueAttributes", Attributes={"FifoQueue": "false"}) == (
        "InvalidAttributeValue",
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.",
    )
    fifo.sqs.set_queue_attributes(QueueUrl=fifo.url, Attributes={"FifoQueue": "true"})


def test_a_fifo_dead_letter_keeps_its_ids_and_frees_its_group(frozen: Any) -> None:
    dead = Fifo(frozen, "dead.fifo")
    arn = dead.sqs.get_queue_attributes(QueueUrl=dead.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    fifo = Fifo(frozen, RedrivePolicy=json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1}))
    sent = fifo.send("a1")
    fifo.send("a2")
    assert fifo.bodies(1) == ["a1"]
    frozen.clock("advance", seconds=30)
    assert fifo.bodies(1) == ["a2"]
    [lost] = dead.take(AttributeNames=["All"]).values()
    assert lost["MessageId"] == sent["MessageId"]
    assert lost["Attributes"]["MessageGroupId"] == "a"
    assert lost["Attributes"]["MessageDeduplicationId"] == hashlib.sha256(b"a1").hexdigest()
    assert lost["Attributes"]["ApproximateReceiveCount"] == "2"
    assert lost["Attributes"]["DeadLetterQueueSourceArn"].endswith(":q.fifo")

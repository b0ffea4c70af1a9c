"""Redrive and message move tasks, as aws/sqs.md section 4 has them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

ARN = "arn:aws:sqs:us-east-1:000000000000:"


def call(server: Any, operation: str, **body: Any) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"}
    status, text = server.http("POST", "/", body, headers)
    return status, json.loads(text)


def refusal(server: Any, operation: str, **body: Any) -> tuple[int, str, str]:
    status, answer = call(server, operation, **body)
    assert status >= 400, answer
    return status, answer["__type"].rpartition("#")[2], answer["message"]


def source_of(server: Any, name: str = "source", dead: str = "dead", **attributes: str) -> Any:
    """A dead-letter queue and a queue that gives up after one receive. The client."""
    sqs = server.client()
    sqs.create_queue(QueueName=dead)
    policy = json.dumps({"deadLetterTargetArn": ARN + dead, "maxReceiveCount": 1})
    sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy, **attributes})
    return sqs


def lose(server: Any, sqs: Any, count: int, name: str = "source") -> None:
    """Send messages and let them go to the dead-letter queue."""
    for number in range(count):
        sqs.send_message(QueueUrl=name, MessageBody=str(number))
    for _ in range(2):
        while sqs.receive_message(QueueUrl=name, MaxNumberOfMessages=10).get("Messages"):
            pass
        server.clock("advance", seconds=30)


def visible(sqs: Any, name: str) -> int:
    names = ["ApproximateNumberOfMessages"]
    return int(sqs.get_queue_attributes(QueueUrl=name, AttributeNames=names)["Attributes"][names[0]])


def latest(sqs: Any, dead: str = "dead") -> dict[str, Any]:
    [found] = sqs.list_message_move_tasks(SourceArn=ARN + dead)["Results"]
    task: dict[str, Any] = found
    return task


def test_a_dead_letter_is_the_same_message(frozen: Any) -> None:
    sqs = source_of(frozen)
    attributes = {"a": {"DataType": "String", "StringValue": "x"}}
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "t"}}
    sent_at = str(frozen.clock()["now"])
    sent = sqs.send_message(
        QueueUrl="source", MessageBody="x", MessageAttributes=attributes, MessageSystemAttributes=trace
    )
    frozen.clock("advance", seconds=5)
    sqs.receive_message(QueueUrl="source")
    frozen.clock("advance", seconds=30)
    assert "Messages" not in sqs.receive_message(QueueUrl="source")
    [lost] = sqs.receive_message(QueueUrl="dead", AttributeNames=["All"], MessageAttributeNames=["All"])["Messages"]
    assert lost["MessageId"] == sent["MessageId"]
    assert lost["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert lost["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert lost["MessageAttributes"] == attributes
    assert lost["Attributes"]["SentTimestamp"] == sent_at
    assert lost["Attributes"]["ApproximateReceiveCount"] == "2"
    assert lost["Attributes"]["AWSTraceHeader"] == "t"
    assert lost["Attributes"]["DeadLetterQueueSourceArn"] == ARN + "source"


def test_the_retention_of_a_dead_letter_counts_from_the_first_send(frozen: Any) -> None:
    sqs = source_of(frozen, MessageRetentionPeriod="600")
    sqs.set_queue_attributes(QueueUrl="dead", Attributes={"MessageRetentionPeriod": "100"})
    lose(frozen, sqs, 1)
    assert visible(sqs, "dead") == 1
    frozen.clock("advance", seconds=39)
    assert visible(sqs, "dead") == 1
    frozen.clock("advance", seconds=2)
    assert visible(sqs, "dead") == 0


def test_a_task_that_ended_shows_no_handle_and_no_destination(frozen: Any) -> None:
    sqs = source_of(frozen)
    lose(frozen, sqs, 3)
    started = frozen.clock()["now"]
    assert set(sqs.start_message_move_task(SourceArn=ARN + "dead")) == {"TaskHandle", "ResponseMetadata"}
    frozen.clock("advance", seconds=1)
    assert latest(sqs) == {
        "Status": "COMPLETED",
        "SourceArn": ARN + "dead",
        "ApproximateNumberOfMessagesMoved": 3,
        "ApproximateNumberOfMessagesToMove": 3,
        "StartedTimestamp": started,
    }
    assert (visible(sqs, "source"), visible(sqs, "dead")) == (3, 0)


def test_a_task_with_a_rate_is_seen_running_and_can_be_cancelled_once(frozen: Any) -> None:
    sqs = source_of(frozen)
    sqs.create_queue(QueueName="elsewhere")
    lose(frozen, sqs, 10)
    handle = sqs.start_message_move_task(
        SourceArn=ARN + "dead", DestinationArn=ARN + "elsewhere", MaxNumberOfMessagesPerSecond=2
    )["TaskHandle"]
    assert refusal(frozen, "StartMessageMoveTask", SourceArn=ARN + "dead") == (
        400,
        "InvalidParameterValueException",
        "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
    )
    frozen.clock("advance", seconds=1)
    task = latest(sqs)
    assert task["Status"] == "RUNNING"
    assert task["TaskHandle"] == handle
    assert task["DestinationArn"] == ARN + "elsewhere"
    assert task["MaxNumberOfMessagesPerSecond"] == 2
    assert 2 <= task["ApproximateNumberOfMessagesMoved"] <= 4
    moved = sqs.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"]
    assert 2 <= moved <= 4
    frozen.clock("advance", seconds=1)
    task = latest(sqs)
    assert task["Status"] == "CANCELLED"
    assert "TaskHandle" not in task
    assert visible(sqs, "elsewhere") + visible(sqs, "dead") == 10
    assert refusal(frozen, "CancelMessageMoveTask", TaskHandle=handle) == (
        404,
        "ResourceNotFoundException",
        "Task does not exist.",
    )


def test_a_task_fails_when_its_destination_is_deleted(frozen: Any) -> None:
    sqs = source_of(frozen)
    sqs.create_queue(QueueName="elsewhere")
    lose(frozen, sqs, 5)
    sqs.start_message_move_task(
        SourceArn=ARN + "dead", DestinationArn=ARN + "elsewhere", MaxNumberOfMessagesPerSecond=1
    )
    sqs.delete_queue(QueueUrl="elsewhere")
    frozen.clock("advance", seconds=3)
    task = latest(sqs)
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "AWS.SimpleQueueService.NonExistentQueue")
    assert "TaskHandle" not in task


def test_a_message_without_a_source_cannot_go_back(frozen: Any) -> None:
    sqs = source_of(frozen)
    sqs.send_message(QueueUrl="dead", MessageBody="sent straight here")
    sqs.start_message_move_task(SourceArn=ARN + "dead")
    frozen.clock("advance", seconds=1)
    task = latest(sqs)
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "CouldNotDetermineMessageSource")
    assert visible(sqs, "dead") == 1


def test_tasks_are_listed_newest_first_and_one_unless_more_are_asked_for(frozen: Any) -> None:
    sqs = source_of(frozen)
    assert "Results" not in sqs.list_message_move_tasks(SourceArn=ARN + "dead")
    for _ in range(3):
        sqs.start_message_move_task(SourceArn=ARN + "dead")
        frozen.clock("advance", seconds=1)
    assert len(sqs.list_message_move_tasks(SourceArn=ARN + "dead")["Results"]) == 1
    found = sqs.list_message_move_tasks(SourceArn=ARN + "dead", MaxResults=10)["Results"]
    started = [task["StartedTimestamp"] for task in found]
    assert len(started) == 3
    assert started == sorted(started, reverse=True)
    for most in (0, 11):
        code = refusal(frozen, "ListMessageMoveTasks", SourceArn=ARN + "dead", MaxResults=most)[1]
        assert code == "InvalidParameterValueException"


def test_a_task_moves_out_of_a_fifo_dead_letter_queue(frozen: Any) -> None:
    sqs = frozen.client()
    fifo = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    sqs.create_queue(QueueName="dead.fifo", Attributes=fifo)
    policy = json.dumps({"deadLetterTargetArn": ARN + "dead.fifo", "maxReceiveCount": 1})
    sqs.create_queue(QueueName="source.fifo", Attributes={**fifo, "RedrivePolicy": policy})
    for number in range(3):
        sqs.send_message(QueueUrl="source.fifo", MessageBody=str(number), MessageGroupId="g")
    assert len(sqs.receive_message(QueueUrl="source.fifo", MaxNumberOfMessages=10)["Messages"]) == 3
    frozen.clock("advance", seconds=30)
    while visible(sqs, "dead.fifo") < 3:
        assert "Messages" not in sqs.receive_message(QueueUrl="source.fifo")
    sqs.start_message_move_task(SourceArn=ARN + "dead.fifo")
    frozen.clock("advance", seconds=1)
    assert latest(sqs, "dead.fifo")["Status"] == "COMPLETED"
    back = sqs.receive_message(QueueUrl="source.fifo", MaxNumberOfMessages=10)["Messages"]
    assert [message["Body"] for message in back] == ["0", "1", "2"]


# -- refusals ----------------------------------------------------------------------


def test_what_does_not_exist_is_named(frozen: Any) -> None:
    source_of(frozen)
    for operation in ("StartMessageMoveTask", "ListMessageMoveTasks"):
        assert refusal(frozen, operation, SourceArn=ARN + "nowhere") == (
            404,
            "ResourceNotFoundException",
            "The resource that you specified for the SourceArn parameter doesn't exist.",
        )
    body = {"SourceArn": ARN + "dead", "DestinationArn": ARN + "nowhere"}
    assert refusal(frozen, "StartMessageMoveTask", **body) == (
        404,
        "ResourceNotFoundException",
        "The resource that you specified for the DestinationArn parameter doesn't exist.",
    )


def test_messages_move_to_queues_of_their_own_type_account_and_region(frozen: Any) -> None:
    source_of(frozen)
    frozen.client().create_queue(QueueName="other.fifo", Attributes={"FifoQueue": "true"})
    name, text = refusal(frozen, "StartMessageMoveTask", SourceArn=ARN + "dead", DestinationArn=ARN + "other.fifo")[1:]
    assert name == "InvalidParameterValueException" and "same type of queue" in text
    frozen.client(region="eu-west-1").create_queue(QueueName="far")
    far = (ARN + "far").replace("us-east-1", "eu-west-1")
    assert refusal(frozen, "StartMessageMoveTask", SourceArn=ARN + "dead", DestinationArn=far) == (
        404,
        "ResourceNotFoundException",
        "The resource that you specified for the DestinationArn parameter doesn't exist.",
    )


def test_only_a_dead_letter_queue_is_moved_from(frozen: Any) -> None:
    source_of(frozen)
    assert refusal(frozen, "StartMessageMoveTask", SourceArn=ARN + "source") == (
        400,
        "InvalidParameterValueException",
        "Source queue must be configured as a Dead Letter Queue.",
    )


@pytest.mark.parametrize(
    "handle",
    [
        "foobared",
        "ä",
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b"[" * 100_000).decode(),
        base64.b64encode(b'{"taskId":"zz","sourceArn":"x"}').decode(),
    ],
)
def test_a_handle_that_is_none_of_ours_is_refused(shared: Any, handle: str) -> None:
    assert refusal(shared, "CancelMessageMoveTask", TaskHandle=handle) == (
        400,
        "InvalidParameterValueException",
        "Value for parameter TaskHandle is invalid.",
    )


def test_a_handle_of_a_queue_that_is_gone_names_no_task(shared: Any) -> None:
    said = json.dumps({"taskId": "00" * 16, "sourceArn": ARN + "gone"}).encode()
    assert refusal(shared, "CancelMessageMoveTask", TaskHandle=base64.b64encode(said).decode()) == (
        404,
        "ResourceNotFoundException",
        "Task does not exist.",
    )


@pytest.mark.parametrize("rate", [0, 501])
def test_a_rate_is_from_1_to_500(frozen: Any, rate: int) -> None:
    source_of(frozen)
    body = {"SourceArn": ARN + "dead", "MaxNumberOfMessagesPerSecond": rate}
    assert refusal(frozen, "StartMessageMoveTask", **body)[:2] == (400, "InvalidParameterValueException")


def test_an_account_has_a_hundred_active_tasks_at_the_most(frozen: Any) -> None:
    sqs = frozen.client()
    for number in range(101):
        source_of(frozen, f"source-{number}", f"dead-{number}")
        sqs.send_message(QueueUrl=f"dead-{number}", MessageBody="a")
        sqs.send_message(QueueUrl=f"dead-{number}", MessageBody="b")
    for number in range(100):
        sqs.start_message_move_task(
            SourceArn=f"{ARN}dead-{number}", DestinationArn=ARN + "source-100", MaxNumberOfMessagesPerSecond=1
        )
    status, code, text = refusal(frozen, "StartMessageMoveTask", SourceArn=ARN + "dead-100")
    assert (status, code) == (403, "OverLimit")
    assert "100" in text
    # The other tasks end, and then there is room.
    frozen.clock("advance", seconds=5)
    assert latest(sqs, "dead-0")["Status"] == "COMPLETED"
    assert sqs.start_message_move_task(SourceArn=ARN + "dead-100")["TaskHandle"]

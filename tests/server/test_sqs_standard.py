"""Standard queues through boto3 on a real socket."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError


def receive(sqs: Any, url: str, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sqs.receive_message(QueueUrl=url, **more).get("Messages", [])
    return found


def refused(call: Any, **parameters: Any) -> tuple[str, str, int]:
    """Code, message and HTTP status of the error that a call must end in."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response
    return error["Error"]["Code"], error["Error"]["Message"], error["ResponseMetadata"]["HTTPStatusCode"]


def test_a_message_is_sent_received_and_deleted(sqs: Any, queue: str) -> None:
    sent = sqs.send_message(
        QueueUrl=queue,
        MessageBody="hällo\r\n",
        MessageAttributes={
            "Hello": {"DataType": "String", "StringValue": "World"},
            "raw": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff"},
        },
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "some-trace-id"}},
    )
    assert sent["MD5OfMessageBody"] == hashlib.md5("hällo\r\n".encode()).hexdigest()
    assert sent["MD5OfMessageSystemAttributes"] == "fdce4f2818803f2f73becc09a54792c0"
    assert "SequenceNumber" not in sent
    [message] = receive(sqs, queue, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"])
    assert message["MessageId"] == sent["MessageId"]
    assert message["Body"] == "hällo\r\n"
    assert message["MessageAttributes"]["raw"]["BinaryValue"] == b"\x00\xff"
    assert message["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert set(message["Attributes"]) == {
        "SenderId",
        "SentTimestamp",
        "ApproximateReceiveCount",
        "ApproximateFirstReceiveTimestamp",
        "AWSTraceHeader",
    }
    assert receive(sqs, queue) == []
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def test_only_the_named_attributes_come_back_with_their_own_md5(sqs: Any, queue: str) -> None:
    sqs.send_message(
        QueueUrl=queue,
        MessageBody="x",
        MessageAttributes={
            name: {"DataType": "String", "StringValue": "World"} for name in ("Hello", "Help.me", "other")
        },
    )
    [message] = receive(sqs, queue, MessageAttributeNames=["Hello"], VisibilityTimeout=0)
    assert set(message["MessageAttributes"]) == {"Hello"}
    assert message["MD5OfMessageAttributes"] == "7db7fb1ba7f41366a8ea5eb18220b26d"
    [message] = receive(sqs, queue, MessageAttributeNames=["Hel.*"], VisibilityTimeout=0)
    assert set(message["MessageAttributes"]) == {"Hello", "Help.me"}
    [message] = receive(sqs, queue)
    assert "MessageAttributes" not in message
    assert "MD5OfMessageAttributes" not in message
    assert "Attributes" not in message


def test_a_message_not_deleted_in_time_comes_back(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [first] = receive(sqs, url)
    frozen.clock("advance", seconds=29.999)
    assert receive(sqs, url) == []
    frozen.clock("advance", seconds=0.001)
    [second] = receive(sqs, url, AttributeNames=["ApproximateReceiveCount"])
    assert second["Attributes"] == {"ApproximateReceiveCount": "2"}
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    frozen.clock("advance", seconds=31)
    assert receive(sqs, url) == []


def test_a_delayed_message_waits_and_is_counted_apart(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="q", Attributes={"DelaySeconds": "60"})["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="queue's delay")
    sqs.send_message(QueueUrl=url, MessageBody="own delay", DelaySeconds=5)
    sqs.send_message(QueueUrl=url, MessageBody="no delay", DelaySeconds=0)
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (counts["ApproximateNumberOfMessages"], counts["ApproximateNumberOfMessagesDelayed"]) == ("1", "2")
    assert [m["Body"] for m in receive(sqs, url, MaxNumberOfMessages=10)] == ["no delay"]
    frozen.clock("advance", seconds=5)
    assert [m["Body"] for m in receive(sqs, url, MaxNumberOfMessages=10)] == ["own delay"]
    frozen.clock("advance", seconds=55)
    assert "queue's delay" in [m["Body"] for m in receive(sqs, url, MaxNumberOfMessages=10)]


def test_a_message_past_its_retention_is_gone(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="q", Attributes={"MessageRetentionPeriod": "60"})["QueueUrl"]
    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    frozen.clock("advance", seconds=59)
    assert len(receive(sqs, url, VisibilityTimeout=0)) == 1
    frozen.clock("advance", seconds=2)
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    assert counts == {"ApproximateNumberOfMessages": "0"}
    assert receive(sqs, url) == []


def test_a_long_poll_is_answered_by_the_send_that_ends_it(sqs: Any, shared: Any, queue: str) -> None:
    answers: list[tuple[float, list[dict[str, Any]]]] = []

    def poll() -> None:
        messages = receive(shared.client(), queue, WaitTimeSeconds=20)
        answers.append((time.monotonic(), messages))

    poller = threading.Thread(target=poll)
    poller.start()
    while not poller.is_alive():
        pass
    # The poll must be on its way or parked: either way the send answers it.
    sqs.send_message(QueueUrl=queue, MessageBody="ping")
    sent = time.monotonic()
    poller.join(timeout=10)
    [(answered, [message])] = answers
    assert message["Body"] == "ping"
    assert answered - sent < 5


def test_a_long_poll_ends_empty_when_service_time_passes_its_deadline(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="q", Attributes={"ReceiveMessageWaitTimeSeconds": "20"})["QueueUrl"]
    answers: list[Any] = []
    poller = threading.Thread(target=lambda: answers.append(receive(frozen.client(), url)))
    poller.start()
    while not answers:
        frozen.clock("advance", seconds=20)
    poller.join()
    assert answers == [[]]


def test_a_long_poll_is_refused_when_its_queue_is_deleted(shared: Any) -> None:
    sqs = shared.client()
    url = sqs.create_queue(QueueName="goes-away")["QueueUrl"]
    codes: list[str] = []

    def poll() -> None:
        try:
            shared.client().receive_message(QueueUrl=url, WaitTimeSeconds=20)
        except ClientError as error:
            codes.append(error.response["Error"]["Code"])

    poller = threading.Thread(target=poll)
    poller.start()
    time.sleep(0.3)  # the client's connection, not the server's time
    sqs.delete_queue(QueueUrl=url)
    poller.join(timeout=10)
    assert codes == ["AWS.SimpleQueueService.NonExistentQueue"]


def test_visibility_is_changed_within_twelve_hours_of_the_receive(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(sqs, url)
    handle = message["ReceiptHandle"]
    frozen.clock("advance", seconds=10)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=100)
    frozen.clock("advance", seconds=99)
    assert receive(sqs, url) == []
    code, text, _ = refused(sqs.change_message_visibility, QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=43200)
    assert code == "InvalidParameterValue"
    assert text == (
        "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is "
        "beyond the limit [43200 seconds]"
    )
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    assert len(receive(sqs, url)) == 1


def test_a_handle_that_we_did_not_make_is_refused(sqs: Any, queue: str) -> None:
    code, text, _ = refused(sqs.delete_message, QueueUrl=queue, ReceiptHandle="garbage")
    assert code == "ReceiptHandleIsInvalid"
    assert text == 'The input receipt handle "garbage" is not a valid receipt handle.'


def test_a_batch_reports_each_entry(sqs: Any, queue: str) -> None:
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"MaximumMessageSize": "1024"})
    answer = sqs.send_message_batch(
        QueueUrl=queue,
        Entries=[{"Id": "ok", "MessageBody": "x"}, {"Id": "big", "MessageBody": "x" * 1025}],
    )
    assert [entry["Id"] for entry in answer["Successful"]] == ["ok"]
    assert answer["Failed"] == [
        {
            "Id": "big",
            "Code": "InvalidParameterValue",
            "Message": "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes.",
            "SenderFault": True,
        }
    ]
    [message] = receive(sqs, queue, MaxNumberOfMessages=10)
    visible = sqs.change_message_visibility_batch(
        QueueUrl=queue,
        Entries=[
            {"Id": "a", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0},
            {"Id": "b", "ReceiptHandle": "garbage", "VisibilityTimeout": 0},
        ],
    )
    assert [entry["Id"] for entry in visible["Successful"]] == ["a"]
    assert visible["Failed"][0]["Code"] == "ReceiptHandleIsInvalid"
    gone = sqs.delete_message_batch(QueueUrl=queue, Entries=[{"Id": "a", "ReceiptHandle": message["ReceiptHandle"]}])
    assert gone["Successful"] == [{"Id": "a"}]
    assert receive(sqs, queue) == []


@pytest.mark.parametrize(
    ("count", "code"),
    [(0, "AWS.SimpleQueueService.EmptyBatchRequest"), (11, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest")],
)
def test_a_batch_has_one_to_ten_entries(sqs: Any, queue: str, count: int, code: str) -> None:
    entries = [{"Id": str(number), "MessageBody": "x"} for number in range(count)]
    assert refused(sqs.send_message_batch, QueueUrl=queue, Entries=entries)[0] == code


def test_a_missing_queue_is_named_in_both_codes(sqs: Any, shared: Any) -> None:
    code, text, status = refused(sqs.send_message, QueueUrl=f"{shared.url}/000000000000/nowhere", MessageBody="x")
    assert code == "AWS.SimpleQueueService.NonExistentQueue"
    assert text == "The specified queue does not exist."
    assert status == 400
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName="nowhere")


def test_all_attributes_of_a_new_queue_are_those_that_aws_shows(sqs: Any, queue: str) -> None:
    shown = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert set(shown) == {
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesDelayed",
        "ApproximateNumberOfMessagesNotVisible",
        "CreatedTimestamp",
        "DelaySeconds",
        "LastModifiedTimestamp",
        "MaximumMessageSize",
        "MessageRetentionPeriod",
        "QueueArn",
        "ReceiveMessageWaitTimeSeconds",
        "SqsManagedSseEnabled",
        "VisibilityTimeout",
    }
    assert shown["MaximumMessageSize"] == "1048576"


def test_creating_a_queue_again_is_idempotent_unless_an_attribute_differs(sqs: Any, queue: str) -> None:
    name = queue.rsplit("/", 1)[1]
    assert sqs.create_queue(QueueName=name)["QueueUrl"] == queue
    code, text, _ = refused(sqs.create_queue, QueueName=name, Attributes={"DelaySeconds": "3"})
    assert code in ("QueueAlreadyExists", "QueueNameExists")
    assert text == "A queue already exists with the same name and a different value for attribute DelaySeconds"


def test_accounts_and_regions_are_apart(shared: Any) -> None:
    one = shared.client(account="111111111111", region="eu-central-1")
    url = one.create_queue(QueueName="apart")["QueueUrl"]
    assert "/111111111111/apart" in url
    for other in (
        shared.client(account="222222222222", region="eu-central-1"),
        shared.client(account="111111111111", region="eu-west-1"),
    ):
        assert "QueueUrls" not in other.list_queues()
        with pytest.raises(other.exceptions.QueueDoesNotExist):
            other.get_queue_url(QueueName="apart")
    arn = one.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert arn == "arn:aws:sqs:eu-central-1:111111111111:apart"
    identity = shared.client("sts", account="111111111111").get_caller_identity()
    assert identity["Account"] == "111111111111"


def test_queues_are_listed_by_prefix_and_page(shared: Any) -> None:
    sqs = shared.client(account="333333333333")
    for number in range(5):
        sqs.create_queue(QueueName=f"page-{number}")
    sqs.create_queue(QueueName="other")
    pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix="page-", PaginationConfig={"PageSize": 2})
    sizes = [len(page["QueueUrls"]) for page in pages]
    assert sizes == [2, 2, 1]
    assert len(sqs.list_queues()["QueueUrls"]) == 6


def test_a_purge_takes_visible_in_flight_and_delayed_messages(sqs: Any, queue: str) -> None:
    for number in range(3):
        sqs.send_message(QueueUrl=queue, MessageBody=str(number), DelaySeconds=900 * (number == 0))
    [taken] = receive(sqs, queue)
    sqs.purge_queue(QueueUrl=queue)
    counts = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert [value for name, value in sorted(counts.items()) if name.startswith("Approximate")] == ["0", "0", "0"]
    assert receive(sqs, queue) == []
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=taken["ReceiptHandle"])
    sqs.send_message(QueueUrl=queue, MessageBody="after")
    assert [m["Body"] for m in receive(sqs, queue)] == ["after"]


def test_permissions_become_the_policy_that_aws_writes(sqs: Any, queue: str) -> None:
    sqs.add_permission(QueueUrl=queue, Label="l1", AWSAccountIds=["111111111111"], Actions=["ReceiveMessage"])
    shown = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy", "QueueArn"])["Attributes"]
    assert json.loads(shown["Policy"]) == {
        "Version": "2008-10-17",
        "Id": shown["QueueArn"] + "/SQSDefaultPolicy",
        "Statement": [
            {
                "Sid": "l1",
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
                "Action": "SQS:ReceiveMessage",
                "Resource": shown["QueueArn"],
            }
        ],
    }
    sqs.remove_permission(QueueUrl=queue, Label="l1")
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])


def test_a_move_task_returns_dead_letters_to_their_source(frozen: Any) -> None:
    sqs = frozen.client()
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    url = sqs.create_queue(
        QueueName="source",
        Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})},
    )["QueueUrl"]
    for number in range(5):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    assert len(receive(sqs, url, MaxNumberOfMessages=10)) == 5
    frozen.clock("advance", seconds=31)
    assert receive(sqs, url, MaxNumberOfMessages=10) == []
    counts = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == "5"
    task = sqs.start_message_move_task(SourceArn=arn)
    assert task["TaskHandle"]
    frozen.clock("advance", seconds=10)
    [result] = sqs.list_message_move_tasks(SourceArn=arn)["Results"]
    assert result["Status"] == "COMPLETED"
    assert result["ApproximateNumberOfMessagesMoved"] == 5
    assert sorted(m["Body"] for m in receive(sqs, url, MaxNumberOfMessages=10)) == ["0", "1", "2", "3", "4"]


def test_sixty_four_workers_share_a_queue_without_a_message_lost_or_taken_twice(shared: Any) -> None:
    sqs = shared.client()
    url = sqs.create_queue(QueueName="shared-work", Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    for batch in range(30):
        sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": f"{batch}-{n}"} for n in range(10)])
    done: list[str] = []

    def work() -> None:
        mine = shared.client()
        while messages := receive(mine, url, MaxNumberOfMessages=3):
            for message in messages:
                mine.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                done.append(message["Body"])

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(done) == 300
    assert len(set(done)) == 300


def test_an_attribute_type_of_characters_that_no_message_holds_is_refused(shared: Any) -> None:
    shared.client().create_queue(QueueName="bad-type")
    attribute = '{"a": {"DataType": "String.\\ud800", "StringValue": "x"}}'
    body = f'{{"QueueUrl": "bad-type", "MessageBody": "x", "MessageAttributes": {attribute}}}'.encode()
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"}
    status, answer = shared.http("POST", "/", body, headers)
    assert status == 400
    assert "The type of message (user) attribute 'a' is invalid." in answer

"""The queues of the founding document, through boto3."""

from __future__ import annotations

import json
from typing import Any


def attributes(sqs: Any, url: str, *names: str) -> dict[str, str]:
    found: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names or ["All"]))["Attributes"]
    return found


def test_example_1_an_order_queue_gives_up_on_a_message_after_three_failures(frozen: Any) -> None:
    sqs = frozen.client()
    dead = sqs.create_queue(QueueName="order-processing-dlq", Attributes={"MessageRetentionPeriod": "1209600"})
    dead_arn = attributes(sqs, dead["QueueUrl"], "QueueArn")["QueueArn"]
    orders = sqs.create_queue(
        QueueName="order-processing",
        Attributes={
            "VisibilityTimeout": "300",
            "MessageRetentionPeriod": "604800",
            "RedrivePolicy": json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 3}),
        },
    )["QueueUrl"]
    sent = sqs.send_message(QueueUrl=orders, MessageBody='{"order": 1}')
    for attempt in ("1", "2", "3"):
        [message] = sqs.receive_message(QueueUrl=orders, AttributeNames=["All"])["Messages"]
        assert message["Attributes"]["ApproximateReceiveCount"] == attempt
        assert "Messages" not in sqs.receive_message(QueueUrl=orders)
        frozen.clock("advance", seconds=300)
    assert "Messages" not in sqs.receive_message(QueueUrl=orders)
    [lost] = sqs.receive_message(QueueUrl=dead["QueueUrl"], AttributeNames=["All"])["Messages"]
    assert lost["MessageId"] == sent["MessageId"]
    assert lost["Body"] == '{"order": 1}'
    assert lost["Attributes"]["DeadLetterQueueSourceArn"] == attributes(sqs, orders, "QueueArn")["QueueArn"]
    assert lost["Attributes"]["ApproximateReceiveCount"] == "4"
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead["QueueUrl"])["queueUrls"] == [orders]


def test_example_1_the_fifo_queue_locks_a_group_while_its_message_is_in_flight(frozen: Any) -> None:
    sqs = frozen.client()
    dead = sqs.create_queue(QueueName="order-dlq.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    url = sqs.create_queue(
        QueueName="order-processing.fifo",
        Attributes={
            "FifoQueue": "true",
            "ContentBasedDeduplication": "true",
            "DeduplicationScope": "messageGroup",
            "FifoThroughputLimit": "perMessageGroupId",
            "VisibilityTimeout": "300",
            "RedrivePolicy": json.dumps(
                {"deadLetterTargetArn": attributes(sqs, dead, "QueueArn")["QueueArn"], "maxReceiveCount": 3}
            ),
        },
    )["QueueUrl"]
    for group in ("a", "b"):
        for number in (1, 2):
            sqs.send_message(QueueUrl=url, MessageBody=f"{group}{number}", MessageGroupId=group)
    # The same body in the other group is no duplicate; in the same group it is.
    sqs.send_message(QueueUrl=url, MessageBody="a1", MessageGroupId="b")
    sqs.send_message(QueueUrl=url, MessageBody="a1", MessageGroupId="a")
    [first] = sqs.receive_message(QueueUrl=url)["Messages"]
    [second] = sqs.receive_message(QueueUrl=url)["Messages"]
    assert {first["Body"], second["Body"]} == {"a1", "b1"}
    assert "Messages" not in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    rest = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [m["Body"] for m in rest] == (["a2"] if first["Body"] == "a1" else ["b2", "a1"])
    frozen.clock("advance", seconds=300)
    again = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    groups = {"a": [m["Body"] for m in again if m["Body"] == "a2"], "b": ["b1"]}
    assert groups["a"] == (["a2"] if first["Body"] == "a1" else [])


def test_example_4_the_fifo_sender_deduplicates_by_order_and_version(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="orders.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]

    def send_order_event(order: str, version: int, total: float) -> dict[str, str]:
        answer: dict[str, str] = sqs.send_message(
            QueueUrl=url,
            MessageBody=json.dumps({"eventType": "ORDER_CREATED", "data": {"id": order, "total": total}}),
            MessageGroupId="customer-7",
            MessageDeduplicationId=f"{order}-{version}",
            MessageAttributes={
                "eventType": {"DataType": "String", "StringValue": "ORDER_CREATED"},
                "orderValue": {"DataType": "Number", "StringValue": str(total)},
            },
        )
        return answer

    first = send_order_event("o1", 1, 99.5)
    again = send_order_event("o1", 1, 99.5)
    other = send_order_event("o1", 2, 120)
    assert again["MessageId"] == first["MessageId"]
    assert again["SequenceNumber"] == first["SequenceNumber"]
    assert int(other["SequenceNumber"]) > int(first["SequenceNumber"])
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])["Messages"]
    assert [json.loads(m["Body"])["data"]["total"] for m in received] == [99.5, 120]
    assert received[0]["MessageAttributes"]["orderValue"] == {"DataType": "Number", "StringValue": "99.5"}
    frozen.clock("advance", seconds=301)
    assert send_order_event("o1", 1, 99.5)["MessageId"] != first["MessageId"]

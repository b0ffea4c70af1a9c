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

"""What a restart and a kill -9 must not change."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError


def everything(sqs: Any, url: str) -> dict[str, str]:
    """Body -> receipt handle of all that can be received now."""
    found: dict[str, str] = {}
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages"):
        for message in messages:
            assert message["Body"] not in found, "returned twice inside its visibility timeout"
            found[message["Body"]] = message["ReceiptHandle"]
    return found


def test_a_clean_stop_keeps_queues_messages_and_in_flight_state(durable: Any) -> None:
    sqs = durable.client()
    url = sqs.create_queue(QueueName="kept", Attributes={"VisibilityTimeout": "600"}, tags={"a": "b"})["QueueUrl"]
    for number in range(25):
        sqs.send_message(QueueUrl=url, MessageBody=f"m{number}")
    taken = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=taken[0]["ReceiptHandle"])
    assert durable.stop() == 0
    durable.start()
    sqs = durable.client()
    url = sqs.get_queue_url(QueueName="kept")["QueueUrl"]
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"a": "b"}
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == str(25 - len(taken))
    assert counts["ApproximateNumberOfMessagesNotVisible"] == str(len(taken) - 1)
    rest = everything(sqs, url)
    assert len(rest) == 25 - len(taken)
    # A handle from before the restart still deletes, and one made invisible stays so.
    sqs.delete_message(QueueUrl=url, ReceiptHandle=taken[1]["ReceiptHandle"])
    for message in taken[2:]:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    again = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])["Messages"]
    assert {m["Attributes"]["ApproximateReceiveCount"] for m in again} == {"2"}


@pytest.mark.slow
def test_twenty_kills_lose_nothing_acknowledged_and_bring_back_nothing_deleted(durable: Any) -> None:
    acknowledged: set[str] = set()
    unsure: set[str] = set()
    deleted: set[str] = set()
    maybe_deleted: set[str] = set()
    url = durable.client().create_queue(QueueName="crash", Attributes={"VisibilityTimeout": "43200"})["QueueUrl"]
    handles: dict[str, str] = {}

    ready = threading.Barrier(5)

    def work(worker: int, turn: int) -> None:
        sqs = durable.client()
        ready.wait()
        number = 0
        try:
            while True:
                body = f"{turn}-{worker}-{number}"
                number += 1
                unsure.add(body)
                sqs.send_message(QueueUrl="crash", MessageBody=body)
                acknowledged.add(body)
                unsure.discard(body)
                if number % 3 == 0:
                    for message in sqs.receive_message(QueueUrl="crash").get("Messages", []):
                        assert message["Body"] not in deleted, "a deleted message came back"
                        handles[message["Body"]] = message["ReceiptHandle"]
                        maybe_deleted.add(message["Body"])
                        sqs.delete_message(QueueUrl="crash", ReceiptHandle=message["ReceiptHandle"])
                        deleted.add(message["Body"])
        except (BotoCoreError, ClientError):
            return

    for turn in range(20):
        workers = [threading.Thread(target=work, args=(worker, turn)) for worker in range(4)]
        for worker in workers:
            worker.start()
        ready.wait()
        workers[0].join(timeout=0.05 + 0.02 * turn)
        durable.kill()
        for worker in workers:
            worker.join()
        durable.start()
    sqs = durable.client()
    # A receive whose answer the kill swallowed hides its message: when all timeouts are over, all are to be seen.
    durable.clock("advance", seconds=43_200)
    present = set(everything(sqs, url))
    assert len(acknowledged) > 100
    assert acknowledged - maybe_deleted <= present
    assert not present & deleted
    assert present <= (acknowledged - deleted) | unsure
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert counts["ApproximateNumberOfMessages"] == "0"

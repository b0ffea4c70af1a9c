"""What a restart and a kill -9 must not change."""

from __future__ import annotations

import json
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


def where_each_is(server: Any, *queues: str) -> dict[str, str]:
    """Body -> the one queue that holds it, whatever its state."""
    places: dict[str, str] = {}
    for queue in queues:
        path = f"/_aws/sqs/messages?QueueUrl={queue}&ShowInvisible=true&ShowDelayed=true"
        status, text = server.http("GET", path, headers={"Accept": "application/json"})
        assert status == 200, text
        result = json.loads(text)["ReceiveMessageResponse"]["ReceiveMessageResult"] or {}
        messages = result.get("Message") or []
        for message in messages if isinstance(messages, list) else [messages]:
            assert message["Body"] not in places, f"{message['Body']} is in two queues"
            places[message["Body"]] = queue
    return places


@pytest.mark.slow
def test_kills_while_messages_move_leave_each_in_exactly_one_queue(durable: Any) -> None:
    sqs = durable.client()
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    sqs.create_queue(QueueName="source", Attributes={"RedrivePolicy": policy})
    bodies = {f"m{number}" for number in range(600)}
    for start in range(0, 600, 10):
        entries = [{"Id": f"{number}", "MessageBody": f"m{start + number}"} for number in range(10)]
        sqs.send_message_batch(QueueUrl="source", Entries=entries)

    def wear_out() -> None:
        """Receive until everything has become a dead letter, or the server dies."""
        client = durable.client()
        try:
            while True:
                answer = client.receive_message(QueueUrl="source", MaxNumberOfMessages=10, VisibilityTimeout=0)
                if not answer.get("Messages") and not where_each_is(durable, "source"):
                    return
        except (BotoCoreError, ClientError, OSError):
            return

    def all_workers(kill_after: float | None) -> None:
        workers = [threading.Thread(target=wear_out) for _ in range(3)]
        for worker in workers:
            worker.start()
        if kill_after is not None:
            workers[0].join(timeout=kill_after)
            durable.kill()
        for worker in workers:
            worker.join()

    moved: list[int] = []
    for turn in range(5):
        all_workers(kill_after=0.02 + 0.015 * turn)
        durable.start()
        places = where_each_is(durable, "source", "dead")
        assert set(places) == bodies
        moved.append(list(places.values()).count("dead"))
    assert 0 < moved[0] < 600 or moved[-1] > 0, "no kill met a move"
    all_workers(kill_after=None)
    assert set(where_each_is(durable, "dead")) == bodies

    durable.client().start_message_move_task(SourceArn=arn, MaxNumberOfMessagesPerSecond=500)
    for turn in range(5):
        threading.Event().wait(0.05 + 0.05 * turn)
        durable.kill()
        durable.start()
        durable.clock("freeze")
        durable.clock("advance", seconds=0)  # what is due has moved, and nothing moves between the two looks
        assert set(where_each_is(durable, "source", "dead")) == bodies
        durable.clock("resume")
    durable.clock("advance", seconds=10)
    [task] = durable.client().list_message_move_tasks(SourceArn=arn)["Results"]
    assert task["Status"] == "COMPLETED"
    assert task["ApproximateNumberOfMessagesMoved"] == 600
    assert set(where_each_is(durable, "source")) == bodies


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("GetQueueUrl", {"QueueName": "x", "QueueOwnerAWSAccountId": "a\0b"}),
        ("GetQueueUrl", {"QueueName": "x", "QueueOwnerAWSAccountId": "\ud800"}),
        ("SendMessage", {"QueueUrl": "http://x/queue/a\0b/000000000000/x", "MessageBody": "m"}),
        ("StartMessageMoveTask", {"SourceArn": "arn:aws:sqs:a\0b:c:d"}),
    ],
)
def test_a_question_about_a_place_that_cannot_be_leaves_nothing_on_the_disk(
    durable: Any, operation: str, params: dict[str, str]
) -> None:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"}
    status, answer = durable.http("POST", "/", params, headers)
    assert 400 <= status < 500, answer
    assert durable.stop() == 0
    durable.start()
    assert "QueueUrls" not in durable.client().list_queues()

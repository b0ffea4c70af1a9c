"""Trunkline's own pages: clock, reset, health, inspection."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest


def test_the_clock_is_shown_frozen_advanced_set_and_resumed(frozen: Any) -> None:
    start = frozen.clock()
    assert start["frozen"] is True
    moved = frozen.clock("advance", seconds=3600)
    assert moved["now"] == start["now"] + 3_600_000
    assert moved["reached"] is True
    later = frozen.clock("set", to=moved["now"] + 5)
    assert later["now"] == moved["now"] + 5
    status, answer = frozen.http("POST", "/_trunkline/clock/set", {"to": start["now"]})
    assert status == 400
    assert "never goes backward" in json.loads(answer)["message"]
    assert frozen.clock("resume")["frozen"] is False
    assert frozen.clock()["now"] >= later["now"]


def test_wrong_words_to_the_clock_are_explained(shared: Any) -> None:
    for path, body, text in (
        ("/_trunkline/clock/advance", {"seconds": "soon"}, "seconds"),
        ("/_trunkline/clock/advance", {"seconds": -1}, "never goes backward"),
        ("/_trunkline/clock/set", {"to": "tomorrow"}, "ISO 8601"),
        ("/_trunkline/reset", {"service": "s3"}, "no service"),
        ("/_trunkline/reset", {"account": "me"}, "12 digits"),
    ):
        status, answer = shared.http("POST", path, body)
        assert status == 400
        assert text in json.loads(answer)["message"]
    assert shared.http("GET", "/_trunkline/clock/advance")[0] == 405
    assert shared.http("GET", "/_trunkline/nothing")[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/_trunkline/reset", {"accounts": "111111111111"}, "did you mean account?"),
        ("/_trunkline/reset", {"Account": "111111111111"}, "did you mean account?"),
        ("/_trunkline/reset", {"region": "us-east-1"}, "account and service, not 'region'"),
        ("/_trunkline/reset", {"account": None}, "leave it out to empty all"),
        ("/_trunkline/reset", {"account": ["111111111111"]}, "is to be a text"),
        ("/_trunkline/reset", {"service": {}}, "is to be a text"),
        ("/_trunkline/reset", {"account": ""}, "12 digits"),
        ("/_trunkline/reset?acount=111111111111", None, "did you mean account?"),
        ("/_trunkline/reset?" + "&".join(f"a{n}" for n in range(2_000)), None, "more than"),
        ("/_localstack/state/reset", {"acount": "111111111111"}, "did you mean account?"),
        ("/_ministack/reset", {"acount": "111111111111"}, "did you mean account?"),
        ("/_ministack/reset?init=perhaps", None, "init is true or false"),
        ("/_trunkline/reset", b"[1]", "neither a JSON object nor a form"),
        ("/_trunkline/reset", b"garbage", "neither a JSON object nor a form"),
        ("/_trunkline/reset", b'"text"', "neither a JSON object nor a form"),
        ("/_trunkline/reset", b"\xff=1", "neither a JSON object nor a form"),
        ("/_trunkline/reset", b'{"account": ', "not JSON"),
        ("/_trunkline/reset", b'{"a":' * 3_000, "not JSON"),
        ("/_trunkline/reset", b'{"a":' * 3_000 + b"1" + b"}" * 3_000, "not JSON"),
        ("/_trunkline/clock/freeze", {"seconds": 1}, "takes no parameters"),
        ("/_trunkline/clock/resume?at=1", None, "takes no parameters"),
        ("/_trunkline/clock/advance", {"second": 1}, "did you mean seconds?"),
        ("/_trunkline/clock/advance", {}, "a number"),
        ("/_trunkline/clock/advance", {"seconds": True}, "a number"),
        ("/_trunkline/clock/advance", b'{"seconds": NaN}', "a number"),
        ("/_trunkline/clock/advance", {"seconds": "1e400"}, "a number"),
        ("/_trunkline/clock/advance", {"seconds": 0, "force": "maybe"}, "force is true or false"),
        ("/_trunkline/clock/set", {}, "milliseconds"),
        ("/_trunkline/clock/set", {"to": "\u00b2"}, "milliseconds"),
        ("/_trunkline/clock/set", {"to": True}, "milliseconds"),
        ("/_trunkline/clock/set", {"to": "9" * 5_000}, "milliseconds"),
        ("/_trunkline/clock/set", {"to": 2**63}, "milliseconds"),
        ("/_trunkline/clock/set", {"to": 2**63 - 1}, "milliseconds"),
        ("/_trunkline/clock/set", {"to": 10**40}, "milliseconds"),
        ("/_trunkline/clock/set", {"to": -(10**400)}, "milliseconds"),
        ("/_trunkline/clock/set", {"to": 1_900_000_000}, "milliseconds"),
        ("/_trunkline/clock/set", {"to": "9999-12-31T23:59:59-23:59"}, "milliseconds"),
        ("/_trunkline/clock/set", {"to": "0001-01-01T00:00:00+23:59"}, "milliseconds"),
    ],
)
def test_a_mistake_in_the_parameters_changes_nothing_and_is_explained(
    frozen: Any, path: str, body: Any, text: str
) -> None:
    sqs = frozen.client(account="111111111111")
    sqs.create_queue(QueueName="q")
    before = frozen.clock()
    status, answer = frozen.http("POST", path, body)
    assert status == 400
    assert text in json.loads(answer)["message"]
    assert frozen.clock() == before
    assert len(sqs.list_queues()["QueueUrls"]) == 1


def test_parameters_may_be_a_form_or_in_the_query_string(frozen: Any) -> None:
    start = frozen.clock()["now"]
    assert frozen.http("POST", "/_trunkline/clock/advance?seconds=1", b"")[0] == 200
    assert frozen.http("POST", "/_trunkline/clock/advance", b"seconds=1&force=no")[0] == 200
    assert frozen.http("POST", "/_trunkline/clock/set", f"to={start + 3_000}".encode())[0] == 200
    assert frozen.clock()["now"] == start + 3_000
    assert frozen.http("POST", "/_trunkline/reset?account=111111111111")[0] == 200


def test_pages_that_show_refuse_what_they_do_not_know_and_localstacks_do_not_mind(shared: Any) -> None:
    for path in ("/_trunkline/health", "/_trunkline/clock", "/_trunkline/unenforced"):
        assert shared.http("GET", path)[0] == 200
        assert shared.http("GET", path + "?now=1")[0] == 400
    assert shared.http("GET", "/_localstack/health?reload")[0] == 200


def test_a_web_page_of_another_origin_changes_nothing(frozen: Any) -> None:
    sqs = frozen.client()
    sqs.create_queue(QueueName="q")
    for origin in ("http://evil.example", "null", "https://127.0.0.1", f"http://evil:{frozen.port}"):
        for path in ("/_trunkline/reset", "/_trunkline/clock/resume", "/_localstack/state/reset"):
            status, answer = frozen.http("POST", path, b"", {"Origin": origin})
            assert status == 403
            assert "other origins" in answer
    assert frozen.clock()["frozen"] is True
    assert sqs.list_queues()["QueueUrls"]
    assert frozen.http("POST", "/_trunkline/reset", b"", {"Origin": frozen.url})[0] == 200
    assert "QueueUrls" not in sqs.list_queues()


def test_who_is_no_browser_is_told_what_a_page_takes(shared: Any) -> None:
    status, answer = shared.http("OPTIONS", "/_trunkline/reset")
    assert (status, json.loads(answer)["message"]) == (405, "/_trunkline/reset takes POST, not OPTIONS")


def test_the_clock_survives_a_kill(durable: Any) -> None:
    durable.clock("freeze")
    then = durable.clock("advance", seconds=86_400)
    durable.kill()
    durable.start()
    now = durable.clock()
    assert now["frozen"] is True
    assert now["now"] == then["now"]


def test_an_advance_answers_long_polls_whose_delay_ends(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="late", DelaySeconds=10)
    answers: list[Any] = []
    poller = threading.Thread(
        target=lambda: answers.append(frozen.client().receive_message(QueueUrl=url, WaitTimeSeconds=20))
    )
    poller.start()
    while not answers:
        frozen.clock("advance", seconds=10)
    poller.join()
    assert answers[0]["Messages"][0]["Body"] == "late"


def test_a_reset_empties_one_account_or_everything(frozen: Any) -> None:
    one, two = frozen.client(account="111111111111"), frozen.client(account="222222222222")
    for sqs in (one, two):
        for number in range(20):
            sqs.create_queue(QueueName=f"q{number}")
            sqs.send_message(QueueUrl=f"q{number}", MessageBody="x")
    status, answer = frozen.http("POST", "/_trunkline/reset", {"account": "111111111111"})
    assert (status, json.loads(answer)) == (200, {"reset": 20})
    assert "QueueUrls" not in one.list_queues()
    assert len(two.list_queues()["QueueUrls"]) == 20
    one.create_queue(QueueName="q1")
    assert "Messages" not in one.receive_message(QueueUrl="q1")
    assert frozen.http("POST", "/_localstack/state/reset")[0] == 200
    assert "QueueUrls" not in two.list_queues()


def test_health_says_running_with_the_space_that_scripts_look_for(shared: Any) -> None:
    for path in ("/_trunkline/health", "/_localstack/health", "/health"):
        status, text = shared.http("GET", path)
        assert status == 200
        assert '"sqs": "running"' in text


def test_messages_are_looked_at_without_being_received(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="peeked")["QueueUrl"]
    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=f"m{number}", DelaySeconds=60 * (number == 2))
    sqs.receive_message(QueueUrl=url)
    accept = {"Accept": "application/json"}

    def bodies(path: str) -> list[str]:
        status, text = frozen.http("GET", path, None, accept)
        assert status == 200, text
        found = json.loads(text)["ReceiveMessageResponse"]["ReceiveMessageResult"] or {}
        messages = found.get("Message", [])
        return sorted(m["Body"] for m in (messages if isinstance(messages, list) else [messages]))

    assert bodies(f"/_aws/sqs/messages?QueueUrl={url}") == ["m1"]
    assert bodies("/_aws/sqs/messages/us-east-1/000000000000/peeked?ShowInvisible=true") == ["m0", "m1"]
    every = f"/_aws/sqs/messages?QueueUrl={url}&ShowInvisible=true&ShowDelayed=true"
    assert bodies(every) == ["m0", "m1", "m2"]
    assert bodies(every) == ["m0", "m1", "m2"]
    status, text = frozen.http("GET", f"/_aws/sqs/messages?QueueUrl={url}")
    assert status == 200 and "<Body>m1</Body>" in text
    assert "SQS/BACKDOOR/ACCESS" in text
    assert frozen.http("GET", "/_aws/sqs/messages?QueueUrl=nowhere", None, accept)[0] == 400
    # Looking counts no receive.
    [message] = sqs.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


def comes_about(condition: Any) -> bool:
    """Ask until it is so: every question is a turn for the server."""
    return any(condition() for _ in range(500))


def test_what_is_due_now_happens_although_the_clock_stands_still(frozen: Any) -> None:
    sqs = frozen.client()
    dead = "arn:aws:sqs:us-east-1:000000000000:dead"
    sqs.create_queue(QueueName="dead")
    policy = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 1})
    sqs.create_queue(QueueName="source", Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"})
    for number in range(3):
        sqs.send_message(QueueUrl="source", MessageBody=str(number))
    for _ in range(2):
        sqs.receive_message(QueueUrl="source", MaxNumberOfMessages=10)
    start = frozen.clock()["now"]
    sqs.start_message_move_task(SourceArn=dead)

    def done() -> bool:
        [task] = sqs.list_message_move_tasks(SourceArn=dead)["Results"]
        return bool(task["Status"] == "COMPLETED" and task["ApproximateNumberOfMessagesMoved"] == 3)

    assert comes_about(done)
    assert frozen.clock()["now"] == start


def test_a_shortened_retention_is_noticed_although_the_clock_stands_still(frozen: Any) -> None:
    sqs = frozen.client()
    sqs.create_queue(QueueName="q")
    sqs.send_message(QueueUrl="q", MessageBody="old")
    frozen.clock("advance", seconds=120)
    sqs.set_queue_attributes(QueueUrl="q", Attributes={"MessageRetentionPeriod": "60"})

    def count() -> str:
        names = ["ApproximateNumberOfMessages"]
        found: str = sqs.get_queue_attributes(QueueUrl="q", AttributeNames=names)["Attributes"][names[0]]
        return found

    assert comes_about(lambda: count() == "0")

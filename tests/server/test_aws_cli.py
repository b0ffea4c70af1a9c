"""The AWS command line, as people type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def aws(server: Any, *words: str) -> Any:
    """What a command prints, as JSON; None for nothing."""
    done = run(server, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def run(server: Any, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_PAGER": ""}
    command = [sys.executable, "-m", "awscli", "--endpoint-url", server.url, "--output", "json", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_a_queue_lives_its_life_on_the_command_line(shared: Any) -> None:
    attributes = "VisibilityTimeout=60,DelaySeconds=0"
    url = aws(shared, "sqs", "create-queue", "--queue-name", "by-cli", "--attributes", attributes, "--tags", "a=b")[
        "QueueUrl"
    ]
    assert url == f"{shared.url}/000000000000/by-cli"
    on = ("--queue-url", url)
    sent = aws(
        shared, "sqs", "send-message", *on, "--message-body", "hello",
        "--message-attributes", '{"n": {"DataType": "Number", "StringValue": "1"}}',
    )  # fmt: skip
    received = aws(
        shared, "sqs", "receive-message", *on, "--attribute-names", "All", "--message-attribute-names", "All"
    )
    [message] = received["Messages"]
    assert message["MessageId"] == sent["MessageId"]
    assert message["Body"] == "hello"
    assert message["MessageAttributes"] == {"n": {"DataType": "Number", "StringValue": "1"}}
    assert aws(shared, "sqs", "delete-message", *on, "--receipt-handle", message["ReceiptHandle"]) is None
    shown = aws(shared, "sqs", "get-queue-attributes", *on, "--attribute-names", "All")["Attributes"]
    assert shown["VisibilityTimeout"] == "60"
    assert shown["ApproximateNumberOfMessages"] == shown["ApproximateNumberOfMessagesNotVisible"] == "0"
    assert aws(shared, "sqs", "list-queue-tags", *on) == {"Tags": {"a": "b"}}


def test_a_batch_reports_what_failed_on_the_command_line(shared: Any, queue: str) -> None:
    entries = json.dumps([{"Id": "a", "MessageBody": "x"}, {"Id": "b", "MessageBody": "x", "DelaySeconds": 901}])
    answer = aws(shared, "sqs", "send-message-batch", "--queue-url", queue, "--entries", entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["a"]
    assert [entry["Code"] for entry in answer["Failed"]] == ["InvalidParameterValue"]


def test_an_error_is_told_in_aws_words(shared: Any) -> None:
    done = run(shared, "sqs", "get-queue-url", "--queue-name", "nowhere")
    assert done.returncode != 0
    assert "(AWS.SimpleQueueService.NonExistentQueue)" in done.stderr
    assert "The specified queue does not exist." in done.stderr


def test_the_caller_is_the_accounts_root(shared: Any) -> None:
    identity = aws(shared, "sts", "get-caller-identity")
    assert identity["Account"] == "000000000000"
    assert set(identity) == {"UserId", "Account", "Arn"}

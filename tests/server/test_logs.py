"""The log beside real requests: ids that clients were given, and no secrets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from trunkline.services.sqs.standard import StandardQueue
from trunkline.testing import InMemory


@pytest.fixture
def node() -> Iterator[InMemory]:
    with InMemory(log_level="info") as running:
        yield running


def client(node: InMemory, **more: Any) -> Any:
    return boto3.client(
        "sqs", endpoint_url=node.url, region_name="eu-west-1", aws_access_key_id="123456789012",
        aws_secret_access_key="secret", config=Config(retries={"max_attempts": 0}), **more,
    )  # fmt: skip


def test_the_line_of_a_request_names_the_id_that_its_client_was_given(
    node: InMemory, caplog: pytest.LogCaptureFixture
) -> None:
    sqs = client(node)
    url = sqs.create_queue(QueueName="orders")["QueueUrl"]
    with caplog.at_level(logging.INFO, "trunkline.http.access"):
        answer = sqs.send_message(QueueUrl=url, MessageBody="x")
    [line] = caplog.records
    assert line.__dict__["request_id"] == answer["ResponseMetadata"]["RequestId"]
    seen = {name: line.__dict__[name] for name in ("operation", "account", "region", "queue", "status")}
    assert seen == {
        "operation": "SendMessage", "account": "123456789012", "region": "eu-west-1", "queue": "orders", "status": 200,
    }  # fmt: skip


def test_a_failure_of_ours_is_found_by_the_id_of_its_500(
    node: InMemory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = client(node)
    url = sqs.create_queue(QueueName="orders")["QueueUrl"]

    def fail(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(StandardQueue, "_add", fail)
    with pytest.raises(sqs.exceptions.ClientError) as refused:
        sqs.send_message(QueueUrl=url, MessageBody="x")
    answer = refused.value.response["ResponseMetadata"]
    assert answer["HTTPStatusCode"] == 500
    [line] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert line.__dict__["request_id"] == answer["RequestId"]
    assert line.__dict__["queue"] == "orders" and line.exc_info is not None


def test_no_secret_of_a_request_is_in_the_log_at_any_level() -> None:
    """Signed in the header and presigned, with a session token; the server in a process of its own, at debug."""
    command = [sys.executable, "-m", "trunkline", "serve", "--port", "0", "--memory"]
    process = subprocess.Popen(
        [*command, "--log-level", "debug", "--log-format", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        banner = ""
        for line in process.stdout:
            banner += line
            if line.strip() == "Ready.":
                break
        url = "http://127.0.0.1:" + banner.split("http://127.0.0.1:")[1].split()[0]
        sqs = boto3.client(
            "sqs", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test",
            aws_secret_access_key="the-secret", aws_session_token="the-token",
        )  # fmt: skip
        sqs.create_queue(QueueName="q")
        presigned = sqs.generate_presigned_url("list_queues")
        for request in (presigned, urllib.request.Request(url, presigned.partition("?")[2].encode())):
            try:
                urllib.request.urlopen(request).read()
            except urllib.error.HTTPError as error:
                error.read()
    finally:
        process.terminate()
        _, log = process.communicate(timeout=20)
    lines = [json.loads(line) for line in log.splitlines()]
    assert {line["operation"] for line in lines if "operation" in line} >= {"CreateQueue"}
    assert any("request_id" in line for line in lines)
    assert "the-token" not in log and "the-secret" not in log and "AWS4-HMAC-SHA256 " not in log
    assert presigned.partition("X-Amz-Signature=")[2][:64] not in log

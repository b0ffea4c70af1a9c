"""A server whose disk is full, on a real small one: needs the right to mount a file system."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """12 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)], capture_output=True)
    if made.returncode:
        pytest.skip("no right to mount a file system here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(sqs: Any, url: str) -> int:
    """Send until it is refused; how many were taken."""
    for number in range(1_000):
        try:
            sqs.send_message(QueueUrl=url, MessageBody=f"{number} " + "x" * 100_000)
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
            assert "The disk is nearly full" in error.response["Error"]["Message"]
            return number
    raise AssertionError("the disk never became full")


def count(sqs: Any, url: str) -> int:
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    return int(shown["ApproximateNumberOfMessages"])


def test_a_full_disk_is_emptied_through_the_api_and_loses_nothing(small_disk: Path, start: Any) -> None:
    server = start("--data", str(small_disk / "data"))
    sqs = server.client()
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sent = fill(sqs, url)
    assert sent > 50
    with pytest.raises(ClientError, match="nearly full"):
        sqs.create_queue(QueueName="another")
    taken = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    for message in taken:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    server.kill()
    server.start()
    sqs = server.client()
    url = sqs.get_queue_url(QueueName="q")["QueueUrl"]
    assert count(sqs, url) == sent - len(taken)
    # Another program takes the last byte: purging goes on all the same.
    with (small_disk / "other").open("wb", buffering=0) as other, pytest.raises(OSError, match="No space"):
        while True:
            other.write(bytes(4_096))
    sqs.purge_queue(QueueUrl=url)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            sqs.send_message(QueueUrl=url, MessageBody="x" * 100_000)
            break
        except ClientError:
            threading.Event().wait(0.05)
    assert count(sqs, url) == 1

"""A real server on a disk that fails when it is told to, and what is asked of it while it does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError
from disk_shim import Disk
from servers import Server

BEGUN = "Nothing can be stored"
OVER = "The store works again"
_MOST = 60.0
"""Real seconds until something that comes by itself is given up; far longer than it takes on a busy machine."""


def until(what: Callable[[], Any], seconds: float = _MOST) -> Any:
    """Wait for what comes by itself in real time, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found


class Ailing:
    """``sent``: the bodies whose sending was acknowledged; ``refused``: those whose sending was not."""

    def __init__(self, work: Path, *options: str) -> None:
        self.root = work / "disk"
        self.root.mkdir()
        self.data = self.root / "data"
        self.disk = Disk(self.root, work / "faults")
        self._stderr = work / "stderr"
        self._open = self._stderr.open("a")
        self.server = Server("--data", str(self.data), *options)
        self.server.environment |= self.disk.environment
        self.server.stderr = self._open
        self.sent: set[str] = set()
        self.refused: set[str] = set()
        self._number = 0

    def start(self) -> Ailing:
        self.server.start()
        if not self.sent and not self.refused:
            self.sqs.create_queue(QueueName="q")
        return self

    def close(self) -> None:
        self.disk.mend()
        if self.server.process.poll() is None:
            self.server.stop()
        self._open.close()

    def kill_and_start(self) -> None:
        self.server.kill()
        self.start()

    @property
    def sqs(self) -> Any:
        return self.server.client()

    @property
    def url(self) -> str:
        return f"{self.server.url}/000000000000/q"

    @property
    def log(self) -> list[str]:
        return self._stderr.read_text().splitlines()

    def lines(self, text: str) -> list[str]:
        return [line for line in self.log if text in line]

    # -- asking --------------------------------------------------------------------------

    def send(self) -> int:
        """Send one message; the status of the answer."""
        self._number += 1
        body = f"message {self._number}"
        status = status_of(lambda: self.sqs.send_message(QueueUrl=self.url, MessageBody=body))
        (self.sent if status == 200 else self.refused).add(body)
        return status

    def receive_all(self) -> None:
        """Receive some ten messages, whatever becomes of it."""
        with suppress(ClientError, ConnectionError, HTTPClientError):
            self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)

    def health(self) -> tuple[int, dict[str, Any]]:
        status, text = self.server.http("GET", "/_trunkline/health")
        return status, json.loads(text)

    def metric(self, name: str) -> float:
        text = self.server.http("GET", "/metrics")[1]
        [found] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(found.split()[-1])

    def until_quiet(self) -> None:
        """Wait until the server has folded its log in, and does nothing more with its files by itself."""
        until(lambda: (self.data / "trunkline.db-wal").stat().st_size == 0)

    def until_failing(self) -> dict[str, Any]:
        """The storage's part of the health page, once it says that nothing can be stored."""
        until(lambda: self.health()[0] == 503)
        found: dict[str, Any] = self.health()[1]["storage"]
        return found

    def until_well(self) -> None:
        """Nobody writes meanwhile: the server has to find out by itself."""
        until(lambda: self.health()[0] == 200)

    def bodies(self) -> set[str]:
        """Of all messages in the queue, which stay there."""
        status, text = self.server.http(
            "GET", "/_aws/sqs/messages/us-east-1/000000000000/q?ShowInvisible=true",
            headers={"Accept": "application/json"},
        )  # fmt: skip
        assert status == 200, text
        messages = json.loads(text)["ReceiveMessageResponse"]["ReceiveMessageResult"]["Message"]
        return {each["Body"] for each in messages}

    def check_messages(self) -> None:
        """Everything acknowledged is there, and of what was refused perhaps some, but nothing else."""
        found = self.bodies()
        assert found >= self.sent
        assert found <= self.sent | self.refused


def status_of(call: Callable[[], Any]) -> int:
    """The HTTP status of a call of boto3, whose refusals must be of the sort that SDKs try again."""
    try:
        status: int = call()["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert (status, error.response["Error"]["Code"]) == (503, "ServiceUnavailable"), error
    return status

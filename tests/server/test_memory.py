"""What came and went leaves memory by itself: the garbage collector hardly ever looks at what is old (see node)."""

from __future__ import annotations

import gc
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError

from trunkline.http.server import _Connection
from trunkline.http.tls import Channel
from trunkline.services.sqs.machine import Head, QueueMachine
from trunkline.testing import InMemory


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def client(node: InMemory) -> Any:
    return boto3.client(
        "sqs", endpoint_url=node.url, region_name="us-east-1", aws_access_key_id="1", aws_secret_access_key="1",
        verify=node.certificate and str(node.certificate), config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip


def living(*kinds: type) -> int:
    return sum(isinstance(each, kinds) for each in gc.get_objects())


def becomes(expected: int, found: Callable[[], int]) -> bool:
    end = time.monotonic() + 30
    while (now := found()) != expected and time.monotonic() < end:
        time.sleep(0.02)
    return now == expected


@pytest.mark.usefixtures("uncollected")
def test_queues_their_messages_and_connections_leave_memory_without_the_collector() -> None:
    with InMemory() as node:
        before = living(_Connection), living(QueueMachine, Head)
        for name in ("q", "q.fifo"):
            sqs = client(node)
            fifo = {"FifoQueue": "true"} if name != "q" else {}
            url = sqs.create_queue(QueueName=name, Attributes=fifo)["QueueUrl"]
            for number in range(5):
                group = {"MessageGroupId": "g", "MessageDeduplicationId": str(number)} if fifo else {}
                sqs.send_message(QueueUrl=url, MessageBody="x", **group)
            assert sqs.receive_message(QueueUrl=url)["Messages"]
            with suppress(ClientError):
                sqs.receive_message(QueueUrl=url + "-that-there-is-not")
            sqs.change_message_visibility_batch(QueueUrl=url, Entries=[{"Id": "1", "ReceiptHandle": "none"}])
            assert living(QueueMachine, Head) > before[1]
            sqs.delete_queue(QueueUrl=url)
            sqs.close()
        assert becomes(before[1], lambda: living(QueueMachine, Head))
        assert becomes(before[0], lambda: living(_Connection))


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("mixed", [True, False])
def test_so_do_connections_over_tls_however_they_end(mixed: bool) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    with InMemory(tls_self_signed=True, tls_mixed=mixed) as node:
        before = living(_Connection, Channel, ssl.SSLObject)
        port = int(node.url.rpartition(":")[2])
        sqs = client(node)
        sqs.list_queues()
        assert living(_Connection, Channel, ssl.SSLObject) > before
        sqs.close()
        for said in (
            b"",
            hello,
            b"\x16garbage that no client sends",
            b"\x00\x01",
            b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as one:
                one.sendall(said)
                if said not in (b"", hello):
                    assert one.recv(10_000)
        with suppress(SSLError):
            boto3.client(
                "sqs", endpoint_url=node.url, region_name="us-east-1", aws_access_key_id="1", aws_secret_access_key="1",
                config=Config(retries={"total_max_attempts": 1}),
            ).list_queues()  # fmt: skip
        assert becomes(before, lambda: living(_Connection, Channel, ssl.SSLObject))

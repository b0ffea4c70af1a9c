"""How long a waiting receiver waits for a message that was just sent."""

from __future__ import annotations

import json
import socket
import statistics
import time

from subjects import Process


def _request(operation: str, body: dict[str, object]) -> bytes:
    text = json.dumps(body).encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-amz-json-1.0\r\n"
        f"X-Amz-Target: AmazonSQS.{operation}\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


def _answer(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += _some(connection)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(body.decode())
    return body


def _some(connection: socket.socket) -> bytes:
    got = connection.recv(65_536)
    if not got:
        raise RuntimeError("the server closed the connection")
    return got


def wakeups(server: Process, times: int) -> dict[str, float]:
    """Milliseconds from the first byte of a SendMessage to the whole answer of a ReceiveMessage that waited for it.

    One receiver and one sender, each with a connection of its own; the send is
    not made before the receiver waits.
    """
    url = f"{server.url}/000000000000/wakeups"
    server.call("CreateQueue", {"QueueName": "wakeups"})
    waited: list[float] = []
    with (
        socket.create_connection(("127.0.0.1", server.port)) as receiver,
        socket.create_connection(("127.0.0.1", server.port)) as sender,
    ):
        for each in (receiver, sender):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            each.settimeout(30)
        poll = _request("ReceiveMessage", {"QueueUrl": url, "WaitTimeSeconds": 20})
        send = _request("SendMessage", {"QueueUrl": url, "MessageBody": "x" * 200})
        look = _request("GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["QueueArn"]})
        for _ in range(times):
            receiver.sendall(poll)
            # Answered after the poll was taken, for both are small and one event loop reads them in turn.
            time.sleep(0.001)
            sender.sendall(look)
            _answer(sender)
            began = time.perf_counter()
            sender.sendall(send)
            got = json.loads(_answer(receiver))
            waited.append((time.perf_counter() - began) * 1_000)
            _answer(sender)
            receiver.sendall(
                _request("DeleteMessage", {"QueueUrl": url, "ReceiptHandle": got["Messages"][0]["ReceiptHandle"]})
            )
            _answer(receiver)
    return {"p50": statistics.median(waited), "p99": statistics.quantiles(waited, n=100)[98], "max": max(waited)}

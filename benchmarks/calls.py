"""Raw requests to a server: one at a time, or as many as it takes.

Nothing is checked of an answer but its status, and nothing computed that can be
computed once: the load must not be the bottleneck.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import uvloop

ACCOUNT = "000000000000"
_IDLE_SECONDS = 20.0


class Refused(Exception):
    """The server answered with another status than 200."""


def request(action: str, body: bytes, account: str = ACCOUNT) -> bytes:
    """The bytes of a whole request. Its signature is none: the server runs with ``--auth open``."""
    scope = f"{account}/20260101/us-east-1/sqs/aws4_request"
    head = (
        f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: AmazonSQS.{action}\r\n"
        "Content-Type: application/x-amz-json-1.0\r\n"
        f"Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Client:
    """One connection, one request at a time. Refused if the answer is an error."""

    def __init__(self, port: int, account: str = ACCOUNT, timeout: float = 600) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self._used = time.monotonic()
        self._scope = f"AWS4-HMAC-SHA256 Credential={account}/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host"

    def sqs(self, action: str, **parameters: Any) -> dict[str, Any]:
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"AmazonSQS.{action}",
            "Authorization": f"{self._scope}, Signature=00",
        }
        return self._ask("POST", "/", json.dumps(parameters), headers)

    def page(self, path: str, **parameters: Any) -> dict[str, Any]:
        """POST to one of Trunkline's own pages."""
        return self._ask("POST", path, json.dumps(parameters), {"Content-Type": "application/json"})

    def _ask(self, method: str, path: str, body: str, headers: dict[str, str]) -> dict[str, Any]:
        if time.monotonic() > self._used + _IDLE_SECONDS:
            self._connection.close()  # and it is opened anew: the server closes what is idle for long
        self._used = time.monotonic()
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Refused(f"{headers.get('X-Amz-Target', path)}: {answer.status} {text.decode()}")
        return json.loads(text) if text else {}  # type: ignore[no-any-return]

    def close(self) -> None:
        self._connection.close()


Next = Callable[[bytes], bytes | None]
"""Given the last answer's body (b"" at first): the next request, or None if this connection has no more to ask."""


class _Connection(asyncio.Protocol):
    """Keeps ``depth`` requests on their way until there are no more."""

    def __init__(self, ask: Next, depth: int, ended: Callable[[Exception | None], None]) -> None:
        self._ask = ask
        self._depth = depth
        self._ended = ended
        self._open = 0
        self._received = b""
        self.answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        for _ in range(self._depth):
            self._next(b"")
        self._end_if_done()

    def _next(self, body: bytes) -> None:
        message = self._ask(body)
        if message is not None:
            self._open += 1
            self._transport.write(message)

    def _end_if_done(self) -> None:
        if not self._open:
            self._ended(None)
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        at = 0
        while (end := received.find(b"\r\n\r\n", at)) >= 0:
            head = received[at : end + 2].lower()
            start = head.index(b"content-length:") + 15
            length = int(head[start : head.index(b"\r\n", start)])
            if len(received) < end + 4 + length:
                break
            body = received[end + 4 : end + 4 + length]
            at = end + 4 + length
            if not head.startswith(b"http/1.1 200") or b'"Failed"' in body:
                self._ended(Refused((head + body).decode()))
                self._transport.close()
                return
            self._open -= 1
            self.answers += 1
            self._next(body)
        self._received = received[at:]
        self._end_if_done()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended(error or (ConnectionError("the server closed the connection") if self._open else None))


def drive(port: int, connections: list[Next], depth: int = 1) -> tuple[int, float]:
    """Let each connection ask all that it has to ask: (answers, seconds)."""

    async def run() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        begun = time.monotonic()
        talks = []
        ends = []
        for ask in connections:
            end: asyncio.Future[None] = loop.create_future()
            ends.append(end)

            def ended(error: Exception | None, end: asyncio.Future[None] = end) -> None:
                if end.done():
                    return
                if error is None:
                    end.set_result(None)
                else:
                    end.set_exception(error)

            talk = _Connection(ask, depth, ended)
            talks.append(talk)
            await loop.create_connection(lambda talk=talk: talk, "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*ends)
        return sum(talk.answers for talk in talks), time.monotonic() - begun

    return uvloop.run(run())


def send_all(port: int, requests: Iterator[bytes], connections: int = 16, depth: int = 2) -> tuple[int, float]:
    """Send every request, whichever connection is free: (answers, seconds)."""

    def ask(_: bytes) -> bytes | None:
        return next(requests, None)

    return drive(port, [ask] * connections, depth)

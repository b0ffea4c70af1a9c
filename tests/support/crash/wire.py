"""A connection to the server: raw HTTP/1.1 and JSON, one request at a time, so that clients cost little.

No answer and a 5xx are one thing, Unknown: what was asked may have happened.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast


class Unknown(Exception):
    """It may have happened or not. ``lost``: the connection is gone, as after a kill."""

    def __init__(self, text: str, lost: bool) -> None:
        super().__init__(text)
        self.lost = lost


class Refused(Exception):
    """A 4xx: it did not happen."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.code = code
        self.message = message


class Connection(asyncio.Protocol):
    """``call``, ``get`` and ``post`` return the answer's JSON. Unknown, Refused."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._read = bytearray()
        self._wanted = -1
        self._status = 0

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Unknown if the server is gone."""
        try:
            _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        except OSError as error:
            raise Unknown(str(error), lost=True) from None
        return connection

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def call(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """An operation of SQS."""
        body = json.dumps(parameters).encode()
        head = (
            f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.0\r\n"
            f"X-Amz-Target: AmazonSQS.{operation}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return await self._ask(head.encode() + body)

    async def post(self, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(parameters).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        return await self._ask(head.encode() + body)

    async def get(self, path: str) -> dict[str, Any]:
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode())

    async def _ask(self, request: bytes) -> dict[str, Any]:
        if self._transport is None or self._transport.is_closing():
            raise Unknown("the connection was lost", lost=True)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        status, body = await self._answer
        answer: dict[str, Any] = json.loads(body) if body else {}
        if status >= 500:
            raise Unknown(f"{status} {body[:200].decode(errors='replace')}", lost=False)
        if status >= 400:
            code = str(answer.get("__type", "")).rpartition("#")[2]
            raise Refused(status, code, str(answer.get("message", "")))
        return answer

    # -- asyncio.Protocol ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if self._wanted < 0:
            end = self._read.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._read[:end]).lower()
            self._status = int(head[9:12])
            at = head.index(b"content-length:") + 15
            self._wanted = int(head[at : (head + b"\r\n").index(b"\r\n", at)])
            del self._read[: end + 4]
        if len(self._read) >= self._wanted:
            body = bytes(self._read[: self._wanted])
            del self._read[: self._wanted]
            self._wanted = -1
            answer, self._answer = self._answer, None
            if answer is not None and not answer.done():
                answer.set_result((self._status, body))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(Unknown("no answer came", lost=True))

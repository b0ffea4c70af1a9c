"""The HTTP server on real sockets of loopback."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import logging
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tls_wire import TlsWriter, connect_tls, pair

from trunkline.http.binding import bind
from trunkline.http.connections import Limits, Unsent
from trunkline.http.server import (
    _NAMES,
    MAX_HEADER_BYTES,
    MAX_PIPELINED,
    Exchange,
    HttpServer,
)
from trunkline.http.tls import OFFERED, REFUSED, Tls
from trunkline.wire.message import HttpRequest, HttpResponse

LIMIT = 10_000
IDLE_SECONDS = Limits().idle_seconds
REQUEST_SECONDS = Limits().request_seconds


def echo(request: HttpRequest, exchange: Exchange) -> None:
    """Answer with what was understood."""
    seen = {
        "method": request.method,
        "path": request.path,
        "query": request.query,
        "headers": request.headers,
        "body": request.body.decode("latin-1"),
    }
    exchange.respond(HttpResponse(200, (("Content-Type", "application/json"),), json.dumps(seen).encode()))


class Held:
    """A handler that keeps its exchanges until the test answers them."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.exchanges: list[Exchange] = []

    def __call__(self, request: HttpRequest, exchange: Exchange) -> None:
        self.requests.append(request)
        self.exchanges.append(exchange)

    async def come(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.exchanges) < count:
                await asyncio.sleep(0.001)

    def answer(self, index: int, body: bytes = b"") -> None:
        self.exchanges[index].respond(HttpResponse(200, (), body or self.requests[index].path.encode()))


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def seen(self) -> dict[str, Any]:
        assert self.status == 200
        found: dict[str, Any] = json.loads(self.body)
        return found


class Wire:
    """A client that writes and reads bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | TlsWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, head: bool = False) -> Answer:
        async with asyncio.timeout(10):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = b"" if head else await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(first.split()[1]), headers, body)

    async def closed(self) -> bool:
        """True when the server has closed, with nothing more to read."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


Scenario = Callable[[HttpServer, Callable[[], Awaitable[Wire]]], Awaitable[None]]


class OverTls:
    """Runs a scenario, on uvloop, whose clients speak TLS."""

    def __call__(self, scenario: Any) -> None:
        pytest.importorskip("uvloop").run(scenario)


def serving(handler: Any, scenario: Scenario, runner: Any = asyncio.run, limits: Limits | None = None) -> None:
    tls = isinstance(runner, OverTls)

    async def run() -> None:
        server = HttpServer(
            handler, max_body_bytes=LIMIT, limits=limits, tls=Tls(lambda: pair().context) if tls else None
        )
        port = await server.start("127.0.0.1", 0)
        wires: list[Wire] = []

        async def connect() -> Wire:
            if tls:
                reader, writer, _ = await connect_tls(port)
                wires.append(Wire(reader, writer))
            else:
                wires.append(Wire(*await asyncio.open_connection("127.0.0.1", port)))
            return wires[-1]

        try:
            async with asyncio.timeout(60):
                await scenario(server, connect)
        finally:
            for wire in wires:
                wire.writer.close()
            await server.stop(grace=5)

    runner(run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


POST = b"POST /p?q=1 HTTP/1.1\r\nHost: h\r\nX-Twice: a\r\nx-twice: b\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(params=["asyncio", "uvloop", "tls"])
def runner(request: pytest.FixtureRequest) -> Any:
    """Both event loops the server may run on, and TLS."""
    if request.param == "tls":
        return OverTls()
    return asyncio.run if request.param == "asyncio" else pytest.importorskip("uvloop").run


@pytest.fixture(params=["asyncio", "uvloop"])
def clear(request: pytest.FixtureRequest) -> Any:
    """Both event loops, without TLS."""
    return asyncio.run if request.param == "asyncio" else pytest.importorskip("uvloop").run


def test_a_request_sent_byte_by_byte_is_understood(runner: Any) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        wire.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in POST:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0)
        seen = (await wire.answer()).seen
        assert (seen["method"], seen["path"], seen["query"], seen["body"]) == ("POST", "/p", "q=1", "hello")
        assert seen["headers"] == {"host": "h", "x-twice": "a,b", "content-length": "5"}

    serving(echo, scenario, runner)


def test_pipelined_requests_are_answered_in_order_although_answered_out_of_order(runner: Any) -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(5)))
        await held.come(5)
        for index in (3, 1, 4, 2, 0):
            held.answer(index)
        assert [(await wire.answer()).body for _ in range(5)] == [b"/%d" % n for n in range(5)]

    serving(held, scenario, runner)


def test_an_answer_does_not_wait_for_later_requests() -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(b"GET /0 HTTP/1.1\r\nHost: h\r\n\r\nGET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
        await held.come(2)
        held.answer(0)
        assert (await wire.answer()).body == b"/0"
        held.answer(1)
        assert (await wire.answer()).body == b"/1"

    serving(held, scenario)


def test_a_chunked_body_is_put_together_and_its_trailers_are_no_headers() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        await wire.send(head + b"3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nHost: forged\r\n\r\n")
        seen = (await wire.answer()).seen
        assert seen["body"] == "abc0123456789"
        assert seen["headers"] == {"host": "h", "transfer-encoding": "chunked"}
        await wire.send(head + b"0\r\nHost: forged\r\n\r\n" + POST)
        seen = (await wire.answer()).seen
        assert (seen["body"], seen["headers"]) == ("", {"host": "h", "transfer-encoding": "chunked"})
        assert (await wire.answer()).seen["body"] == "hello"

    serving(echo, scenario)


def test_a_client_that_expects_100_continue_gets_it_before_it_sends_its_body() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n")
        assert (await wire.answer()).status == 100
        await wire.send(b"hello")
        assert (await wire.answer()).seen["body"] == "hello"

    serving(echo, scenario)


def test_a_client_that_expects_100_continue_behind_an_unanswered_request_gets_it_when_its_turn_comes() -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(GET + b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        await held.come(1)
        held.answer(0, b"first")
        assert (await wire.answer()).body == b"first"
        assert (await wire.answer()).status == 100
        await wire.send(b"hello")
        await held.come(2)
        held.answer(1, b"second")
        assert (await wire.answer()).body == b"second"

    serving(held, scenario)


def test_a_client_that_does_not_wait_for_its_100_continue_gets_none_late() -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        head = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        await wire.send(GET + head + b"hello" + GET)
        await held.come(3)
        for number in range(3):
            held.answer(number, b"%d" % number)
        assert [(await wire.answer()).body for _ in range(3)] == [b"0", b"1", b"2"]

    serving(held, scenario)


def test_a_body_in_very_many_chunks_makes_no_object_for_each() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        server.max_body_bytes = 1 << 20
        wire = await connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + b"2\r\nab\r\n" * 20_000)
        await until(lambda: any(connection._body_size == 40_000 for connection in server.connections))
        [connection] = server.connections
        assert len(connection._body) < 10
        await wire.send(b"1388\r\n" + b"c" * 5_000 + b"\r\n" + b"1\r\nd\r\n" * 3 + b"0\r\n\r\n")
        assert (await wire.answer()).seen["body"] == "ab" * 20_000 + "c" * 5_000 + "ddd"

    serving(echo, scenario)


def test_a_body_that_would_be_too_long_is_refused_before_it_is_sent() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        head = b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        await wire.send(head % (LIMIT + 1))
        answer = await wire.answer()
        assert answer.status == 413
        assert str(LIMIT).encode() in answer.body
        assert answer.headers["connection"] == "close"
        assert await wire.closed()

    serving(echo, scenario)


def test_a_body_at_the_limit_is_taken() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % LIMIT + b"x" * LIMIT)
        assert len((await wire.answer()).seen["body"]) == LIMIT

    serving(echo, scenario)


def test_a_chunked_body_beyond_the_limit_is_refused_with_413() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(LIMIT // 1000 + 1):
            await wire.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        assert (await wire.answer()).status == 413
        assert await wire.closed()

    serving(echo, scenario)


def test_a_client_that_sends_its_whole_long_body_first_still_reads_why_it_was_refused(runner: Any) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        size = 4 << 20
        await wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            await wire.send(b"x" * 65536)
        assert (await wire.answer()).status == 413

    serving(echo, scenario, runner)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * (MAX_HEADER_BYTES + 1) + b"\r\n\r\n",
        b"GET /" + b"a" * (MAX_HEADER_BYTES + 1) + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: aaaaaaaaaa\r\n" % n for n in range(6000)) + b"\r\n",
    ],
    ids=["header", "url", "headers"],
)
def test_a_head_that_is_too_long_is_refused_with_431(head: bytes) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(head)
        assert (await wire.answer()).status == 431
        assert await wire.closed()

    serving(echo, scenario)


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\r\nHost: h\r\nX: ",
        b"GET / HTTP/1.1\r\nHost: h\r\nX",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: ",
    ],
    ids=["value", "name", "trailer"],
)
def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(beginning: bytes) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(beginning)
        with_answer = asyncio.ensure_future(wire.answer())
        sent = 0
        while not with_answer.done() and sent < 64 * MAX_HEADER_BYTES:
            wire.writer.write(b"a" * 4096)
            sent += 4096
            await asyncio.sleep(0.0005)
        assert (await with_answer).status == 431
        assert sent < 64 * MAX_HEADER_BYTES

    serving(echo, scenario)


def test_a_long_body_in_small_pieces_is_not_mistaken_for_a_long_head() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        server.max_body_bytes = 1 << 20
        wire = await connect()
        head = b"POST / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 40_000
        await wire.send(head[:20_000])
        await asyncio.sleep(0.01)
        await wire.send(head[20_000:] + b"\r\nContent-Length: 200000\r\n\r\n")
        for _ in range(100):
            await wire.send(b"x" * 2000)
            await asyncio.sleep(0)
        assert len((await wire.answer()).seen["body"]) == 200_000

    serving(echo, scenario)


MALFORMED = [
    b"FOO / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/7.3\r\n\r\n",
    b"GET / SPQR/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nNo colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nA: \x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n: empty\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: one\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \xb2\r\n\r\nxx",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\nx",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: http://evil/\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: me@evil\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:port\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
    b"GET http://me@evil/ HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET http:/// HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.1\nHost: h\n\n",
    b"GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;\x00\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nA: \x1b[31m\r\n\r\n",
    b"GET /\x85 HTTP/1.1\r\nHost: h\r\n\r\n",
]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_not_http_is_refused_with_400_and_the_connection_closed(data: bytes) -> None:
    calls: list[HttpRequest] = []

    def handler(request: HttpRequest, exchange: Exchange) -> None:
        calls.append(request)
        echo(request, exchange)

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(data)
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert await wire.closed()
        assert calls == []
        assert (await exchange_on(await connect())).status == 200  # the server lives

    serving(handler, scenario)


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506)
"""How a client that speaks TLS begins."""


@pytest.mark.parametrize("hello", [HELLO, HELLO[:1], HELLO + HELLO], ids=["whole", "begun", "twice"])
def test_a_client_that_speaks_tls_where_nobody_does_is_told_so_in_its_own_words(
    clear: Any, hello: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        for _ in range(3):
            wire = await connect()
            await wire.send(hello)
            async with asyncio.timeout(10):
                assert await wire.reader.readexactly(len(REFUSED)) == REFUSED
            assert await wire.closed()
        assert (server.tls_offered.count, server.refused) == (3, {})
        assert (await exchange_on(await connect())).status == 200

    serving(echo, scenario, clear)
    assert [record.message for record in caplog.records] == [OFFERED]


@pytest.mark.parametrize("before", [b"GET ", GET, GET[:-2]], ids=["a method", "a request", "half a head"])
def test_tls_behind_http_is_no_http(before: bytes) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(before)
        if before == GET:
            assert (await wire.answer()).status == 200
        await wire.send(HELLO)
        assert (await wire.answer()).status == 400
        assert await wire.closed()
        assert server.tls_offered.count == 0

    serving(echo, scenario)


@pytest.mark.parametrize("host", [b"h", b"h:1", b"h:", b"my_queue.local", b"127.0.0.1:4566", b"[::1]", b"[::1]:4566"])
def test_a_host_with_or_without_a_port_is_taken_as_it_is(host: bytes) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        for _ in range(2):
            answer = await exchange_on(wire, b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            assert answer.seen["headers"]["host"] == host.decode()

    serving(echo, scenario)


def test_an_old_client_that_names_no_host_is_taken_to_mean_the_address_that_it_came_to() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        port = wire.writer.get_extra_info("peername")[1]
        assert (await exchange_on(wire, b"GET / HTTP/1.0\r\n\r\n")).seen["headers"] == {"host": f"127.0.0.1:{port}"}

    serving(echo, scenario)


@pytest.mark.parametrize(
    ("line", "status", "word"),
    [
        (b"Transfer-Encoding: gzip, chunked", 501, b"gzip"),
        (b"Expect: miracles", 417, b"miracles"),
        (b"Expect: 100-continue, miracles", 417, b"miracles"),
    ],
)
def test_what_is_http_but_not_done_here_is_refused_by_name(line: bytes, status: int, word: bytes) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        answer = await exchange_on(wire, b"POST / HTTP/1.1\r\nHost: h\r\n" + line + b"\r\n\r\n0\r\n\r\n")
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert word in answer.body
        assert await wire.closed()

    serving(echo, scenario)


@pytest.mark.parametrize("line", [b"GET /", b"GET / HTTP/2.0", b"GET / HTTP/2.0\r\nHost: h"])
def test_versions_that_are_not_spoken_are_refused_with_505(line: bytes) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        answer = await exchange_on(wire, line + b"\r\n\r\n")
        assert (answer.status, answer.headers["connection"]) == (505, "close")
        assert await wire.closed()

    serving(echo, scenario)


@pytest.mark.parametrize("line", [b"a:\r\n", b"a:b\r\n", b"%d:\r\n"])
def test_headers_by_the_ten_thousand_are_refused_however_short_they_are(line: bytes) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        many = b"".join(line % n if b"%" in line else line for n in range(4_000))
        assert (await exchange_on(wire, GET[:-2] + many + b"\r\n")).status == 431
        assert await wire.closed()
        few = b"".join(b"a:\r\n" for _ in range(1_000))
        assert (await exchange_on(await connect(), GET[:-2] + few + b"\r\n")).seen["headers"]["a"] == "," * 999

    serving(echo, scenario)


def test_connections_beyond_the_most_are_turned_away_and_taken_again_when_there_is_room(
    clear: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wires = [await connect() for _ in range(5)]
        await until(lambda: len(server.connections) == 5)
        for _ in range(3):
            answer = await (await connect()).answer()
            assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert len(server.connections) == 5
        assert server.turned_away.count == 3
        assert (await exchange_on(wires[0])).status == 200
        wires[1].writer.close()
        await until(lambda: len(server.connections) == 4)
        assert (await exchange_on(await connect())).status == 200

    serving(echo, scenario, clear, Limits(most=5))
    assert [record.message for record in caplog.records] == [
        "Connections are turned away: 5 are open (max_connections)"
    ]


def test_idle_and_slow_connections_are_closed_in_their_real_time(runner: Any) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        began = server.loop.time()  # before the server counts
        idle, slow = await connect(), await connect()
        await slow.send(POST[:-2])
        assert (await slow.answer()).status == 408
        assert server.loop.time() - began >= 0.2
        assert await idle.closed()
        assert server.loop.time() - began >= 0.3

    serving(echo, scenario, runner, Limits(idle_seconds=0.3, request_seconds=0.2))


def test_ages_are_looked_at_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        assert server._timer is not None
        server._timer.cancel()
        for _ in range(5):
            await connect()
        await until(lambda: len(server.connections) == 5)
        monkeypatch.setattr("trunkline.http.server._LOOKED_AT", 2)
        looked: list[Any] = []
        monkeypatch.setattr("trunkline.http.server._Connection.check_age", lambda self, now: looked.append(self))
        server._look_round()
        assert len(looked) == 2
        await until(lambda: len(looked) == 5)
        assert set(looked) == server.connections

    serving(echo, scenario)


def test_of_clients_that_do_not_read_the_one_with_the_most_is_let_go_when_the_room_is_full(runner: Any) -> None:
    size = 1 << 20
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        small, large = await connect(), await connect()
        for wire in (small, large):
            wire.writer.transport.pause_reading()
        await large.send(GET * MAX_PIPELINED)  # all with their handler before the first is answered
        await held.come(MAX_PIPELINED)
        await small.send(GET * 16)
        await held.come(MAX_PIPELINED + 16)
        for index in reversed(range(MAX_PIPELINED, MAX_PIPELINED + 16)):
            held.answer(index, bytes(size))
        assert server.unsent.total > 0
        for index in range(MAX_PIPELINED):
            held.answer(index, bytes(size))
            assert server.unsent.total <= 30 * size
        await until(lambda: len(server.connections) == 1)
        small.writer.transport.resume_reading()
        assert [len((await small.answer()).body) for _ in range(16)] == [size] * 16
        await until(lambda: server.unsent.total == 0)

    serving(held, scenario, runner, Limits(unsent_bytes=30 * size))


def test_what_waits_for_clients_is_counted_by_client() -> None:
    class Client:
        gone = False

        def abort(self) -> None:
            self.gone = True

    unsent, one, other = Unsent(100), Client(), Client()
    unsent.count(one, 60)
    unsent.count(one, 50)
    unsent.count(other, 50)
    assert (unsent.total, one.gone, other.gone) == (100, False, False)
    unsent.count(other, 51)
    assert (unsent.total, one.gone, other.gone) == (50, False, True)
    unsent.forget(other)
    unsent.forget(one)
    assert unsent.total == 0


def test_an_old_clients_expectations_are_passed_over() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        answer = await exchange_on(await connect(), b"GET / HTTP/1.0\r\nExpect: miracles\r\n\r\n")
        assert answer.status == 200

    serving(echo, scenario)


async def exchange_on(wire: Wire, request: bytes = GET) -> Answer:
    await wire.send(request)
    return await wire.answer()


def test_a_malformed_request_is_refused_behind_the_answers_before_it() -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(b"GET /good HTTP/1.1\r\nHost: h\r\n\r\nBAD\r\n\r\n")
        await held.come(1)
        held.answer(0)
        assert (await wire.answer()).body == b"/good"
        assert (await wire.answer()).status == 400
        assert await wire.closed()

    serving(held, scenario)


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"]
)
def test_http_1_0_and_connection_close_are_answered_and_closed(request_: bytes) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        answer = await exchange_on(wire, request_ + GET)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await wire.closed()

    serving(echo, scenario)


@pytest.mark.parametrize("request_", [GET, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"])
def test_a_connection_is_kept_for_the_next_request(request_: bytes) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        for _ in range(3):
            answer = await exchange_on(wire, request_)
            assert answer.status == 200 and "connection" not in answer.headers
        assert len(server.connections) == 1

    serving(echo, scenario)


def test_the_answer_to_head_has_a_length_and_no_body() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n")
        assert int((await wire.answer(head=True)).headers["content-length"]) > 0
        assert (await exchange_on(wire)).seen["method"] == "GET"

    serving(echo, scenario)


@pytest.mark.parametrize(
    ("url", "path", "query", "host"),
    [
        (b"http://host:1/a/b?c=d", "/a/b", "c=d", "host:1"),
        (b"HTTPS://host/a", "/a", "", "host"),
        (b"http://host", "/", "", "host"),
        (b"http://host?c=/d", "/", "c=/d", "host"),
        (b"/a?b=http://c/d?e", "/a", "b=http://c/d?e", "h"),
        (b"/a%2Fb%20", "/a%2Fb%20", "", "h"),
        (b"*", "*", "", "h"),
    ],
)
def test_urls_in_every_form_are_understood_and_an_authority_wins_over_host(
    url: bytes, path: str, query: str, host: str
) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        method = b"OPTIONS" if url == b"*" else b"GET"
        seen = (await exchange_on(await connect(), method + b" " + url + b" HTTP/1.1\r\nHost: h\r\n\r\n")).seen
        assert (seen["path"], seen["query"], seen["headers"]["host"]) == (path, query, host)

    serving(echo, scenario)


@pytest.mark.parametrize("body", [b"", b"hello"])
def test_an_offer_to_upgrade_is_declined_and_the_request_answered_whole(body: bytes) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        request = (
            b"POST /p HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: h\r\nHTTP2-Settings: AAE\r\n"
            b"Upgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        await wire.send(request + body[:2])
        await wire.send(body[2:] + GET)
        seen = (await wire.answer()).seen
        assert (seen["path"], seen["body"], seen["headers"]["host"]) == ("/p", body.decode(), "h")
        assert (await wire.answer()).seen["method"] == "GET"
        assert (await exchange_on(wire, POST)).seen["body"] == "hello"

    serving(echo, scenario)


def test_very_many_offers_to_upgrade_in_one_go_are_all_declined() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        request = b"GET /%d HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        await wire.send(b"".join(request % number for number in range(3_000)))
        for number in range(3_000):
            assert (await wire.answer()).seen["path"] == f"/{number}"

    serving(echo, scenario)


def test_a_failure_of_ours_in_reading_is_answered_with_500_and_the_connection_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await until(lambda: bool(server.connections))
        [connection] = server.connections
        monkeypatch.setattr(connection, "_without_upgrade", lambda rest: 1 // 0)
        answer = await exchange_on(wire, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        assert (answer.status, answer.headers["connection"]) == (500, "close")
        assert await wire.closed()

    serving(echo, scenario)
    assert "ZeroDivisionError" in caplog.text


def test_a_half_closed_client_still_gets_its_answers(runner: Any) -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(b"GET /0 HTTP/1.1\r\nHost: h\r\n\r\nGET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /half")
        wire.writer.write_eof()
        await held.come(2)
        await asyncio.sleep(0.01)
        held.answer(1)
        held.answer(0)
        assert [(await wire.answer()).body for _ in range(2)] == [b"/0", b"/1"]
        assert await wire.closed()
        await until(lambda: not server.connections)

    serving(held, scenario, runner)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_goes_away_calls_when_gone_once(runner: Any, how: str) -> None:
    held = Held()
    gone: list[int] = []

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(GET + GET)
        await held.come(2)
        for number in range(2):
            held.exchanges[number].when_gone(lambda number=number: gone.append(number))
        if how == "reset":
            wire.writer.transport.abort()
        else:
            wire.writer.close()
        await until(lambda: not server.connections)
        assert gone == [0, 1]
        held.answer(0)  # reaches nobody
        held.exchanges[0].when_gone(lambda: gone.append(7))
        assert gone == [0, 1, 7], "told at once when it is so already"

    serving(held, scenario, runner)


def test_who_left_is_forgotten_before_the_next_request_of_the_same_turn_is_handled(clear: Any) -> None:
    """A message sent in that turn would go to a receiver that is gone, and be hidden for its visibility timeout."""
    told: list[str] = []
    held = Held()

    def handler(request: HttpRequest, exchange: Exchange) -> None:
        if request.path == "/wait":
            exchange.when_gone(lambda: told.append("gone"))
            held(request, exchange)
        else:
            told.append("next")
            exchange.respond(HttpResponse(200, (), b""))

    async def scenario(server: HttpServer, connect: Any) -> None:
        address = (await connect()).writer.get_extra_info("peername")
        with socket.create_connection(address) as leaving, socket.create_connection(address) as following:
            leaving.sendall(GET.replace(b" /", b" /wait", 1))
            await held.come(1)
            await until(lambda: len(server.connections) == 3)
            leaving.close()
            following.sendall(GET)
            await until(lambda: len(told) == 2)
        assert told == ["gone", "next"]

    serving(handler, scenario, clear)


def test_a_client_that_goes_away_after_its_answer_calls_nothing() -> None:
    held = Held()
    gone: list[int] = []

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(GET)
        await held.come(1)
        held.exchanges[0].when_gone(lambda: gone.append(1))
        held.answer(0)
        await wire.answer()
        wire.writer.close()
        await until(lambda: not server.connections)
        assert gone == []

    serving(held, scenario)


def test_one_failing_when_gone_does_not_keep_the_others_from_being_told(caplog: pytest.LogCaptureFixture) -> None:
    held = Held()
    gone: list[int] = []

    def fail() -> None:
        raise RuntimeError("told to fail")

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(GET + GET)
        await held.come(2)
        held.exchanges[0].when_gone(fail)
        held.exchanges[1].when_gone(lambda: gone.append(1))
        wire.writer.transport.abort()
        await until(lambda: not server.connections)
        assert gone == [1]

    serving(held, scenario)
    assert "told to fail" in caplog.text


def test_a_second_answer_is_ignored() -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(GET + GET)
        await held.come(2)
        held.answer(1, b"first")
        held.answer(1, b"second")  # while it is held back
        held.answer(0, b"zero")
        held.answer(0, b"again")  # when it is sent
        assert [(await wire.answer()).body for _ in range(2)] == [b"zero", b"first"]
        await wire.send(GET)
        await held.come(3)
        held.answer(2, b"third")
        assert (await wire.answer()).body == b"third"

    serving(held, scenario)


def test_reading_pauses_at_max_pipelined_and_goes_on_as_answers_go_out(runner: Any) -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        for number in range(MAX_PIPELINED):
            await wire.send(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
            await held.come(number + 1)
        await wire.send(b"GET /more HTTP/1.1\r\nHost: h\r\n\r\n")
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(held.exchanges) == MAX_PIPELINED, "read on although it was to pause"
        held.answer(0)
        await held.come(MAX_PIPELINED + 1)
        for index in range(1, MAX_PIPELINED + 1):
            held.answer(index)
        bodies = [(await wire.answer()).body for _ in range(MAX_PIPELINED + 1)]
        assert bodies == [b"/%d" % n for n in range(MAX_PIPELINED)] + [b"/more"]

    serving(held, scenario, runner)


def test_a_client_that_does_not_read_its_answers_is_read_no_further(runner: Any) -> None:
    calls = 0

    def handler(request: HttpRequest, exchange: Exchange) -> None:
        nonlocal calls
        calls += 1
        exchange.respond(HttpResponse(200, (), bytes(1 << 20)))

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        wire.writer.transport.pause_reading()
        for _ in range(200):
            wire.writer.write(GET)
            await asyncio.sleep(0.001)
        stalled = calls
        assert stalled < 200
        wire.writer.transport.resume_reading()
        for _ in range(200):
            assert len((await wire.answer()).body) == 1 << 20
        assert calls == 200

    serving(handler, scenario, runner)


def test_of_very_many_requests_in_one_go_only_so_many_are_handled_as_can_be_answered(runner: Any) -> None:
    held = Held()
    count = 5_000

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        wire.writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(count)))
        await held.come(MAX_PIPELINED)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(held.exchanges) == MAX_PIPELINED
        [connection] = server.connections
        assert len(connection._queue) < 2_000
        assert len(connection._held) < 1 << 20
        for number in range(count):
            await held.come(number + 1)
            handled = len(held.exchanges)
            assert handled <= number + MAX_PIPELINED
            held.answer(number)
            assert len(held.exchanges) == handled, "a handler was called within the answer to another"
            assert (await wire.answer()).body == b"/%d" % number
        assert not connection._reading_paused

    serving(held, scenario, runner)


def test_a_client_that_pipelines_and_does_not_read_costs_a_few_answers_of_memory(runner: Any) -> None:
    calls = 0
    count = 2_000

    def handler(request: HttpRequest, exchange: Exchange) -> None:
        nonlocal calls
        calls += 1
        exchange.respond(HttpResponse(200, (), bytes(1 << 20)))

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        wire.writer.transport.pause_reading()
        wire.writer.write(GET * count)
        await until(lambda: calls > 0)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert calls < 20, "the kernel takes some"
        [connection] = server.connections
        assert connection._transport.get_write_buffer_size() < 4 << 20
        wire.writer.transport.resume_reading()
        for _ in range(50):
            assert len((await wire.answer()).body) == 1 << 20
        assert calls < 100

    serving(handler, scenario, runner)


def test_a_refusal_comes_behind_the_requests_that_had_to_wait_before_it() -> None:
    held = Held()
    count = MAX_PIPELINED + 10

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % n for n in range(count)) + b"BAD\r\n\r\n")
        for number in range(count):
            await held.come(number + 1)
            held.answer(number)
            assert (await wire.answer()).body == b"/%d" % number
        assert (await wire.answer()).status == 400
        assert await wire.closed()

    serving(held, scenario)


def test_a_half_closed_client_gets_the_answers_of_all_that_had_to_wait(runner: Any) -> None:
    held = Held()
    count = 2_000

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        for number in range(count):
            wire.writer.write(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
            if number % 100 == 0:
                await asyncio.sleep(0.001)
        wire.writer.write(b"GET /half")
        wire.writer.write_eof()
        for number in range(count):
            await held.come(number + 1)
            held.answer(number)
            assert (await wire.answer()).body == b"/%d" % number
        assert await wire.closed()
        await until(lambda: not server.connections)

    serving(held, scenario, runner)


def test_long_polls_that_vanish_are_noticed_with_ever_so_many_behind_them(runner: Any) -> None:
    exchanges: list[Exchange] = []
    gone: list[Exchange] = []

    def handler(request: HttpRequest, exchange: Exchange) -> None:
        exchanges.append(exchange)
        exchange.when_gone(lambda: gone.append(exchange))

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(GET * (MAX_PIPELINED + 100))
        await until(lambda: len(exchanges) == MAX_PIPELINED)
        await wire.send(GET * 100)
        wire.writer.close()
        await until(lambda: not server.connections)
        assert gone == exchanges
        assert len(exchanges) == MAX_PIPELINED

    serving(handler, scenario, runner)


def test_a_long_poll_that_begins_after_its_client_said_all_and_waits_for_nothing_else_is_given_up() -> None:
    held = Held()
    gone: list[int] = []

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(GET + GET)
        wire.writer.write_eof()
        await held.come(2)
        [connection] = server.connections
        await until(lambda: connection.said_all)
        held.exchanges[1].when_gone(lambda: gone.append(1))
        assert gone == []
        held.answer(0)
        await until(lambda: gone == [1])
        assert (await wire.answer()).status == 200
        assert await wire.closed()

    serving(held, scenario)


def test_a_client_that_takes_nothing_for_long_is_let_go(runner: Any) -> None:
    def handler(request: HttpRequest, exchange: Exchange) -> None:
        exchange.respond(HttpResponse(200, (), bytes(1 << 20)))

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        wire.writer.transport.pause_reading()
        await wire.send(GET * 100 + b"GET /half")
        await until(lambda: any(connection._full for connection in server.connections))
        [connection] = server.connections
        connection.check_age(server.loop.time() + IDLE_SECONDS + 1)
        await until(lambda: not server.connections)

    serving(handler, scenario, runner)


def test_a_client_that_does_not_take_its_last_answer_is_let_go(runner: Any) -> None:
    def handler(request: HttpRequest, exchange: Exchange) -> None:
        exchange.respond(HttpResponse(200, (), bytes(16 << 20)))

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        wire.writer.transport.pause_reading()
        await wire.send(b"GET / HTTP/1.0\r\n\r\n")
        await until(lambda: any(connection._transport.is_closing() for connection in server.connections))
        [connection] = server.connections
        connection.check_age(server.loop.time() + IDLE_SECONDS - 10)
        await asyncio.sleep(0.01)
        assert server.connections == {connection}
        connection.check_age(server.loop.time() + IDLE_SECONDS + 1)
        await until(lambda: not server.connections)

    serving(handler, scenario, runner)


def test_a_handler_that_raises_is_answered_with_500_and_the_connection_lives_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def handler(request: HttpRequest, exchange: Exchange) -> None:
        if request.path == "/bad":
            raise RuntimeError("a secret of ours")
        echo(request, exchange)

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        answer = await exchange_on(wire, b"GET /bad HTTP/1.1\r\nHost: h\r\n\r\n")
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert (await exchange_on(wire)).status == 200

    serving(handler, scenario)
    assert "a secret of ours" in caplog.text


def test_stop_answers_what_is_in_flight_and_refuses_new_connections(runner: Any) -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire, idle = await connect(), await connect()
        await wire.send(b"GET /0 HTTP/1.1\r\nHost: h\r\n\r\nGET /1 HTTP/1.1\r\nHost: h\r\n\r\n")
        await held.come(2)
        await until(lambda: len(server.connections) == 2)
        stopping = asyncio.ensure_future(server.stop(grace=30))
        assert await idle.closed()
        with pytest.raises(OSError):
            await connect()
        assert not stopping.done()
        held.answer(1)
        held.answer(0)
        first, second = await wire.answer(), await wire.answer()
        assert (first.body, second.body) == (b"/0", b"/1")
        assert second.headers["connection"] == "close"
        assert await wire.closed()
        await asyncio.wait_for(stopping, 10)

    serving(held, scenario, runner)


def test_a_request_that_is_half_here_when_the_stop_begins_is_answered_when_it_has_come(runner: Any) -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        half, behind = await connect(), await connect()
        await half.send(b"GET /half HT")
        await behind.send(b"GET /0 HTTP/1.1\r\nHost: h\r\n\r\nGET /1 HTTP")
        await held.come(1)
        await until(lambda: [each._in_request for each in server.connections] == [True, True])
        stopping = asyncio.ensure_future(server.stop(grace=30))
        held.answer(0)
        assert (await behind.answer()).body == b"/0"
        await half.send(b"TP/1.1\r\nHost: h\r\n\r\n")
        await held.come(2)
        await behind.send(b"/1.1\r\nHost: h\r\n\r\n")
        await held.come(3)
        assert not stopping.done()
        held.answer(1)
        held.answer(2)
        for wire, body in ((half, b"/half"), (behind, b"/1")):
            answer = await wire.answer()
            assert (answer.body, answer.headers["connection"]) == (body, "close")
            assert await wire.closed()
        await asyncio.wait_for(stopping, 10)

    serving(held, scenario, runner)


def test_a_request_that_does_not_come_whole_in_the_grace_of_a_stop_is_told_so(runner: Any) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        half = await connect()
        await half.send(b"GET / HT")
        await until(lambda: any(each._in_request for each in server.connections))
        stopping = asyncio.ensure_future(server.stop(grace=0.01))
        answer = await half.answer()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert b"retry" in answer.body
        assert await half.closed()
        await asyncio.wait_for(stopping, 10)

    serving(echo, scenario, runner)


def test_stop_gives_up_on_what_is_not_answered_in_its_grace() -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(GET)
        await held.come(1)
        gone: list[int] = []
        held.exchanges[0].when_gone(lambda: gone.append(1))
        await asyncio.wait_for(server.stop(grace=0.01), 10)
        assert await wire.closed()
        await until(lambda: gone == [1])

    serving(held, scenario)


def test_line_breaks_in_a_header_do_not_reach_the_wire() -> None:
    def handler(request: HttpRequest, exchange: Exchange) -> None:
        headers = (("X-A", "1\r\nSet-Cookie: stolen\r\n\r\nbody"), ("X-B\r\nX-C", "2"), ("X-D", "3\n4\x00"))
        exchange.respond(HttpResponse(200, headers, b"real"))

    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        answer = await exchange_on(wire)
        assert answer.body == b"real"
        assert answer.headers == {
            "x-a": "1 Set-Cookie: stolen body",
            "x-b x-c": "2",
            "x-d": "3 4 ",
            "content-length": "4",
        }

    serving(handler, scenario)


def test_headers_and_statuses_beyond_the_usual_are_sent() -> None:
    def handler(request: HttpRequest, exchange: Exchange) -> None:
        exchange.respond(HttpResponse(799, (("X-Name", "caf\u00e9 \u20ac"),), b""))

    async def scenario(server: HttpServer, connect: Any) -> None:
        answer = await exchange_on(await connect())
        assert (answer.status, answer.headers["x-name"]) == (799, "caf\u00e9 ?")

    serving(handler, scenario)


def test_a_half_sent_body_is_answered_with_408_and_the_connection_closed() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(POST[:-2])
        await until(lambda: bool(server.connections))
        [connection] = server.connections
        await until(lambda: connection._body_size > 0)
        now = server.loop.time()
        connection.check_age(now + REQUEST_SECONDS - 5)
        assert not connection.waiting
        connection.check_age(now + REQUEST_SECONDS + 1)
        connection.check_age(now + REQUEST_SECONDS + 2)
        assert (await wire.answer()).status == 408
        assert await wire.closed()

    serving(echo, scenario)


def test_a_request_that_trickles_in_is_not_young_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        wire = await connect()
        await wire.send(b"GET / HT")
        await until(lambda: any(c._in_request for c in server.connections))
        [connection] = server.connections
        connection._began -= REQUEST_SECONDS + 1  # it began long ago ...
        await wire.send(b"TP")  # ... and goes on to come
        before = connection.active
        await until(lambda: connection.active > before)
        connection.check_age(server.loop.time())
        assert (await wire.answer()).status == 408

    serving(echo, scenario)


def test_an_idle_connection_is_closed_and_one_that_waits_for_its_answer_is_not() -> None:
    held = Held()

    async def scenario(server: HttpServer, connect: Any) -> None:
        idle, waiting = await connect(), await connect()
        await waiting.send(GET)
        await held.come(1)
        await until(lambda: len(server.connections) == 2)
        late = server.loop.time() + IDLE_SECONDS
        for connection in list(server.connections):
            connection.check_age(late - 5)
        await asyncio.sleep(0.01)
        assert len(server.connections) == 2
        for connection in list(server.connections):
            connection.check_age(late + 1)
        assert await idle.closed()
        held.answer(0)
        assert (await waiting.answer()).status == 200

    serving(held, scenario)


def test_a_port_that_is_taken_raises_oserror() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        port = server._listeners[0].sockets[0].getsockname()[1]
        with pytest.raises(OSError):
            await HttpServer(echo).start("127.0.0.1", port)

    serving(echo, scenario)


def addresses(host: str, monkeypatch: pytest.MonkeyPatch, meant: list[str]) -> list[str]:
    """Where ``bind`` listens for a ``host`` that a resolver says means ``meant``; one port for all."""

    async def whole() -> list[str]:
        async def resolve(*_: Any, **__: Any) -> list[Any]:
            families = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in meant]
            tails = [(0, 0, 0) if ":" in each else (0,) for each in meant]
            places = [(each, *tail) for each, tail in zip(meant, tails, strict=True)]
            return [(f, socket.SOCK_STREAM, 6, "", place) for f, place in zip(families, places, strict=True)]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        found = await bind(host, 0)
        try:
            [port] = {each.getsockname()[1] for each in found}
            assert port > 0
            return [each.getsockname()[0] for each in found]
        finally:
            for each in found:
                each.close()

    return asyncio.run(whole())


def test_a_name_is_listened_on_at_every_address_that_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses("name", monkeypatch, ["127.0.0.1", "127.0.0.2", "127.0.0.1"]) == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine does not speak IPv6")
def test_localhost_is_both_families_and_two_colons_are_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    assert addresses("localhost", monkeypatch, ["::1", "127.0.0.1"]) == ["::1", "127.0.0.1"]
    assert addresses("::", monkeypatch, ["::"]) == ["::", "0.0.0.0"]


def test_what_a_name_stands_for_and_this_machine_does_not_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses("name", monkeypatch, ["192.0.2.1", "127.0.0.1"]) == ["127.0.0.1"]
    with pytest.raises(OSError) as error:
        addresses("name", monkeypatch, ["192.0.2.1"])
    assert error.value.errno == errno.EADDRNOTAVAIL


def test_a_free_port_is_free_at_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = socket.socket.bind, []

    def taken_once(one: Any, place: Any) -> None:
        if place[0] == "127.0.0.2" and not refused:
            refused.append(place[1])
            raise OSError(errno.EADDRINUSE, "Address already in use")
        real(one, place)

    class Socket(socket.socket):
        bind = taken_once  # type: ignore[assignment]

    monkeypatch.setattr(socket, "socket", Socket)
    assert addresses("name", monkeypatch, ["127.0.0.1", "127.0.0.2"]) == ["127.0.0.1", "127.0.0.2"]
    assert len(refused) == 1


# -- anything at all -------------------------------------------------------------------

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TOKENS = [
    b"GET ", b"POST ", b"/", b" HTTP/1.1\r\n", b"\r\n", b"\r\n\r\n", b"Content-Length: 3\r\n", b"abc", b"HTTP/1.0",
    b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"Connection: close\r\n", b"Upgrade: x\r\n",
    b"Host: h\r\n", b"Connection: upgrade\r\n", b"Expect: 100-continue\r\n", b"CONNECT ", b"\x00", b":", b"\xff",
    GET, POST,
]  # fmt: skip


def never_raises(server: HttpServer, pieces: list[bytes], data: list[bytes]) -> Awaitable[None]:
    """Send ``pieces``, half-close, and read all answers until the server closes."""

    async def run() -> None:
        failures: list[Any] = []
        server.loop.set_exception_handler(lambda loop, context: failures.append(context))
        port = server._listeners[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            writer.write_eof()
            data.append(await asyncio.wait_for(reader.read(), 10))
        except ConnectionError:
            pass
        finally:
            writer.close()
        await until(lambda: not server.connections)
        assert failures == []

    return run()


@fuzz
@given(st.lists(st.binary(max_size=60) | st.sampled_from(TOKENS), max_size=12))
def test_arbitrary_bytes_never_raise_and_never_hang(pieces: list[bytes]) -> None:
    logged: list[logging.LogRecord] = []
    watch = logging.Handler()
    watch.emit = logged.append  # type: ignore[method-assign]
    logging.getLogger("trunkline").addHandler(watch)

    async def scenario(server: HttpServer, connect: Any) -> None:
        data: list[bytes] = []
        await never_raises(server, pieces, data)
        for answers in data:
            assert answers in (b"", REFUSED) or re.match(rb"HTTP/1\.1 (100|200|400|413|417|431|501|505) ", answers)

    try:
        serving(echo, scenario)
    finally:
        logging.getLogger("trunkline").removeHandler(watch)
    assert [record.message for record in logged if record.message != OFFERED] == []


requests = st.tuples(
    st.sampled_from([b"/", b"/a?b=c", b"http://h/x"]),
    st.binary(max_size=300),
    st.booleans(),
    st.lists(st.integers(1, 40), max_size=3),
)


def encoded(url: bytes, body: bytes, chunked: bool, cuts: list[int]) -> bytes:
    head = b"POST " + url + b" HTTP/1.1\r\nHost: h\r\n"
    if not chunked:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    pieces, at = [], 0
    for cut in (*cuts, len(body)):
        if piece := body[at : at + cut]:
            pieces.append(b"%x\r\n" % len(piece) + piece + b"\r\n")
            at += len(piece)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(pieces) + b"0\r\n\r\n"


@fuzz
@given(st.lists(requests, min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=12))
def test_valid_requests_split_anywhere_are_all_answered(wanted: list[Any], cuts: list[int]) -> None:
    whole = b"".join(encoded(*each) for each in wanted)
    places = [0, *sorted({cut for cut in cuts if cut < len(whole)}), len(whole)]
    seen: list[bytes] = []

    def handler(request: HttpRequest, exchange: Exchange) -> None:
        seen.append(request.body)
        exchange.respond(HttpResponse(200, (), b"%d" % len(request.body)))

    async def scenario(server: HttpServer, connect: Any) -> None:
        data: list[bytes] = []
        pieces = [whole[a:b] for a, b in itertools.pairwise(places)]
        await never_raises(server, pieces, data)
        assert seen == [body for _, body, _, _ in wanted]
        assert data[0].count(b"HTTP/1.1 200 OK\r\n") == len(wanted)

    serving(handler, scenario)


@given(st.sampled_from(sorted(_NAMES)) | st.from_regex(rb"[A-Za-z-]{1,20}", fullmatch=True))
def test_a_name_that_is_looked_up_is_the_one_that_would_be_made(name: bytes) -> None:
    assert _NAMES.get(name, name.decode().lower()) == name.decode().lower()

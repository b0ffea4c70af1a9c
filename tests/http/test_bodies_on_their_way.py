"""Bodies that have come in part are bounded over all connections, on real sockets of loopback."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.http import server as module
from trunkline.http.server import SMALL_BODY, Exchange, HttpServer
from trunkline.wire.message import HttpRequest, HttpResponse

LONG = 100_000
"""Bytes of a body that is not small."""
ROOM = 8 * LONG
"""Of which seven eighths, so seven long bodies, may be taken by long ones."""


class Peer:
    """A client that writes and reads bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(10):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = text.removesuffix("\r\n\r\n").split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(first.split()[1]), headers, body

    async def status(self) -> int:
        return (await self.answer())[0]

    async def closed(self) -> bool:
        async with asyncio.timeout(10):
            return await self.reader.read() == b""

    def vanish(self) -> None:
        """Reset the connection, as a client does that is killed while the server still sends."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Connect = Callable[[], Awaitable[Peer]]
Scenario = Callable[[HttpServer, Connect], Awaitable[None]]


def length(request: HttpRequest, exchange: Exchange) -> None:
    """Answer with the length of the body that came."""
    exchange.respond(HttpResponse(200, (), str(len(request.body)).encode()))


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Any:
    """Both event loops the server may run on."""
    return asyncio.run if request.param == "asyncio" else pytest.importorskip("uvloop").run


def serving(scenario: Scenario, runner: Any = asyncio.run, handler: Any = length, **options: Any) -> HttpServer:
    made: list[HttpServer] = []

    async def run() -> None:
        server = HttpServer(handler, **{"max_body_bytes": 2 * LONG, "max_reading_bytes": ROOM, **options})
        made.append(server)
        port = await server.start("127.0.0.1", 0)
        peers: list[Peer] = []

        async def connect() -> Peer:
            peers.append(Peer(*await asyncio.open_connection("127.0.0.1", port)))
            return peers[-1]

        try:
            async with asyncio.timeout(60):
                await scenario(server, connect)
        finally:
            for peer in peers:
                peer.writer.close()
            await server.stop(grace=5)

    runner(run())
    [server] = made
    assert server.reading_bytes == 0
    return server


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def head(size: int, *lines: str) -> bytes:
    return "\r\n".join(["POST / HTTP/1.1", "Host: h", f"Content-Length: {size}", *lines, "", ""]).encode()


async def fill(server: HttpServer, connect: Connect, long: int = 7) -> list[Peer]:
    """Clients that have sent a little each of what they said."""
    peers = [await connect() for _ in range(long)]
    for peer in peers:
        await peer.send(head(LONG) + b"x")
    await until(lambda: server.reading_bytes == long * LONG)
    return peers


def test_a_body_for_which_there_is_no_room_is_refused_when_its_head_is_here(runner: Any) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        slow = await fill(server, connect)
        late = await connect()
        await late.send(head(LONG))
        status, headers, body = await late.answer()
        assert (status, server.throttled.count) == (503, 1)
        assert "connection" not in headers and b"Please retry" in body
        assert server.reading_bytes == 7 * LONG
        for peer in slow:
            await peer.send(b"x" * (LONG - 1))
            assert await peer.status() == 200

    serving(scenario, runner)


def test_the_connection_goes_on_behind_a_body_that_was_refused(runner: Any) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        slow = await fill(server, connect)
        late = await connect()
        await late.send(head(LONG))
        assert await late.status() == 503
        await slow[0].send(b"x" * (LONG - 1))
        assert await slow[0].status() == 200
        # What it was refused is sent all the same, as most clients do that read when they have sent; and the next two.
        await late.send(b"y" * LONG + head(LONG) + b"z" * LONG + head(3) + b"abc")
        assert [(await late.answer())[2] for _ in range(2)] == [str(LONG).encode(), b"3"]

    serving(scenario, runner)


def test_a_refused_body_that_comes_slowly_meets_no_reset(runner: Any) -> None:
    """Longer than a closed connection lingers, in a client that reads nothing before it has sent all."""

    async def scenario(server: HttpServer, connect: Any) -> None:
        await fill(server, connect)
        for line in ((), ("Connection: close",)):
            late = await connect()
            await late.send(head(LONG, *line))
            await until(lambda before=server.throttled.count: server.throttled.count >= 1)
            for _ in range(10):
                await asyncio.sleep(0.02)
                await late.send(b"y" * (LONG // 10))
            status, headers, _ = await late.answer()
            assert (status, headers.get("connection")) == (503, "close" if line else None)
            if line:
                assert await late.closed()

    saved, module.LINGER_SECONDS = module.LINGER_SECONDS, 0.05
    try:
        serving(scenario, runner)
    finally:
        module.LINGER_SECONDS = saved


def test_small_bodies_get_in_while_long_ones_fill_their_part() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        await fill(server, connect)
        small = await connect()
        await small.send(head(SMALL_BODY))
        await until(lambda: server.reading_bytes == 7 * LONG + SMALL_BODY)
        await small.send(b"x" * SMALL_BODY)
        assert await small.status() == 200
        others = [await connect() for _ in range(2)]
        for each in others:
            await each.send(head(SMALL_BODY) + b"x")
        assert await others[1].status() == 503  # an eighth is room for one of them

    serving(scenario)


def test_what_comes_whole_in_one_read_is_never_refused() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        whole = await connect()
        await whole.send(head(5) + b"hello")
        assert await whole.status() == 200

    server = serving(scenario, max_body_bytes=100, max_reading_bytes=0)
    assert server.throttled.count == 0


def test_a_chunked_body_is_refused_when_it_has_grown_too_long() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        await fill(server, connect, 6)
        late = await connect()
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        await late.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(1, 7):
            await late.send(chunk)
            await until(lambda number=number: server.reading_bytes == 6 * LONG + number * 0x4000)
        await late.send(chunk)
        assert await late.status() == 503
        assert server.reading_bytes == 6 * LONG
        await late.send(chunk + b"0\r\n\r\n" + head(2) + b"ab")
        assert (await late.answer())[2] == b"2"
        # What is thrown away is bounded as well.
        await late.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 7)
        assert await late.status() == 503
        await late.send(chunk * 10)
        assert await late.closed()

    serving(scenario)


def test_who_asks_before_sending_is_told_no_and_never_to_go_on() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        slow = await fill(server, connect)
        late = await connect()
        await late.send(head(LONG, "Expect: 100-continue"))
        status, headers, _ = await late.answer()
        assert (status, headers["connection"]) == (503, "close")
        assert await late.closed()
        await slow[0].send(b"x" * (LONG - 1))
        assert await slow[0].status() == 200
        late = await connect()
        await late.send(head(LONG, "Expect: 100-continue"))
        assert (await late.reader.readline(), await late.reader.readline()) == (b"HTTP/1.1 100 Continue\r\n", b"\r\n")
        assert server.reading_bytes == 7 * LONG
        await late.send(b"x" * LONG)
        assert await late.status() == 200

    serving(scenario)


def test_the_refusal_waits_for_the_answers_before_it() -> None:
    held: list[Exchange] = []

    def handler(request: HttpRequest, exchange: Exchange) -> None:
        if request.method == "GET":
            held.append(exchange)
        else:
            length(request, exchange)

    async def scenario(server: HttpServer, connect: Any) -> None:
        await fill(server, connect)
        late = await connect()
        await late.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" + head(LONG) + b"x" * LONG + head(1) + b"x")
        await until(lambda: server.throttled.count == 1)
        await asyncio.sleep(0.01)
        held[0].respond(HttpResponse(204, (), b""))
        assert [await late.status() for _ in range(3)] == [204, 503, 200]

    serving(scenario, handler=handler)


def test_a_refused_head_request_gets_no_body() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        await fill(server, connect)
        late = await connect()
        await late.send(head(LONG).replace(b"POST", b"HEAD"))
        assert (await late.answer())[2] == b""
        await late.send(b"x" * LONG + head(1) + b"x")
        assert (await late.answer())[2] == b"1"

    serving(scenario)


def test_a_refused_body_that_never_ends_is_closed_and_a_stop_does_not_wait_for_it() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        await fill(server, connect)
        never, stopped = await connect(), await connect()
        for late in (never, stopped):
            await late.send(head(LONG) + b"x")
            assert await late.status() == 503
        for connection in server.connections:
            connection.check_age(server.loop.time() + server.limits.request_seconds + 1)
        assert await never.closed()  # without a second answer
        assert server.reading_bytes == 0
        late = await connect()
        await late.send(head(LONG) + b"x")
        await until(lambda: server.reading_bytes == LONG)

    serving(scenario)


def test_what_waits_behind_other_requests_counts_too_and_is_read_no_further() -> None:
    held: list[Exchange] = []

    async def scenario(server: HttpServer, connect: Any) -> None:
        await fill(server, connect)
        behind = await connect()
        get = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
        await behind.send(get * module.MAX_PIPELINED)
        await until(lambda: len(held) == module.MAX_PIPELINED)
        await behind.send(head(20_000) + b"x" * 20_000)
        await until(lambda: server.reading_bytes > 7 * LONG + 20_000)
        assert server.reading_bytes < 7 * LONG + 20_200
        late = await connect()
        await late.send(head(SMALL_BODY))
        await until(lambda: server.reading_bytes > 7 * LONG + 20_000 + SMALL_BODY)
        await behind.send(head(20_000) + b"x" * 20_000)  # over the bound: taken, but then no more
        await until(lambda: server.reading_bytes > ROOM)
        before = server.reading_bytes
        behind.writer.write(b"x" * 30_000)
        await asyncio.sleep(0.05)
        assert server.reading_bytes == before
        await late.send(b"x" * SMALL_BODY)
        assert await late.status() == 200
        for exchange in held:
            exchange.respond(HttpResponse(204, (), b""))
        assert [await behind.status() for _ in held] == [204] * len(held)
        assert [await behind.status() for _ in range(2)] == [200, 200]

    def handler(request: HttpRequest, exchange: Exchange) -> None:
        if request.method == "GET":
            held.append(exchange)
        else:
            length(request, exchange)

    serving(scenario, handler=handler)


def test_a_spell_of_refusals_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        await fill(server, connect)
        for _ in range(5):
            late = await connect()
            await late.send(head(LONG))
            assert await late.status() == 503

    caplog.set_level(logging.INFO, "trunkline")
    server = serving(scenario)
    assert server.throttled.count == 5
    [line] = [record.getMessage() for record in caplog.records]
    assert "max_reading_bytes" in line and str(ROOM) in line


def test_the_last_body_does_not_stay_in_memory_with_its_connection() -> None:
    async def scenario(server: HttpServer, connect: Any) -> None:
        peer = await connect()
        await peer.send(head(LONG) + b"x" * LONG)
        assert await peer.status() == 200
        [connection] = server.connections
        assert connection._body == []

    serving(scenario)


ACTS = st.sampled_from(["begin", "chunk", "some", "rest", "half-close", "vanish", "late", "answer", "garbage", "flood"])


@given(st.lists(st.tuples(st.integers(0, 3), ACTS), max_size=30), st.integers(0, 3 * LONG))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_clients_do_the_count_ends_at_nothing(history: list[tuple[int, str]], room: int) -> None:
    held: list[Exchange] = []

    def handler(request: HttpRequest, exchange: Exchange) -> None:
        held.append(exchange)

    async def scenario(server: HttpServer, connect: Any) -> None:
        peers = [await connect() for _ in range(4)]
        for number, act in history:
            peer = peers[number]
            try:
                if act == "begin":
                    await peer.send(head(LONG) + b"x")
                elif act == "chunk":
                    await peer.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
                elif act == "flood":
                    await peer.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * (module.MAX_PIPELINED + 1) + head(9) + b"x")
                elif act == "some":
                    await peer.send(b"y" * 40_000)
                elif act == "rest":
                    await peer.send(b"y" * LONG)
                elif act == "garbage":
                    await peer.send(b"\r\n\0\r\n\r\n")
                elif act == "half-close":
                    peer.writer.write_eof()
                elif act == "vanish":
                    peer.vanish()
                    peers[number] = await connect()
                elif act == "late":
                    for connection in list(server.connections):
                        connection.check_age(server.loop.time() + server.limits.request_seconds + 1)
                elif held:
                    held.pop().respond(HttpResponse(200, (), b""))
            except (ConnectionError, RuntimeError):
                peers[number] = await connect()
            for _ in range(3):
                await asyncio.sleep(0)
            assert server.reading_bytes >= 0
        for peer in peers:
            peer.vanish()

        def answered() -> bool:
            # Whoever has said all is kept until he is answered, and what waited behind others comes to the handler yet.
            while held:
                held.pop().respond(HttpResponse(200, (), b""))
            return not server.connections

        await until(answered)
        assert server.reading_bytes == 0

    serving(scenario, handler=handler, max_reading_bytes=room)

"""TLS on real sockets of loopback: who gets in, who does not, and what each is told.

That a connection over TLS is a connection like any other is tested in test_server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tls_wire import connect_tls, pair, trusting

from trunkline.http.connections import Limits
from trunkline.http.server import Exchange, HttpServer
from trunkline.http.tls import BUSY, REFUSED, Channel, Tls
from trunkline.selfmade import SelfMade
from trunkline.wire.message import HttpRequest, HttpResponse

GET = b"GET /path HTTP/1.1\r\nHost: h\r\n\r\n"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of a client's first message."""
SIZE = 4 << 20

Scenario = Callable[[HttpServer, int], Awaitable[None]]


def answer(request: HttpRequest, exchange: Exchange) -> None:
    """The scheme by which the request came and how long its body is; /big is answered at length."""
    if request.path == "/big":
        exchange.respond(HttpResponse(200, (), bytes(SIZE)))
    else:
        exchange.respond(HttpResponse(200, (), f"{request.scheme} {len(request.body)}".encode()))


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Any:
    return asyncio.run if request.param == "asyncio" else pytest.importorskip("uvloop").run


def serving(
    scenario: Scenario, runner: Any = asyncio.run, mixed: bool = False, handshake_seconds: float = 60.0, **limits: Any
) -> None:
    async def run() -> None:
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        tls = Tls(lambda: pair().context, mixed, handshake_seconds)
        server = HttpServer(answer, max_body_bytes=2 * SIZE, limits=Limits(**limits), tls=tls)
        port = await server.start("127.0.0.1", 0)
        try:
            async with asyncio.timeout(60):
                await scenario(server, port)
        finally:
            await server.stop(grace=5)
        assert failures == []

    runner(run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def body_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        return await reader.readexactly(length)


async def in_clear(port: int, data: bytes) -> bytes:
    """All that the server says to ``data`` until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


def failures(server: HttpServer) -> dict[str, int]:
    assert server.tls is not None
    return server.tls.failures


def test_a_request_over_tls_has_the_scheme_https(runner: Any) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        context = trusting(pair().file)
        context.set_alpn_protocols(["h2", "http/1.1"])
        reader, writer, secure = await connect_tls(port, context)
        assert secure.selected_alpn_protocol() == "http/1.1"
        assert secure.version() == "TLSv1.3"
        for _ in range(3):
            writer.write(GET)
            assert await body_of(reader) == b"https 0"
        writer.close()
        await until(lambda: not server.connections)
        assert failures(server) == {}

    serving(scenario, runner)


def test_a_message_sent_byte_by_byte_is_understood(runner: Any) -> None:
    """Every record of the handshake and of the request is cut everywhere."""

    async def scenario(server: HttpServer, port: int) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secure = trusting(pair().file).wrap_bio(incoming, outgoing, server_hostname="localhost")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def trickle() -> None:
            for byte in outgoing.read():
                writer.write(bytes([byte]))
                await asyncio.sleep(0)

        while True:
            try:
                secure.do_handshake()
                break
            except ssl.SSLWantReadError:
                await trickle()
                incoming.write(await reader.read(65_536))
        secure.write(GET)
        await trickle()
        data = b""
        while b"https 0" not in data:
            incoming.write(await reader.read(65_536))
            with contextlib.suppress(ssl.SSLWantReadError):
                while True:
                    data += secure.read(65_536)
        writer.close()

    serving(scenario, runner)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_carry_long_bodies_both_ways_also_to_who_reads_slowly(
    runner: Any, version: ssl.TLSVersion
) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        context = trusting(pair().file)
        context.minimum_version = context.maximum_version = version
        reader, writer, secure = await connect_tls(port, context)
        assert secure.cipher()[0].endswith(("GCM_SHA384", "GCM-SHA384", "GCM-SHA256", "SHA256"))  # type: ignore[index]
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE))
        assert await body_of(reader) == b"https %d" % SIZE
        writer.transport.pause_reading()
        for _ in range(5):
            writer.write(GET.replace(b"/path", b"/big"))
        await until(lambda: any(each._full for each in server.connections))
        [connection] = server.connections
        assert server.unsent.total >= connection._transport.get_write_buffer_size() > 0
        assert connection._transport.get_write_buffer_size() < 2 * SIZE, "more was encrypted than is read"
        writer.transport.resume_reading()
        for _ in range(5):
            assert await body_of(reader) == bytes(SIZE)
        assert server.unsent.total == 0
        writer.close()

    serving(scenario, runner)


def test_what_was_sent_behind_a_pause_is_read_when_it_ends(runner: Any) -> None:
    """Many records come in one read of the socket, and the connection pauses in the middle of them."""

    async def scenario(server: HttpServer, port: int) -> None:
        reader, writer, _ = await connect_tls(port)
        writer.transport.pause_reading()
        count = 3_000
        for _ in range(count):
            writer.write(GET.replace(b"/path", b"/" + b"x" * 200))
        writer.write(GET.replace(b"/path", b"/big"))
        writer.write_eof()
        await asyncio.sleep(0.05)
        writer.transport.resume_reading()
        for _ in range(count):
            assert await body_of(reader) == b"https 0"
        assert len(await body_of(reader)) == SIZE
        assert await reader.read() == b""
        writer.close()

    serving(scenario, runner)


def test_who_has_said_all_by_close_notify_gets_its_answer_and_a_close_notify(runner: Any) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        reader, writer, _ = await connect_tls(port)
        writer.write(GET.replace(b"/path", b"/big"))
        writer.write_eof()
        assert len(await body_of(reader)) == SIZE
        assert await reader.read() == b""  # the client of these tests raises at an end without close_notify
        await until(lambda: not server.connections)
        writer.close()

    serving(scenario, runner)


def test_who_expects_100_continue_gets_it_over_tls_and_chunks_are_put_together() -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        reader, writer, _ = await connect_tls(port)
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        for piece in (b"5\r\nhel", b"lo\r\n3\r", b"\nabc\r\n0\r\n\r\n"):
            writer.write(piece)
        assert await body_of(reader) == b"https 8"
        writer.close()

    serving(scenario)


# -- who does not get in -------------------------------------------------------------------


@pytest.mark.parametrize("request_", [GET, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", b"G"])
def test_http_in_clear_is_told_in_clear_to_say_https(
    runner: Any, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        for _ in range(3):
            said = await in_clear(port, request_)
            assert said.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b"Connection: close" in said
            assert b"https://" in said.partition(b"\r\n\r\n")[2]
        await until(lambda: not server.connections)
        assert failures(server) == {"plain_http": 3}
        assert server.refused == {400: 3}

    serving(scenario, runner)
    [record] = caplog.records
    assert "https://" in record.message and record.levelno == logging.WARNING


def test_a_client_that_sends_a_long_body_in_clear_still_reads_why_it_was_refused(runner: Any) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        body = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE)
        assert (await in_clear(port, body)).startswith(b"HTTP/1.1 400 ")

    serving(scenario, runner)


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("data", [b"\x00\x01\x02", b"\x16garbage that no client sends", b"\x80\x2e\x01"])
def test_what_is_neither_tls_nor_http_is_refused_in_few_words(runner: Any, data: bytes, mixed: bool) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        said = await in_clear(port, data)
        if mixed and data[0] != 0x16:
            assert said.startswith(b"HTTP/1.1 400 ")
            return
        assert said == REFUSED
        assert failures(server) == {"not_tls": 1}
        await until(lambda: not server.connections)

    serving(scenario, runner, mixed)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_version_is_refused_with_the_alert_that_says_so(runner: Any) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(pair().file)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError, match=r"(?i)alert.protocol.version"):
            await connect_tls(port, context)
        assert failures(server) == {"version": 1}

    serving(scenario, runner)


def test_a_cipher_without_forward_secrecy_is_refused() -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        context = trusting(pair().file)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("AES128-SHA")
        with pytest.raises(ssl.SSLError, match=r"(?i)alert.handshake.failure"):
            await connect_tls(port, context)
        assert failures(server) == {"cipher": 1}

    serving(scenario)


def test_a_client_that_does_not_trust_the_certificate_is_counted_and_told_of_once(
    runner: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        for count in (1, 2):
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect_tls(port, ssl.create_default_context())
            await until(lambda count=count: failures(server) == {"untrusted": count})  # type: ignore[misc]

    serving(scenario, runner)
    [record] = caplog.records
    assert "AWS_CA_BUNDLE" in record.message and record.exc_info is None


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(("data", "counted"), [(b"", {}), (HELLO, {"left": 1})])
def test_who_leaves_during_the_handshake_is_forgotten(
    runner: Any, how: str, data: bytes, counted: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(data)
        await until(lambda: any(isinstance(each._transport, Channel) for each in server.connections))
        [connection] = server.connections
        await until(lambda: (connection._transport._object is not None) == bool(data))
        if how == "reset":
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        await until(lambda: not server.connections)
        assert failures(server) == counted

    serving(scenario, runner)
    assert caplog.records == []


@pytest.mark.parametrize(("data", "counted"), [(b"", {}), (HELLO, {"slow": 1})])
def test_a_handshake_that_does_not_end_is_given_up_in_its_time(
    runner: Any, data: bytes, counted: dict[str, int]
) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        began = server.loop.time()
        with contextlib.suppress(ConnectionError):
            assert await in_clear(port, data) == b""
        assert server.loop.time() - began > 0.1
        await until(lambda: not server.connections)
        assert failures(server) == counted

    serving(scenario, runner, handshake_seconds=0.2)


def test_one_whose_handshake_is_through_in_time_may_be_silent_afterwards(runner: Any) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        reader, writer, _ = await connect_tls(port)
        writer.write(GET)
        assert await body_of(reader) == b"https 0"
        [connection] = server.connections
        connection._transport._too_slow()  # as the timer would, were it still there
        assert connection._transport._timer is None
        writer.write(GET)
        assert await body_of(reader) == b"https 0"
        writer.close()

    serving(scenario, runner)


@pytest.mark.parametrize("mixed", [True, False])
def test_handshakes_count_as_connections_and_those_too_many_are_turned_away(runner: Any, mixed: bool) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        with contextlib.ExitStack() as stack:
            half = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(3)]
            half[0].sendall(HELLO)
            await until(lambda: len(server.connections) == 3)
            with contextlib.suppress(ConnectionError):
                assert await in_clear(port, b"") == (b"" if mixed else BUSY)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await connect_tls(port)
            assert server.turned_away.count == 2
            half[1].close()
            await until(lambda: len(server.connections) == 2)
            reader, writer, _ = await connect_tls(port)
            writer.write(GET)
            assert await body_of(reader) == b"https 0"
            writer.close()
        await until(lambda: not server.connections)
        assert failures(server).get("other") is None

    serving(scenario, runner, mixed, most=3)


def test_a_stop_does_not_wait_for_handshakes(runner: Any) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(HELLO)
            await until(lambda: len(server.connections) == 1)
            await asyncio.wait_for(server.stop(grace=50), 20)
            half.settimeout(20)
            assert half.recv(100) == b""
        assert server.connections == set()

    serving(scenario, runner)


def test_a_stop_closes_what_is_idle_with_close_notify(runner: Any) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        reader, writer, _ = await connect_tls(port)
        writer.write(GET)
        assert await body_of(reader) == b"https 0"
        await asyncio.wait_for(server.stop(grace=50), 20)
        assert await reader.read() == b""
        writer.close()

    serving(scenario, runner)


def test_bytes_that_were_changed_on_their_way_end_the_connection_and_reach_nobody(runner: Any) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        reader, writer, secure = await connect_tls(port)
        secure.write(GET)
        record = bytearray(writer._outgoing.read())
        record[-1] ^= 1
        writer._raw.write(bytes(record))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with asyncio.timeout(20):
                await reader.read()
        await until(lambda: not server.connections)
        writer.close()

    serving(scenario, runner)


# -- both at one port ----------------------------------------------------------------------


def test_both_protocols_are_spoken_at_one_port_on_request(runner: Any) -> None:
    async def scenario(server: HttpServer, port: int) -> None:
        plain_reader, plain_writer = await asyncio.open_connection("127.0.0.1", port)
        reader, writer, _ = await connect_tls(port)
        for _ in range(3):
            plain_writer.write(GET)
            writer.write(GET)
            assert await body_of(plain_reader) == b"http 0"
            assert await body_of(reader) == b"https 0"
        plain_writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % SIZE + bytes(SIZE))
        assert await body_of(plain_reader) == b"http %d" % SIZE
        assert len(server.connections) == 2
        assert failures(server) == {}
        plain_writer.close()
        writer.close()
        await until(lambda: not server.connections)

    serving(scenario, runner, mixed=True)


# -- certificates --------------------------------------------------------------------------


def test_a_new_context_is_for_new_connections_and_old_ones_go_on(tmp_path: Any, runner: Any) -> None:
    new = SelfMade(tmp_path, ("localhost",), time.time).load()

    async def scenario(server: HttpServer, port: int) -> None:
        assert server.tls is not None
        reader, writer, _ = await connect_tls(port)
        server.tls.context = lambda: new.context
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect_tls(port)
        new_reader, new_writer, _ = await connect_tls(port, trusting(new.file))
        for one, other in ((reader, writer), (new_reader, new_writer)):
            other.write(GET)
            assert await body_of(one) == b"https 0"
            other.close()

    serving(scenario, runner)

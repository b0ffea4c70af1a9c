"""HTTP/1.1 over asyncio and httptools: the one place where owning the fastest way pays.

    bytes -> httptools' parser -> HttpRequest -> handler(request, exchange)
    exchange.respond(response), now or later -> one write to the socket

No task, future or context is made for a request. Requests of one connection
may be pipelined; their answers go out in the order of the requests, whenever
each is ready. A connection reads no further while too many of its requests
are unanswered, or while its client does not take what it is sent.

What a client sends never raises out of here: a malformed request is answered
with 400, 413 or 431 and the connection closed.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools

from trunkline.wire.message import HttpRequest, HttpResponse

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 65_536
MAX_PIPELINED = 64
"""Unanswered requests of one connection before it is read no further."""
REQUEST_SECONDS = 60.0
"""Real seconds in which a request must have come whole once it has begun."""
IDLE_SECONDS = 300.0
"""Real seconds that a connection may stay open with nothing on it."""
LINGER_SECONDS = 2.0
"""Real seconds in which a refused client may still send: a reset would swallow the answer that says why."""

LAST_SECONDS = 1.0
"""Real seconds in which a stop's last answers, to requests that never came whole, are to leave."""

_BACKLOG = 1024
_TRIES = 10
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What binding to an address ends with that this machine does not have, though a name stands for it."""

Handler = Callable[[HttpRequest, "Exchange"], None]

_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_NOT_IN_A_HEADER = re.compile("[\r\n\0]+")
_AUTHORITY = re.compile("https?://[^/?]*", re.IGNORECASE)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """One request and its answer."""

    __slots__ = ("_connection", "_gone", "close", "data", "head")

    def __init__(self, connection: _Connection, close: bool, head: bool) -> None:
        self._connection: _Connection | None = connection
        self._gone: Callable[[], None] | None = None
        self.data: bytes | None = None
        self.close = close
        self.head = head

    def respond(self, response: HttpResponse) -> None:
        """Answer. A second answer, or one to a client that went away, reaches nobody."""
        connection = self._connection
        if connection is None or self.data is not None:
            return
        self._gone = None
        lines = [_STATUS.get(response.status) or f"HTTP/1.1 {response.status} Unknown\r\n"]
        for name, value in response.headers:
            line = f"{name}: {value}"
            if not line.isprintable():
                line = _NOT_IN_A_HEADER.sub(" ", line)  # or a value could end the header and begin the next
            lines.append(line + "\r\n")
        lines.append(f"Content-Length: {len(response.body)}\r\n")
        lines.append("Connection: close\r\n\r\n" if self.close else "\r\n")
        head = "".join(lines).encode("latin-1", "replace")
        self.data = head if self.head else head + response.body
        connection.flush()

    def when_gone(self, action: Callable[[], None]) -> None:
        """Call ``action`` if the client goes away before it is answered."""
        if self._connection is None:
            action()
        elif self.data is None:
            self._gone = action

    @property
    def waits(self) -> bool:
        """True if nobody would miss the answer: it is not there yet, and its maker can be told to stop."""
        return self.data is None and self._gone is not None

    def forget(self) -> None:
        """The connection is lost."""
        self._connection = None
        action, self._gone = self._gone, None
        if action is not None and self.data is None:
            action()


class _Connection(asyncio.Protocol):
    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._transport: Any = None
        self._parser: Any = None
        self._exchanges: deque[Exchange] = deque()
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_size = 0
        self._head_size = 0
        self._peer = ""
        self._in_request = False
        self._in_head = False
        self._ending = False
        self._reading_paused = False
        self._full = False
        self._lingering = False
        self._unread = 0
        self._began = 0.0
        self.active = 0.0

    # -- the transport -----------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else "127.0.0.1"
        self._server.connections.add(self)
        self.active = self._server.loop.time()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._ending = True
        exchanges, self._exchanges = self._exchanges, deque()
        for exchange in exchanges:
            try:
                exchange.forget()
            except Exception:
                log.exception("A caller that went away could not be forgotten")
        self._server.lost()

    def eof_received(self) -> bool:
        # A client that has said all may still read: keep the door open while answers are due.
        # But who waits long has nobody to wait for: a client that was closed looks the same, and what it received
        # would be lost until its visibility timeout.
        self._ending = True
        self._in_request = False
        return not all(exchange.waits for exchange in self._exchanges)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        self.active = self._server.loop.time()
        headers, body_size = (self._headers, self._body_size) if self._in_request else (None, 0)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._ending:
                cause = error.__context__
                if isinstance(cause, _TooMuch):
                    self._refuse(cause.status, cause.text)
                else:
                    self._refuse(400, f"The request is not HTTP: {error}.")
        else:
            if headers is self._headers and body_size == self._body_size and self._in_request:
                # Not a byte of body came, so it is an unfinished line, which the parser keeps whole.
                self._unread += len(data)
                if self._unread > MAX_HEADER_BYTES:
                    self._refuse(431, f"The request's head is longer than {MAX_HEADER_BYTES} bytes.")

    def _stay(self, rest: bytes) -> None:
        """HTTP/1.1 remains: an upgrade is only offered (by Java's client, with every first request), so decline it.

        The parser stops at the end of an upgrading head, body or not: give the head without the offer to a new one.
        """
        if self._ending:
            return
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(400, "This is no proxy.")
            return
        head = [method + b" " + self._url + b" HTTP/" + self._parser.get_http_version().encode()]
        for name, value in self._headers.items():
            if name not in ("upgrade", "connection"):
                head.append(f"{name}: {value}".encode("latin-1"))
        if "close" in self._headers.get("connection", "").lower():
            head.append(b"connection: close")
        self._parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(head) + b"\r\n\r\n" + rest)

    def pause_writing(self) -> None:
        self._full = True
        self._set_reading()

    def resume_writing(self) -> None:
        self._full = False
        self._set_reading()

    def _set_reading(self) -> None:
        pause = self._full or len(self._exchanges) >= MAX_PIPELINED
        if pause != self._reading_paused and not self._transport.is_closing():
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # -- httptools' callbacks ------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._ending:
            return
        self._in_request = self._in_head = True
        self._began = self.active
        self._unread = 0
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_size = 0
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        if not self._in_head:
            return  # a trailer, which may not pose as a header
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers = self._headers
        headers[key] = f"{headers[key]},{text}" if key in headers else text

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEADER_BYTES:
            raise _TooMuch(431, f"The request's head is longer than {MAX_HEADER_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        if self._ending:
            return
        self._in_head = False
        length = self._headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._server.max_body_bytes:
            raise _TooMuch(413, f"The request's body is longer than {self._server.max_body_bytes} bytes.")
        if "upgrade" in self._headers and self._parser.should_upgrade():
            return
        if self._headers.get("expect", "").lower() == "100-continue" and not self._exchanges:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._body_size += len(body)
        if self._body_size > self._server.max_body_bytes:
            raise _TooMuch(413, f"The request's body is longer than {self._server.max_body_bytes} bytes.")
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._ending:
            return
        self._in_request = False
        parser = self._parser
        if parser.should_upgrade():
            return
        method = parser.get_method().decode("latin-1")
        url = self._url.decode("latin-1")
        if not url.startswith("/") and (authority := _AUTHORITY.match(url)):
            # The absolute form, as proxies send it.
            url = url[authority.end() :]
            if not url.startswith("/"):
                url = "/" + url
        path, _, query = url.partition("?")
        body = self._body
        request = HttpRequest(
            method,
            path,
            query,
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            self._peer,
            self._server.scheme,
        )
        close = self._server.stopping or not parser.should_keep_alive()
        exchange = Exchange(self, close, method == "HEAD")
        self._exchanges.append(exchange)
        if close:
            self._ending = True
        if len(self._exchanges) >= MAX_PIPELINED:
            self._set_reading()
        try:
            self._server.handler(request, exchange)
        except Exception:
            log.exception("%s %s failed", method, path)
            exchange.respond(_text(500, "Something of ours failed; the log says what."))

    # -- answers -------------------------------------------------------------------

    def flush(self) -> None:
        """Send what is answered, in the order of the requests."""
        exchanges = self._exchanges
        transport = self._transport
        if transport.is_closing():
            return
        close = False
        while exchanges:
            data = exchanges[0].data
            if data is None:
                break
            exchange = exchanges.popleft()
            transport.write(data)
            if exchange.close:
                close = True
                break
        if close or (not exchanges and (self._ending or (self._server.stopping and not self._in_request))):
            if self._lingering and transport.can_write_eof():
                transport.write_eof()
                self._server.loop.call_later(LINGER_SECONDS, transport.abort)
            else:
                transport.close()
        elif self._reading_paused:
            self._set_reading()

    def _refuse(self, status: int, text: str) -> None:
        """Answer a request that cannot be understood, after those before it, and close."""
        self._ending = self._lingering = True
        self._in_request = False
        exchange = Exchange(self, close=True, head=False)
        self._exchanges.append(exchange)
        exchange.respond(_text(status, text))

    @property
    def waiting(self) -> bool:
        """True if an answer is due."""
        return bool(self._exchanges)

    def check_age(self, now: float) -> None:
        """Close a connection that is idle, or whose request does not come to an end."""
        if self._in_request and now - self._began > REQUEST_SECONDS:
            if not self._reading_paused:
                self._refuse(408, "The request did not come to an end in time.")
        elif not self._exchanges and now - self.active > IDLE_SECONDS:
            # Not close(): that would wait until the client has taken what it was sent.
            self._transport.abort()

    def close_when_answered(self) -> None:
        if self._in_request:
            return  # the rest of it is awaited; its answer will close
        if not self._exchanges:
            self._transport.close()
        for exchange in self._exchanges:
            if exchange.data is None and exchange is self._exchanges[-1]:
                exchange.close = True

    def give_up(self) -> None:
        """The stop waits no longer: say so to a request that never came whole, if nothing stands before it."""
        if self._in_request and not self._exchanges:
            self._refuse(503, "The server is shutting down; please retry.")
        else:
            self._transport.abort()

    def abort(self) -> None:
        self._transport.abort()


class HttpServer:
    """``handler`` is a plain function, called on the event loop with every whole request."""

    def __init__(self, handler: Handler, max_body_bytes: int = 8 << 20, scheme: str = "http") -> None:
        self.handler = handler
        self.max_body_bytes = max_body_bytes
        self.scheme = scheme
        self.connections: set[_Connection] = set()
        self.stopping = False
        self.loop: asyncio.AbstractEventLoop
        self._listeners: list[asyncio.Server] = []
        self._empty: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port taken. OSError if that cannot be."""
        sockets = await bind(host, port)
        bound: int = sockets[0].getsockname()[1]
        await self.serve(sockets)
        return bound

    async def serve(self, sockets: list[socket.socket]) -> None:
        """Take requests from ``sockets``, which listen already: see ``bind``."""
        self.loop = asyncio.get_running_loop()
        for each in sockets:
            self._listeners.append(
                await self.loop.create_server(lambda: _Connection(self), sock=each, backlog=_BACKLOG)
            )
        self._look_round()

    async def stop(self, grace: float = 10.0) -> None:
        """Take no more; answer what is in flight or half here, ``grace`` seconds (and the last one) at the most."""
        self.stopping = True
        if self._timer is not None:
            self._timer.cancel()
        for listener in self._listeners:
            listener.close()
        self._empty = asyncio.Event()
        for connection in list(self.connections):
            connection.close_when_answered()
        if await self._emptied(grace):
            return
        log.warning("%d connections did not end in time", len(self.connections))
        for connection in list(self.connections):
            connection.give_up()
        if not await self._emptied(LAST_SECONDS):
            for connection in list(self.connections):
                connection.abort()

    async def _emptied(self, seconds: float) -> bool:
        """True when no connection is left; False if some still are after so many seconds."""
        if self.connections and self._empty is not None:
            try:
                await asyncio.wait_for(self._empty.wait(), seconds)
            except TimeoutError:
                return False
        return True

    def lost(self) -> None:
        if self._empty is not None and not self.connections:
            self._empty.set()

    def _look_round(self) -> None:
        now = self.loop.time()
        for connection in list(self.connections):
            connection.check_age(now)
        self._timer = self.loop.call_later(5.0, self._look_round)


async def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that ``host`` stands for, at one port for all (0: a free one). OSError if it cannot be.

    ``::`` means every address, of both families. What a name stands for and this machine does not have is left out.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses: list[tuple[int, Any]] = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    if any(address[0] == "::" for _, address in addresses):
        addresses.append((socket.AF_INET, ("0.0.0.0", port)))
    for _ in range(_TRIES - 1):
        try:
            return _bind_all(addresses, port)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise
            # The port that was free at the first address is taken at another one.
    return _bind_all(addresses, port)


def _bind_all(addresses: list[tuple[int, Any]], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, (host, _, *scope) in addresses:
            try:
                one = _bind_one(family, (host, port, *scope))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
                continue
            bound.append(one)
            port = port or one.getsockname()[1]
        if absent is not None and not bound:
            raise absent
    except BaseException:
        for one in bound:
            one.close()
        raise
    return bound


def _bind_one(family: int, address: tuple[Any, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.setblocking(False)
        one.bind(address)
        one.listen(_BACKLOG)  # now: until somebody listens, two may bind to one port
    except BaseException:
        one.close()
        raise
    return one


class _TooMuch(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def _text(status: int, text: str) -> HttpResponse:
    return HttpResponse(status, (("Content-Type", "text/plain; charset=utf-8"),), text.encode())

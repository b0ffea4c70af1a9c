"""HTTP/1.1 over asyncio and httptools: the one place where owning the fastest way pays.

    bytes -> httptools' parser -> HttpRequest -> handler(request, exchange)
    exchange.respond(response), now or later -> one write to the socket

No task, future or context is made for a request. Requests of one connection
may be pipelined; their answers go out in the order of the requests, whenever
each is ready.

While too many requests of a connection are unanswered, or its client does not
take what it is sent, the connection is *behind*: no handler is called and
nothing is written. What was parsed waits in a queue, at most a slice's worth;
what comes is held as bytes, up to a limit, for only a connection that is read
tells that its client went away. Beyond the limit it is read no further.

What a client sends never raises out of here: a request that cannot be taken
is answered with 400, 408, 413, 417, 431, 501 or 505 and the connection closed.
How long a connection may last and how many there may be: see connections.

Bodies that have come in part are counted over all connections: one whose
length is known with all of it, as soon as its head is here, for room for the
rest must be there when it comes; a chunked one as it grows. What comes whole
in one read is never counted, and costs nothing. A body that is too much is
answered at once; what still comes of it is thrown away as it comes, and the
connection goes on behind it. (Closing would reset it, for its client is still
sending, and the reset would swallow the answer.)
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools

from trunkline.http.binding import BACKLOG, bind
from trunkline.http.connections import Limits, Unsent
from trunkline.http.door import Door, PlainDoor, Refused, plain
from trunkline.http.tls import HANDSHAKE, OFFERED, REFUSED, Channel, Tls
from trunkline.kernel.refusals import Refusals
from trunkline.wire.message import HttpRequest, HttpResponse

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 65_536
_HEADER = 32
"""Bytes that a header counts for beside its name and value, as in HTTP/2 (RFC 9113, 6.5.2): what it costs to keep. So
there are some 2,000 at the most, and to join that many of one name takes no time."""
_LOOKED_AT = 500
"""Connections whose age is looked at in one go."""
MAX_PIPELINED = 64
"""Unanswered requests of one connection before the next has to wait."""
MAX_HELD_BYTES = 65_536
"""What a connection that is behind is read on for, before it is read no further."""
LINGER_SECONDS = 2.0
"""Real seconds in which a refused client may still send: a reset would swallow the answer that says why."""

LAST_SECONDS = 1.0
"""Real seconds in which a stop's last answers, to requests that never came whole, are to leave."""

SMALL_BODY = 65_536
"""Bytes of a body that may take the last of the room, an eighth, which longer ones leave free: whoever fills the rest
with long messages sent slowly does not keep receives, deletes and the pages of the clock out."""
_RESERVE = 8

Handler = Callable[[HttpRequest, "Exchange"], None]


_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_NOT_IN_A_HEADER = re.compile("[\r\n\0]+")
_AUTHORITY = re.compile("https?://([^/?#]*)", re.IGNORECASE)
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_NAMES = {
    spelling.encode(): name.lower()
    for name in (
        "Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Length", "Content-Type", "Host",
        "User-Agent", "X-Amz-Content-SHA256", "X-Amz-Date", "X-Amz-Target", "X-Amz-User-Agent", "amz-sdk-invocation-id",
        "amz-sdk-request",
    )
    for spelling in (name, name.lower(), name.title())
}  # fmt: skip
"""What clients send with every request, as they spell it: looked up in a third of the time that making it takes."""
_SLASH = ord("/")
_SPACES = " \t"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SLICE = 32_768
"""Bytes given to the parser at once: it cannot be stopped, so this bounds what is parsed ahead of its turn."""
_NO_BODY: list[bytes | bytearray] = []
"""Never filled: what a connection has between two bodies, so that it does not keep the last one."""
_SMALL = 4_096
"""Bytes of a piece of a body that is put together with the next at once: an object for each would outweigh it."""


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
        connection = self._connection
        if connection is None:
            action()
        elif self.data is None:
            self._gone = action
            if connection.said_all:
                connection.flush()

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
        self.scheme = "http"
        self._transport: Any = None
        self._parser: Any = None
        self._exchanges: deque[Exchange] = deque()
        self._queue: deque[tuple[HttpRequest | HttpResponse, bool]] = deque()
        """Parsed requests and refusals that have no exchange yet; True for one after which the connection closes."""
        self._held = bytearray()
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = _NO_BODY
        self._body_size = 0
        self._length = 0
        """What Content-Length says of the request that is coming; 0 without it."""
        self._counted = 0
        """Bytes of its body that stand in the server's count."""
        self._held_counted = 0
        self._head_size = 0
        self._peer = ""
        self._host = " "
        """The last Host that was looked at and found right; a space is none."""
        self._understood = False
        """A request's head came, so that what its client speaks is HTTP."""
        self._in_request = False
        self._in_head = False
        self._continue_due = False
        self._discarding = False
        """The request that is coming has been answered: what still comes of its body is thrown away."""
        self._ending = False
        """Nothing more is taken from the client."""
        self.said_all = False
        """The client has closed its side, or all of the connection."""
        self._reading_paused = False
        self._full = False
        self._behind = False
        self._going_on = False
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
        if len(self._server.connections) > self._server.limits.most:
            self._turn_away()

    def _turn_away(self) -> None:
        server = self._server
        server.connections.discard(self)
        server.turned_away.add()
        self._ending = True
        self._answer_refused(plain(503, "The server has as many connections as it takes; please retry."), close=True)

    def stands_in_clear(self, transport: Any) -> None:
        """The client turned out not to speak TLS: ``transport`` is the socket's own."""
        self._transport = transport

    def refuse_clear(self) -> None:
        self._refuse(plain(400, "This port speaks HTTPS: the URL, or the endpoint, is to begin with https://."))

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self._server.unsent.forget(self)
        self._ending = True
        self._queue.clear()
        self._drop_body()
        self._drop_held()
        self._forget()
        # It holds methods of this connection: without the garbage collector neither would leave memory.
        self._parser = None
        self._server.lost()

    def _forget(self) -> None:
        exchanges, self._exchanges = self._exchanges, deque()
        for exchange in exchanges:
            try:
                exchange.forget()
            except Exception:
                log.exception("A caller that went away could not be forgotten")

    def eof_received(self) -> bool:
        # A client that has said all may still read: keep the door open while answers are due.
        self.said_all = True
        if not self._held:
            self._ending = True
            self._in_request = self._discarding = False
            self._drop_body()
        if self._abandoned():
            # Not when the connection is lost, a turn later: what others send in this turn is not for who left.
            self._forget()
            return False
        if self._exchanges:
            return True
        return bool(self._queue or self._held)

    def _abandoned(self) -> bool:
        """Who has said all and waits long has nobody to wait for: a client that was closed looks the same, and what it
        received would be lost until its visibility timeout."""
        return self.said_all and bool(self._exchanges) and all(exchange.waits for exchange in self._exchanges)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        self.active = self._server.loop.time()
        if self._behind or len(data) > _SLICE:
            self._take_in_slices(data)
            return
        headers, body_size = (self._headers, self._body_size) if self._in_request else (None, 0)
        try:
            while True:
                try:
                    self._parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    if self._ending:
                        return
                    data = self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self._ending:
                cause = error.__context__
                if isinstance(cause, Refused):
                    self._refuse(cause.answer)
                elif headers is None and not self._understood and data.lstrip(b"\r\n")[0] == HANDSHAKE:
                    self._refuse_tls()
                else:
                    self._refuse(plain(400, f"The request is not HTTP: {error}."))
        except Exception:
            log.exception("A request could not be read")
            if not self._ending:
                self._refuse(plain(500, "Something of ours failed; the log says what."))
        else:
            if self._in_request:
                if headers is self._headers and body_size == self._body_size:
                    # Not a byte of body came, so it is an unfinished line, which the parser keeps whole.
                    self._unread += len(data)
                    if self._unread > MAX_HEADER_BYTES:
                        self._refuse(plain(431, f"The request's head is longer than {MAX_HEADER_BYTES} bytes."))
                        return
                if not (self._in_head or self._discarding):
                    answer = self._count_body()
                    if answer is not None:
                        self._refuse_unread(answer)

    def _take_in_slices(self, data: bytes) -> None:
        """Give the parser as much as there is room for, and hold the rest."""
        at = 0
        while at < len(data) and not self._behind:
            self.data_received(data[at : at + _SLICE])
            at += _SLICE
        if at < len(data) and not self._ending:
            self._held += data[at:]
            self._set_reading()

    def _without_upgrade(self, rest: bytes) -> bytes:
        """HTTP/1.1 remains: an upgrade is only offered (by Java's client, with every first request), so decline it.

        The parser stops at the end of an upgrading head, body or not: this is the head without the offer and what
        follows it, for a new one.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse(plain(400, "This is no proxy."))
            return b""
        head = [method + b" " + self._url + b" HTTP/" + self._parser.get_http_version().encode()]
        for name, value in self._headers.items():
            if name not in ("upgrade", "connection"):
                head.append(f"{name}: {value}".encode("latin-1"))
        if "close" in self._headers.get("connection", "").lower():
            head.append(b"connection: close")
        self._parser = httptools.HttpRequestParser(self)
        return b"\r\n".join(head) + b"\r\n\r\n" + rest

    def pause_writing(self) -> None:
        self._full = self._behind = True

    def resume_writing(self) -> None:
        self._full = False
        self._server.unsent.forget(self)
        self.active = self._server.loop.time()
        self.flush()

    def _set_reading(self) -> None:
        server = self._server
        held = len(self._held)
        server.reading_bytes += held - self._held_counted
        self._held_counted = held
        pause = held >= MAX_HELD_BYTES or (held > 0 and server.reading_bytes > server.max_reading_bytes)
        if pause != self._reading_paused and not self._transport.is_closing():
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    # -- what is held of bodies ----------------------------------------------------

    def _count_body(self) -> HttpResponse | None:
        """Count a body that has not come whole; the answer instead if it is not to be taken."""
        server = self._server
        size = self._length or self._body_size
        more = size - self._counted
        if more <= 0:
            return None
        small = size <= SMALL_BODY
        if server.reading_bytes + more > (server.max_reading_bytes if small else server.max_long_bytes):
            server.throttled.add()
            return server.door.throttled(self._request(b""), "too many requests are on their way in")
        if not small and not self._counted:
            answer = server.door.refuse_early(self._request(b""), size)
            if answer is not None:
                return answer
        server.reading_bytes += more
        self._counted = size
        return None

    def _drop_body(self) -> None:
        """Forget what came of a body."""
        self._body = _NO_BODY
        self._server.reading_bytes -= self._counted
        self._counted = 0

    def _drop_held(self) -> None:
        self._held.clear()
        self._server.reading_bytes -= self._held_counted
        self._held_counted = 0

    def _refuse_unread(self, answer: HttpResponse) -> None:
        """Answer a request before its body is here, and go on behind the body."""
        self._drop_body()
        self._discarding = True
        refused = self._server.refused
        refused[answer.status] = refused.get(answer.status, 0) + 1
        if self._parser.get_method() == b"HEAD":
            answer = HttpResponse(answer.status, answer.headers, b"")
        close = self._server.stopping or not self._parser.should_keep_alive()
        if self._behind:
            self._queue.append((answer, close))
        else:
            self._answer_refused(answer, close)

    def _end_discarding(self, close: bool) -> None:
        """The body of a request that was answered has come to its end, or will not."""
        self._discarding = False
        if close:
            self._ending = self._lingering = True
            if not (self._exchanges or self._queue):
                self._close()

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
        self._body_size = self._length = 0
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size = size = self._head_size + len(name) + len(value) + _HEADER
        if size > MAX_HEADER_BYTES:
            self._count_head(0)
        if not self._in_head:
            return  # a trailer, which may not pose as a header
        key = _NAMES.get(name) or name.decode("latin-1").lower()
        headers = self._headers
        if key in headers:
            # The parser leaves spaces behind a value, which are no part of it: they may not come to stand inside.
            headers[key] = f"{headers[key].rstrip(_SPACES)},{value.decode('latin-1')}"
        else:
            headers[key] = value.decode("latin-1")

    def _count_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEADER_BYTES:
            raise Refused(431, f"The request's head is longer than {MAX_HEADER_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        if self._ending:
            return
        self._in_head = False
        headers = self._headers
        host = headers.get("host")
        if host != self._host:
            self._check_host(host)
        if self._url[0] != _SLASH:
            self._split_absolute()
        if "content-length" in headers:
            length = headers["content-length"]
            if length.isdigit():
                self._length = int(length)
                if self._length > self._server.max_body_bytes:
                    raise Refused(413, f"The request's body is longer than {self._server.max_body_bytes} bytes.")
        elif "transfer-encoding" in headers:
            if self._parser.get_http_version() == "1.0":
                # HTTP/1.0 has no chunks: whoever forwarded it took the body for something else (RFC 9112, 6.1).
                raise Refused(400, "An HTTP/1.0 request has no Transfer-Encoding.")
            coding = headers["transfer-encoding"].strip().lower()
            # Of what does not end in chunked the parser says 400, as it must.
            if coding != "chunked" and coding.endswith("chunked"):
                raise Refused(501, f"The only transfer coding that is understood is chunked, not {coding[:100]}.")
        if "upgrade" in headers and self._parser.should_upgrade():
            return
        if "expect" in headers and self._parser.get_http_version() == "1.1":
            self._expect(headers["expect"])

    def _check_host(self, host: str | None) -> None:
        self._understood = True
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise Refused(505, f"HTTP/1.1 is spoken here, and HTTP/1.0, not {version}.")
        if host is None:
            if version == "1.1":
                raise Refused(400, "An HTTP/1.1 request needs a Host header.")
            address, port = self._transport.get_extra_info("sockname")[:2]
            self._headers["host"] = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        elif _HOST.fullmatch(host) is None:
            raise Refused(400, f"The Host header is to be one host, with or without a port, not {host[:100]!r}.")
        else:
            self._host = host

    def _split_absolute(self) -> None:
        """The absolute form, as proxies send it: its authority counts, whatever Host says (RFC 9112, 3.2.2)."""
        url = self._url.decode("latin-1")
        found = _AUTHORITY.match(url)
        if found is None:
            if "://" in url:
                raise Refused(400, f"The URL is to begin with http:// or https:// or /, not {url[:100]!r}.")
            return
        if _HOST.fullmatch(found[1]) is None:
            raise Refused(400, f"The URL's authority is to be a host, with or without a port, not {found[1][:100]!r}.")
        self._headers["host"] = found[1]
        rest = self._url[found.end() :]
        self._url = rest if rest.startswith(b"/") else b"/" + rest

    def _expect(self, expected: str) -> None:
        if any(each.strip() != "100-continue" for each in expected.lower().split(",")):
            raise Refused(417, f"The only expectation that is met is 100-continue, not {expected[:100]!r}.")
        answer = self._count_body()
        if answer is not None:
            # Closed, for whether its body will come now is for the client to say.
            raise Refused.by(answer)
        if self._exchanges or self._behind:
            self._continue_due = True  # or it would be taken for the answer to a request before this one
        else:
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._body_size += len(body)
        if self._body_size > self._server.max_body_bytes:
            raise Refused(413, f"The request's body is longer than {self._server.max_body_bytes} bytes.")
        if self._discarding:
            return
        pieces = self._body
        if pieces and len(body) < _SMALL:
            last = pieces[-1]
            if type(last) is bytearray:
                last += body
            else:
                pieces.append(bytearray(body))
        else:
            pieces.append(body)

    def on_message_complete(self) -> None:
        if self._ending:
            return
        self._in_request = self._continue_due = False
        parser = self._parser
        if parser.should_upgrade():
            return
        close = self._server.stopping or not parser.should_keep_alive()
        if self._discarding:
            self._end_discarding(close)
            return
        body = self._body
        request = self._request(body[0] if len(body) == 1 else b"".join(body))  # type: ignore[arg-type]  # bytes
        self._body = _NO_BODY
        if self._counted:
            self._drop_body()
        if close:
            self._ending = True
        if self._behind:
            self._queue.append((request, close))
        else:
            self._hand_over(request, close)

    def _request(self, body: bytes) -> HttpRequest:
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode("latin-1")
        return HttpRequest(method, path, query, self._headers, body, self._peer, self.scheme)

    # -- answers -------------------------------------------------------------------

    def _hand_over(self, request: HttpRequest, close: bool) -> None:
        """Let the handler have a request."""
        exchange = Exchange(self, close, request.method == "HEAD")
        self._exchanges.append(exchange)
        if len(self._exchanges) >= MAX_PIPELINED:
            self._behind = True
        try:
            self._server.handler(request, exchange)
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            exchange.respond(plain(500, "Something of ours failed; the log says what."))

    def flush(self) -> None:
        """Send what is answered, in the order of the requests."""
        exchanges = self._exchanges
        transport = self._transport
        if transport.is_closing():
            return
        close = False
        while exchanges and not self._full:
            data = exchanges[0].data
            if data is None:
                break
            exchange = exchanges.popleft()
            transport.write(data)
            if exchange.close:
                close = True
                break
        if self._full:
            waiting = sum(len(each.data) for each in exchanges if each.data is not None)
            self._server.unsent.count(self, transport.get_write_buffer_size() + waiting)
        stops = self._server.stopping and not self._in_request
        if close or (not exchanges and (stops or self._is_over())):
            self._close()
        elif (self._behind or self._ending or self._continue_due) and not self._going_on:
            # Not at once: whoever answers is in the middle of something, and a handler would be called within it.
            self._going_on = True
            self._server.loop.call_soon(self._go_on)

    def _is_over(self) -> bool:
        """True if no request will follow those that were handed over."""
        return self._ending and not self._queue and not self._held

    def _go_on(self) -> None:
        """Hand over what had to wait, as far as there is room for it now."""
        try:
            while not self._transport.is_closing():
                if self._full or len(self._exchanges) >= MAX_PIPELINED:
                    self._behind = True
                    break
                if self._queue:
                    request, close = self._queue.popleft()
                    if isinstance(request, HttpRequest):
                        self._hand_over(request, close)
                    else:
                        self._answer_refused(request, close)
                elif self._held:
                    self._behind = False
                    self._began = self._server.loop.time()  # what it waited is not the client's delay
                    data = bytes(self._held[:_SLICE])
                    del self._held[:_SLICE]
                    self.data_received(data)
                else:
                    self._behind = False
                    break
        finally:
            self._going_on = False
        if self._transport.is_closing():
            return
        self._set_reading()
        if self.said_all and not self._held:
            self._ending = True
            self._in_request = self._discarding = False
            self._drop_body()
        if self._abandoned():
            self._forget()
            self._transport.close()
        elif self._exchanges:
            pass
        elif self._is_over():
            self._close()
        elif self._continue_due and not self._behind:
            self._continue_due = False
            self._transport.write(_CONTINUE)

    def _close(self) -> None:
        if self._discarding:
            return  # its client still sends, and would meet a reset; the end of that closes
        if self._lingering and self._transport.can_write_eof():
            self._transport.write_eof()
            self._server.loop.call_later(LINGER_SECONDS, self._transport.abort)
        else:
            self._transport.close()

    def _refuse(self, answer: HttpResponse) -> None:
        """Answer a request that cannot be taken, after those before it, and close."""
        if not self._discarding:
            refused = self._server.refused
            refused[answer.status] = refused.get(answer.status, 0) + 1
        self._ending = self._lingering = True
        self._in_request = False
        self._drop_body()
        self._drop_held()
        if self._discarding:
            self._end_discarding(close=True)  # it has its answer
        elif self._behind:
            self._queue.append((answer, True))
        else:
            self._answer_refused(answer, close=True)

    def _refuse_tls(self) -> None:
        """Tell a client that speaks TLS, in its own words, that nobody does here."""
        self._server.tls_offered.add()
        self._ending = True
        self._transport.write(REFUSED)
        self._transport.close()

    def _answer_refused(self, answer: HttpResponse, close: bool) -> None:
        exchange = Exchange(self, close, head=False)
        self._exchanges.append(exchange)
        exchange.respond(answer)

    @property
    def waiting(self) -> bool:
        """True if an answer is due."""
        return bool(self._exchanges)

    def check_age(self, now: float) -> None:
        """Close a connection that is idle, or whose request does not come to an end."""
        limits = self._server.limits
        if self._transport.is_closing():
            # As soon as its client has taken the last answer; but one that takes nothing has its time too.
            if now - self.active > limits.idle_seconds:
                self._transport.abort()
            return
        if (self._full or not (self._exchanges or self._in_request)) and now - self.active > limits.idle_seconds:
            # Not close(): that would wait until the client has taken what it was sent.
            self._transport.abort()
        elif self._in_request and now - self._began > limits.request_seconds and not self._behind:
            self._refuse(plain(408, "The request did not come to an end in time."))

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
            self._refuse(plain(503, "The server is shutting down; please retry."))
        else:
            self._transport.abort()

    def abort(self) -> None:
        self._transport.abort()


class HttpServer:
    """``handler`` is a plain function, called on the event loop with every whole request.

    ``reading_bytes``: what is counted of bodies that have come in part; beyond ``max_reading_bytes`` the next is
    refused by ``door`` and counted in ``throttled``. ``tls``: with it the port speaks TLS; clients that try it without
    are counted in ``tls_offered``.
    """

    def __init__(
        self,
        handler: Handler,
        max_body_bytes: int = 8 << 20,
        limits: Limits | None = None,
        max_reading_bytes: int = 256 << 20,
        door: Door | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits or Limits()
        self.unsent = Unsent(self.limits.unsent_bytes)
        self.turned_away = Refusals(
            f"Connections are turned away: {self.limits.most} are open (max_connections)",
            log,
            lambda: self.loop.time(),
        )
        self.door: Door = door or PlainDoor()
        self.max_body_bytes = max_body_bytes
        self.max_reading_bytes = max_reading_bytes
        self.max_long_bytes = max_reading_bytes - max_reading_bytes // _RESERVE
        self.reading_bytes = 0
        self.throttled = Refusals(
            f"Requests are refused: bodies that have come in part fill {max_reading_bytes} bytes (max_reading_bytes)",
            log,
            lambda: self.loop.time(),
        )
        self.tls = tls
        self.tls_offered = Refusals(OFFERED, log, lambda: self.loop.time())
        self.connections: set[_Connection] = set()
        self.refused: dict[int, int] = {}
        """Requests that reached no handler, by the status that they were answered with."""
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
            self._listeners.append(await self.loop.create_server(self._arrived, sock=each, backlog=BACKLOG))
        self._look_round()

    def _arrived(self) -> asyncio.Protocol:
        connection = _Connection(self)
        return connection if self.tls is None else Channel(self.tls, connection)

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

    def _look_round(self, rest: list[_Connection] | None = None) -> None:
        """Look at the age of every connection, a few at a time: tens of thousands would hold up the others."""
        if rest is None:
            rest = list(self.connections)
        now = self.loop.time()
        for _ in range(min(_LOOKED_AT, len(rest))):
            rest.pop().check_age(now)
        if rest:
            self._timer = self.loop.call_later(0, self._look_round, rest)
        else:
            pause = min(5.0, self.limits.idle_seconds / 4, self.limits.request_seconds / 4)
            self._timer = self.loop.call_later(pause, self._look_round)

"""The targets: what is fed, and what is promised."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote_from_bytes

from hypothesis import strategies as st

from fuzz.wire import Broken, Loop, Wire, statuses
from trunkline.http.server import MAX_HEADER_BYTES, MAX_HELD_BYTES, Exchange, HttpServer
from trunkline.http.tls import OFFERED
from trunkline.kernel.errors import ServiceError
from trunkline.node import Node
from trunkline.services.sqs.receipts import Receipt, Receipts
from trunkline.settings import made
from trunkline.wire import sigv4
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.protocols import codec
from trunkline.wire.shapes import ServiceModel

MODEL = ServiceModel.load("sqs")
OPERATIONS = sorted(MODEL.operations)
LIMIT = 4_096
STEP_SECONDS = 0.1
"""Of processor time for one step of the event loop, on a machine where others work too: see ``whole``."""


@dataclass(frozen=True, slots=True)
class Target:
    """``check`` raises if a promise is broken; what it returns names what happened, so that outcomes can be counted."""

    check: Callable[[bytes], str]
    inputs: st.SearchStrategy[bytes]
    guided: bool = False


class _Watch(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # What is not enforced, and who speaks TLS here: meant for users.
        if record.name != "trunkline.services.sqs.notices" and record.getMessage() != OFFERED:
            self.seen.append(self.format(record))


_watch = _Watch()


@contextmanager
def nothing_logged() -> Iterator[None]:
    _watch.seen.clear()
    loggers = [logging.getLogger(name) for name in ("trunkline", "asyncio")]
    for each in loggers:
        each.addHandler(_watch)
    try:
        yield
    finally:
        for each in loggers:
            each.removeHandler(_watch)
    if _watch.seen:
        raise Broken(f"it was logged: {_watch.seen[0]}")


# -- HTTP: the same requests come out however the bytes come in ------------------------


def _pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """seed 0: whole; 1: byte by byte; else cut anywhere."""
    if seed == 1:
        yield from (data[at : at + 1] for at in range(len(data)))
        return
    chance = random.Random(seed)
    at = 0
    while at < len(data):
        size = len(data) if seed == 0 else chance.choice((1, 2, 3, 7, 30, 300))
        yield data[at : at + size]
        at += size


def _conversation(data: bytes, seed: int, late: bool) -> tuple[list[Any], list[int], bool]:
    """(what the handler was given, statuses of the answers, was it closed) when ``data`` comes in pieces."""
    seen: list[HttpRequest] = []
    waiting: list[Exchange] = []

    def handler(request: HttpRequest, exchange: Exchange) -> None:
        seen.append(request)
        if late:
            waiting.append(exchange)
        else:
            exchange.respond(HttpResponse(200, (), b"ok"))

    server = HttpServer(handler, max_body_bytes=LIMIT)
    loop = Loop()
    server.loop = loop  # type: ignore[assignment]
    wire = Wire(server)
    connection = wire.connection
    for piece in _pieces(data, seed):
        wire.send(piece)
        if sum(map(len, connection._body)) > LIMIT or len(connection._held) > MAX_HELD_BYTES + len(piece):
            raise Broken("more of a body, or behind one, is kept than is allowed")
        if sum(len(name) + len(value) for name, value in connection._headers.items()) > 2 * MAX_HEADER_BYTES:
            raise Broken("more of a head is kept than is allowed")
        if not late:
            loop.run()
    chance = random.Random(seed)
    while waiting:
        waiting.pop(chance.randrange(len(waiting))).respond(HttpResponse(200, (), b"ok"))
        loop.run()
    loop.run()
    found = statuses(bytes(wire.transport.out), [request.method == "HEAD" for request in seen])
    closed = wire.transport.closed or wire.transport.ended
    wire.lose()
    if server.connections or server.unsent.total:
        raise Broken("a connection that is lost is still known")
    return [(r.method, r.path, r.query, r.headers, r.body) for r in seen], found, closed


def http_stream(data: bytes) -> str:
    """Requests are the same in any chunking; each is answered once; what is no request is refused once and closes."""
    with nothing_logged():
        first = _conversation(data, 0, late=False)
        for seed, late in ((1, False), (2 + len(data), False), (3 + len(data), True)):
            if seed == 1 and len(data) > 2_000:
                continue
            other = _conversation(data, seed, late)
            if other != first:
                raise Broken(f"cut in other places (seed {seed}) it is understood otherwise: {first} and {other}")
    requests, found, closed = first
    refused = found[len(requests) :]
    if found[: len(requests)] != [200] * len(requests) or len(refused) > 1 or (refused and not closed):
        raise Broken(f"{len(requests)} requests have the answers {found}, closed: {closed}")
    if refused and refused[0] not in (400, 413, 417, 431, 501, 505):
        raise Broken(f"the refusal is {refused[0]}")
    return f"{min(len(requests), 3)} {refused} {closed}"


TOKENS = [
    b"GET ", b"POST ", b"HEAD ", b"CONNECT ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"/", b"/a?b=c", b"http://h:1/x",
    b"*", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host: h\r\n",
    b"Host: \r\n", b"Content-Length: 3\r\n", b"Content-Length: 03\r\n", b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding:\tchunked \r\n",
    b"abc", b"3\r\nabc\r\n", b"3;x=y\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"ffffffffffffffff\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n", b"Expect: x\r\n", b" folded\r\n", b"\x00", b":", b"\xff", b"\x16\x03\x01",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", b"A: b\r\n" * 50, b"a" * 5_000,
]  # fmt: skip
FIELDS = [token for token in TOKENS if token.endswith(b"\r\n") and b": " in token]
_heads = st.tuples(
    st.sampled_from([b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"CONNECT "]),
    st.sampled_from([b"/", b"/a?b=c", b"http://h:1/x", b"http://h", b"*", b"//", b"/%00", b"ftp://h/"]),
    st.sampled_from([b" HTTP/1.1\r\n"] * 6 + [b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"\r\n"]),
    st.sampled_from([b"Host: h\r\n"] * 6 + [b"", b"Host: a b\r\n", b"host:h\r\nHost: h\r\n"]),
    st.lists(st.sampled_from(FIELDS), max_size=3).map(b"".join),
    st.just(b"\r\n"),
    st.sampled_from([b"", b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"x" * 5_000]),
).map(b"".join)
streams = st.lists(_heads, max_size=5).map(b"".join) | st.lists(
    _heads | st.sampled_from(TOKENS) | st.binary(max_size=12), max_size=14
).map(b"".join)


# -- chunked bodies, beside a reader of a few lines ------------------------------------


def _reference(data: bytes) -> tuple[str, bytes]:
    """("whole" | "partial" | "wrong", the body) of a chunked body without trailers, by RFC 9112, 7.1."""
    body = b""
    while True:
        line, end, rest = data.partition(b"\r\n")
        if not end:
            return "partial", body
        digits, semicolon, extension = line.partition(b";")
        if not digits or digits.strip(b"0123456789abcdefABCDEF"):
            return "wrong", body
        size = int(digits, 16)
        if semicolon and not extension:
            return "unsure", body  # a parser may be stricter than we are: see chunked
        if semicolon and any(byte < 0x21 or byte > 0x7E for byte in extension):
            return "unsure", body
        if size == 0:
            return ("whole" if rest.startswith(b"\r\n") else "unsure"), body
        if size > LIMIT or len(rest) < size + 2:
            return "partial", body
        if rest[size : size + 2] != b"\r\n":
            return "wrong", body
        body, data = body + rest[:size], rest[size + 2 :]


def chunked(data: bytes) -> str:
    """A chunked body is what it says, or refused; nobody else's bytes are taken for it."""
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    with nothing_logged():
        requests, found, _ = _conversation(head + data, len(data), late=False)
    verdict, body = _reference(data)
    taken = [request[4] for request in requests[:1]]
    if verdict == "whole" and taken != [body] and not (found and found[0] in (400, 413)):
        raise Broken(f"the body {body!r} was taken for {taken}")
    if verdict == "whole" and not taken and b";" not in data:
        raise Broken(f"a body that is right was refused: {found}")
    if verdict in ("wrong", "partial") and taken:
        raise Broken(f"a body that is {verdict} was taken: {taken}")
    return f"{verdict} {bool(taken)}"


chunk = st.binary(max_size=40).map(lambda piece: b"%x\r\n%s\r\n" % (len(piece), piece))
oddities = st.sampled_from([b"0\r\n\r\n", b"0\r\n",
    b"\r\n", b"\n", b"3\r\nabc\r\n", b"03;a=b\r\nabc\r\n", b"3 \r\nabc\r\n",
    b"-1\r\n", b"+3\r\nabc\r\n", b"0x3\r\nabc\r\n", b"3;\r\nabc\r\n", b"g\r\n", b"3\r\nabcd\r\n", b"3\nabc\n",
    b";", b"ffffffff\r\n",
    b"0\r\nA: b\r\n\r\n"])  # fmt: skip
chunks = st.lists(chunk | oddities | st.binary(max_size=6), max_size=8).map(b"".join)


# -- codecs ----------------------------------------------------------------------------


def _error(error: ServiceError, protocol: str) -> str:
    response = codec(MODEL, protocol).encode_error(error, "id")
    if not 400 <= response.status < 500 or not error.name:
        raise Broken(f"the error {error.name} has the status {response.status}")
    return f"{error.name} {response.status}"


def _operation(data: bytes) -> tuple[str, bytes]:
    return (OPERATIONS[data[0] % len(OPERATIONS)], data[1:]) if data else (OPERATIONS[0], b"")


def _fits(reference: dict[str, Any], value: Any) -> bool:
    shape = MODEL.shape(reference)
    kind = shape["type"]
    if kind == "structure":
        members = shape.get("members", {})
        return isinstance(value, dict) and all(n in members and _fits(members[n], v) for n, v in value.items())
    if kind == "list":
        return isinstance(value, list) and all(_fits(shape["member"], each) for each in value)
    if kind == "map":
        return isinstance(value, dict) and all(
            isinstance(k, str) and _fits(shape["value"], v) for k, v in value.items()
        )
    types = {"integer": int, "long": int, "boolean": bool, "blob": bytes, "string": str}
    return type(value) is types.get(kind, type(value))


def _written(reference: dict[str, Any], value: Any) -> Any:
    """A decoded value as JSON has it."""
    shape = MODEL.shape(reference)
    kind = shape["type"]
    if kind == "structure":
        return {name: _written(shape["members"][name], item) for name, item in value.items()}
    if kind == "list":
        return [_written(shape["member"], item) for item in value]
    if kind == "map":
        return {name: _written(shape["value"], item) for name, item in value.items()}
    if kind == "blob":
        return b64encode(value).decode()
    return value


def _decoded(protocol: str, data: bytes) -> str:
    operation, body = _operation(data)
    headers = {"content-type": "application/x-www-form-urlencoded"} if protocol == "query" else {}
    try:
        found = codec(MODEL, protocol).decode(operation, HttpRequest("POST", "/", "", headers, body))
    except ServiceError as error:
        return _error(error, protocol)
    reference = MODEL.operations[operation]["input"]
    if not _fits(reference, found):
        raise Broken(f"{operation}: what was read does not fit the model: {found!r}")
    again = json.dumps(_written(reference, found)).encode()
    if codec(MODEL, "json").decode(operation, HttpRequest("POST", "/", "", {}, again)) != found:
        raise Broken(f"{operation}: written and read again it is not the same: {found!r}")
    return f"{operation} {len(found)}"


def json_body(data: bytes) -> str:
    """Any bytes are an input that fits the model and survives being written, or an error of AWS's below 500."""
    return _decoded("json", data)


def form(data: bytes) -> str:
    """The same of forms."""
    return _decoded("query", data)


ODD = [
    "",
    " ",
    "\0",
    "\ud800",
    "é",
    "\U0010ffff",
    "-1",
    "1e3",
    "9" * 40,
    "²",
    "true",
    "q",
    "q.fifo",
    "All",
    "NaN",
    "=",
    "&",
    "%",
]
SCALARS = st.sampled_from(ODD) | st.integers(-(2**70), 2**70) | st.floats() | st.none() | st.booleans()
WORDS = sorted({
    name
    for shape in MODEL.shapes.values()
    for name in (*shape.get("members", ()), *shape.get("enum", ()))
})  # fmt: skip


@cache
def _values(shape_name: str, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a shape, and now and then others."""
    shape = MODEL.shapes[shape_name]
    kind = shape["type"]
    odd = SCALARS | st.just([]) | st.just({}) | st.just([[{}]])
    if kind == "structure" and depth < 5:
        members = {n: _values(r["shape"], depth + 1) for n, r in shape.get("members", {}).items()}
        fits: st.SearchStrategy[Any] = st.fixed_dictionaries({}, optional={**members, "Unknown": odd})
    elif kind == "list" and depth < 5:
        fits = st.lists(_values(shape["member"]["shape"], depth + 1), max_size=3)
    elif kind == "map" and depth < 5:
        fits = st.dictionaries(st.sampled_from([*WORDS, *ODD]), _values(shape["value"]["shape"], depth + 1), max_size=3)
    elif kind in ("integer", "long"):
        fits = st.integers(-1, 43_201)
    elif kind == "boolean":
        fits = st.booleans()
    else:
        fits = st.sampled_from([*ODD, "QUFB", "String", "Number", "Binary", "a"])
    return fits if depth == 0 else st.integers(0, 9).flatmap(lambda n: fits if n else odd)


def _mutated(data: bytes, cut: tuple[int, bytes]) -> bytes:
    at = cut[0] % (len(data) + 1)
    return data[:at] + cut[1] + data[at + len(cut[1]) // 2 :] if cut[1] else data


def _json_of(index: int) -> st.SearchStrategy[bytes]:
    shape = MODEL.operations[OPERATIONS[index]]["input"]["shape"]
    cut = st.tuples(
        st.integers(0, 10_000), st.sampled_from([b"", b"", b"", b"\xff", b'"', b"\\", b"[" * 2_000, b"1" * 50])
    )
    return st.tuples(_values(shape), cut).map(
        lambda both: bytes((index,)) + _mutated(json.dumps(both[0]).encode("utf-8", "surrogatepass"), both[1])
    )


def _form_of(index: int) -> st.SearchStrategy[bytes]:
    part = st.sampled_from([*WORDS, "1", "2", "0", "999999999", "Name", "Value", "Key", "entry", "member", ""])
    names = st.lists(part,
                     min_size=1, max_size=5).map(".".join)  # fmt: skip
    text = st.sampled_from(ODD).map(lambda t: quote_from_bytes(t.encode("utf-8", "surrogatepass")))
    raw = text | st.sampled_from(["%", "%4", "%FF", "+", "%41" * 40, "%D0%B6" * 20])
    pair = st.tuples(names, raw).map(lambda both: f"{both[0]}={both[1]}")
    return st.lists(pair, max_size=10).map(lambda pairs: bytes((index,)) + "&".join(pairs).encode())


INDICES = st.integers(0, len(OPERATIONS) - 1)
jsons = INDICES.flatmap(_json_of) | st.binary(max_size=60)
forms = INDICES.flatmap(_form_of) | st.binary(max_size=60)


# -- handles and scopes ----------------------------------------------------------------

_RECEIPTS = Receipts(b"a secret of the fuzzer's")
_MADE = _RECEIPTS.handle(7, 1, 2, 3, 4)


def handle(data: bytes) -> str:
    """Only what we made is read; nothing raises."""
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    found = _RECEIPTS.read(text)
    if found is not None and found != Receipt(7, 1, 2, 3, 4):
        raise Broken(f"a handle that we did not make was read: {found}")
    return str(found is not None)


def scope(data: bytes) -> str:
    """Any Authorization header and any query name a credential or none; nothing raises."""
    text = data.decode("latin-1")
    found = sigv4.parse(HttpRequest("GET", "/", "", {"authorization": text}, b""))
    other = sigv4.parse(HttpRequest("GET", "/", text, {}, b""))
    for each in (found, other):
        if each is not None and not all((each.access_key, each.date, each.region, each.service)):
            raise Broken(f"a credential has empty parts: {each}")
        if each is not None:
            account = sigv4.account_of(each.access_key, "000000000000")
            if len(account) != 12 or not account.isdigit():
                raise Broken(f"the account of {each.access_key!r} is {account!r}")
    return f"{found is not None} {other is not None}"


handles = st.builds(
    lambda at, by: (_MADE[:at] + by + _MADE[at + len(by) :]).encode("utf-8", "surrogatepass"),
    st.integers(0, len(_MADE)), st.sampled_from(["", "A", "=", "-", "\0", "é", "\ud800", "AAAA"]),
) | st.binary(max_size=80)  # fmt: skip
_parts = st.sampled_from(
    [
        "test",
        "123456789012",
        "LSIAQAAAAAAB",
        "LKIA" + "7" * 12,
        "AKIAé",
        "",
        "a/b",
        "20260101",
        "us-east-1",
        "sqs",
        "%2F",
    ]
)
_scope = st.tuples(_parts, _parts, _parts, _parts, st.sampled_from(["aws4_request"] * 4 + ["aws4_reques", ""])).map(
    "/".join
)
scopes = st.builds(
    lambda before, text, after: (before + text + after).encode("utf-8"),
    st.sampled_from(["AWS4-HMAC-SHA256 Credential=", "Credential=", "X-Amz-Credential=", "a=b&X-Amz-Credential=", ""]),
    _scope, st.sampled_from(["", ", SignedHeaders=host", ",,", "&", "%FF", " "]),
) | st.binary(max_size=60)  # fmt: skip


# -- the whole server ------------------------------------------------------------------


class _Whole:
    """A node in memory on a loop of its own, with a connection for each input."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.node = Node(made({"memory": True, "port": 0}))
        self.loop.run_until_complete(self.node.start())
        self.heads: list[bool] = []
        """Of the requests that reached the handler, which are HEAD: their answers have a length and no body."""
        self._handle = self.node.server.handler
        self.node.server.handler = self._noted
        for name, attributes in (("q", {}), ("q.fifo", {"FifoQueue": "true"})):
            body = json.dumps({"QueueName": name, "Attributes": attributes}).encode()
            self.loop.run_until_complete(self._run(_request("CreateQueue", body), 1))

    def _noted(self, request: HttpRequest, exchange: Exchange) -> None:
        self.heads.append(request.method == "HEAD")
        self._handle(request, exchange)

    def send(self, data: bytes) -> tuple[bytes, float]:
        self.heads.clear()
        return self.loop.run_until_complete(self._run(data, 200))

    async def _run(self, data: bytes, turns: int) -> tuple[bytes, float]:
        """What came back, and the longest step in seconds of processor time."""
        wire = Wire(self.node.server)
        begun = time.thread_time()
        wire.send(data)
        longest = time.thread_time() - begun
        for _ in range(turns):
            if not wire.connection._exchanges and not wire.connection._queue and not wire.connection._going_on:
                break
            begun = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - begun)
        wire.lose()  # who waits for a message is gone
        await asyncio.sleep(0)
        return bytes(wire.transport.out), longest


@cache
def _whole() -> _Whole:
    return _Whole()


def whole(data: bytes) -> str:
    """Whatever is sent: no 500, nothing logged, no long step of the event loop, and the server answers the next."""
    server = _whole()
    with nothing_logged():
        out, longest = server.send(data)
        if longest > STEP_SECONDS:
            _, longest = server.send(data)  # once more: another process may have had the caches
        if longest > STEP_SECONDS:
            raise Broken(f"a step of the event loop took {longest:.3f} s of processor time")
        answered = statuses(out, server.heads)
        if any(status >= 500 and status not in (501, 505) for status in answered):
            raise Broken(f"it was answered {answered}: {out[:500]!r}")
        if len(server.node.server.connections) != 0:
            raise Broken("a connection is still known")
    return str(answered[:3])


def _request(operation: str, body: bytes) -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: AmazonSQS.{operation}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _form_request(operation: str, body: bytes) -> bytes:
    body = f"Action={operation}&QueueUrl=q&".encode() + body
    head = f"POST /000000000000/q HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + body


def _asked(data: bytes) -> bytes:
    operation, body = _operation(data)
    if body[:1] == b"{":
        return _request(operation, body.replace(b'"QueueUrl": "a"', b'"QueueUrl": "q"'))
    return _form_request(operation, body)


wholes = st.lists((jsons | forms).map(_asked), min_size=1, max_size=3).map(b"".join) | streams


TARGETS = {
    "http": Target(http_stream, streams, guided=True),
    "chunked": Target(chunked, chunks, guided=True),
    "json": Target(json_body, jsons),
    "form": Target(form, forms, guided=True),
    "handle": Target(handle, handles),
    "scope": Target(scope, scopes, guided=True),
    "whole": Target(whole, wholes),
}

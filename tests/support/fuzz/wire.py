"""A connection without a socket: bytes go into the protocol, and what it writes is kept and read strictly."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from trunkline.http.server import HttpServer, _Connection
from trunkline.http.tls import REFUSED


class Broken(AssertionError):
    """A promise is broken; the text says which."""


class Loop:
    """The event loop as far as a connection uses it, run by hand."""

    def __init__(self) -> None:
        self._due: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def time(self) -> float:
        return 0.0

    def call_soon(self, action: Callable[..., Any], *given: Any) -> None:
        self._due.append((action, given))

    def call_later(self, seconds: float, action: Callable[..., Any], *given: Any) -> None:
        """What is due later (the end of lingering) is nothing that a fuzzer waits for."""

    def run(self) -> None:
        for _ in range(100_000):
            if not self._due:
                return
            action, given = self._due.pop(0)
            action(*given)
        raise Broken("it goes on without an end")


class Transport:
    """Keeps what is written. ``closed``: the server closed, or said that it writes no more."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.closed = self.ended = self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4566) if name in ("peername", "sockname") else default

    def write(self, data: bytes) -> None:
        if self.ended or self.closed:
            raise Broken("it wrote after it had closed")
        self.out += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Wire:
    """One connection to ``server``, whose loop is a Loop or a real one."""

    def __init__(self, server: HttpServer) -> None:
        self.transport = Transport()
        self.connection = _Connection(server)
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        if not (self.transport.closed or self.transport.ended):
            self.connection.data_received(data)

    def lose(self) -> None:
        self.connection.connection_lost(None)


_HEAD = re.compile(
    rb"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Za-z' -]+\r\n((?:[!#-'*+.0-9A-Z^_`a-z|~-]+: [\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
_LENGTH = re.compile(rb"^Content-Length: ([0-9]+)\r$", re.MULTILINE)


def statuses(out: bytes, heads: list[bool]) -> list[int]:
    """The statuses of the answers that ``out`` is, interim ones left out. Broken if it is not HTTP to the last byte.

    ``heads``: for each request whether it was HEAD, whose answer has no body.
    """
    found: list[int] = []
    at = 0
    if out == REFUSED:
        return found  # the words for a client that speaks TLS
    while at < len(out):
        head = _HEAD.match(out, at)
        if head is None:
            raise Broken(f"what was answered is not HTTP: {out[at : at + 80]!r}")
        at = head.end()
        if head[1] == b"100":
            continue
        lengths = _LENGTH.findall(head[2])
        if len(lengths) != 1:
            raise Broken("an answer has no length, or two")
        bare = len(found) < len(heads) and heads[len(found)]
        at += 0 if bare else int(lengths[0])
        if at > len(out):
            raise Broken("an answer is shorter than it says")
        found.append(int(head[1]))
    return found

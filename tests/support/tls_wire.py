"""A client that speaks TLS by hand, over asyncio's streams: unlike asyncio's own it can say that it has said all (a
close_notify) and read on, stop reading the socket, and leave in the middle of anything."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from trunkline.certificates import Pair
from trunkline.selfmade import SelfMade


@cache
def pair() -> Pair:
    """A certificate for localhost and 127.0.0.1, the same for all tests of a process."""
    directory = tempfile.TemporaryDirectory(prefix="trunkline-tests-")
    made = SelfMade(Path(directory.name), ("localhost", "127.0.0.1"), time.time).load()
    _kept.append(directory)
    return made


_kept: list[Any] = []
"""Directories that go when the process ends."""


def trusting(file: Path) -> ssl.SSLContext:
    """For a client that takes the certificate in ``file``."""
    return ssl.create_default_context(cafile=str(file))


class TlsWriter:
    """What asyncio.StreamWriter is to tests, with TLS."""

    def __init__(self, raw: asyncio.StreamWriter, secure: ssl.SSLObject, outgoing: ssl.MemoryBIO) -> None:
        self._raw = raw
        self._secure = secure
        self._outgoing = outgoing
        self.transport = raw.transport
        self.pump: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        sent = 0
        while sent < len(data):
            sent += self._secure.write(memoryview(data)[sent:])
        self._raw.write(self._outgoing.read())

    async def drain(self) -> None:
        await self._raw.drain()

    def write_eof(self) -> None:
        """Say that all is said, by close_notify alone: the socket stays open."""
        with suppress(ssl.SSLError):
            self._secure.unwrap()
        self._raw.write(self._outgoing.read())

    def close(self) -> None:
        self._raw.close()

    def get_extra_info(self, name: str) -> Any:
        return self._raw.get_extra_info(name)


async def connect_tls(
    port: int, context: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, TlsWriter, ssl.SSLObject]:
    """A connection whose handshake is through. ``context``: one that trusts ``pair()`` unless said otherwise."""
    raw_reader, raw_writer = await asyncio.open_connection("127.0.0.1", port)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secure = (context or trusting(pair().file)).wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        while True:
            try:
                secure.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw_writer.write(outgoing.read())
                came = await raw_reader.read(65_536)
                if not came:
                    raise ConnectionResetError("the server left during the handshake") from None
                incoming.write(came)
            finally:
                if outgoing.pending:
                    raw_writer.write(outgoing.read())
    except BaseException:
        raw_writer.close()
        raise
    reader, writer = asyncio.StreamReader(), TlsWriter(raw_writer, secure, outgoing)
    writer.pump = asyncio.ensure_future(_pump(raw_reader, reader, secure, incoming))
    return reader, writer, secure


async def _pump(raw: asyncio.StreamReader, reader: asyncio.StreamReader, secure: ssl.SSLObject, incoming: Any) -> None:
    try:
        while True:
            came = await raw.read(65_536)
            if not came:
                # An end without close_notify is one that somebody on the way may have made.
                reader.set_exception(ConnectionResetError("the stream ended without close_notify"))
                return
            incoming.write(came)
            try:
                while True:
                    data = secure.read(65_536)
                    if not data:
                        reader.feed_eof()
                        return
                    reader.feed_data(data)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                reader.feed_eof()
                return
    except (OSError, ssl.SSLError) as error:
        reader.set_exception(error)

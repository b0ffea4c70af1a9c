"""The limits that Trunkline is measured against: the same HTTP layer and the same writer, with no service behind them.

    python benchmarks/bare.py noop            answers a fixed SendMessage answer
    python benchmarks/bare.py durable DIR     writes one 300-byte row for each request, and answers when it is fsynced

Prints ``PORT n`` when it listens; ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from pathlib import Path

import uvloop

from trunkline.http.server import Exchange, HttpServer
from trunkline.runtime.commits import Commits
from trunkline.storage.sqlite import SqliteStore
from trunkline.storage.store import SHARDS, Part
from trunkline.wire.message import HttpRequest, HttpResponse

ANSWER = HttpResponse(
    200,
    (("x-amzn-RequestId", "0" * 36), ("Content-Type", "application/x-amz-json-1.0")),
    b'{"MessageId":"00000000-0000-4000-8000-000000000000","MD5OfMessageBody":"' + b"0" * 32 + b'"}',
)
PARTITION = 1


def noop(request: HttpRequest, exchange: Exchange) -> None:
    exchange.respond(ANSWER)


class Durable:
    """One row for each request."""

    def __init__(self, commits: Commits, epoch: int) -> None:
        self._commits = commits
        self._epoch = epoch
        self._number = 0

    def __call__(self, request: HttpRequest, exchange: Exchange) -> None:
        self._number += 1
        row = (b"\x40" + self._number.to_bytes(8, "big"), b"x" * 300)
        self._commits.enqueue(
            [Part(PARTITION, self._epoch, [row])],
            lambda error: exchange.respond(ANSWER if error is None else HttpResponse(503, (), b"")),
        )


async def serve(kind: str, data: str) -> None:
    if kind == "durable":
        store = SqliteStore(Path(data))
        await store.open()
        epochs = await store.lease_all(range(SHARDS))
        commits = Commits(store)
        commits.start()
        server = HttpServer(Durable(commits, epochs[PARTITION % SHARDS]))
    else:
        server = HttpServer(noop)
    port = await server.start("127.0.0.1", 0)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(0.0002)
    print(f"PORT {port}", flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await server.stop(1)
    if kind == "durable":
        await commits.stop()
        await store.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))

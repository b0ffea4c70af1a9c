"""A real server in a process of its own, and real clients."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Server


@pytest.fixture(scope="session")
def shared() -> Iterator[Server]:
    """One in-memory server for tests that use queues of their own."""
    server = Server("--memory").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def _still() -> Iterator[Server]:
    server = Server("--memory").start()
    yield server
    server.stop()


@pytest.fixture
def frozen(_still: Server) -> Server:
    """An in-memory server with nothing in it, whose clock stands still."""
    status, answer = _still.http("POST", "/_trunkline/reset")
    assert status == 200, answer
    _still.clock("freeze")
    return _still


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starts servers with options of the test's own; all are stopped after it."""
    servers: list[Server] = []

    def begin(*options: str) -> Server:
        servers.append(Server(*options).start())
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Server]:
    """A server with a data directory, to be stopped, killed and started again."""
    server = Server("--data", str(tmp_path / "data")).start()
    yield server
    if server.process.poll() is None:
        server.stop()


@pytest.fixture
def sqs(shared: Server) -> Any:
    return shared.client()


@pytest.fixture
def queue(sqs: Any, request: pytest.FixtureRequest) -> str:
    """The URL of an empty standard queue named after the test."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", request.node.name)[:60] + "-" + uuid.uuid4().hex[:8]
    url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
    return url

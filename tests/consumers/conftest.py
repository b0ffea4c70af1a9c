"""Servers for clients that run in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Server


@pytest.fixture(params=["memory", "durable"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One with nothing in it, in memory and with a data directory."""
    running = Server("--memory") if request.param == "memory" else Server("--data", str(tmp_path / "data"))
    running.start()
    yield running
    running.stop()

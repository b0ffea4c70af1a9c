"""The Go SDK v2."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from foreign import INSTALLED, failures, outcomes, pointed
from servers import Server
from tools import installed, tool

PROGRAM = Path(__file__).with_name("go")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    go = tool("go")
    installed(INSTALLED / "go" / ".installed", by="tests/consumers/install.sh go")
    binary = tmp_path_factory.mktemp("go") / "consumers"
    subprocess.run([go, "build", "-o", str(binary), "."], cwd=PROGRAM, check=True, timeout=120)
    return str(binary)


def test_the_go_sdk_is_served(program: str, server: Server) -> None:
    assert failures(outcomes([program, server.url], **pointed(server.url))) == ""

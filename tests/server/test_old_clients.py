"""botocore 1.29.0, which speaks the query protocol, drives the server from a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tools import installed

SCRIPT = Path(__file__).with_name("old_client.py")
PACKAGES = Path(os.environ.get("TRUNKLINE_OLD_CLIENTS") or Path(__file__).parents[2] / ".cache" / "old-clients")

SCENARIOS = [line[4:].split("(")[0] for line in SCRIPT.read_text().splitlines() if line.startswith("def it_")]


@pytest.fixture(scope="module")
def outcomes(shared: Any) -> dict[str, str]:
    """What became of each scenario: nothing, or the error that it ended in."""
    installed(PACKAGES / "botocore", by="make test")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), shared.url],
        env={**environment, "PYTHONPATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_old_client_is_served(outcomes: dict[str, str], scenario: str) -> None:
    assert outcomes[scenario] == "", outcomes[scenario]


def test_every_operation_that_an_old_client_knows_was_called(outcomes: dict[str, str]) -> None:
    assert outcomes["operations never called"] == ""

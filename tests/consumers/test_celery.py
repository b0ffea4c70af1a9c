"""Celery over kombu's SQS transport, with workers in processes of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from foreign import INSTALLED, failures, outcomes
from servers import Server
from tools import installed

PROGRAM = Path(__file__).with_name("celery") / "scenarios.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def packages() -> str:
    return str(installed(INSTALLED / "celery" / ".installed", by="tests/consumers/install.sh celery").parent)


@pytest.mark.parametrize("server", ["durable"], indirect=True)
def test_celery_and_its_workers_are_served(packages: str, server: Server, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    found = outcomes([sys.executable, str(PROGRAM), server.url, str(results)], seconds=200, PYTHONPATH=packages)
    assert failures(found) == ""

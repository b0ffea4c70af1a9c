"""The JavaScript SDK v3, and sqs-consumer and sqs-producer over it."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign import failures, outcomes
from servers import Server
from tools import installed, tool

PROGRAMS = Path(__file__).with_name("js")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node() -> str:
    installed(PROGRAMS / "node_modules" / "@aws-sdk", by="tests/consumers/install.sh js")
    return tool("node")


def test_the_javascript_sdk_is_served(node: str, server: Server) -> None:
    assert failures(outcomes([node, str(PROGRAMS / "sdk.mjs"), server.url])) == ""


def test_sqs_consumer_and_sqs_producer_are_served(node: str, server: Server) -> None:
    assert failures(outcomes([node, str(PROGRAMS / "consumer.mjs"), server.url])) == ""

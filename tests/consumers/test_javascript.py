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


KEYS = """
[app]
aws_access_key_id = AKIAAPP
aws_secret_access_key = app/secret+
aws_account_id = 111122223333

[session]
aws_access_key_id = ASIAAPP
aws_secret_access_key = passing
aws_session_token = a/token+of==session
aws_account_id = 111122223333
"""


def test_the_javascript_sdk_signs_as_a_server_verifies(node: str, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.touch(0o600)
    file.write_text(KEYS)
    server = Server("--memory", "--auth", "verify", "--credentials", str(file)).start()
    keys = {"KEY": "AKIAAPP", "SECRET": "app/secret+", "ACCOUNT": "111122223333"}
    session = {"SESSION_KEY": "ASIAAPP", "SESSION_SECRET": "passing", "SESSION_TOKEN": "a/token+of==session"}
    try:
        command = [node, str(PROGRAMS / "signed.mjs"), server.url]
        assert failures(outcomes(command, **keys, **session)) == ""
    finally:
        server.stop()


def test_the_javascript_sdk_is_served(node: str, server: Server) -> None:
    assert failures(outcomes([node, str(PROGRAMS / "sdk.mjs"), server.url])) == ""


def test_sqs_consumer_and_sqs_producer_are_served(node: str, server: Server) -> None:
    assert failures(outcomes([node, str(PROGRAMS / "consumer.mjs"), server.url])) == ""

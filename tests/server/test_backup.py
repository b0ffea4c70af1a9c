"""Copies of a data directory, as docs/operations/running.md tells to make them."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Any


def bodies(server: Any) -> list[str]:
    """Of all messages, which stay visible."""
    found = server.client().receive_message(QueueUrl="kept", MaxNumberOfMessages=10, VisibilityTimeout=0)
    return sorted(message["Body"] for message in found.get("Messages", []))


def fill(server: Any) -> str:
    """Where the data lies, with three messages in it."""
    sqs = server.client()
    sqs.create_queue(QueueName="kept")
    for body in ("a", "b", "c"):
        sqs.send_message(QueueUrl="kept", MessageBody=body)
    data: str = server.options[server.options.index("--data") + 1]
    return data


def test_sqlites_own_backup_of_a_running_server_can_be_served(durable: Any, start: Any, tmp_path: Path) -> None:
    data = fill(durable)
    (tmp_path / "backup").mkdir(mode=0o700)
    source = sqlite3.connect(Path(data) / "trunkline.db")
    target = sqlite3.connect(tmp_path / "backup" / "trunkline.db")
    source.backup(target)
    source.close()
    target.close()
    durable.client().send_message(QueueUrl="kept", MessageBody="after the backup")
    assert bodies(start("--data", str(tmp_path / "backup"))) == ["a", "b", "c"]


def test_a_copy_of_the_directory_of_a_stopped_server_can_be_served(durable: Any, start: Any, tmp_path: Path) -> None:
    data = fill(durable)
    assert durable.stop() == 0
    shutil.copytree(data, tmp_path / "backup")
    assert bodies(start("--data", str(tmp_path / "backup"))) == ["a", "b", "c"]

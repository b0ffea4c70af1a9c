"""Copies of a data directory, as docs/operations/backup.md tells to make them."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest


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


def trunkline(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trunkline", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_what_a_killed_server_left_is_backed_up(durable: Any, start: Any, tmp_path: Path) -> None:
    data = fill(durable)
    durable.kill()
    file = str(tmp_path / "backup.db")
    assert trunkline("backup", "--data", data, file).returncode == 0
    assert trunkline("restore", "--data", str(tmp_path / "copy"), file).returncode == 0
    assert bodies(start("--data", str(tmp_path / "copy"))) == ["a", "b", "c"]


@pytest.mark.slow
def test_a_backup_under_load_holds_everything_acknowledged_before_it_began(
    durable: Any, start: Any, tmp_path: Path
) -> None:
    """Four clients send, receive and delete all the while; some three backups are made beside them."""
    data = durable.options[durable.options.index("--data") + 1]
    clients = [durable.client(max_pool_connections=60 + number) for number in range(4)]
    clients[0].create_queue(QueueName="kept")
    clients[0].create_queue(QueueName="passing")
    sent: dict[str, float] = {}
    tried: set[str] = set()
    failures: list[Exception] = []
    over = threading.Event()

    def work(number: int) -> None:
        sqs = clients[number]
        try:
            for count in itertools.count():
                if over.is_set():
                    return
                batch = [f"{number}-{count}-{each}" for each in range(10)]
                tried.update(batch)
                entries = [{"Id": str(at), "MessageBody": body.ljust(2_000)} for at, body in enumerate(batch)]
                assert "Failed" not in sqs.send_message_batch(QueueUrl="kept", Entries=entries)
                now = time.monotonic()
                sent.update((body, now) for body in batch)
                sqs.send_message(QueueUrl="passing", MessageBody="x")
                for message in sqs.receive_message(QueueUrl="passing").get("Messages", []):
                    sqs.delete_message(QueueUrl="passing", ReceiptHandle=message["ReceiptHandle"])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    backups = []
    try:
        for number in range(3):
            time.sleep(0.7)  # of load; nothing is waited for
            file, begun = tmp_path / f"backup-{number}.db", time.monotonic()
            made = trunkline("backup", "--data", data, str(file))
            assert made.returncode == 0, made.stderr
            backups.append((file, begun))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    for file, begun in backups:
        copy = tmp_path / file.stem
        assert trunkline("restore", "--data", str(copy), str(file)).returncode == 0
        assert sum(1 for each in sent.values() if each < begun) > 100
        held = [
            json.loads(line)["body"].strip()
            for line in trunkline("dump", str(copy)).stdout.splitlines()
            if '"kind": "message"' in line and "kept" in json.loads(line)["queue"]
        ]
        assert len(set(held)) == len(held), "each once"
        assert {body for body, at in sent.items() if at < begun} <= set(held) <= tried
    server = start("--data", str(copy))
    counted = server.client().get_queue_attributes(QueueUrl="kept", AttributeNames=["ApproximateNumberOfMessages"])
    assert counted["Attributes"]["ApproximateNumberOfMessages"] == str(len(held))
    assert len(bodies(server)) == 10

"""``trunkline dump``: what a data directory holds, for people."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from trunkline.cli import main
from trunkline.dump import readable
from trunkline.storage.sqlite import SqliteStore
from trunkline.storage.sqlite_file import FILE
from trunkline.storage.store import Part
from trunkline.testing import InMemory


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA_DIR", "STATE_DIR", "TRUNKLINE_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[InMemory]:
    with InMemory(memory=False, data=tmp_path / "data") as running:
        running.freeze()
        yield running


@pytest.fixture
def sqs(node: InMemory) -> Any:
    return boto3.client(
        "sqs", endpoint_url=node.url, region_name="eu-west-1", aws_access_key_id="123456789012",
        aws_secret_access_key="test",
    )  # fmt: skip


def dumped(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["dump", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def of_kind(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["kind"] == kind]


def test_a_message_is_shown_with_its_queue_id_sequence_time_attributes_and_body(
    node: InMemory, sqs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = sqs.create_queue(QueueName="orders", Attributes={"VisibilityTimeout": "30"}, tags={"team": "a"})["QueueUrl"]
    attributes = {
        "n": {"DataType": "Number", "StringValue": "1"},
        "b": {"DataType": "Binary", "BinaryValue": b"\xff"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
    sent = sqs.send_message(
        QueueUrl=url, MessageBody="gr\u00fc\u00df dich", MessageAttributes=attributes, MessageSystemAttributes=trace
    )
    sqs.receive_message(QueueUrl=url)
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=60)
    lines = dumped(capsys, str(tmp_path / "data"))
    arn = "arn:aws:sqs:eu-west-1:123456789012:orders"
    [queue] = of_kind(lines, "queue")
    assert (queue["name"], queue["arn"], queue["tags"]) == ("orders", arn, {"team": "a"})
    assert queue["attributes"] == {"VisibilityTimeout": "30"}
    first, second = of_kind(lines, "message")
    assert first == {
        "partition": queue["rows_in"],
        "queue": arn,
        "kind": "message",
        "generation": 0,
        "sequence": 1,
        "id": sent["MessageId"],
        "sent": first["sent"],
        "sender": first["sender"],
        "trace": "Root=1",
        "attributes": {
            "n": {"DataType": "Number", "StringValue": "1"},
            "b": {"DataType": "Binary", "BinaryValue": "/w=="},
        },
        "body": "gr\u00fc\u00df dich",
    }
    assert first["sent"] < second["due"] and second["body"] == "later" and "attributes" not in second
    [state] = of_kind(lines, "state")
    assert (state["queue"], state["sequence"], state["received"]) == (arn, 1, 1)
    assert [line["sequence"] for line in of_kind(lines, "delayed")] == [2]
    assert {line["what"]: line["messages"] for line in of_kind(lines, "count")} == {
        "in flight until": 1,
        "delayed until": 1,
    }
    [counters] = of_kind(lines, "counters")
    assert (counters["messages"], counters["next_sequence"]) == (2, 3)
    assert of_kind(lines, "unknown") == []


def test_everything_that_a_server_writes_is_understood(
    node: InMemory, sqs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fifo = sqs.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    sqs.send_message(QueueUrl=fifo, MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d")
    sqs.receive_message(QueueUrl=fifo, ReceiveRequestAttemptId="again")
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    dead_arn = "arn:aws:sqs:eu-west-1:123456789012:dead"
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "1"})
    source = sqs.create_queue(QueueName="source", Attributes={"RedrivePolicy": policy})["QueueUrl"]
    sqs.send_message(QueueUrl=source, MessageBody="fails")
    for _ in range(2):
        sqs.receive_message(QueueUrl=source, VisibilityTimeout=0)
    sqs.send_message(QueueUrl=dead, MessageBody="waits", DelaySeconds=900)
    sqs.start_message_move_task(SourceArn=dead_arn, MaxNumberOfMessagesPerSecond=1)
    sqs.create_queue(QueueName="gone")
    sqs.delete_queue(QueueUrl="gone")
    sqs.send_message(QueueUrl=dead, MessageBody="again")
    sqs.purge_queue(QueueUrl=source)
    node.stop()
    lines = dumped(capsys, str(tmp_path / "data"))
    assert of_kind(lines, "unknown") == []
    kinds = {line["kind"] for line in lines}
    assert kinds >= {
        "next partition", "secret", "clock", "catalogue", "owner", "alarm", "queue", "generation", "counters",
        "message", "state", "deduplication", "receive attempt", "move task",
    }  # fmt: skip
    [message] = [line for line in of_kind(lines, "message") if "group" in line]
    assert (message["group"], message["deduplication"]) == ("g", "d")
    [clock] = of_kind(lines, "clock")
    assert clock["frozen"] and clock["frozen_at"]
    [task] = of_kind(lines, "move task")
    assert task["queue"] == dead_arn and task["started"]


def test_rows_that_wait_to_be_swept_are_called_dead() -> None:
    catalogue = (0, b"\x10sqs\0us-east-1\0000000000000", (1).to_bytes(8, "big"))
    entry = (1, b"\x10q", json.dumps({"partition": 2, "created": 1, "modified": 1}).encode())
    generation = (2, b"\x01", (1).to_bytes(4, "big"))
    index = [(partition, b"\x68" + n.to_bytes(4, "big") + bytes(16), b"") for partition in (2, 3) for n in (0, 1)]
    *_, purged, present, deleted, deleted_too = readable([catalogue, entry, generation, *index])
    assert [line.get("dead", False) for line in (purged, present, deleted, deleted_too)] == [True, False, True, True]
    assert "queue" in present and "queue" not in deleted


def test_a_row_of_a_later_version_is_shown_as_it_lies_there() -> None:
    [line] = readable([(7, b"\x40" + bytes(12), b"\x63" + bytes(90))])
    assert line["kind"] == "unknown" and line["hex"] == "63" + "00" * 90


@pytest.mark.parametrize("options", [[], ["--raw"]])
def test_the_nodes_secret_is_not_shown(
    node: InMemory, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    connection = sqlite3.connect(tmp_path / "data" / FILE)
    [(secret,)] = connection.execute("SELECT value FROM rows WHERE partition=0 AND key=x'02'").fetchall()
    connection.close()
    assert main(["dump", *options, str(tmp_path / "data")]) == 0
    shown = capsys.readouterr().out
    assert secret.hex() not in shown and '"redacted": true' in shown


@pytest.mark.parametrize("name", ["data", "odd ?name#100%"])
def test_raw_rows_are_printed_as_json_lines(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def fill() -> None:
        store = SqliteStore(tmp_path / name)
        await store.open()
        await store.commit([[Part(1, 0, [(b"\x01k", b"text"), (b"\x02", b"\xff\x00")]), Part(0, 0, [(b"a", b"")])]])
        await store.close()

    asyncio.run(fill())
    before = (tmp_path / name / FILE).read_bytes()
    assert dumped(capsys, "--raw", str(tmp_path / name)) == [
        {"partition": 0, "key": "61", "bytes": 0, "hex": ""},
        {"partition": 1, "key": "016b", "bytes": 4, "text": "text"},
        {"partition": 1, "key": "02", "bytes": 2, "hex": "ff00"},
    ]
    assert (tmp_path / name / FILE).read_bytes() == before


def test_dump_takes_the_directory_as_serve_does_or_the_servers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUNKLINE_DATA", str(tmp_path / "from the environment"))
    assert main(["dump"]) == 1
    assert "from the environment" in capsys.readouterr().err
    assert main(["dump", "--data", str(tmp_path / "from the flag")]) == 1
    assert "from the flag" in capsys.readouterr().err


def test_two_directories_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["dump", "/a", "--data", "/b"])
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert "one directory at a time: /a, or --data /b" in shown and shown.startswith("usage: trunkline dump")


def test_settings_that_a_server_would_refuse_keep_nobody_from_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with InMemory(memory=False, data=tmp_path):
        pass
    monkeypatch.setenv("GATEWAY_LISTEN", "0.0.0.0:4566")
    monkeypatch.setenv("TRUNKLINE_MEMORY", "1")
    assert main(["dump", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""


def test_a_newer_format_is_refused_as_serve_does(
    node: InMemory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node.stop()
    connection = sqlite3.connect(tmp_path / "data" / FILE, isolation_level=None)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    assert main(["dump", str(tmp_path / "data")]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and "format 99" in shown.err and "newer Trunkline" in shown.err


def test_dump_of_a_directory_without_data_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dump", str(tmp_path / "none")]) == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"trunkline: there is no Trunkline data in {tmp_path / 'none'}\n")
    assert not (tmp_path / "none").exists()

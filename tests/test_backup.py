"""``trunkline backup`` and ``trunkline restore`` in this process: what they refuse, and what a copy goes on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from trunkline.cli import main
from trunkline.testing import InMemory


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA_DIR", "STATE_DIR", "TRUNKLINE_DATA", "TRUNKLINE_MEMORY", "PERSISTENCE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[InMemory]:
    with InMemory(memory=False, data=tmp_path / "data") as running:
        yield running


def client(node: InMemory) -> Any:
    return boto3.client(
        "sqs", endpoint_url=node.url, region_name="eu-west-1", aws_access_key_id="123456789012",
        aws_secret_access_key="test",
    )  # fmt: skip


def backed_up(tmp_path: Path) -> Path:
    file = tmp_path / "backup.db"
    assert main(["backup", "--data", str(tmp_path / "data"), str(file)]) == 0
    return file


def restored(file: Path, data: Path) -> InMemory:
    assert main(["restore", "--data", str(data), str(file)]) == 0
    return InMemory(memory=False, data=data)


def test_a_backup_holds_what_was_acknowledged_and_says_what_it_did(
    node: InMemory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sqs = client(node)
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="before")
    file = backed_up(tmp_path)
    said = capsys.readouterr()
    assert f"from {tmp_path / 'data'} to {file}" in said.out and "verified" in said.out
    assert said.err == "", "no progress where nobody watches"
    assert file.stat().st_mode & 0o777 == 0o600
    sqs.send_message(QueueUrl=url, MessageBody="after")
    with restored(file, tmp_path / "copy") as copy:
        found = client(copy).receive_message(QueueUrl="q", MaxNumberOfMessages=10)["Messages"]
        assert [each["Body"] for each in found] == ["before"]
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700


def test_a_backup_put_in_place_by_hand_can_be_served_too(node: InMemory, tmp_path: Path) -> None:
    client(node).create_queue(QueueName="q")
    file = backed_up(tmp_path)
    (tmp_path / "copy").mkdir()
    file.rename(tmp_path / "copy" / "trunkline.db")
    with InMemory(memory=False, data=tmp_path / "copy") as copy:
        assert len(client(copy).list_queues()["QueueUrls"]) == 1


def numbers(sqs: Any, *bodies: str) -> list[int]:
    """Sequence numbers of messages sent to the FIFO queue."""
    return [
        int(sqs.send_message(QueueUrl="q.fifo", MessageBody=body, MessageGroupId="g")["SequenceNumber"])
        for body in bodies
    ]


def test_sequence_numbers_of_a_copy_rise_above_all_that_were_given_out(node: InMemory, tmp_path: Path) -> None:
    sqs = client(node)
    sqs.create_queue(QueueName="q.fifo", Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"})
    given = numbers(sqs, "a")
    file = backed_up(tmp_path)
    given += numbers(sqs, "lost 1", "lost 2")
    for life in ("first", "second"):
        with restored(file, tmp_path / life) as copy:
            later = numbers(client(copy), "b " + life, "c " + life)
            assert min(later) > max(given) and later[0] < later[1], life
            assert all(len(str(number)) == 20 for number in later)
            given += later
            found = client(copy).receive_message(QueueUrl="q.fifo", MaxNumberOfMessages=10)["Messages"]
            assert [each["Body"] for each in found] == ["a", "b " + life, "c " + life]


def test_a_handle_of_the_originals_later_life_deletes_nothing_of_the_copy(node: InMemory, tmp_path: Path) -> None:
    sqs = client(node)
    sqs.create_queue(QueueName="q")
    file = backed_up(tmp_path)

    def handle_of(sqs: Any, queue: str, body: str) -> str:
        sqs.send_message(QueueUrl=queue, MessageBody=body)
        [message] = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)["Messages"]
        assert message["Body"] == body
        return str(message["ReceiptHandle"])

    lost = handle_of(sqs, "q", "lost")
    sqs.create_queue(QueueName="later")
    lost_later = handle_of(sqs, "later", "lost")
    with restored(file, tmp_path / "copy") as copy:
        sqs = client(copy)
        sqs.create_queue(QueueName="later")
        handle_of(sqs, "q", "kept")
        handle_of(sqs, "later", "kept")
        sqs.delete_message(QueueUrl="q", ReceiptHandle=lost)
        with pytest.raises(sqs.exceptions.ReceiptHandleIsInvalid):
            sqs.delete_message(QueueUrl="later", ReceiptHandle=lost_later)
        for queue in ("q", "later"):
            assert sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "kept"


def test_a_handle_of_a_message_in_the_backup_is_good_in_the_copy(node: InMemory, tmp_path: Path) -> None:
    sqs = client(node)
    sqs.create_queue(QueueName="q")
    sqs.send_message(QueueUrl="q", MessageBody="x")
    [message] = sqs.receive_message(QueueUrl="q", VisibilityTimeout=0)["Messages"]
    with restored(backed_up(tmp_path), tmp_path / "copy") as copy:
        client(copy).delete_message(QueueUrl="q", ReceiptHandle=message["ReceiptHandle"])
        assert "Messages" not in client(copy).receive_message(QueueUrl="q")


def test_a_copy_is_behind_its_original_once_only(
    node: InMemory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = backed_up(tmp_path)
    with restored(file, tmp_path / "copy") as copy:
        copy.freeze()
        now = copy.advance(seconds=3600)
    assert "This is a copy of 20" in caplog.text
    caplog.clear()
    with InMemory(memory=False, data=tmp_path / "copy") as copy:
        assert copy.now == now, "service time goes on"
    assert "This is a copy" not in caplog.text


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_what_is_there_is_never_overwritten(
    command: str, node: InMemory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = backed_up(tmp_path)
    before = file.read_bytes()
    assert main([command, "--data", str(tmp_path / "data"), str(file)]) == 1
    assert "overwritten" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_what_is_no_data_of_ours_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(*arguments: str) -> str:
        assert main(list(arguments)) == 1
        return capsys.readouterr().err

    target = str(tmp_path / "x.db")
    assert "there is no Trunkline data" in refusal("backup", "--data", str(tmp_path), target)
    (tmp_path / "trunkline.db").write_text("something else, and long enough to be read as one" * 100)
    assert "not a database" in refusal("backup", "--data", str(tmp_path), target)
    assert "is a directory" in refusal("backup", "--data", str(tmp_path), str(tmp_path))
    assert "there is no file" in refusal("restore", "--data", str(tmp_path / "new"), target)
    assert "not a database" in refusal("restore", "--data", str(tmp_path / "new"), str(tmp_path / "trunkline.db"))
    assert not Path(target).exists()


def test_a_backup_goes_into_a_directory_that_is_there(
    node: InMemory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", "--data", str(tmp_path / "data"), str(tmp_path / "none" / "x.db")]) == 1
    assert "Name a file in a directory that is there" in capsys.readouterr().err


def test_a_server_in_memory_has_nothing_to_back_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUNKLINE_MEMORY", "true")
    assert main(["backup", str(tmp_path / "x.db")]) == 2
    assert "keeps everything in memory" in capsys.readouterr().err

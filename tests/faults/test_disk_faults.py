"""A disk that fails under a running server: what clients, health, metrics and the log say, and what is left."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from ailing import BEGUN, OVER, Ailing, status_of, until
from disk_shim import Disk

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Fault:
    strike: Callable[[Disk], None]
    kind: str
    says: str


def _no_room(disk: Disk) -> None:
    """At once: a server that sees it coming refuses sends by itself, and would not come to fail."""
    disk.fail("write", errno.ENOSPC)
    disk.fail("allocate", errno.ENOSPC)


def _read_only(disk: Disk) -> None:
    for call in ("write", "truncate", "allocate", "unlink"):
        disk.fail(call, errno.EROFS)


FAULTS = [
    pytest.param(Fault(_no_room, "full", "No space left on device (ENOSPC)"), id="full"),
    pytest.param(Fault(lambda disk: disk.fail("write", errno.EDQUOT), "full", "quota"), id="quota"),
    pytest.param(Fault(_read_only, "read_only", "Read-only file system (EROFS)"), id="read-only"),
    pytest.param(
        Fault(lambda disk: disk.fail("write", errno.EACCES, only=".db-wal"), "io", "SQLITE_IOERR_WRITE"), id="one file"
    ),
    pytest.param(Fault(lambda disk: disk.fail("sync", errno.EIO), "io", "Input/output error (EIO)"), id="sync"),
    pytest.param(Fault(lambda disk: disk.fail("write", errno.EIO), "io", "Input/output error (EIO)"), id="write"),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_while_the_disk_fails_clients_are_told_to_try_again_and_afterwards_all_that_was_acknowledged_is_there(
    ailing: Ailing, fault: Fault
) -> None:
    sqs, url = ailing.sqs, ailing.url
    for _ in range(5):
        assert ailing.send() == 200
    fault.strike(ailing.disk)
    assert ailing.send() == 503
    storage = ailing.until_failing()
    assert (storage["state"], storage["kind"]) == ("failing", fault.kind)
    assert fault.says in storage["reason"] and str(ailing.root) in storage["reason"]
    assert ailing.health()[1]["services"]["sqs"] == "error"
    # What changes something is refused; what does not is answered.
    assert {ailing.send() for _ in range(20)} == {503}
    for refused in (
        lambda: sqs.receive_message(QueueUrl=url),
        lambda: sqs.create_queue(QueueName="another"),
        lambda: sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "1"}),
        lambda: sqs.purge_queue(QueueUrl=url),
    ):
        assert status_of(refused) == 503
    assert sqs.list_queues()["QueueUrls"] == [url]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert int(attributes["ApproximateNumberOfMessages"]) >= len(ailing.sent)
    assert ailing.metric("trunkline_store_failing") == 1
    assert ailing.metric(f'trunkline_store_failures_total{{kind="{fault.kind}"}}') >= 1
    assert ailing.metric("trunkline_store_refused_total") >= 20
    [line] = ailing.lines(BEGUN)
    assert fault.says in line and "answered with 503" in line
    ailing.disk.mend()
    ailing.until_well()  # though nobody writes
    assert ailing.health()[1]["storage"] == {"state": "ok"}
    [line] = until(lambda: ailing.lines(OVER))
    assert "requests were refused" in line
    assert ailing.metric("trunkline_store_failing") == 0
    until(lambda: ailing.send() == 200)  # a disk that was full is to have some room to spare before sends are taken
    ailing.check_messages()
    assert len(ailing.lines("Traceback")) == 0
    ailing.kill_and_start()
    ailing.check_messages()
    assert ailing.send() == 200


def test_one_sync_that_fails_refuses_its_batch_alone(ailing: Ailing) -> None:
    assert ailing.send() == 200
    ailing.until_quiet()
    ailing.disk.fail("sync", errno.EIO, times=1)
    assert ailing.send() == 503
    assert ailing.disk.hits("sync") == 1
    assert ailing.send() == 200
    ailing.check_messages()
    [line] = ailing.lines("The store failed once")
    assert "SQLITE_IOERR_FSYNC" in line and "it works again" in line
    ailing.kill_and_start()
    ailing.check_messages()


@pytest.mark.parametrize("call", ["sync", "truncate", "write"])
def test_a_file_that_the_log_cannot_be_folded_into_is_said_and_the_log_keeps_everything(
    ailing: Ailing, call: str
) -> None:
    for _ in range(30):
        ailing.sqs.send_message(QueueUrl=ailing.url, MessageBody="x" * 100_000)
    ailing.until_quiet()
    ailing.disk.fail(call, errno.EIO, only=".db")
    ailing.sqs.purge_queue(QueueUrl=ailing.url)  # space is given back, and the file made shorter
    until(lambda: ailing.disk.hits(call))
    storage = ailing.until_failing()  # which it finds out by itself
    assert storage["kind"] == "io" and "SQLITE_IOERR" in storage["reason"]
    assert ailing.send() == 503
    ailing.disk.mend()
    ailing.until_well()
    assert ailing.send() == 200
    ailing.kill_and_start()
    ailing.check_messages()


def test_a_client_that_tries_again_does_not_notice_that_the_disk_was_full_for_a_while(ailing: Ailing) -> None:
    assert ailing.send() == 200
    _no_room(ailing.disk)
    patient = ailing.server.client(retries={"mode": "standard", "max_attempts": 30})
    answers: list[Any] = []
    sending = threading.Thread(
        target=lambda: answers.append(patient.send_message(QueueUrl=ailing.url, MessageBody="patient"))
    )
    sending.start()
    ailing.until_failing()
    assert not answers
    ailing.disk.mend()
    sending.join(120)
    assert answers[0]["MessageId"]
    ailing.sent.add("patient")
    ailing.check_messages()


def test_a_long_poll_waits_on_while_the_disk_fails_and_is_given_what_comes_afterwards(ailing: Ailing) -> None:
    assert ailing.send() == 200
    url = ailing.sqs.create_queue(QueueName="empty")["QueueUrl"]
    answers: list[Any] = []
    polling = threading.Thread(
        target=lambda: answers.append(ailing.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))
    )
    polling.start()
    until(lambda: ailing.metric("trunkline_waiting_receivers") == 1)
    ailing.disk.fail("sync", errno.EIO)
    assert ailing.send() == 503
    ailing.until_failing()
    ailing.disk.mend()
    ailing.until_well()
    ailing.sqs.send_message(QueueUrl=url, MessageBody="for the one who waits")
    polling.join(60)
    [answer] = answers  # it was not refused; on a machine that crawls its 20 seconds may have been over before
    found = answer.get("Messages") or ailing.sqs.receive_message(QueueUrl=url)["Messages"]
    assert [each["Body"] for each in found] == ["for the one who waits"]


def test_what_cannot_be_read_is_refused_likewise_and_read_when_it_can_be(ailing: Ailing) -> None:
    for _ in range(20):
        assert ailing.send() == 200
    ailing.server.kill()
    ailing.start()  # with nothing in memory
    sqs, url = ailing.sqs, ailing.url
    ailing.disk.fail("read", errno.EIO)
    assert {status_of(lambda: sqs.receive_message(QueueUrl=url)) for _ in range(5)} == {503}
    storage = ailing.until_failing()
    # SQLite says that the database is malformed, as of one that is; which would be the end of it.
    assert storage["kind"] == "io" and "Input/output error (EIO)" in storage["reason"]
    assert ailing.send() == 503
    assert status_of(lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])) in (200, 503)
    assert ailing.server.http("GET", "/metrics")[0] == 200
    assert len(ailing.lines("The store cannot be read")) <= 1
    ailing.disk.mend()
    ailing.until_well()
    assert len(until(lambda: sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"))) > 0
    ailing.check_messages()
    assert not ailing.lines("Traceback")


def test_a_server_whose_data_is_damaged_says_so_and_stops(ailing: Ailing) -> None:
    for _ in range(100):
        ailing.sqs.send_message(QueueUrl=ailing.url, MessageBody="x" * 20_000)
    assert ailing.server.stop() == 0
    file = ailing.data / "trunkline.db"
    size = file.stat().st_size
    ailing.start()
    with file.open("r+b") as damaged:
        damaged.seek(16_384)
        damaged.write(b"\xff" * (size - 16_384))
    until(lambda: ailing.server.process.poll() is not None or ailing.receive_all() is None)
    assert ailing.server.process.wait(30) == 1
    assert ailing.lines("is damaged") and ailing.lines("put a backup in the place of the data")


def test_a_server_whose_disk_fails_stops_in_order_and_keeps_everything(ailing: Ailing) -> None:
    for _ in range(5):
        assert ailing.send() == 200
    ailing.disk.fail("sync", errno.EIO)
    assert ailing.send() == 503
    ailing.until_failing()
    assert ailing.server.stop() == 0
    ailing.disk.mend()
    ailing.start()
    ailing.check_messages()
    assert not ailing.lines("Traceback")


def test_deletes_and_a_purge_that_were_refused_are_refused_wholly(ailing: Ailing) -> None:
    for _ in range(3):
        assert ailing.send() == 200
    sqs, url = ailing.sqs, ailing.url
    [message] = sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)["Messages"]
    ailing.disk.fail("write", errno.EIO)
    assert status_of(lambda: sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])) == 503
    ailing.until_failing()
    assert status_of(lambda: sqs.purge_queue(QueueUrl=url)) == 503
    ailing.disk.mend()
    ailing.until_well()
    ailing.check_messages()
    assert status_of(lambda: sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])) == 200
    ailing.kill_and_start()
    assert ailing.bodies() == ailing.sent - {message["Body"]}

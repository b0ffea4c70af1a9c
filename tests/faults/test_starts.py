"""Starting, and copying, on a disk that fails: a message for people, and nothing left behind."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ailing import Ailing, until
from disk_shim import Disk

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "disk").mkdir()
    return Disk(tmp_path / "disk", tmp_path / "faults")


def trunkline(disk: Disk, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trunkline", *arguments],
        capture_output=True, text=True, timeout=120, env=disk.environment | {"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip


@pytest.mark.parametrize("there", [False, True], ids=["a new directory", "data of before"])
@pytest.mark.parametrize(
    ("call", "error", "says", "advice"),
    [
        ("write", errno.ENOSPC, "full|No space left on device", "Make room on that disk"),
        ("write", errno.EIO, "Input/output error", "dmesg"),
        ("open", errno.EROFS, "Read-only file system", "choose another directory with --data"),
        ("open", errno.EACCES, "Permission denied", "give it the rights"),
        ("sync", errno.EIO, "Input/output error", "dmesg"),
    ],
)
def test_a_start_on_a_disk_that_fails_says_what_is_wrong_where_and_what_to_do(
    disk: Disk, call: str, error: int, says: str, advice: str, there: bool
) -> None:
    data = disk.root / "data"
    if there:
        begun = subprocess.Popen(
            [sys.executable, "-m", "trunkline", "serve", "--port", "0", "--data", str(data)], stdout=subprocess.PIPE,
            text=True, env=disk.environment | {"PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        assert begun.stdout is not None
        assert any(line == "Ready.\n" for line in begun.stdout)
        begun.kill()
        begun.wait()
    disk.fail(call, error)
    ended = trunkline(disk, "serve", "--port", "0", "--data", str(data))
    assert ended.returncode == 1
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert line.startswith("trunkline: the data cannot be opened: ")
    assert str(data) in line and re.search(says, line) and advice in line


def test_a_server_killed_while_its_disk_was_full_starts_on_the_full_disk(ailing: Ailing) -> None:
    for _ in range(5):
        assert ailing.send() == 200
    ailing.disk.free = 0
    ailing.kill_and_start()
    ailing.check_messages()
    assert ailing.health()[1]["storage"]["state"] == "short"


def test_a_backup_to_a_disk_that_fails_leaves_nothing_behind_and_says_why(ailing: Ailing, tmp_path: Path) -> None:
    assert ailing.send() == 200
    (tmp_path / "copies").mkdir()
    disk = Disk(tmp_path / "copies", tmp_path / "faults of the copy")
    copy = disk.root / "copy.db"
    for call, error, says in (
        ("write", errno.ENOSPC, "full"),
        ("write", errno.EIO, "disk I/O error"),
        ("sync", errno.EIO, "Input/output error"),
        ("open", errno.EROFS, "Read-only file system"),
    ):
        disk.fail(call, error)
        ended = trunkline(disk, "backup", "--data", str(ailing.data), str(copy))
        disk.mend()
        assert ended.returncode == 1
        [line] = ended.stderr.splitlines()
        assert line.startswith("trunkline: no backup was made: ") and says in line
        assert list(disk.root.iterdir()) == []
    disk.free = 0
    ended = trunkline(disk, "backup", "--data", str(ailing.data), str(copy))
    assert "has 0 MiB free" in ended.stderr
    disk.free = -1
    assert trunkline(disk, "backup", "--data", str(ailing.data), str(copy)).returncode == 0
    assert ailing.send() == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_backup_that_is_ended_by_a_signal_leaves_nothing_behind(
    ailing: Ailing, tmp_path: Path, number: signal.Signals
) -> None:
    for _ in range(40):
        ailing.sqs.send_message(QueueUrl=ailing.url, MessageBody="x" * 250_000)
    (tmp_path / "copies").mkdir()
    disk = Disk(tmp_path / "copies", tmp_path / "faults of the copy")
    disk.slow("sync", 2)  # one behind each step of 4 MiB
    copy = subprocess.Popen(
        [sys.executable, "-m", "trunkline", "backup", "--data", str(ailing.data), str(disk.root / "copy.db")],
        stderr=subprocess.PIPE, text=True, env=disk.environment | {"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    until(lambda: any(each.stat().st_size for each in disk.root.iterdir()))
    copy.send_signal(number)
    _, said = copy.communicate(timeout=60)
    assert copy.returncode == 128 + number
    assert list(disk.root.iterdir()) == []
    if number != signal.SIGINT:
        assert said == f"trunkline: no backup was made: it was ended by {number.name}\n"


def test_a_backup_is_made_of_a_server_that_cannot_write(ailing: Ailing, tmp_path: Path) -> None:
    assert ailing.send() == 200
    ailing.disk.fail("sync", errno.EIO)
    assert ailing.send() == 503
    copy = tmp_path / "copy.db"
    ended = subprocess.run(
        [sys.executable, "-m", "trunkline", "backup", "--data", str(ailing.data), str(copy)], timeout=120
    )
    assert ended.returncode == 0 and copy.exists()

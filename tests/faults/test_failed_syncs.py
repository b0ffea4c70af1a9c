"""A sync fails once and the next one succeeds: the kernel takes the pages for written, and they are not on the disk.

The disk is recorded, so that what is left of it can be made anew without them: see powerloss.remains.
"""

from __future__ import annotations

import errno
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from ailing import Ailing
from disk_shim import Disk
from powerloss import records
from powerloss.records import MARK
from powerloss.remains import LOST, MODES, Files, missed
from powerloss.rounds import ill, run

from trunkline.storage.sqlite_file import FILE, read_rows

pytestmark = pytest.mark.slow


def left_of(log: Path, root: Path, into: Path, mode: str) -> Path:
    """The files as they stand when all that a failed sync was to write is lost, or some of it."""
    files = Files(root)
    for record in records.read(log):
        files.follow(record)
    for record in missed(files, root, 1):
        files.follow(record)
    files.remains(into, mode, random.Random(1))
    return into


class Recorded(Ailing):
    """An ailing server whose disk is recorded."""

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self.record = work / "log"
        self.server.environment["DISK_LOG"] = str(self.record)

    def lose_power(self) -> None:
        """Kill it, and put what is surely on the disk in the place of its files."""
        self.server.kill()
        left = left_of(self.record, self.root, self.root.parent / "left", LOST)
        shutil.rmtree(self.root)
        left.rename(self.root)
        self.record.unlink()  # what is written from now on begins with other files


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def test_what_was_acknowledged_after_a_failed_sync_does_not_depend_on_what_that_lost(recorded: Recorded) -> None:
    try:
        recorded.start()
        for _ in range(3):
            assert recorded.send() == 200
        recorded.until_quiet()
        recorded.disk.fail("sync", errno.EIO, times=1, only="-wal")
        assert recorded.send() == 503
        for _ in range(3):
            assert recorded.send() == 200
        recorded.lose_power()
        recorded.start()
        recorded.check_messages()
    finally:
        recorded.close()


def test_a_server_started_after_a_failed_sync_and_a_kill_does_not_build_on_what_is_only_in_memory(
    recorded: Recorded,
) -> None:
    try:
        recorded.start()
        for _ in range(3):
            assert recorded.send() == 200
        recorded.disk.fail("sync", errno.EIO, only="-wal")
        assert recorded.send() == 503
        recorded.until_failing()
        recorded.server.kill()
        recorded.disk.mend()
        # It finds, in the memory of the kernel, what it refused; and goes on behind it.
        recorded.start()
        for _ in range(3):
            assert recorded.send() == 200
        recorded.lose_power()
        recorded.start()
        recorded.check_messages()
    finally:
        recorded.close()


def test_power_cuts_around_syncs_that_fail_lose_nothing(tmp_path: Path) -> None:
    report = run(ill, tmp_path, seed=1, cuts=60)
    assert report.answered > 100
    assert not report.losses, "\n".join(report.losses)


SCRIPT = """
import asyncio, errno, json, sqlite3, sys
from pathlib import Path
from disk_shim import Disk
from powerloss.records import Marks
from trunkline.storage.sqlite import SqliteStore
from trunkline.storage.store import Part
from trunkline.storage import sqlite as engine

data, log = Path(sys.argv[1]), Path(sys.argv[2])
disk = Disk.attached(Path(sys.argv[3]))
marks = Marks(log)
engine._IDLE_SECONDS = 1_000  # it tends nothing by itself

async def main():
    store = SqliteStore(data)
    await store.open()
    numbers = iter(range(10_000))
    async def put(rows):
        for _ in range(rows):
            number = next(numbers)
            await store.commit([[Part(1, 0, [(b"%05d" % number, bytes(3_000))])]])
            marks.put(kept=number)
    async def fold():
        return await store._put_job(lambda: store._checkpoint("RESTART"))
    await put(30)
    reader = sqlite3.connect(data / "trunkline.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM rows").fetchall()
    await put(30)
    assert not await fold()        # up to where the reader stands, and without a sync of the file
    assert store.doubt is None
    reader.execute("COMMIT")
    reader.close()
    disk.fail("sync", errno.EIO, times=1, only=".db")
    assert not await fold()
    assert disk.hits("sync") == 1 and store.doubt is not None
    await put(5)                   # the doubt is ended, and the log begins anew when it may
    assert store.doubt is None
    await fold()
    await put(30)
    assert (data / "trunkline.db-wal").stat().st_size
    print("done", flush=True)
    await asyncio.sleep(1_000)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A disk, and its log, on which the script has run and was killed."""
    work = tmp_path_factory.mktemp("folded")
    root, log, control = work / "disk", work / "log", work / "faults"
    root.mkdir()
    disk = Disk(root, control, log)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root / "data"), str(log), str(control)], stdout=subprocess.PIPE, text=True,
        env=disk.environment | {"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    process.kill()
    process.wait()
    return root, log


@pytest.mark.parametrize("mode", [LOST, *dict.fromkeys(MODES)])
def test_a_checkpoint_that_a_reader_cut_short_is_copied_again_when_the_sync_behind_it_fails(
    folded: tuple[Path, Path], tmp_path: Path, mode: str
) -> None:
    root, log = folded
    kept = {record.mark["kept"] for record in records.read(log) if record.kind == MARK}
    assert len(kept) == 95
    left = left_of(log, root, tmp_path / "left", mode) / "data"
    connection = sqlite3.connect(left / FILE)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    assert {int(key) for _, key, _ in read_rows(left)} == kept

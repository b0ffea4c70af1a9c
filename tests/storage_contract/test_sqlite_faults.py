"""What the engine on a disk does when its files fail, or are no longer where they were."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from trunkline.storage import directory as directories
from trunkline.storage import rescue, wal
from trunkline.storage import reserve as reserves
from trunkline.storage import sqlite as engine
from trunkline.storage.directory import LOCK, DataDirectory, Misplaced
from trunkline.storage.faults import failed
from trunkline.storage.sqlite import SqliteStore
from trunkline.storage.sqlite_file import FILE, LOG, read_rows
from trunkline.storage.store import Part, StoreError, StoreFull, StoreGone, StoreLost, StoreReadOnly


def in_directory(path: Path, scenario: Callable[[SqliteStore], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        store = SqliteStore(path, **options)
        await store.open()
        try:
            return await asyncio.wait_for(scenario(store), 60)
        finally:
            await store.close()

    return asyncio.run(run())


async def put(store: SqliteStore, *keys: bytes) -> None:
    for key in keys:
        await store.commit([[Part(1, 0, [(key, b"v")])]])


def keys(path: Path) -> list[bytes]:
    return [key for _, key, _ in read_rows(path)]


def contents(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.iterdir()}


# -- where the files are -------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_commit_into_files_that_are_gone_is_not_acknowledged(data: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        shutil.rmtree(data)
        for _ in range(2):
            with pytest.raises(StoreGone, match="is gone") as refusal:
                await put(store, b"b")
            assert "make an empty directory" in refusal.value.advice
        with pytest.raises(StoreGone):
            await store.probe()
        with pytest.raises(StoreGone):
            await store.erase(1, b"", b"", 10)
        assert isinstance(store.doubt, StoreGone) and not data.exists()
        assert await store.load(1, 0, [b"a"]) == [b"v"], "reads go on"
        assert await asyncio.wait_for(store.load(1, 0, [b"b"]), 10) in ([None], [b"v"])
        with pytest.raises(StoreGone):
            await asyncio.wait_for(store.lease(3), 10)

    in_directory(data, scenario)
    assert not data.exists(), "nor did closing make anything"


def test_an_empty_directory_in_their_place_is_given_all_of_it(data: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, *(b"%04d" % number for number in range(600)))
        shutil.rmtree(data)
        with pytest.raises(StoreGone):
            await put(store, b"refused")
        data.mkdir()
        await store.probe()
        assert store.doubt is None
        await put(store, b"later")
        assert {FILE, LOG, LOCK, reserves.FILE} <= {each.name for each in data.iterdir()}
        assert (data / FILE).stat().st_mode & 0o777 == 0o600
        with pytest.raises(StoreError, match="in use by another server"):
            await SqliteStore(data).open()

    in_directory(data, scenario)
    assert set(keys(data)) - {b"refused"} == {b"%04d" % number for number in range(600)} | {b"later"}


def test_a_directory_on_another_disk_is_given_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the disk that was mounted there is gone: what is written would lie hidden beneath it."""

    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        shutil.rmtree(data)
        data.mkdir()
        monkeypatch.setattr(DataDirectory, "device", property(lambda _: -1))
        with pytest.raises(StoreGone):
            await put(store, b"b")
        with pytest.raises(StoreGone):
            await store.probe()
        assert list(data.iterdir()) == []
        monkeypatch.undo()
        await store.probe()

    in_directory(data, scenario)
    assert b"a" in keys(data)


def test_a_rescue_that_fails_leaves_nothing_half_done_and_is_tried_again(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        shutil.rmtree(data)
        data.mkdir()

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(rescue.os, "link", full)
        for _ in range(2):
            with pytest.raises((StoreFull, StoreGone)):
                await put(store, b"b")
        assert {each.name for each in data.iterdir()} <= {LOCK}
        monkeypatch.undo()
        await put(store, b"c")

    in_directory(data, scenario)
    assert set(keys(data)) - {b"b"} == {b"a", b"c"}


def test_files_that_were_moved_away_and_back_are_gone_on_with(data: Path, tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        data.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreGone):
            await put(store, b"b")
        (tmp_path / "elsewhere").rename(data)
        await put(store, b"c")

    in_directory(data, scenario)
    assert set(keys(data)) - {b"b"} == {b"a", b"c"}


@pytest.mark.parametrize("ill", [False, True], ids=["unnoticed", "noticed"])
def test_other_data_in_their_place_is_not_touched_not_even_by_closing(data: Path, tmp_path: Path, ill: bool) -> None:
    before: dict[str, bytes] = {}

    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        data.rename(tmp_path / "elsewhere")
        shutil.copytree(tmp_path / "elsewhere", data)
        before.update(contents(data))
        if ill:
            with pytest.raises(Misplaced, match="is not the file that the server has open"):
                await put(store, b"b")
            with pytest.raises(Misplaced):
                await store.probe()

    in_directory(data, scenario)
    assert contents(data) == before
    assert keys(tmp_path / "elsewhere") == [b"a"] or ill


@pytest.mark.parametrize("name", [FILE, LOG, LOCK])
def test_a_single_file_that_was_removed_comes_back_with_all_that_was_in_it(data: Path, name: str) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a", b"b")
        (data / name).unlink()
        try:
            await put(store, b"c")
        except StoreGone:
            await put(store, b"c")
        await put(store, b"d")
        assert {FILE, LOG, LOCK} <= {each.name for each in data.iterdir()}

    in_directory(data, scenario)
    assert keys(data) == [b"a", b"b", b"c", b"d"]


def test_a_lock_that_another_server_has_taken_ends_it(data: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        (data / LOCK).unlink()
        other = DataDirectory(data)
        other.take()
        with pytest.raises(StoreLost, match="another server has taken"):
            await put(store, b"b")
        other.let_go()
        with pytest.raises(StoreLost):
            await store.probe()

    in_directory(data, scenario)


def test_it_finds_out_by_itself_when_it_looks(data: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        shutil.rmtree(data)
        store.look()
        while store.doubt is None:
            await asyncio.sleep(0.001)
        assert isinstance(store.doubt, StoreGone)

    in_directory(data, scenario)


def test_what_changes_in_the_directory_beside_its_files_is_no_matter_and_one_stat_is_enough_afterwards(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        (data / "notes of an administrator").write_text("x")
        await put(store, b"b")
        where = store._directory
        where._sure_from = float("-inf")
        asked: list[str] = []
        stat = os.stat

        def counted(path: Any, *more: Any, **named: Any) -> os.stat_result:
            asked.append(str(path))
            return stat(path, *more, **named)

        monkeypatch.setattr(os, "stat", counted)
        where.check(0.0)
        monkeypatch.undo()
        assert asked == [str(data)]

    in_directory(data, scenario)


def test_a_change_in_the_same_tick_of_the_clock_is_seen(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system's times are coarse: what was changed right after a look bears the time that was seen."""

    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        seen = os.stat(data).st_mtime_ns
        (data / LOG).unlink()
        os.utime(data, ns=(seen, seen))
        assert os.stat(data).st_mtime_ns == seen
        with pytest.raises(StoreGone):
            await put(store, b"b")
        await put(store, b"c")

    in_directory(data, scenario)
    assert set(keys(data)) - {b"b"} == {b"a", b"c"}


# -- where the work is done ------------------------------------------------------------------


def test_what_may_take_its_time_is_not_done_on_the_event_loop(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[str] = []

    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        examine, write = store._examine, store._write

        def noted(work: Callable[..., Any], name: str) -> Callable[..., Any]:
            def run(*parts: Any) -> Any:
                where.append(f"{name} on {threading.current_thread().name}")
                return work(*parts)

            return run

        monkeypatch.setattr(store, "_examine", noted(examine, "probe"))
        monkeypatch.setattr(store, "_write", noted(write, "write"))
        store.doubt = StoreError("told to doubt")
        await put(store, b"b")
        await store.probe()
        assert where == ["probe on trunkline-writer", "write on trunkline-writer", "probe on trunkline-writer"]

    in_directory(data, scenario)


def test_a_look_for_room_that_fails_is_a_failed_commit_and_the_next_one_goes_on(data: Path) -> None:
    broken = [False]

    def space(directory: Path) -> tuple[int, int]:
        if broken[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(directory))
        return reserves.space(directory)

    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        broken[0] = True
        store._looked_at = -1_000
        with pytest.raises(StoreError, match="EIO"):
            await put(store, b"b")
        with pytest.raises(StoreError, match="EIO"):
            await store.probe()
        broken[0] = False
        await put(store, b"c")
        assert await store.load(1, 0, [b"a", b"c"]) == [b"v", b"v"]

    in_directory(data, scenario, space=space)


def test_whatever_fails_in_housekeeping_the_writer_thread_lives_on(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "_IDLE_SECONDS", 0.001)

    async def scenario(store: SqliteStore) -> None:
        for error in (OSError(errno.EIO, "told to fail"), sqlite3.OperationalError("told to fail"), ValueError("ours")):
            met = threading.Event()

            def fail(error: Exception = error, met: threading.Event = met) -> bool:
                met.set()
                raise error

            monkeypatch.setattr(store, "_look_for_room", fail)
            store._post(lambda: None)
            await asyncio.to_thread(met.wait, 30)
            while store.doubt is None:
                await asyncio.sleep(0.001)
            monkeypatch.setattr(store, "_look_for_room", lambda: None)
            assert await asyncio.wait_for(store.lease(1), 30)
            assert store.doubt is None

    in_directory(data, scenario)
    assert sum("put off" in record.getMessage() for record in caplog.records) == 1, "one line for all of them"


# -- syncs that fail -------------------------------------------------------------------------


def test_a_log_that_was_left_behind_is_written_again_before_anything_is_promised(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_directory(data, lambda store: put(store, b"a"))
    left = tmp_path / "left"
    in_directory(data, lambda store: _copied(store, data, left))
    renewed: list[bytes] = []
    renew = wal.renew

    def noted(connection: sqlite3.Connection, log: Path) -> None:
        before = log.read_bytes()
        renew(connection, log)
        assert log.read_bytes() == before
        renewed.append(before)

    monkeypatch.setattr(engine, "renew", noted)
    in_directory(left, lambda store: put(store, b"c"))
    assert len(renewed) == 1 and renewed[0], "a killed server's"
    in_directory(left, lambda store: put(store, b"d"))
    assert len(renewed) == 1, "one that stopped in order leaves none"
    assert keys(left) == [b"a", b"b", b"c", b"d"]


async def _copied(store: SqliteStore, data: Path, left: Path) -> None:
    """As a killed server leaves it."""
    await put(store, b"b")
    shutil.copytree(data, left)


def test_a_log_that_cannot_be_written_again_keeps_the_server_from_starting(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "left"
    in_directory(data, lambda store: _copied(store, data, left))

    def broken(connection: sqlite3.Connection, log: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(log))

    monkeypatch.setattr(engine, "renew", broken)
    with pytest.raises(StoreError, match=r"-wal: Input/output error\. See what the kernel says"):
        in_directory(left, lambda store: put(store, b"c"))
    monkeypatch.undo()
    in_directory(left, lambda store: put(store, b"c"))
    assert keys(left) == [b"b", b"c"]


def test_while_the_data_cannot_be_opened_anew_reads_are_refused_and_afterwards_all_goes_on(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        store.doubt = StoreError("a checkpoint failed")
        store._unfolded = True

        def broken(*_: Any) -> sqlite3.Connection:
            raise sqlite3.OperationalError("told to fail")

        monkeypatch.setattr(engine, "connect", broken)
        for _ in range(2):
            with pytest.raises(StoreError, match="told to fail"):
                await put(store, b"b")
            with pytest.raises(StoreError, match="opened anew"):
                await store.load(1, 0, [b"a"])
            with pytest.raises(StoreError, match="opened anew"):
                await store.scan(1, 0, b"", b"\xff", 10)
        monkeypatch.undo()
        await put(store, b"c")
        assert await store.load(1, 0, [b"a", b"b", b"c"]) == [b"v", None, b"v"]

    in_directory(data, scenario)


def filled(data: Path) -> int:
    """Some hundred pages, folded in; their bytes."""
    in_directory(data, lambda store: put(store, *(b"%04d" % number + bytes(3_000) for number in range(300))))
    return (data / FILE).stat().st_size


def test_what_is_damaged_is_lost(data: Path) -> None:
    size = filled(data)

    async def scenario(store: SqliteStore) -> None:
        with (data / FILE).open("r+b") as file:
            file.seek(16_384)
            file.write(b"\xff" * (size - 16_384))
        with pytest.raises(StoreError, match="malformed, or cannot be read"):
            await put(store, b"0150")
        with pytest.raises(StoreLost, match="is damaged"):
            await store.probe()

    in_directory(data, scenario)


def test_what_could_not_be_read_for_a_while_is_not_lost(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(data)

    async def scenario(store: SqliteStore) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        assert not isinstance(store._not_read(error), StoreLost)
        pread = os.pread

        def unreadable(descriptor: int, size: int, at: int) -> bytes:
            if at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return pread(descriptor, size, at)

        monkeypatch.setattr(directories.os, "pread", unreadable)
        for _ in range(2):
            with pytest.raises(StoreError, match=f"{FILE}: Input/output error") as failure:
                await put(store, b"a")
            assert not isinstance(failure.value, StoreLost)
        monkeypatch.undo()
        await put(store, b"b")
        assert store.doubt is None

    in_directory(data, scenario)


# -- what errors mean ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EROFS, StoreReadOnly),
        (errno.EACCES, StoreReadOnly),
        (errno.ENOENT, StoreGone),
        (errno.ESTALE, StoreGone),
        (errno.EIO, StoreError),
        (errno.EMFILE, StoreError),
    ],
)
def test_what_the_operating_system_says_has_a_kind_a_place_and_advice(number: int, kind: type[StoreError]) -> None:
    found = failed(OSError(number, os.strerror(number)), Path("/data/file"))
    assert type(found) is kind and found.advice
    assert str(found) == f"/data/file: {os.strerror(number)} ({errno.errorcode[number]})"


def test_a_file_that_another_program_holds_is_said_to_be_held(data: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await put(store, b"a")
        other = sqlite3.connect(data / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked") as refusal:
            await put(store, b"b")
        assert "Another program holds it" in refusal.value.advice
        other.execute("ROLLBACK")
        other.close()
        await put(store, b"c")

    in_directory(data, scenario)
    assert keys(data) == [b"a", b"c"]

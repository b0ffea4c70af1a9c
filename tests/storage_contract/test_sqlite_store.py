"""What only the engine on a disk has: the file, its lock, its format, its room."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trunkline.kernel.time import RealClock
from trunkline.storage import reserve as reserves
from trunkline.storage import sqlite, sqlite_file
from trunkline.storage.directory import LOCK, DataDirectoryInUse
from trunkline.storage.sqlite import SqliteStore
from trunkline.storage.sqlite_file import FILE, NewerFormat, read_rows
from trunkline.storage.store import Part, StoreError, StoreFull, StoreLost


def in_directory(path: Path, scenario: Callable[[SqliteStore], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        store = SqliteStore(path, **options)
        await store.open()
        try:
            return await asyncio.wait_for(scenario(store), 60)
        finally:
            await store.close()

    return asyncio.run(run())


def opening(path: Path) -> None:
    async def nothing(store: SqliteStore) -> None:
        return

    in_directory(path, nothing)


@contextmanager
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path / FILE, isolation_level=None)
    yield connection
    connection.close()


def unit(*writes: tuple[bytes, bytes | None], partition: int = 1, epoch: int = 0) -> list[Part]:
    return [Part(partition, epoch, list(writes))]


async def erase_all(store: SqliteStore, end: bytes = b"") -> None:
    """The rows of partition 1, up to ``end``."""
    while not await store.erase(1, b"", end, 500):
        pass


async def commit_until_below(store: SqliteStore, path: Path, size: float, pause: float) -> None:
    """Commit every ``pause`` seconds, for real disk work, until the file is shorter than ``size``."""
    end = time.monotonic() + 30
    while (path / FILE).stat().st_size >= size and time.monotonic() < end:
        await store.commit([unit((b"k", b"v"))])
        await asyncio.sleep(pause)
    assert (path / FILE).stat().st_size < size


async def fill_and_erase(store: SqliteStore, path: Path) -> int:
    """Ten thousand rows, and then none of them any more; how long the file became."""
    for at in range(0, 10_000, 1_000):
        await store.commit([unit(*((b"%05d" % n, bytes(4_000)) for n in range(at, at + 1_000)))])
    full = (path / FILE).stat().st_size
    await erase_all(store)
    return full


async def on_writer(store: SqliteStore, statement: str) -> list[Any]:
    """Run a statement on the store's own writing connection."""
    found: list[Any] = await store._put_job(lambda: store._writer.execute(statement).fetchall())
    return found


def test_reopening_finds_rows_and_epochs(tmp_path: Path) -> None:
    async def write(store: SqliteStore) -> int:
        epoch = await store.lease(1)
        await store.commit([unit((b"k", b"v"), (b"gone", b"v"), epoch=epoch)])
        await store.commit([unit((b"gone", None), epoch=epoch)])
        return epoch

    async def read(store: SqliteStore) -> None:
        assert await store.scan(1, 0, b"", b"\xff", 10) == ([(b"k", b"v")], True)
        assert (await store.commit([unit((b"k", b"w"), epoch=epoch - 1)])).stale == {0}
        assert await store.lease(1) > epoch

    epoch = in_directory(tmp_path, write)
    in_directory(tmp_path, read)
    assert list(read_rows(tmp_path)) == [(1, b"k", b"v")]


def test_a_data_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    opening(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / FILE).exists()


def test_a_second_store_on_one_directory_is_refused_with_who_holds_it(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        with pytest.raises(DataDirectoryInUse) as refusal:
            await SqliteStore(tmp_path).open()
        assert str(tmp_path) in str(refusal.value)
        assert f"process {os.getpid()}" in str(refusal.value)
        assert "--data" in str(refusal.value)
        # The first is none the worse for it.
        await store.commit([unit((b"k", b"v"))])

    in_directory(tmp_path, scenario)
    opening(tmp_path)  # and when it has gone, the next may come
    assert (tmp_path / LOCK).exists()


def test_a_newer_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    opening(tmp_path)
    with plain(tmp_path) as connection:
        connection.execute("PRAGMA user_version=99")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(NewerFormat) as refusal:
        opening(tmp_path)
    assert "99" in str(refusal.value) and "newer Trunkline" in str(refusal.value)
    assert (tmp_path / FILE).read_bytes() == before
    with plain(tmp_path) as connection:
        connection.execute(f"PRAGMA user_version={sqlite_file.FORMAT}")
    opening(tmp_path)  # the refusal did not keep the lock


def test_an_older_format_is_upgraded_step_by_step_as_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write(store: SqliteStore) -> None:
        await store.commit([unit((b"k", b"v"))])

    in_directory(tmp_path, write)
    old = sqlite_file.FORMAT

    def first(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE added(a)")

    def second(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO added VALUES (7)")

    monkeypatch.setattr(sqlite_file, "FORMAT", old + 2)
    monkeypatch.setattr(sqlite_file, "UPGRADES", {old: first, old + 1: second})
    opening(tmp_path)
    with plain(tmp_path) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(old + 2,)]
        assert connection.execute("SELECT a FROM added").fetchall() == [(7,)]
    opening(tmp_path)  # a second time there is nothing to do
    assert list(read_rows(tmp_path)) == [(1, b"k", b"v")]


def test_an_upgrade_that_fails_leaves_the_older_format_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening(tmp_path)
    old = sqlite_file.FORMAT

    def upgrade(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half_done(a)")
        connection.execute("INSERT INTO nowhere VALUES (1)")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_file, "FORMAT", old + 1)
        patch.setattr(sqlite_file, "UPGRADES", {old: upgrade})
        with pytest.raises(StoreError, match="nowhere"):
            opening(tmp_path)
        patch.setattr(sqlite_file, "UPGRADES", {})
        with pytest.raises(StoreError, match=f"format {old}, from which no upgrade is known"):
            opening(tmp_path)
    with plain(tmp_path) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(old,)]
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name='half_done'").fetchall() == [(0,)]
    opening(tmp_path)


@pytest.mark.parametrize("application", [0, 0x0F055112])
def test_a_sqlite_file_of_another_program_is_refused_and_not_touched(tmp_path: Path, application: int) -> None:
    with plain(tmp_path) as connection:
        connection.execute(f"PRAGMA application_id={application}")
        connection.execute("CREATE TABLE theirs(a)")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StoreError, match="another program"):
        opening(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is somebody's diary\n" * 200)
    with pytest.raises(StoreError, match="not a database"):
        opening(tmp_path)


def test_a_data_directory_that_is_a_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=str(tmp_path / "file")):
        opening(tmp_path / "file")


def test_what_is_made_for_the_data_is_for_this_user_alone(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"

    async def rights(store: SqliteStore) -> dict[str, int]:
        await store.commit([unit((b"k", b"v"))])
        return {each.name: each.stat().st_mode & 0o777 for each in (data, *data.iterdir())}

    before = os.umask(0o022)
    try:
        found = in_directory(data, rights)
    finally:
        os.umask(before)
    assert found.pop("data") == 0o700
    assert set(found) == {FILE, f"{FILE}-wal", f"{FILE}-shm", LOCK, reserves.FILE}
    assert set(found.values()) == {0o600}


def test_a_directory_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o750)
    opening(tmp_path / "data")
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o750


def failing_to_open(tmp_path: Path) -> str:
    with pytest.raises(StoreError) as error:
        opening(tmp_path)
    text = str(error.value)
    assert str(tmp_path) in text and "\n" not in text
    return text


def test_what_is_in_the_way_of_the_data_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "That is a file: choose a directory with --data." in failing_to_open(tmp_path / "file")
    assert "A part of that path is a file" in failing_to_open(tmp_path / "file" / "data")
    (tmp_path / "data" / FILE).mkdir(parents=True)
    assert "Is it a file that this user may read and write?" in failing_to_open(tmp_path / "data")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC])
def test_a_directory_that_cannot_be_written_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    # Pretended: a test run may be root's, whom no rights stop.
    def refuse(path: Any, *_: Any, **__: Any) -> int:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "open", refuse)
    text = failing_to_open(tmp_path)
    assert os.strerror(code) in text and text.endswith("directory with --data.")


def test_a_file_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening(tmp_path)
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **how: real(f"{file.as_uri()}?mode=ro", uri=True, **how))
    text = failing_to_open(tmp_path)
    assert "readonly" in text and "This user may not write there" in text
    monkeypatch.undo()
    opening(tmp_path)  # the lock was let go


def test_a_new_file_has_its_page_size_vacuum_mode_and_application_id(tmp_path: Path) -> None:
    opening(tmp_path)
    with plain(tmp_path) as connection:

        def pragma(name: str) -> Any:
            return connection.execute(f"PRAGMA {name}").fetchone()[0]

        assert pragma("page_size") == 8192
        assert pragma("auto_vacuum") == 2  # incremental
        assert pragma("application_id") == int.from_bytes(b"TRKL", "big")
        assert pragma("user_version") == sqlite_file.FORMAT
        assert pragma("journal_mode") == "wal"


def test_durability_decides_whether_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> Any:
        return (await on_writer(store, "PRAGMA synchronous"))[0][0]

    assert in_directory(tmp_path, scenario) == 2  # FULL
    assert in_directory(tmp_path, scenario, durability="os") == 0


def test_a_file_with_another_page_size_is_refused(tmp_path: Path) -> None:
    with plain(tmp_path) as connection:
        connection.execute("PRAGMA page_size=16384")
        connection.execute(f"PRAGMA application_id={sqlite_file.APPLICATION_ID}")
        connection.execute("CREATE TABLE rows(a)")
        connection.execute(f"PRAGMA user_version={sqlite_file.FORMAT}")
    with pytest.raises(StoreError, match="page size"):
        opening(tmp_path)


def test_a_file_with_the_pages_of_earlier_versions_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "PAGE_SIZE", 4096)
    in_directory(tmp_path, lambda store: store.commit([unit((b"a", b"1"))]))
    monkeypatch.undo()
    assert in_directory(tmp_path, lambda store: store.load(1, 0, [b"a"])) == [b"1"]
    with plain(tmp_path) as connection:
        assert connection.execute("PRAGMA page_size").fetchone() == (4096,)


def test_a_message_of_a_kilobyte_does_not_take_a_page_to_itself(tmp_path: Path) -> None:
    rows = [(b"%05d" % n, bytes(1_300)) for n in range(1_000)]
    in_directory(tmp_path, lambda store: store.commit([unit(*rows)]))
    assert (tmp_path / FILE).stat().st_size < 1.4 * 1_000 * 1_300


async def until_small(path: Path, size: int) -> int:
    """Wait for real disk work: the file's size once it is below ``size``, or after 30 s."""
    end = time.monotonic() + 30
    while (now := (path / FILE).stat().st_size) >= size and time.monotonic() < end:
        await asyncio.sleep(0.02)
    return now


@pytest.mark.parametrize("erased", [False, True])
def test_the_file_shrinks_after_deletes_while_the_server_rests(tmp_path: Path, erased: bool) -> None:
    async def scenario(store: SqliteStore) -> None:
        keys = [b"%05d" % n for n in range(600)]
        await store.commit([unit(*((key, bytes(4000)) for key in keys))])
        await on_writer(store, "PRAGMA wal_checkpoint(TRUNCATE)")
        full = (tmp_path / FILE).stat().st_size
        assert full > 2_000_000
        if erased:
            while not await store.erase(1, b"", b"", 200):
                pass
        else:
            await store.commit([unit(*((key, None) for key in keys))])
        assert await until_small(tmp_path, full // 10) < full // 10
        end = time.monotonic() + 30
        while (tmp_path / (FILE + "-wal")).stat().st_size and time.monotonic() < end:
            await asyncio.sleep(0.02)
        assert (tmp_path / (FILE + "-wal")).stat().st_size == 0
        assert await store.scan(1, 0, b"", b"\xff", 10) == ([], True)

    in_directory(tmp_path, scenario, durability="os")


def test_pages_freed_before_a_crash_go_back_to_the_disk_after_it(tmp_path: Path) -> None:
    async def fill(store: SqliteStore) -> None:
        await store.commit([unit(*((b"%05d" % n, bytes(4000)) for n in range(600)))])

    in_directory(tmp_path, fill)
    with plain(tmp_path) as connection:  # as a killed server leaves it: deleted, not yet given back
        connection.execute("DELETE FROM rows")
    full = (tmp_path / FILE).stat().st_size

    async def read(store: SqliteStore) -> int:
        await store.commit([unit((b"k", b"v"))])
        return await until_small(tmp_path, full // 10)

    assert in_directory(tmp_path, read) < full // 10


def test_a_full_disk_is_said_to_be_full_and_later_commits_go_on(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.commit([unit((b"a", b"1"))])
        [(pages,)] = await on_writer(store, "PRAGMA page_count")
        await on_writer(store, f"PRAGMA max_page_count={pages + 2}")
        with pytest.raises(StoreFull):
            await store.commit([unit((b"b", b"1")), unit((b"big", bytes(100_000)))])
        # Nothing of it was applied, and what fits goes through at once.
        assert await store.load(1, 0, [b"a", b"b", b"big"]) == [b"1", None, None]
        await store.commit([unit((b"a", b"2"))])
        await on_writer(store, "PRAGMA max_page_count=1000000")
        await store.commit([unit((b"big", bytes(100_000)))])
        assert await store.load(1, 0, [b"a", b"b", b"big"]) == [b"2", None, bytes(100_000)]

    in_directory(tmp_path, scenario)


async def until(what: Callable[[], bool]) -> None:
    """Wait for real disk work, 30 s at the most."""
    end = time.monotonic() + 30
    while not what() and time.monotonic() < end:
        await asyncio.sleep(0.02)
    assert what()


def test_on_a_full_disk_the_reserve_is_given_away_and_the_store_is_short_until_there_is_room(tmp_path: Path) -> None:
    disk = [1 << 30]

    async def scenario(store: SqliteStore) -> None:
        reserve = tmp_path / reserves.FILE
        assert reserve.exists() and not store.short
        [(pages,)] = await on_writer(store, "PRAGMA page_count")
        await on_writer(store, f"PRAGMA max_page_count={pages + 2}")
        disk[0] = 0
        with pytest.raises(StoreFull):
            await store.commit([unit((b"big", bytes(100_000)))])
        assert store.short and not reserve.exists()
        await on_writer(store, "PRAGMA max_page_count=1000000")
        await store.commit([unit((b"small", b"1"))])  # what makes room goes on
        assert store.short
        disk[0] = 1 << 30
        await until(lambda: not store.short)
        assert reserve.exists()

    in_directory(tmp_path, scenario, space=lambda _: (disk[0], 1 << 30))


def test_a_disk_that_is_nearly_full_makes_the_store_short_before_a_commit_fails(tmp_path: Path) -> None:
    disk = [1 << 30]

    async def scenario(store: SqliteStore) -> None:
        disk[0] = 1 << 20
        await store.commit([unit((b"a", b"1"))])
        await until(lambda: store.short)
        assert (tmp_path / reserves.FILE).exists()

    in_directory(tmp_path, scenario, space=lambda _: (disk[0], 1 << 30))


def test_space_goes_back_to_the_disk_while_a_few_commits_a_second_come(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        keys = [b"%05d" % n for n in range(1_500)]
        await store.commit([unit(*((key, bytes(4_000)) for key in keys))])
        await on_writer(store, "PRAGMA wal_checkpoint(TRUNCATE)")
        full = (tmp_path / FILE).stat().st_size
        await erase_all(store)
        await commit_until_below(store, tmp_path, full // 4, 0.05)

    in_directory(tmp_path, scenario, durability="os")


def test_what_stays_free_goes_back_to_the_disk_beside_commits_though_it_is_a_small_part_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_LONG_FREE_SECONDS", 0.2)

    async def scenario(store: SqliteStore) -> None:
        keys = [b"%05d" % n for n in range(12_000)]
        for at in range(0, len(keys), 1_000):
            await store.commit([unit(*((key, bytes(4_000)) for key in keys[at : at + 1_000]))])
        await on_writer(store, "PRAGMA wal_checkpoint(TRUNCATE)")
        full = (tmp_path / FILE).stat().st_size
        await erase_all(store, b"02400")
        await commit_until_below(store, tmp_path, 0.85 * full, 0.02)

    in_directory(tmp_path, scenario, durability="os")


async def said(store: SqliteStore) -> list[str]:
    """The statements that the store's writing connection runs from now on."""
    found: list[str] = []
    await store._put_job(lambda: store._writer.set_trace_callback(found.append))
    return found


def test_a_file_of_which_hardly_anything_is_in_use_is_written_anew_and_keeps_what_is(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        for at in range(0, 10_000, 1_000):
            await store.commit([unit(*((b"%05d" % n, bytes(4_000)) for n in range(at, at + 1_000)))])
        kept = [unit(*((b"%05d" % n, bytes([n])) for n in range(100)), partition=2)]
        await store.commit(kept)
        await erase_all(store)
        found = await said(store)
        await commit_until_below(store, tmp_path, 1_000_000, 0.02)
        # A step or two of the other kind come before the thread has had rest.
        assert "VACUUM" in found and sum("incremental" in each for each in found) < 5
        assert await store.scan(2, 0, b"", b"\xff", 200) == ([(b"%05d" % n, bytes([n])) for n in range(100)], True)

    in_directory(tmp_path, scenario, durability="os")
    with plain(tmp_path) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchall() == [(2,)]
        assert connection.execute("PRAGMA application_id").fetchall() == [(sqlite_file.APPLICATION_ID,)]


def test_space_goes_back_to_the_disk_where_commits_leave_the_writer_thread_no_rest(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        store._commit_pace.leave(3_600)  # every commit goes to the thread
        await store.commit([unit(*((b"%05d" % n, bytes(4_000)) for n in range(1_500)))])
        await on_writer(store, "PRAGMA wal_checkpoint(TRUNCATE)")
        full = (tmp_path / FILE).stat().st_size
        await erase_all(store)
        end = time.monotonic() + 30
        while (tmp_path / FILE).stat().st_size >= full // 4 and time.monotonic() < end:
            await asyncio.gather(*(store.commit([unit((b"k", b"v"))]) for _ in range(50)))
        assert (tmp_path / FILE).stat().st_size < full // 4

    in_directory(tmp_path, scenario, durability="os")


def test_commits_go_on_while_the_file_becomes_shorter(tmp_path: Path) -> None:
    folding, folded = threading.Event(), threading.Event()

    class Held(SqliteStore):
        """It takes as long as the test wants."""

        def _fold_beside(self) -> None:
            folding.set()
            assert folded.wait(30)
            super()._fold_beside()

    async def run() -> None:
        store = Held(tmp_path, "os")
        await store.open()
        try:
            full = await fill_and_erase(store, tmp_path)
            await until(folding.is_set)
            # More than a checkpoint would be made for, and none of it waits for one.
            for n in range(10):
                more = [unit(*((b"%02d %03d" % (n, m), bytes(4_000)) for m in range(900)))]
                await asyncio.wait_for(store.commit(more), 5)
            assert store._wal_pages > store._wal_limit
            folded.set()
            await until(lambda: (tmp_path / FILE).stat().st_size < full)
            rows, whole = await store.scan(1, 0, b"", b"\xff", 10_000, 1 << 30)
            assert whole and len(rows) == 9_000
        finally:
            folded.set()
            await store.close()

    asyncio.run(run())


def test_while_somebody_reads_what_was_there_before_the_file_stays_as_long_and_shrinks_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_FOLD_SECONDS", 0.1)
    tries: list[bool] = []

    class Watched(SqliteStore):
        def _shorten(self, connection: sqlite3.Connection) -> bool:
            tries.append(super()._shorten(connection))
            return tries[-1]

    async def run() -> None:
        store = Watched(tmp_path, "os")
        await store.open()
        try:
            for at in range(0, 10_000, 1_000):
                await store.commit([unit(*((b"%05d" % n, bytes(4_000)) for n in range(at, at + 1_000)))])
            await on_writer(store, "PRAGMA wal_checkpoint(TRUNCATE)")
            full = (tmp_path / FILE).stat().st_size
            with plain(tmp_path) as reader:
                reader.execute("BEGIN")
                assert reader.execute("SELECT count(*) FROM rows").fetchall() == [(10_000,)]
                await erase_all(store)
                await until(lambda: len(tries) > 1)
                assert not any(tries)
                await asyncio.wait_for(store.commit([unit((b"k", b"w"))]), 5)
                assert (tmp_path / FILE).stat().st_size >= full
                assert reader.execute("SELECT count(*) FROM rows").fetchall() == [(10_000,)]
                reader.execute("COMMIT")
            await commit_until_below(store, tmp_path, full // 4, 0.02)
            await until(lambda: tries[-1])
        finally:
            await store.close()

    asyncio.run(run())


def test_what_fails_while_the_file_becomes_shorter_is_a_failed_checkpoint_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_FOLD_SECONDS", 0.1)
    failed: list[bool] = []
    opened_anew: list[bool] = []

    class Failing(SqliteStore):
        def _shorten(self, connection: sqlite3.Connection) -> bool:
            if failed:
                return super()._shorten(connection)
            failed.append(True)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error

        def _reopen(self) -> None:
            opened_anew.append(True)
            super()._reopen()

    async def run() -> None:
        store = Failing(tmp_path, "os")
        await store.open()
        try:
            full = await fill_and_erase(store, tmp_path)
            await until(lambda: store.doubt is not None)
            assert failed and not opened_anew
            await commit_until_below(store, tmp_path, full // 4, 0.02)
            assert store.doubt is None and opened_anew
        finally:
            await store.close()

    asyncio.run(run())


def test_nothing_is_made_in_the_place_of_a_file_that_is_gone_when_it_is_to_become_shorter(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.commit([unit((b"k", b"v"))])
        (tmp_path / FILE).rename(tmp_path / "moved")
        with pytest.raises(StoreError):
            await asyncio.to_thread(store._fold_beside)
        assert not (tmp_path / FILE).exists()
        (tmp_path / "moved").rename(tmp_path / FILE)

    in_directory(tmp_path, scenario, durability="os")


def test_steps_of_giving_space_back_are_shorter_where_they_take_long_and_a_stop_does_not_wait_for_all(
    tmp_path: Path,
) -> None:
    class Slow(RealClock):
        steps = 0.0

        def monotonic(self) -> float:
            """Every look at it takes 20 ms."""
            Slow.steps += 0.02
            return Slow.steps

    async def scenario(store: SqliteStore) -> list[str]:
        keys = [b"%05d" % n for n in range(10_000)]
        for at in range(0, len(keys), 1_000):
            await store.commit([unit(*((key, bytes(4_000)) for key in keys[at : at + 1_000]))])
        found = await said(store)
        await store.commit([unit(*((key, None) for key in keys[:5_000]))])
        return found

    found = in_directory(tmp_path, scenario, durability="os", real=Slow())
    pages = [int(each.split("(")[1].rstrip(")")) for each in found if "incremental_vacuum" in each]
    # The first is a quarter if the thread had just had a commit to do.
    assert pages[0] in (256, 64) and pages[-1] == 8 and pages == sorted(pages, reverse=True)
    assert len(pages) < 60 and sum(pages) < 1_000
    assert (tmp_path / FILE).stat().st_size > 20_000_000


@pytest.mark.parametrize("erased", [False, True])
def test_a_log_of_which_every_row_takes_a_page_does_not_become_much_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, erased: bool
) -> None:
    limit = 4_000_000
    monkeypatch.setattr(sqlite, "CHECKPOINT_BYTES", limit)
    log = tmp_path / f"{FILE}-wal"

    async def scenario(store: SqliteStore) -> int:
        keys = [b"%06d" % n for n in range(60_000)]
        for at in range(0, len(keys), 1_000):
            await store.commit([unit(*((key, bytes(300)) for key in keys[at : at + 1_000]))])
        longest = 0
        for first in range(4):
            for at in range(first, len(keys), 1_000):
                if erased:
                    await store.erase(1, keys[at], keys[at + 20], 20)
                else:
                    await store.commit([unit(*((key, None) for key in keys[at : at + 1_000 : 20]))])
                longest = max(longest, log.stat().st_size)
        return longest

    assert limit // 4 < in_directory(tmp_path, scenario, durability="os") < 4 * limit


def test_a_slow_reader_of_a_dump_holds_up_no_commit_and_no_checkpoint(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.commit([unit(*((b"%05d" % n, bytes(300)) for n in range(2_000)))])
        dump = read_rows(tmp_path)
        first = next(dump)
        await store.commit([unit((b"later", b"1"))])
        begun = time.monotonic()
        [(busy, *_)] = await on_writer(store, "PRAGMA wal_checkpoint(TRUNCATE)")
        assert not busy and time.monotonic() - begun < 2
        rows = [first, *dump]
        assert len(rows) == 2_001 and rows == sorted(rows)

    in_directory(tmp_path, scenario, durability="os")


def test_after_a_failed_commit_nothing_is_promised_until_the_probe_has_gone_through(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.commit([unit((b"a", b"1"))])
        await on_writer(
            store, "CREATE TRIGGER refuse BEFORE INSERT ON rows WHEN NEW.key=x'62' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        with pytest.raises(StoreError, match="no"):
            await store.commit([unit((b"a", b"2"), (b"b", b"1"))])
        assert await store.load(1, 0, [b"a", b"b"]) == [b"1", None]
        # While the probe itself fails nothing is taken, not even what would go through.
        await on_writer(
            store,
            "CREATE TRIGGER probe BEFORE INSERT ON leases BEGIN SELECT RAISE(ABORT, 'the disk is still ill'); END",
        )
        for call in (
            store.commit([unit((b"a", b"3"))]),
            store.commit([]),
            store.erase(1, b"", b"", 10),
            store.lease(1),
        ):
            with pytest.raises(StoreError, match="still ill"):
                await call
        assert await store.load(1, 0, [b"a"]) == [b"1"]
        await on_writer(store, "DROP TRIGGER probe")
        await store.commit([unit((b"a", b"4"))])
        assert await store.load(1, 0, [b"a", b"b"]) == [b"4", None]

    in_directory(tmp_path, scenario)


@pytest.mark.parametrize("slow", [False, True])
def test_a_commit_called_before_the_failure_of_an_earlier_one_was_known_is_refused(tmp_path: Path, slow: bool) -> None:
    async def scenario(store: SqliteStore) -> None:
        if slow:
            store._commit_pace.aside_until = float("inf")  # every commit goes to the writer thread
        await store.commit([unit((b"a", b"1"))])
        await on_writer(store, "CREATE TEMP TRIGGER no BEFORE INSERT ON main.rows BEGIN SELECT RAISE(ABORT, 'no'); END")
        first = asyncio.ensure_future(store.commit([unit((b"b", b"2"))]))
        second = asyncio.ensure_future(store.commit([unit((b"c", b"3"))]))
        if slow:
            await asyncio.sleep(0)
            store._jobs.put((lambda: store._writer.execute("DROP TRIGGER temp.no"), None))
        failures = await asyncio.gather(first, second, return_exceptions=True)
        assert all(isinstance(failure, StoreError) for failure in failures)
        if not slow:
            await on_writer(store, "DROP TRIGGER temp.no")
        await store.commit([unit((b"d", b"4"))])
        assert await store.load(1, 0, [b"a", b"b", b"c", b"d"]) == [b"1", None, None, b"4"]

    in_directory(tmp_path, scenario)


def test_a_slow_disk_sends_commits_to_the_writer_thread_and_a_quick_one_takes_them_back(tmp_path: Path) -> None:
    now = [0.0]
    took = [0.0]

    class Clock(RealClock):
        def monotonic(self) -> float:
            now[0] += took[0]
            return now[0]

    async def scenario(store: SqliteStore) -> None:
        async def here() -> bool:
            before = store._commits_here
            await store.commit([unit((b"k", b"v"))])
            return store._commits_here > before

        await on_writer(store, "SELECT 1")  # what the thread does at the start is done
        took[0] = 0.0001
        assert all([await here() for _ in range(5)])
        took[0] = 0.01
        assert await here() and await here(), "one slow commit is no reason yet"
        assert not await here()
        now[0] += 10
        took[0] = 0.0001
        assert await here() and await here()

    in_directory(tmp_path, scenario, real=Clock())


def test_a_slow_disk_sends_reads_to_the_reader_thread_and_a_quick_one_takes_them_back(tmp_path: Path) -> None:
    now = [0.0]
    took = [0.0]

    class Clock(RealClock):
        def monotonic(self) -> float:
            now[0] += took[0]
            return now[0]

    async def scenario(store: SqliteStore) -> None:
        threads: list[str] = []
        load = store._load

        def noted(partition: int, keys: list[bytes]) -> list[bytes | None]:
            threads.append(threading.current_thread().name)
            return load(partition, keys)

        store._load = noted  # type: ignore[method-assign]
        await store.commit([unit((b"k", b"v"))])

        async def here() -> bool:
            assert await store.load(1, 0, [b"k", b"none"]) == [b"v", None]
            return threads.pop() != "trunkline-reader"

        took[0] = 0.0001
        assert all([await here() for _ in range(5)])
        took[0] = 0.01
        assert await here() and await here(), "one slow read is no reason yet"
        assert not await here()
        now[0] += 10
        took[0] = 0.0001
        assert await here() and await here()

    in_directory(tmp_path, scenario, real=Clock())


def test_a_read_finds_another_one_under_way_and_takes_the_thread(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.commit([unit((b"k", b"v"))])
        with store._reading:
            reading = asyncio.ensure_future(store.load(1, 0, [b"k"]))
            await asyncio.sleep(0)
            assert not reading.done()
        assert await reading == [b"v"]

    in_directory(tmp_path, scenario)


def test_a_lease_that_fails_raises_a_store_error_and_gives_no_epoch_away(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        first = await store.lease(1)
        await on_writer(store, "CREATE TRIGGER t BEFORE INSERT ON leases BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(StoreError, match="no"):
            await store.lease(1)
        await on_writer(store, "DROP TRIGGER t")
        assert (await store.commit([unit((b"k", b"v"), epoch=first)])).stale == frozenset()

    in_directory(tmp_path, scenario)


def test_reads_go_on_while_commits_fail(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        await store.commit([unit((b"a", b"1"))])
        await on_writer(store, "CREATE TRIGGER t BEFORE INSERT ON rows BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(StoreError):
            await store.commit([unit((b"a", b"2"))])
        assert await store.scan(1, 0, b"", b"\xff", 10) == ([(b"a", b"1")], True)

    in_directory(tmp_path, scenario)


def test_a_closed_store_refuses_calls_instead_of_leaving_them_waiting(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path)
        await store.open()
        await store.close()
        for call in (store.commit([unit((b"k", b"v"))]), store.load(1, 0, [b"k"]), store.lease(1)):
            with pytest.raises(StoreLost):
                await asyncio.wait_for(call, 10)

    asyncio.run(run())


def test_close_waits_for_commits_that_were_made_before_it(tmp_path: Path) -> None:
    async def run() -> None:
        store = SqliteStore(tmp_path)
        await store.open()
        commits = [asyncio.ensure_future(store.commit([unit((b"%d" % n, b"v"))])) for n in range(20)]
        await asyncio.sleep(0)
        await store.close()
        for commit in commits:
            assert (await asyncio.wait_for(commit, 10)).stale == frozenset()

    asyncio.run(run())
    assert len(list(read_rows(tmp_path))) == 20


def test_a_reader_sees_every_commit_that_has_returned(tmp_path: Path) -> None:
    async def scenario(store: SqliteStore) -> None:
        for number in range(50):
            value = str(number).encode()
            await store.commit([unit((b"k", value))])
            assert await store.load(1, 0, [b"k"]) == [value]

    in_directory(tmp_path, scenario, durability="os")


@pytest.mark.parametrize(("pragma", "kind"), [("user_version=99", NewerFormat), ("application_id=1", StoreError)])
def test_rows_of_what_is_not_known_are_not_read(tmp_path: Path, pragma: str, kind: type[StoreError]) -> None:
    opening(tmp_path)
    with plain(tmp_path) as connection:
        connection.execute(f"PRAGMA {pragma}")
    with pytest.raises(kind, match=r"format 99|another program"):
        list(read_rows(tmp_path))


def test_rows_of_a_directory_without_data_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no Trunkline data"):
        list(read_rows(tmp_path))
    assert list(tmp_path.iterdir()) == [], "reading made something"


def test_every_directory_on_the_way_to_new_data_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[tuple[int, int]] = set()
    real = os.fsync

    def note(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.add((found.st_dev, found.st_ino))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    opening(tmp_path / "a" / "b" / "c")
    for directory in (tmp_path, tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"):
        assert (directory.stat().st_dev, directory.stat().st_ino) in synced, directory


def test_when_a_wal_is_cut_to_nothing_all_but_its_last_commit_is_out_of_force(tmp_path: Path) -> None:
    """What a power cut may leave of the cut is a part of the file, and its pages are older than those in the file."""
    wal = tmp_path / f"{FILE}-wal"

    async def scenario(store: SqliteStore) -> None:
        for number in range(50):
            await store.commit([unit((b"%d" % number, bytes(3_000)))])
        cut: list[bytes] = []

        def before(statement: str) -> None:
            if "TRUNCATE" in statement:
                cut.append(wal.read_bytes())

        store._writer.set_trace_callback(before)
        await until(lambda: wal.stat().st_size == 0)
        store._writer.set_trace_callback(None)
        [whole] = cut
        left = tmp_path / "left"
        for size in range(0, len(whole), 4_096):
            left.mkdir(exist_ok=True)
            (left / FILE).write_bytes((tmp_path / FILE).read_bytes())
            (left / f"{FILE}-wal").write_bytes(whole[:size])
            assert len(list(read_rows_of(left))) == 50, f"the first {size} bytes of the WAL"

    in_directory(tmp_path, scenario)


def read_rows_of(path: Path) -> list[Any]:
    with plain(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found: list[Any] = connection.execute("SELECT * FROM rows").fetchall()
        return found

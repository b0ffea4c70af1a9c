"""Copies of a store's file: consistent beside a writer, whole or not at all, and never over anything."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from trunkline.kernel.time import RealClock
from trunkline.storage import copying, sqlite_file
from trunkline.storage.copying import Copied, copy
from trunkline.storage.sqlite import SqliteStore
from trunkline.storage.sqlite_file import FILE, read_rows
from trunkline.storage.store import Part, StoreError


def run(directory: Path, scenario: Callable[[SqliteStore], object]) -> None:
    """``scenario`` beside an open store of 2,000 rows."""

    async def all() -> None:
        store = SqliteStore(directory, "os")
        await store.open()
        await store.lease(1)
        for first in range(0, 2_000, 500):
            rows = [(b"%04d" % number, bytes(600)) for number in range(first, first + 500)]
            await store.commit([[Part(1, 1, rows)]])
        result = scenario(store)
        if asyncio.iscoroutine(result):
            await result
        await store.close()

    asyncio.run(all())


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "STEP_BYTES", 65_536)
    monkeypatch.setattr(copying, "_REST", 0)


@pytest.mark.usefixtures("small_steps")
def test_a_copy_shows_what_was_there_when_it_began_however_much_is_written_meanwhile(tmp_path: Path) -> None:
    steps = 0
    made: list[Copied] = []

    def scenario(store: SqliteStore) -> None:
        def write(done: int, total: int) -> None:
            """Between two steps the store's own connection commits."""
            nonlocal steps
            steps += 1
            store._writer.execute("UPDATE rows SET value = ?", (b"later",))
            store._writer.execute("INSERT INTO rows VALUES (1, ?, x'00')", (b"late %d" % steps,))
            store._checkpoint()

        made.append(copy(tmp_path / "data" / FILE, tmp_path / "copy.db", [(0, b"\x04", b"mark")], RealClock(), write))

    run(tmp_path / "data", scenario)
    assert steps > 10
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy.db").rename(tmp_path / "copy" / FILE)
    rows = list(read_rows(tmp_path / "copy"))
    assert rows[0] == (0, b"\x04", b"mark")
    assert rows[1:] == [(1, b"%04d" % number, bytes(600)) for number in range(2_000)]
    assert (made[0].rows, made[0].bytes) == (2_001, (tmp_path / "copy" / FILE).stat().st_size)
    assert made[0].log_bytes > 0
    assert sum(1 for _ in read_rows(tmp_path / "data")) == 2_000 + steps


def test_a_log_that_a_reader_let_grow_gives_its_room_back_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LOG_BYTES", 1 << 20)
    log = tmp_path / (FILE + "-wal")

    async def scenario(store: SqliteStore) -> None:
        reader = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM rows").fetchall()
        for number in range(4):
            await store.commit([[Part(1, 1, [(b"%d" % number, bytes(1 << 20))])]])
            await store._put_job(store._checkpoint)
        assert log.stat().st_size > 4 << 20
        reader.close()
        await store._put_job(store._checkpoint)
        await store.commit([[Part(1, 1, [(b"next", b"")])]])
        assert log.stat().st_size <= 1 << 20

    run(tmp_path, scenario)


@pytest.mark.usefixtures("small_steps")
def test_a_copy_is_given_up_before_its_servers_log_fills_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = iter([100_000, 1 << 30])
    monkeypatch.setattr(copying, "_room", lambda directory: next(rooms))

    def scenario(store: SqliteStore) -> None:
        def write(done: int, total: int) -> None:
            store._writer.execute("UPDATE rows SET value = ?", (bytes(700),))

        with pytest.raises(StoreError, match="faster than its data can be copied"):
            copy(tmp_path / "data" / FILE, tmp_path / "copy.db", [], RealClock(), write)

    run(tmp_path / "data", scenario)
    assert [each.name for each in tmp_path.iterdir()] == ["data"], "nothing is left behind"


def test_a_copy_is_refused_where_there_is_no_room_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "data", lambda store: None)
    monkeypatch.setattr(copying, "_room", lambda directory: 64 << 20)
    with pytest.raises(StoreError, match=r"has 64 MiB free, and the copy needs 6[56] MiB"):
        copy(tmp_path / "data" / FILE, tmp_path / "copy.db", [], RealClock())
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


def test_a_damaged_file_makes_no_copy(tmp_path: Path) -> None:
    run(tmp_path / "data", lambda store: None)
    file = tmp_path / "data" / FILE
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2 // 4096 * 4096)
        opened.write(b"\xff" * 4096)
    with pytest.raises(StoreError, match="damaged"):
        copy(file, tmp_path / "copy.db", [], RealClock())
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


def test_nothing_is_overwritten_that_came_meanwhile(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"

    def scenario(store: SqliteStore) -> None:
        with pytest.raises(StoreError, match="overwritten"):
            copy(
                tmp_path / "data" / FILE,
                target,
                [],
                RealClock(),
                lambda done, total: target.write_text("mine") and None,
            )

    run(tmp_path / "data", scenario)
    assert target.read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["copy.db", "data"]


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t(x)")
    other.close()
    with pytest.raises(StoreError, match="another program"):
        copy(tmp_path / "other.db", tmp_path / "copy.db", [], RealClock())

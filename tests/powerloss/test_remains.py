"""The model of a disk whose power is cut: what it may keep and what it must."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from powerloss.records import CREATED, DIRECTORY, MKDIR, OPEN, SYNC_BEGIN, SYNC_END, TRUNCATE, UNLINK, WRITE, Record
from powerloss.remains import EVERYTHING, FEW, LOST, MODES, NOTHING, SECTOR, SOME, Files, missed

ROOT = Path("/disk")
A, B = b"a" * SECTOR, b"b" * SECTOR
EIO = 5


class Log:
    def __init__(self) -> None:
        self.files = Files(ROOT)
        self._tickets = 0

    def open(self, name: str, number: int, created: bool = True, directory: bool = False) -> None:
        flags = (CREATED if created else 0) | (DIRECTORY if directory else 0)
        self.files.follow(Record(OPEN, number, flags, 0, f"{ROOT}/{name}".rstrip("/").encode()))

    def write(self, number: int, at: int, data: bytes) -> None:
        self.files.follow(Record(WRITE, number, at, 0, data))

    def truncate(self, number: int, size: int) -> None:
        self.files.follow(Record(TRUNCATE, number, size, 0, b""))

    def begin(self, number: int) -> int:
        self._tickets += 1
        self.files.follow(Record(SYNC_BEGIN, number, self._tickets, 0, b""))
        return self._tickets

    def end(self, number: int, ticket: int, error: int = 0) -> None:
        self.files.follow(Record(SYNC_END, number, ticket, error, b""))

    def sync(self, number: int, error: int = 0) -> None:
        self.end(number, self.begin(number), error)

    def on_disk(self, name: str) -> None:
        """A file, open as 1, with its name synced."""
        self.open("", 9, created=False, directory=True)
        self.open(name, 1)
        self.sync(9)


def drawn(log: Log, tmp_path: Path, name: str = "f", modes: tuple[str, ...] = MODES) -> set[bytes | None]:
    """What a file may hold; None: it may be missing."""
    found: set[bytes | None] = set()
    chance = random.Random(1)
    for number in range(200):
        into = tmp_path / str(number)
        log.files.remains(into, modes[number % len(modes)], chance)
        file = into / name
        found.add(file.read_bytes() if file.is_file() else None)
    return found


def test_what_was_synced_is_there_whatever_became_of_the_rest(tmp_path: Path) -> None:
    log = Log()
    log.on_disk("f")
    log.write(1, 0, A)
    log.sync(1)
    assert drawn(log, tmp_path) == {A}


def test_of_later_writes_any_sectors_are_there(tmp_path: Path) -> None:
    log = Log()
    log.on_disk("f")
    log.write(1, 0, A + A)
    log.sync(1)
    log.write(1, 0, B + B)
    assert drawn(log, tmp_path) == {A + A, A + B, B + A, B + B}


def test_a_sync_covers_what_was_written_before_it_began_and_only_when_it_has_ended(tmp_path: Path) -> None:
    log = Log()
    log.on_disk("f")
    log.write(1, 0, A)
    ticket = log.begin(1)
    log.write(1, 0, B)
    assert drawn(log, tmp_path / "during" if (tmp_path / "during").mkdir() is None else tmp_path) >= {A, B, b""}
    log.end(1, ticket)
    assert drawn(log, tmp_path) == {A, B}


@pytest.mark.parametrize(
    ("change", "left"),
    [(lambda log: log.truncate(1, 0), {A, b""}), (lambda log: log.truncate(1, SECTOR + 1), {A, A + b"\0"})],
)
def test_a_truncation_is_there_or_not(tmp_path: Path, change: Callable[[Log], None], left: set[bytes]) -> None:
    log = Log()
    log.on_disk("f")
    log.write(1, 0, A)
    log.sync(1)
    change(log)
    assert left <= drawn(log, tmp_path)


def test_after_a_failed_sync_a_later_one_does_not_save_what_was_lost(tmp_path: Path) -> None:
    log = Log()
    log.on_disk("f")
    log.write(1, 0, A)
    log.sync(1)
    log.write(1, 0, B)
    log.sync(1, EIO)
    log.sync(1)
    assert drawn(log, tmp_path) == {A, B}
    log.write(1, 0, B)
    log.sync(1)
    (tmp_path / "again").mkdir()
    assert drawn(log, tmp_path / "again") == {B}


def test_a_name_is_there_for_certain_when_its_directory_was_synced(tmp_path: Path) -> None:
    log = Log()
    log.files.follow(Record(MKDIR, 0, 0, 0, b"/disk/d"))
    log.open("d", 8, created=False, directory=True)
    log.open("d/f", 1)
    log.write(1, 0, A)
    log.sync(1)
    for step, (synced, missing) in enumerate(((None, True), ("d", True), ("", False))):
        if synced is not None:
            log.open(synced, 9, created=False, directory=True)
            log.sync(9)
        (tmp_path / str(step)).mkdir()
        found = drawn(log, tmp_path / str(step), "d/f")
        assert A in found and (None in found) is missing
    log.files.follow(Record(UNLINK, 0, 0, 0, b"/disk/d/f"))
    (tmp_path / "gone").mkdir()
    assert drawn(log, tmp_path / "gone", "d/f") == {A, None}


def test_nothing_everything_and_a_part_of_what_was_not_synced(tmp_path: Path) -> None:
    log = Log()
    log.on_disk("f")
    for number in range(100):
        log.write(1, number * SECTOR, A)
    for mode, least, most in ((NOTHING, 0, 0), (FEW, 0, 40), (SOME, 0, 90), (EVERYTHING, 100, 100)):
        (tmp_path / mode).mkdir()
        kept = {(content or b"").count(A) for content in drawn(log, tmp_path / mode, modes=(mode,))}
        assert least <= min(kept) and max(kept) <= most


@pytest.mark.parametrize("content", [A + B, A, A[:100], A + A + b"more", b""])
def test_a_change_that_a_kill_kept_from_the_log_is_added_to_it(tmp_path: Path, content: bytes) -> None:
    files = Files(tmp_path)
    name = str(tmp_path / "f").encode()
    for record in (Record(OPEN, 1, CREATED, 0, name), Record(WRITE, 1, 0, 0, A + A)):
        files.follow(record)
    (tmp_path / "f").write_bytes(content)
    for record in missed(files, tmp_path, 2):
        files.follow(record)
    assert files.now() == {"f": content}


def test_lost_is_all_that_a_failed_sync_was_to_write_and_what_was_not_synced(tmp_path: Path) -> None:
    log = Log()
    log.on_disk("f")
    log.write(1, 0, A + A)
    log.sync(1)
    log.write(1, SECTOR, B)
    log.sync(1, error=5)
    log.write(1, 2 * SECTOR, B)
    (tmp_path / "once").mkdir()
    assert drawn(log, tmp_path / "once", modes=(LOST,)) == {A + A}
    log.sync(1)
    (tmp_path / "again").mkdir()
    # The third sector takes the rest of its page along, for the kernel writes pages.
    assert drawn(log, tmp_path / "again", modes=(LOST,)) == {A + B + B}


def test_a_log_that_misses_more_than_one_change_is_not_believed(tmp_path: Path) -> None:
    for name in ("f", "g"):
        (tmp_path / name).write_bytes(A)
    with pytest.raises(AssertionError, match="one change"):
        missed(Files(tmp_path), tmp_path, 1)

"""Copies the file of a store while a server works on it: consistent, whole, verified, and never over anything.

The copy is SQLite's own backup, of one read transaction: it shows everything
that was committed when it began, and nothing later. Holding that transaction
open over all steps matters: SQLite begins a backup anew at each step that
finds another connection's commit, and beside a busy server would never end.
The server commits on meanwhile, for a reader of a WAL keeps no writer out.
But the log cannot begin anew under a reader, so it grows by what is written
during the copy; if that takes half of the room that the disk had, the copy is
given up rather than the server's disk filled.

A step reads a few MiB, writes them out and syncs them, and then rests as long
as a part of that took: one sync of all of it at the end would keep the
server's own syncs waiting, on the same disk, for as long.

The copy is made under a temporary name beside its place, checked, synced and
then given its name, which fails if that is taken. Whatever ends it before, an
exception of a signal's handler too, takes the temporary name away.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from trunkline.kernel.time import RealClock
from trunkline.storage.directory import sync_directory
from trunkline.storage.sqlite_file import APPLICATION_ID, FORMAT, reading
from trunkline.storage.store import StoreError

STEP_BYTES = 4 << 20
_REST = 0.5
"""Of the time that a step took, how much is rested after it."""
_SPARE = 64 << 20
"""Bytes that are to be free beside the copy: a server is short of room below 32 MiB."""

StoredRow = tuple[int, bytes, bytes]
Progress = Callable[[int, int], None]
"""(bytes copied, bytes in all), now and then."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied, and in how many seconds; ``log_bytes``: by how much the source's log grew meanwhile."""

    bytes: int
    rows: int
    seconds: float
    log_bytes: int


def copy(
    source: Path, target: Path, marks: Iterable[StoredRow], real: RealClock, progress: Progress | None = None
) -> Copied:
    """Copy the data in the file ``source`` to the file ``target`` and put ``marks`` into the copy.

    StoreError with a text for people; then nothing is left behind. What the directory of ``target`` has no room for is
    refused before anything is written.
    """
    begun = real.monotonic()
    if not source.exists():
        raise StoreError(f"there is no Trunkline data in {source.parent}: {source.name} is missing")
    if os.path.lexists(target):
        raise StoreError(f"{target} is there already, and nothing is overwritten: choose another name, or remove it")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{target.parent}: {error.strerror}. Name a file in a directory that is there.") from error
    try:
        try:
            size, grown = _copy(source, partial, descriptor, real, progress)
            rows = _mark_and_check(partial, marks)
            os.fsync(descriptor)
            os.link(partial, target)
        finally:
            os.close(descriptor)
            with suppress(OSError):
                partial.unlink()
        sync_directory(target.absolute().parent)
    except FileExistsError:
        raise StoreError(f"{target} has come to be meanwhile, and nothing is overwritten") from None
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise StoreError(f"{target}: {error}") from error
    return Copied(size, rows, real.monotonic() - begun, grown)


def _copy(source: Path, partial: Path, descriptor: int, real: RealClock, progress: Progress | None) -> tuple[int, int]:
    """Bytes copied, and those by which the source's log grew."""
    log = source.with_name(source.name + "-wal")
    log_begun, room = _size(log), _room(source.parent)
    with reading(source) as reader, closing(sqlite3.connect(partial, isolation_level=None)) as writer:
        # The copy is worth nothing until it is whole, so it needs no journal and no syncs of its own.
        writer.execute("PRAGMA journal_mode=OFF")
        writer.execute("PRAGMA synchronous=OFF")
        reader.execute("BEGIN")
        [(pages,)] = reader.execute("PRAGMA page_count").fetchall()
        [(page,)] = reader.execute("PRAGMA page_size").fetchall()
        reader.execute("SELECT count(*) FROM leases").fetchall()  # from here on it stands still for this reader
        needed = pages * page + _SPARE
        if _room(partial.parent) < needed:
            raise StoreError(
                f"{partial.parent} has {_room(partial.parent) >> 20} MiB free, and the copy needs {needed >> 20} MiB"
            )
        step_begun = real.monotonic()

        def step(_: int, remaining: int, total: int) -> None:
            nonlocal step_begun
            os.fdatasync(descriptor)
            if _size(log) - log_begun > room // 2:
                raise StoreError(
                    f"the server writes faster than its data can be copied: {log} has grown by "
                    f"{(_size(log) - log_begun) >> 20} MiB, half of the room that its disk had. Try when it is quieter"
                )
            if progress is not None:
                progress((total - remaining) * page, total * page)
            if remaining:
                real.rest((real.monotonic() - step_begun) * _REST)
            step_begun = real.monotonic()

        reader.backup(writer, pages=max(1, STEP_BYTES // page), progress=step)
        [(copied,)] = writer.execute("PRAGMA page_count").fetchall()
    return int(copied) * page, max(0, _size(log) - log_begun)


def _mark_and_check(partial: Path, marks: Iterable[StoredRow]) -> int:
    """Put the marks in, and read all of the copy: is it whole, and ours? How many rows it has."""
    with closing(sqlite3.connect(partial, isolation_level=None)) as connection:
        # One file, whole by itself; a server makes a log beside it when it opens it.
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=OFF")  # it is synced at the end
        connection.executemany("INSERT OR REPLACE INTO rows(partition, key, value) VALUES (?, ?, ?)", list(marks))
        found = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
        if found != ["ok"]:
            raise StoreError(f"the copy is damaged, and so perhaps is what was copied: {'; '.join(found)}")
        [(application,)] = connection.execute("PRAGMA application_id").fetchall()
        [(form,)] = connection.execute("PRAGMA user_version").fetchall()
        if application != APPLICATION_ID or not 0 < form <= FORMAT:
            raise StoreError(f"the copy has application id {application:#x} and format {form}: it is not Trunkline's")
        [(rows,)] = connection.execute("SELECT count(*) FROM rows").fetchall()
    return int(rows)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _room(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize

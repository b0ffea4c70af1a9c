"""The durable store of one node: a SQLite file in WAL mode, one writer thread, one reader thread.

    rows(partition INTEGER, key BLOB, value BLOB, PRIMARY KEY(partition, key)) WITHOUT ROWID
    leases(shard INTEGER PRIMARY KEY, epoch INTEGER)

Group commit: a whole commit is one transaction and one fsync of the WAL. Each
statement carries many rows (multi-row VALUES in chunks of powers of two), for
every step through the Python binding hands the interpreter lock to and fro.

The writer checkpoints by itself: at CHECKPOINT_PAGES pages of WAL, and when it
has been idle. So does returning space: freed pages go back to the disk by
incremental vacuum in small steps when nothing waits.

When a commit fails the connection is kept: a reopened file could show pages
that never reached the disk. A small probe transaction must succeed before the
next commit is tried.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from trunkline.kernel.step import Row
from trunkline.storage.store import SHARDS, Outcome, StoreError, StoreFull, StoreLost, Unit

log = logging.getLogger(__name__)

FILE = "trunkline.db"
LOCK = "trunkline.lock"
APPLICATION_ID = 0x54524B4C  # "TRKL"
FORMAT = 1
"""user_version of the file. A newer one is refused, an older one upgraded by UPGRADES."""
PAGE_SIZE = 4096
CHECKPOINT_PAGES = 20_000
_IDLE_SECONDS = 0.25
_VACUUM_PAGES = 256
_CHUNKS = (256, 128, 64, 32, 16, 8, 4, 2, 1)

UPGRADES: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""From format n to n + 1. Values carry versions of their own and are upgraded on read, so none is rewritten here."""


class DataDirectoryInUse(StoreError):
    """Another server holds the data directory."""


class NewerFormat(StoreError):
    """The data was written by a newer Trunkline."""


class SqliteStore:
    """Implements storage.store.Store in the directory ``path``.

    ``durability``: ``fsync`` (a commit returns when it is on the disk) or
    ``os`` (when the operating system has it: survives a kill, not a power cut).
    """

    def __init__(self, path: Path | str, durability: Literal["fsync", "os"] = "fsync") -> None:
        self._path = Path(path)
        self._durability = durability
        self._epochs: dict[int, int] = {}
        self._lock: int | None = None
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any] | None] | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any] | None] | None] = (
            queue.SimpleQueue()
        )
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop
        self._writer: sqlite3.Connection
        self._reader: sqlite3.Connection
        self._doubtful = False
        self._dirty = False
        self._freed = False

    # -- life ------------------------------------------------------------------

    async def open(self) -> None:
        """DataDirectoryInUse, NewerFormat, or StoreError with a text for people."""
        self._loop = asyncio.get_running_loop()
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error
        try:
            self._writer = _connect(self._path / FILE, self._durability)
            self._reader = sqlite3.connect(self._path / FILE, check_same_thread=False, isolation_level=None)
            self._reader.execute("PRAGMA query_only=ON")
            self._epochs = dict(self._writer.execute("SELECT shard, epoch FROM leases"))
        except sqlite3.Error as error:
            self._release_lock()
            raise StoreError(f"{self._path / FILE}: {error}") from error
        except StoreError:
            self._release_lock()
            raise
        _sync_directory(self._path)
        for name, jobs, idle in (("writer", self._jobs, self._rest), ("reader", self._reads, None)):
            thread = threading.Thread(target=self._work, args=(jobs, idle), name=f"trunkline-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _take_lock(self) -> None:
        self._lock = os.open(self._path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            os.close(self._lock)
            self._lock = None
            raise DataDirectoryInUse(
                f"the data directory {self._path} is in use by another server"
                + (f" (process {holder})" if holder else "")
                + ". Stop it, or give this one its own directory with --data."
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def close(self) -> None:
        if not self._threads:
            return
        threads, self._threads = self._threads, []
        await self._run(self._jobs, self._last_checkpoint)
        for jobs in (self._jobs, self._reads):
            jobs.put(None)
        for thread in threads:
            await self._loop.run_in_executor(None, thread.join)
        self._reader.close()
        self._writer.close()
        self._release_lock()

    def _last_checkpoint(self) -> None:
        if not self._doubtful:
            self._vacuum(1 << 16)
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    # -- threads -----------------------------------------------------------------

    def _work(self, jobs: queue.SimpleQueue[Any], idle: Callable[[], bool] | None) -> None:
        busy = False
        while True:
            try:
                job = jobs.get(timeout=_IDLE_SECONDS) if idle is not None and busy else jobs.get()
            except queue.Empty:
                busy = idle is not None and idle()
                continue
            if job is None:
                return
            busy = True
            work, future = job
            try:
                result, error = work(), None
            except Exception as failure:
                result, error = None, failure
            if future is not None:
                self._loop.call_soon_threadsafe(_resolve, future, result, error)

    async def _run(self, jobs: queue.SimpleQueue[Any], work: Callable[[], Any]) -> Any:
        future = self._loop.create_future()
        jobs.put((work, future))
        return await future

    # -- the contract --------------------------------------------------------------

    async def lease(self, shard: int) -> int:
        return (await self.lease_all([shard]))[shard]

    async def lease_all(self, shards: Iterable[int]) -> dict[int, int]:
        wanted = list(shards)
        taken: dict[int, int] = await self._run(self._jobs, lambda: self._lease(wanted))
        return taken

    def _lease(self, shards: list[int]) -> dict[int, int]:
        taken = {shard: self._epochs.get(shard, 0) + 1 for shard in shards}
        with _Transaction(self._writer):
            self._writer.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?)", taken.items())
        self._epochs |= taken
        return taken

    async def commit(self, units: list[Unit]) -> Outcome:
        outcome: Outcome = await self._run(self._jobs, lambda: self._commit(units))
        return outcome

    def _commit(self, units: list[Unit]) -> Outcome:
        stale: list[int] = []
        last: dict[tuple[int, bytes], bytes | None] = {}
        epochs = self._epochs
        for index, unit in enumerate(units):
            for part in unit:
                if part.epoch != epochs.get(part.partition % SHARDS, 0):
                    stale.append(index)
                    break
            else:
                for part in unit:
                    partition = part.partition
                    for key, value in part.writes:
                        last[partition, key] = value
        self._probe()
        if last:
            self._write(last)
        return Outcome(frozenset(stale))

    def _write(self, last: dict[tuple[int, bytes], bytes | None]) -> None:
        puts: list[Any] = []
        drops: list[Any] = []
        for (partition, key), value in last.items():
            if value is None:
                drops += (partition, key)
            else:
                puts += (partition, key, value)
        self._dirty = True
        try:
            with _Transaction(self._writer):
                _in_chunks(self._writer, _PUT, puts, 3)
                _in_chunks(self._writer, _DROP, drops, 2)
        except sqlite3.Error as error:
            self._doubtful = True
            raise _translated(error) from error
        if drops:
            self._freed = True
        self._checkpoint_if_long()

    def _probe(self) -> None:
        """After a failure: nothing more is promised until one small transaction has gone through."""
        if not self._doubtful:
            return
        try:
            with _Transaction(self._writer):
                self._writer.execute("INSERT OR REPLACE INTO leases VALUES (-1, 1)")
        except sqlite3.Error as error:
            raise _translated(error) from error
        self._doubtful = False

    async def load(self, partition: int, epoch: int, keys: list[bytes]) -> list[bytes | None]:
        values: list[bytes | None] = await self._run(self._reads, lambda: self._load(partition, keys))
        return values

    def _load(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        try:
            found: list[bytes | None] = []
            for key in keys:
                row = self._reader.execute(
                    "SELECT value FROM rows WHERE partition=? AND key=?", (partition, key)
                ).fetchone()
                found.append(None if row is None else row[0])
            return found
        except sqlite3.Error as error:
            raise _translated(error) from error

    async def scan(
        self, partition: int, epoch: int, start: bytes, end: bytes, limit: int, max_bytes: int = 1 << 20
    ) -> tuple[list[Row], bool]:
        found: tuple[list[Row], bool] = await self._run(
            self._reads, lambda: self._scan(partition, start, end, limit, max_bytes)
        )
        return found

    def _scan(self, partition: int, start: bytes, end: bytes, limit: int, max_bytes: int) -> tuple[list[Row], bool]:
        cursor = self._reader.cursor()
        try:
            cursor.execute(
                "SELECT key, value FROM rows WHERE partition=? AND key>=? AND key<? ORDER BY key LIMIT ?",
                (partition, start, end, limit + 1),
            )
            rows: list[Row] = []
            size = 0
            for row in cursor:
                size += len(row[1])
                if len(rows) == limit or (rows and size > max_bytes):
                    return rows, False
                rows.append(row)
            return rows, True
        except sqlite3.Error as error:
            raise _translated(error) from error
        finally:
            cursor.close()  # ends the read transaction, or the WAL could not be reset

    async def erase(self, partition: int, start: bytes, end: bytes, limit: int) -> bool:
        gone: bool = await self._run(self._jobs, lambda: self._erase(partition, start, end, limit))
        return gone

    def _erase(self, partition: int, start: bytes, end: bytes, limit: int) -> bool:
        self._probe()
        upper, bound = ("AND key<?", (end,)) if end else ("", ())
        self._dirty = self._freed = True
        try:
            with _Transaction(self._writer):
                gone = self._writer.execute(
                    "DELETE FROM rows WHERE partition=? AND key IN "
                    f"(SELECT key FROM rows WHERE partition=? AND key>=? {upper} ORDER BY key LIMIT ?)",
                    (partition, partition, start, *bound, limit),
                ).rowcount
        except sqlite3.Error as error:
            self._doubtful = True
            raise _translated(error) from error
        self._checkpoint_if_long()
        return gone < limit

    # -- housekeeping, on the writer thread --------------------------------------

    def _checkpoint_if_long(self) -> None:
        self._since = getattr(self, "_since", 0) + 1
        if self._since >= 64:
            self._since = 0
            try:
                if (self._path / (FILE + "-wal")).stat().st_size > CHECKPOINT_PAGES * PAGE_SIZE:
                    self._writer.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            except (OSError, sqlite3.Error) as error:
                log.warning("Checkpoint put off: %s", error)

    def _rest(self) -> bool:
        """Nothing has come for a while: give space back and fold the WAL in. True if there is more to do."""
        if self._doubtful or not self._dirty:
            return False
        try:
            if self._freed:
                self._freed = self._vacuum(_VACUUM_PAGES)
                if self._freed:
                    return True
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._dirty = False
        except sqlite3.Error as error:
            log.warning("Housekeeping put off: %s", error)
        return False

    def _vacuum(self, pages: int) -> bool:
        """Return up to ``pages`` free pages to the disk; True if more are left."""
        [(free,)] = self._writer.execute("PRAGMA freelist_count").fetchall()
        if free:
            # execute() would step the pragma once and free one page.
            self._writer.executescript(f"PRAGMA incremental_vacuum({pages})")
        return bool(free > pages)


class _Transaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
                return
            except sqlite3.Error:
                self._roll_back()
                raise
        self._roll_back()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


_PUT = {n: "INSERT OR REPLACE INTO rows(partition, key, value) VALUES " + ",".join(["(?,?,?)"] * n) for n in _CHUNKS}
_DROP = {n: "DELETE FROM rows WHERE (partition, key) IN (VALUES " + ",".join(["(?,?)"] * n) + ")" for n in _CHUNKS}


def _in_chunks(connection: sqlite3.Connection, statements: dict[int, str], flat: list[Any], width: int) -> None:
    at, left = 0, len(flat) // width
    for size in _CHUNKS:
        while left >= size:
            connection.execute(statements[size], flat[at : at + size * width])
            at += size * width
            left -= size


def _connect(file: Path, durability: str) -> sqlite3.Connection:
    connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None, cached_statements=256)
    try:
        _prepare(connection, file, durability)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, file: Path, durability: str) -> None:
    def pragma(name: str) -> Any:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]

    found = pragma("user_version")
    if pragma("application_id") not in (0, APPLICATION_ID):
        raise StoreError(f"{file} is a SQLite file of another program")
    if found > FORMAT:
        raise NewerFormat(
            f"the data in {file} has format {found}; this Trunkline knows up to {FORMAT}. Use a newer Trunkline."
        )
    fresh = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if fresh:
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={'FULL' if durability == 'fsync' else 'OFF'}")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA cache_size=-16384")
    connection.execute("PRAGMA temp_store=MEMORY")
    if fresh:
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.executescript(
            "BEGIN;"
            "CREATE TABLE rows(partition INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
            " PRIMARY KEY(partition, key)) WITHOUT ROWID;"
            "CREATE TABLE leases(shard INTEGER PRIMARY KEY, epoch INTEGER NOT NULL);"
            f"PRAGMA user_version={FORMAT};"
            "COMMIT;"
        )
        found = FORMAT
    while found < FORMAT:
        log.info("Upgrading %s from format %d", file, found)
        UPGRADES[found](connection)
        found += 1
        connection.execute(f"PRAGMA user_version={found}")
    if (pragma("page_size"), pragma("auto_vacuum"), pragma("application_id")) != (PAGE_SIZE, 2, APPLICATION_ID):
        raise StoreError(f"{file} was not made by Trunkline: its page size, vacuum mode or application id differ")


def read_rows(path: Path | str) -> Iterator[tuple[int, bytes, bytes]]:
    """Every row (partition, key, value) of a data directory, read-only. StoreError if there is none."""
    file = Path(path) / FILE
    if not file.exists():
        raise StoreError(f"there is no Trunkline data in {path}")
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        try:
            yield from connection.execute("SELECT partition, key, value FROM rows ORDER BY partition, key")
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{file}: {error}") from error


def _translated(error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(str(error))
    if isinstance(error, sqlite3.ProgrammingError) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreLost(str(error))
    return StoreError(str(error))


def _resolve(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _sync_directory(path: Path) -> None:
    """A new file's name must be on the disk too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

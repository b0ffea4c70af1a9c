"""The durable store of one node: a SQLite file in WAL mode, one writer thread, one reader thread.

Group commit: a whole commit is one transaction and one fsync of the WAL, and
up to 1,024 rows it is also one statement, for every step through the Python
binding hands the interpreter lock to and fro, and under load that costs more
than SQLite's own work. Rows that are only put go to the table. Where some are
deleted too they all go to a temporary view, ``changes``, whose triggers put a
row with a value and delete one without.

Where a commit or a read runs: on the event loop while the disk is quick, else on
the writer's and the reader's thread, so that a slow disk stalls nobody who does
not wait for it (see pace). Nothing is lost by committing on the loop, for the
answers wait for it anyway. ``_writing`` and ``_reading`` are held by whoever
uses that connection.

The writer thread checkpoints: at CHECKPOINT_BYTES of WAL, and when it
has been idle. So does returning space: freed pages go back to the disk by
incremental vacuum in small steps when nothing waits.

When something fails the store is in *doubt*: before anything else is committed
a probe must have gone through (``_examine``): the files lie where they were, the
disk takes a block, a small transaction is written and synced. That is the
writer thread's work, for a disk that fails may take its time. The connection is
kept: what a failed sync may have lost is not counted by SQLite, and the next
transaction is written over it. Only after a checkpoint that failed the data is
opened anew; see storage.wal, and storage.rescue for files that were removed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

from trunkline.kernel.step import Row
from trunkline.kernel.time import RealClock
from trunkline.storage import rescue
from trunkline.storage.directory import DataDirectory, Misplaced, read_through
from trunkline.storage.faults import cannot_open, failed, is_full, is_io, is_unreadable
from trunkline.storage.pace import Pace
from trunkline.storage.reserve import Reserve, Space, space
from trunkline.storage.sqlite_file import FILE, INDEX, LOG, SYNCHRONOUS, Transaction, connect
from trunkline.storage.store import SHARDS, Outcome, Sizes, StoreError, StoreFull, StoreLost, Unit
from trunkline.storage.wal import forget_copied, renew

log = logging.getLogger(__name__)

CHECKPOINT_BYTES = 8_000_000
"""Folding in 80 MB stopped every commit for 70 ms, and 16 MB for 20. There are more pauses so, and they take no more
together."""
_IDLE_SECONDS = 0.25
_RETURN_SECONDS = 0.01
"""The same, while space goes back to the disk: its steps are short, and a file of many gigabytes needs many."""
_BUSY_SECONDS, _BUSY_RETURN_SECONDS = 1.0, 0.05
"""Between two looks after the file, and two steps of returning space, where commits leave the thread no rest."""
_VACUUM_PAGES = 256
_VACUUM_LEAST = 8
_VACUUM_SECONDS = 0.01
"""What a step of it takes, about: fewer pages where each takes long. SQLite looks through all that is free for one that
is at the end of the file, in a millisecond where there are gigabytes of it."""
_REWRITTEN_PAGES = 1_024
"""If no more than these of a file are in use it is written anew, in some 25 ms, whatever there is of free ones."""
_SHORTER_BYTES = 32 << 20
"""A file that becomes shorter by more is folded in beside commits: it takes the operating system 10 ms or longer."""
_FOLD_HOLDS = (0.0, 0.005, 0.01, 0.02)
"""The file becomes shorter only if no commit comes while the log is folded in. So commits are held up, from the second
attempt on, for so many seconds at the most."""
_LAST_SECONDS = 1.0
"""What giving space back may take of a stop."""
_WAL_LEAST = 256
"""Pages of WAL that are worth a checkpoint, however small the disk."""
_LOOK_PAGES = 64
"""Pages of WAL between two looks at its length, and at how much room the disk has."""
_MOST_WRONG = 16.0
_DELETE_BYTES = 256
"""What a delete counts for: it writes a page anew, mostly with its neighbours."""
_FREE_LEAST = 1_024
_LONG_FREE_SECONDS = 10.0
"""What has been free for so long is not taken up again soon by what comes."""
_FOLD_SECONDS = 5.0
"""Between two checkpoints that only return space, while commits come."""
_HERE_UNITS = 512
"""Units that one commit on the event loop has at the most."""
_SHY_SECONDS = 10.0
"""After a failure commits go to the writer thread for so long: a disk that fails may take its time for it."""
_SILENT_SECONDS = 30.0
"""Between two lines in the log on what the store tends by itself and cannot."""
_ONE_STATEMENT = 1_024
"""Rows that one statement carries at the most (SQLite allows 10,922)."""


class SqliteStore:
    """Implements storage.store.Store in the directory ``path``.

    ``durability``: ``fsync`` (a commit returns when it is on the disk) or
    ``os`` (when the operating system has it: survives a kill, not a power cut).
    """

    def __init__(
        self,
        path: Path | str,
        durability: Literal["fsync", "os"] = "fsync",
        real: RealClock | None = None,
        space: Space = space,
    ) -> None:
        real = real or RealClock()
        self._path = Path(path)
        self._durability = durability
        self._epochs: dict[int, int] = {}
        self._directory = DataDirectory(self._path)
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any] | None] | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any] | None] | None] = (
            queue.SimpleQueue()
        )
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop
        self._writer: sqlite3.Connection
        self._reader: sqlite3.Connection
        self._connected = False
        self.doubt: StoreError | None = None
        # A checkpoint failed: the data has to be opened anew, and one to go through.
        self._unfolded = False
        # Something is damaged, or could not be read.
        self._unread = False
        self._silent_until = 0.0
        self._failures = 0
        self._failures_known = 0
        # Who may use the writing connection, and who the reading one: the event loop or the thread.
        self._clock = real.monotonic
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._commit_pace = Pace(self._clock)
        self._read_pace = Pace(self._clock)
        self._turn = asyncio.Lock()
        self._last_job: asyncio.Future[Any] | None = None
        self._tended = False
        self._commits_here = 0
        self._commits_seen = 0
        # About how many pages the WAL has since it began anew: as guessed of the rows, as that was wrong the last time,
        # and the greatest length of its file.
        self._guessed = 0
        self._wrong = 1.0
        self._wal_pages = 0
        self._wal_longest = 0
        # The least number of free pages of late, and since when.
        self._least_free = 0
        self._least_since = 0.0
        self._vacuum_step = _VACUUM_PAGES
        # The file is to become much shorter, from when on to try that; the writer thread is at it, and commits need not
        # wait for it.
        self._shorter = False
        self._shorten_from = 0.0
        self._beside = False
        self._page_size = 0
        self._wal_limit = 0
        self._looked_at = 0
        self._folded = 0.0
        self._space = space
        self._reserve: Reserve
        self.short = False
        # What a killed server left undone is done by the first rest.
        self._dirty = True
        self._freed = True
        # Space is being given back to the disk; and it has been, but for a checkpoint that shortens the file.
        self._returning = False
        self._shrunk = False

    def sizes(self) -> Sizes | None:
        try:
            data = (self._path / FILE).stat().st_size
            free = self._space(self._path)[0]
        except OSError:
            return None
        try:
            log_ = (self._path / LOG).stat().st_size
        except OSError:
            log_ = 0  # there is none yet
        return Sizes(data, log_, free)

    # -- life ------------------------------------------------------------------

    async def open(self) -> None:
        """DataDirectoryInUse, NewerFormat, or StoreError with a text for people."""
        self._loop = asyncio.get_running_loop()
        try:
            self._directory.take()
        except OSError as error:
            self._directory.let_go()
            raise StoreError(cannot_open(error.filename or self._path, error)) from error
        try:
            self._reserve = Reserve(self._path, self._space)
            try:
                self._connect()
            except (sqlite3.Error, OSError) as error:
                if not (is_full(self._directory.why(error)) and self._reserve.drop()):
                    raise
                self._connect()
            self._epochs = dict(self._writer.execute("SELECT shard, epoch FROM leases"))
            [(self._page_size,)] = self._writer.execute("PRAGMA page_size").fetchall()
            self._directory.sync()
            self._limit_wal()
            self._look_for_room()
        except (sqlite3.Error, OSError) as met:
            why = self._directory.why(met)
            self._give_up()
            where = (why.filename if isinstance(why, OSError) else None) or self._path / FILE
            raise StoreError(cannot_open(where, why)) from met
        except StoreError:
            self._give_up()
            raise
        for name, jobs, using, idle in (
            ("writer", self._jobs, self._writing, self._rest),
            ("reader", self._reads, self._reading, None),
        ):
            how = (jobs, using, idle)
            thread = threading.Thread(target=self._work, args=how, name=f"trunkline-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._tended = True
        self._post(_nothing)

    async def close(self) -> None:
        if not self._threads:
            return
        async with self._turn:
            threads, self._threads = self._threads, []
            last = self._enqueue(self._last_checkpoint)
        await last
        for jobs in (self._jobs, self._reads):
            jobs.put(None)
        for thread in threads:
            await self._loop.run_in_executor(None, thread.join)
        if self._connected:
            self._disconnect(tidily=self.doubt is None)
        self._directory.let_go()

    def _last_checkpoint(self) -> None:
        if self.doubt is not None:
            return
        try:
            self._directory.check(self._clock())
            end = self._clock() + _LAST_SECONDS
            while self._vacuum(_VACUUM_PAGES, rewrite=True) and self._clock() < end:
                pass
            if self._growth() <= self._reserve.free:
                self._fold("TRUNCATE")
        except (sqlite3.Error, OSError, StoreError) as error:
            # Everything is in the WAL all the same, which is to be left as it is.
            self.doubt = self._met(error)
            log.warning("The last checkpoint is left to the next start: %s", self.doubt)

    def _connect(self) -> None:
        """Open the data, with a log whose every byte is on the disk. StoreError, sqlite3.Error, OSError."""
        file, wal = self._path / FILE, self._path / LOG
        left_behind = wal.exists() and wal.stat().st_size > 0
        # To read it through if SQLite could not. It is closed when no connection is left: see read_through.
        self._file = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._writer = connect(file, self._durability)
        except BaseException:
            os.close(self._file)
            raise
        try:
            if left_behind and self._durability == "fsync":
                renew(self._writer, wal)
            # It may only read, and so leaves the files as they are if it is the last one to be closed.
            where = f"{file.absolute().as_uri()}?mode=ro"
            self._reader = sqlite3.connect(where, uri=True, check_same_thread=False, isolation_level=None)
            try:
                self._reader.execute("SELECT count(*) FROM leases").fetchall()
                self._directory.note()
            except BaseException:
                self._reader.close()
                raise
        except BaseException:
            self._writer.close()
            os.close(self._file)
            raise
        self._connected = True

    def _disconnect(self, tidily: bool) -> None:
        """``tidily``: fold the log in and remove it. Else the files are left as they are, whosoever they may be now."""
        self._connected = False
        for connection in (self._reader, self._writer) if tidily else (self._writer, self._reader):
            connection.close()
        os.close(self._file)

    def _give_up(self) -> None:
        if self._connected:
            self._disconnect(tidily=False)
        self._directory.let_go()

    # -- threads -----------------------------------------------------------------

    def _work(self, jobs: queue.SimpleQueue[Any], using: threading.Lock, idle: Callable[[bool], bool] | None) -> None:
        """A thread's life. It must not end before ``close``: nobody who asks it would be answered.

        ``idle(unasked)`` is called when it has had nothing to do for a while, and now and then when it always has.
        """
        busy = False
        rested = self._clock()
        while True:
            try:
                if idle is not None and busy:
                    job = jobs.get(timeout=_RETURN_SECONDS if self._shrinking else _IDLE_SECONDS)
                else:
                    job = jobs.get()
            except queue.Empty:
                if idle is not None:
                    busy = idle(True)
                    rested = self._clock()
                continue
            if job is None:
                return
            busy = True
            work, future = job
            with using:
                try:
                    result, error = work(), None
                except Exception as failure:
                    result, error = None, failure
            if future is not None:
                self._loop.call_soon_threadsafe(_resolve, future, result, error)
            elif error is not None:
                log.error("The store could not do what it does by itself", exc_info=error)
            if idle is not None and self._clock() > rested + (
                _BUSY_RETURN_SECONDS if self._shrinking else _BUSY_SECONDS
            ):
                idle(False)
                rested = self._clock()

    @property
    def _shrinking(self) -> bool:
        """Is the file being made shorter now?"""
        return self._returning or (self._shorter and self._clock() >= self._shorten_from)

    async def _read(self, work: Callable[[], Any]) -> Any:
        """Do ``work`` with the reading connection."""
        self._check_open()
        if self.doubt is None and self._read_pace.quick and self._reading.acquire(blocking=False):
            begun = self._clock()
            try:
                return work()
            finally:
                self._reading.release()
                self._read_pace.took(begun, self._clock())
                await asyncio.sleep(0)  # whoever reads page after page lets others in between
        future = self._loop.create_future()
        self._reads.put((work, future))
        return await future

    def _put_job(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Work for the writer thread, done in the order of the calls. StoreLost after ``close``."""
        self._check_open()
        return self._enqueue(work)

    def _check_open(self) -> None:
        if not self._threads:
            raise StoreLost("the store is closed")  # nobody would ever answer

    def _enqueue(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        job: asyncio.Future[Any] = self._loop.create_future()
        self._last_job = job
        job.add_done_callback(self._forget_job)
        self._jobs.put((work, job))
        return job

    def _forget_job(self, job: asyncio.Future[Any]) -> None:
        if self._last_job is job:
            self._last_job = None

    def _post(self, work: Callable[[], None]) -> None:
        """Work for the writer thread that nobody waits for."""
        self._jobs.put((work, None))

    # -- the contract --------------------------------------------------------------

    async def lease(self, shard: int) -> int:
        return (await self.lease_all([shard]))[shard]

    async def lease_all(self, shards: Iterable[int]) -> dict[int, int]:
        wanted = list(shards)
        taken: dict[int, int] = await self._put_job(lambda: self._lease(wanted))
        return taken

    def _lease(self, shards: list[int]) -> dict[int, int]:
        taken = {shard: self._epochs.get(shard, 0) + 1 for shard in shards}
        self._probe()
        try:
            with Transaction(self._writer):
                self._writer.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?)", taken.items())
        except sqlite3.Error as error:
            if is_full(error) and self._reserve.drop():
                return self._lease(shards)
            raise self._met(error) from error
        self._epochs |= taken
        return taken

    def _met(self, error: sqlite3.Error | OSError | StoreError) -> StoreError:
        """Something failed, and is in doubt from now on. On a full disk the reserve is for what makes room."""
        self.doubt = found = error if isinstance(error, StoreError) else failed(error, self._path / FILE)
        self._unread = self._unread or is_unreadable(error)
        self._commit_pace.leave(_SHY_SECONDS)
        if isinstance(found, StoreFull):
            if self._reserve.drop():
                log.error("The disk is full: nothing more is taken until there is room")
            self.short = True
        return found

    async def commit(self, units: list[Unit]) -> Outcome:
        known = self._failures_known
        self._check_open()
        try:
            async with self._turn:
                if len(units) <= _HERE_UNITS and self.doubt is None and (self._commit_pace.quick or self._beside):
                    if self._last_job is not None:
                        await asyncio.wait((self._last_job,))
                    # While the thread folds beside this it has ``_writing`` for moments only.
                    if self._writing.acquire(blocking=self._beside):
                        return self._commit_here(units, known)
                job = self._put_job(lambda: self._commit_aside(units, known))
            outcome: Outcome = await job
        except Exception:
            self._failures_known = self._failures
            raise
        return outcome

    def _commit_here(self, units: list[Unit], failures_known: int) -> Outcome:
        """On the event loop. ``_writing`` is held, and let go here."""
        begun = self._clock()
        try:
            outcome = self._commit(units, failures_known)
            self._commits_here += 1
        finally:
            self._writing.release()
        self._commit_pace.took(begun, self._clock())
        if self._wal_pages > self._wal_limit and not self._beside:
            self._put_job(self._checkpoint)
        elif not self._tended:
            self._tended = True
            self._post(_nothing)
        return outcome

    def _commit_aside(self, units: list[Unit], failures_known: int) -> Outcome:
        """On the writer thread."""
        outcome = self._commit(units, failures_known)
        if self._wal_pages > self._wal_limit:
            self._checkpoint()
        return outcome

    def _commit(self, units: list[Unit], failures_known: int) -> Outcome:
        if failures_known != self._failures:
            raise StoreError("an earlier commit failed")
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
        try:
            self._probe()
            if last:
                self._write(last)
                self._look_where()
        except BaseException:
            self._failures += 1
            raise
        return Outcome(frozenset(stale))

    def _write(self, last: dict[tuple[int, bytes], bytes | None]) -> None:
        self._dirty = True
        if None in last.values():
            statements, self._freed = _CHANGE, True
        else:
            statements = _PUT
        flat: list[Any] = []
        size = 0
        for (partition, key), value in last.items():
            flat += (partition, key, value)
            size += _DELETE_BYTES if value is None else len(value)
        try:
            self._logged(self._pages(size))
            if len(last) <= _ONE_STATEMENT:
                # A transaction by itself: written and synced in one go, without the interpreter lock.
                _run_padded(self._writer, statements, flat)
            else:
                with Transaction(self._writer):
                    for at in range(0, len(flat), 3 * _ONE_STATEMENT):
                        _run_padded(self._writer, statements, flat[at : at + 3 * _ONE_STATEMENT])
        except (sqlite3.Error, OSError) as error:
            raise self._met(error) from error

    # -- in doubt ----------------------------------------------------------------------

    def _look_where(self) -> None:
        """Is what was written where the next start looks for it? A few microseconds."""
        try:
            self._directory.check(self._clock())
        except (StoreError, OSError) as error:
            raise self._met(error) from error

    def _probe(self) -> None:
        """After a failure: nothing more is promised until one small transaction has gone through."""
        if self.doubt is not None:
            self._examine()

    async def probe(self) -> None:
        await self._put_job(self._examine)

    def look(self) -> None:
        if self._threads and self.doubt is None:
            self._post(self._look)

    def _look(self) -> None:
        """On the writer thread: what this finds is in ``doubt``."""
        with suppress(StoreError):
            self._look_where()

    def _examine(self) -> None:
        """Can changes be made durable now? Mends what can be mended. StoreError; then it is in doubt."""
        try:
            try:
                self._directory.check(self._clock())
            except Misplaced as misplaced:
                self._put_back(misplaced)
            if not self._connected:
                self._connect()
            if self._unread:
                self._verify()
            self._directory.try_out()
            if self._unfolded:
                self._reopen()
            self._write_probe()
            if self._unfolded:
                self._fold("PASSIVE")
                self._unfolded = False
            self._directory.check(self._clock())
            self._look_for_room()
        except (sqlite3.Error, OSError, StoreError) as error:
            raise self._met(error) from error
        self.doubt = None

    def _verify(self) -> None:
        """Can all of the data be read, and is it whole? OSError if it cannot be read now; StoreLost if it is not."""
        file, wal = self._path / FILE, self._path / LOG
        read_through(self._file, str(file))
        with wal.open("rb", buffering=0) as log_:
            read_through(log_.fileno(), str(wal))
        try:
            [found] = self._writer.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            found = str(error)
        if found != "ok":
            raise StoreLost(f"{file} is damaged: {found}")
        self._unread = False

    def _reopen(self) -> None:
        """What a failed checkpoint may have lost is copied again; see storage.wal."""
        with self._reading:
            if self._connected:
                self._disconnect(tidily=False)
            forget_copied(self._path / INDEX)
            self._connect()

    def _put_back(self, misplaced: Misplaced) -> None:
        """Write what is open where it belongs, if it is gone from there and nothing else lies there. Misplaced."""
        gone = FILE in misplaced.missing
        if (
            misplaced.foreign
            or not self._connected
            or not (rescue.may(self._directory) if gone else not self._unfolded)
        ):
            raise misplaced
        with self._reading:
            if gone:
                rescue.write(self._writer, self._directory, misplaced)
            elif not self._fold("TRUNCATE"):
                raise StoreError(f"{self._path / LOG} is gone, and a reader keeps what was in it from being folded in")
            self._directory.note()
            self._disconnect(tidily=False)
            self._connect()
        self._directory.sync()
        log.warning("%s was gone; what it held has been written there again", self._path / min(misplaced.missing))

    def _write_probe(self) -> None:
        with Transaction(self._writer):
            self._writer.execute("INSERT OR REPLACE INTO leases VALUES (-1, 1)")

    async def load(self, partition: int, epoch: int, keys: list[bytes]) -> list[bytes | None]:
        values: list[bytes | None] = await self._read(lambda: self._load(partition, keys))
        return values

    def _load(self, partition: int, keys: list[bytes]) -> list[bytes | None]:
        self._check_connected()
        try:
            found: list[bytes | None] = []
            for key in keys:
                row = self._reader.execute(
                    "SELECT value FROM rows WHERE partition=? AND key=?", (partition, key)
                ).fetchone()
                found.append(None if row is None else row[0])
            return found
        except sqlite3.Error as error:
            raise self._not_read(error) from error

    def _not_read(self, error: sqlite3.Error) -> StoreError:
        """A read failed. If it was the disk, whoever writes next, or the next probe, finds out what is left of it."""
        found = failed(error, self._path / FILE)
        if is_unreadable(error) or is_io(error):
            self._unread = True
            self.doubt = self.doubt or found
        return found

    def _check_connected(self) -> None:
        if not self._connected:
            raise StoreError(f"{self._path / FILE} is to be opened anew, and cannot be")

    async def scan(
        self, partition: int, epoch: int, start: bytes, end: bytes, limit: int, max_bytes: int = 1 << 20
    ) -> tuple[list[Row], bool]:
        found: tuple[list[Row], bool] = await self._read(lambda: self._scan(partition, start, end, limit, max_bytes))
        return found

    def _scan(self, partition: int, start: bytes, end: bytes, limit: int, max_bytes: int) -> tuple[list[Row], bool]:
        self._check_connected()
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
            raise self._not_read(error) from error
        finally:
            cursor.close()  # ends the read transaction, or the WAL could not be reset

    async def erase(self, partition: int, start: bytes, end: bytes, limit: int) -> bool:
        # Nobody commits what is dead, so commits need not wait for their turn behind this.
        self._check_open()
        job: asyncio.Future[bool] = self._loop.create_future()
        self._jobs.put((lambda: self._erase(partition, start, end, limit), job))
        return await job

    def _erase(self, partition: int, start: bytes, end: bytes, limit: int) -> bool:
        self._probe()
        upper, bound = ("AND key<?", (end,)) if end else ("", ())
        self._dirty = self._freed = True
        try:
            with Transaction(self._writer):
                gone = self._writer.execute(
                    "DELETE FROM rows WHERE partition=? AND key IN "
                    f"(SELECT key FROM rows WHERE partition=? AND key>=? {upper} ORDER BY key LIMIT ?) "
                    "RETURNING length(value)",
                    (partition, partition, start, *bound, limit),
                ).fetchall()
            self._logged(self._pages(sum(size for (size,) in gone)))
        except (sqlite3.Error, OSError) as error:
            raise self._met(error) from error
        if self._wal_pages > self._wal_limit:
            self._checkpoint()
        return len(gone) < limit

    # -- housekeeping, on the writer thread --------------------------------------

    def _checkpoint(self, mode: str = "RESTART") -> bool:
        """Fold the WAL into the file. False if a reader stood in the way: it is tried again when more has come."""
        # If it is put off it is tried again when some more has come.
        self._wal_pages = self._looked_at = self._wal_limit * 7 // 8
        self._folded = self._clock()
        try:
            growth = self._growth()
            if growth > self._reserve.free:
                return False  # it would fail half-way, and leave no room for anything else
            if growth < -_SHORTER_BYTES:
                self._shorter = True
                self._tended = False
                return False  # not while ``_writing`` is held
            folded = self._fold(mode)
        except (sqlite3.Error, OSError) as error:
            self._unfolded = self._unfolded or is_io(error)
            self._put_off("Checkpoint", error)
            return False
        self._limit_wal()
        if folded:
            self._guessed = self._wal_pages = self._looked_at = 0
            self._wal_longest = self._log_length()
        return folded

    def _put_off(self, what: str, error: sqlite3.Error | OSError | StoreError) -> None:
        """What the store does by itself has failed."""
        found, now = self._met(error), self._clock()
        if now >= self._silent_until:
            self._silent_until = now + _SILENT_SECONDS
            log.warning("%s put off: %s", what, found)

    def _fold(self, mode: str) -> bool:
        """Checkpoint; False if a reader stood in the way.

        A WAL is cut to nothing only when its first frame alone is valid. The cut is not synced, and a power cut may
        leave a part of it (btrfs truncates in steps): a WAL that ends earlier than it did, whose old pages SQLite would
        put over the newer ones in the file. A small commit behind a restart has put all but itself out of force.
        """
        if mode == "TRUNCATE":
            if not self._fold("RESTART"):
                return False
            self._write_probe()
        [(busy, pages, _)] = self._writer.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        if pages > _WAL_LEAST and self._guessed:
            self._wrong = min(_MOST_WRONG, max(1.0, pages / self._guessed))
        return not busy

    def _pages(self, size: int) -> int:
        """About how many pages ``size`` bytes of rows make in the WAL."""
        return 3 + size // (self._page_size // 2)

    def _logged(self, pages: int) -> None:
        """The WAL takes up about ``pages`` more. They may be many times as many, where few rows lie on each page.

        How many there were a checkpoint tells, and the next guess is as wrong as that. The length of the file does not,
        for it is written from its beginning again and again; but when it grows it does.
        """
        self._guessed += pages
        self._wal_pages += int(pages * self._wrong)
        if self._wal_pages > self._looked_at + _LOOK_PAGES:
            self._look_for_room()
            length = self._log_length()
            if length > self._wal_longest:
                self._wal_longest = length
                self._wal_pages = self._looked_at = max(self._wal_pages, length)

    def _log_length(self) -> int:
        """Of the WAL's file, in pages."""
        try:
            return (self._path / LOG).stat().st_size // self._page_size
        except OSError:
            return 0

    def _limit_wal(self) -> None:
        """The WAL may not take the room that is needed to fold it in."""
        self._wal_limit = max(_WAL_LEAST, min(CHECKPOINT_BYTES, self._reserve.free // 4) // self._page_size)

    def _growth(self) -> int:
        """Bytes that the file will have grown by when all of the WAL is folded in; below 0 if it becomes shorter."""
        [(pages,)] = self._writer.execute("PRAGMA page_count").fetchall()
        return int(pages) * self._page_size - (self._path / FILE).stat().st_size

    def _rest(self, unasked: bool = True) -> bool:
        """Give space back and fold the WAL in. True if there is more to do. ``unasked``: this thread has nothing to do.

        While commits come all the same, here or on the event loop, only what is worth their waiting is done: where much
        of the file is free, or the disk is short of room.
        """
        quiet = unasked and self._commits_here == self._commits_seen
        self._commits_seen = self._commits_here
        if not (quiet or self.short or self._freed or self._shrunk or self._shorter):
            # A commit that finds the connection taken goes to this thread, which costs it ten milliseconds.
            return True
        try:
            if self._shorter and self._clock() >= self._shorten_from:
                if not self._beside:
                    self._beside = True  # from now on no commit comes to this thread, where it would have to wait
                    return True
                self._fold_beside()
            with self._writing:
                return self._tend(quiet, unasked)
        except Exception as error:
            if not isinstance(error, sqlite3.Error | OSError | StoreError):
                log.exception("Housekeeping failed in an unforeseen way")
                error = StoreError(f"{self._path / FILE}: {error}")
            with self._writing:
                self._put_off("Housekeeping", error)
                self._tended = False
            return False

    def _fold_beside(self) -> None:
        """Fold in what the WAL has now, while others commit. The file becomes shorter by what has been given back.

        That may take seconds, for the operating system forgets gigabytes of it at 3 GB a second, and one may not wait
        for it with ``_writing`` held. Only this thread opens the data anew, so this connection is in nobody's way then.
        """
        try:
            if self.doubt is not None:
                return
            with self._writing:
                self._directory.check(self._clock())
                if self._growth() > self._reserve.free:
                    self._shorter = False  # it has been filled again
                    return
            # Nothing is to be made under its name if it has been removed since.
            where = f"{(self._path / FILE).absolute().as_uri()}?mode=rw"
            connection = sqlite3.connect(where, uri=True, isolation_level=None)
            try:
                connection.execute(f"PRAGMA synchronous={SYNCHRONOUS[self._durability]}")
                connection.execute("PRAGMA busy_timeout=0")
                self._shorter = not self._shorten(connection)
            finally:
                connection.close()
            if self._shorter:  # somebody reads what was there before, as a backup does
                self._shorten_from = self._clock() + _FOLD_SECONDS
        except (sqlite3.Error, OSError) as error:
            self._shorten_from = self._clock() + _FOLD_SECONDS
            self._unfolded = self._unfolded or is_io(error)
            raise
        finally:
            self._beside = False

    def _shorten(self, connection: sqlite3.Connection) -> bool:
        """Fold in until the file has become shorter. False if it has not."""
        for hold in _FOLD_HOLDS:
            if hold:
                # Nearly all has been folded in. No commit comes between what is left and SQLite's look whether one
                # came; none need wait for what follows that.
                self._writing.acquire()
                threading.Timer(hold, self._writing.release).start()
            # A read first: before that it knows of no WAL.
            [(pages,)] = connection.execute("PRAGMA page_count").fetchall()
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            if (self._path / FILE).stat().st_size <= pages * self._page_size:
                return True
        return False

    def _tend(self, quiet: bool, unasked: bool) -> bool:
        """What ``_rest`` is for, while ``_writing`` is held. StoreError, sqlite3.Error, OSError."""
        if self.doubt is not None:
            self._tended = False
            return False  # whoever commits or probes next ends that
        self._look()
        if self.doubt is not None:
            return False
        self._look_for_room()
        if self._dirty:
            if self._freed and (quiet or self.short or self._returning or self._free_for_long()):
                self._returning = True
                share = 8 if self.short else 1 if quiet else 4
                self._freed = self._vacuum(_VACUUM_PAGES // share, rewrite=unasked)
                if self._freed and not self.short:
                    if self._wal_pages > self._wal_limit:
                        self._checkpoint()
                    return True
                self._returning, self._shrunk = False, True
            if quiet or self.short or (self._shrunk and self._clock() > self._folded + _FOLD_SECONDS):
                self._shrunk = not self._checkpoint("TRUNCATE")
                self._dirty = self._shrunk or self._freed
        busy = self.short or not quiet or self._dirty or self._shorter
        self._tended = busy
        return busy

    def _look_for_room(self) -> None:
        self._looked_at = self._wal_pages
        growth = max(0, self._growth())
        if self._reserve.has_room(growth):
            if self.short:
                log.warning("There is room on the disk again")
            self.short = False
        elif not self.short and self._reserve.free < growth + self._reserve.size:
            log.error("The disk is nearly full: nothing more is taken until there is room")
            self.short = True

    def _free_for_long(self) -> bool:
        """Is more of the file free than is taken up again soon by what comes: much of it now, or some for a while?"""
        [(free,)] = self._writer.execute("PRAGMA freelist_count").fetchall()
        [(pages,)] = self._writer.execute("PRAGMA page_count").fetchall()
        now = self._clock()
        self._least_free = min(self._least_free, free)
        least = 0
        if now > self._least_since + _LONG_FREE_SECONDS:
            least, self._least_free, self._least_since = self._least_free, free, now
        return bool(free > _FREE_LEAST and free * 4 > pages) or least > max(_FREE_LEAST, pages // 100)

    def _vacuum(self, pages: int, rewrite: bool) -> bool:
        """Return free pages to the disk, up to ``pages``, or with ``rewrite`` perhaps all; True if more are left.

        Behind a rewrite the file is to be folded in beside others, which must not wait for that.
        """
        [(free,)] = self._writer.execute("PRAGMA freelist_count").fetchall()
        [(total,)] = self._writer.execute("PRAGMA page_count").fetchall()
        if not free:
            return False
        used = total - free
        if rewrite and used <= _REWRITTEN_PAGES and free > max(_FREE_LEAST, 4 * used):
            self._writer.execute("VACUUM")
            self._logged(used)
            return False
        pages = min(pages, self._vacuum_step)
        begun = self._clock()
        # execute() would step the pragma once and free one page.
        self._writer.executescript(f"PRAGMA incremental_vacuum({pages})")
        took = self._clock() - begun
        if took > _VACUUM_SECONDS:
            self._vacuum_step = max(_VACUUM_LEAST, pages // 2)
        elif took < _VACUUM_SECONDS / 2:
            self._vacuum_step = min(_VACUUM_PAGES, 2 * self._vacuum_step)
        self._logged(2 * min(free, pages))
        return bool(free > pages)


def _statement(table: str, verb: str) -> Callable[[int], str]:
    """The text that writes so many rows, made once for each number."""
    return cache(lambda rows: f"{verb} INTO {table}(partition, key, value) VALUES " + ",".join(["(?,?,?)"] * rows))


_PUT = _statement("rows", "INSERT OR REPLACE")
_CHANGE = _statement("changes", "INSERT")


def _run_padded(connection: sqlite3.Connection, statement: Callable[[int], str], flat: list[Any]) -> None:
    """Write up to _ONE_STATEMENT rows. Beyond 64 the last row is repeated, so that few statements need preparing."""
    rows = len(flat) // 3
    if rows > 64:
        missing = -rows % 64
        flat = flat + flat[-3:] * missing
        rows += missing
    connection.execute(statement(rows), flat)


def _resolve(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _nothing() -> None:
    """Wakes the writer thread, which will look after the file when all is quiet."""

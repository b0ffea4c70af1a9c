"""A data directory: made for its owner alone, held by one server at a time, and still where it was.

The lock is a file beside the data, locked with flock, which ends with the
process, however it ends. In it stands who holds it, for people.

An open file can be written and synced after its name is gone, or names another
file: whoever removes the directory under a running server, or puts a backup in
its place, would be told of successes that no restart finds again. So behind
every commit, before it is acknowledged, ``check`` asks whether the names still
lead to the files that are open. It costs one stat: as long as the directory is
the same one and nothing was put into it or taken out, which its time of change
tells, its files are the same too.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from trunkline.storage.faults import is_io, is_unreadable
from trunkline.storage.sqlite_file import FILE, LOG
from trunkline.storage.store import StoreError, StoreGone, StoreLost

LOCK = "trunkline.lock"
_COARSE = 5.0
"""Real seconds for which two changes of a directory may bear the same time: FAT counts in twos."""
_BLOCK = 4_096
_CHUNK = 1 << 20

_Identity = tuple[int, int]
"""Device and inode."""


class DataDirectoryInUse(StoreError):
    """Another server holds the data directory."""


class Misplaced(StoreGone):
    """``missing``: the names that lead nowhere; ``foreign``: those that lead to other files."""

    def __init__(self, path: Path, missing: frozenset[str], foreign: frozenset[str]) -> None:
        self.missing = missing
        self.foreign = foreign
        if foreign:
            what = f"{path / min(foreign)} is not the file that the server has open"
            self.advice = (
                "Put the former data back in its place; or restart the server, which then goes on with what lies there."
            )
        elif path.is_dir():
            what = f"{path / min(missing)} is gone, which the server has open"
        else:
            what = f"{path} is gone, with the files that the server has open"
            self.advice = (
                "Put it back as it was; or make an empty directory in its place, on the same disk, and the server "
                "writes into it what it has open."
            )
        super().__init__(what)


class DataDirectory:
    """The directory ``path``, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = str(path)
        self._lock: int | None = None
        self._paths = {name: str(path / name) for name in (FILE, LOG, LOCK)}
        self._known: dict[str, _Identity] = {}
        self._itself: _Identity = (0, 0)
        self._changed = 0
        self._sure_from = 0.0

    def take(self) -> None:
        """Make it if need be, and hold it. DataDirectoryInUse; OSError with the file that is in the way."""
        # What lies in queues is nobody else's. A directory that is there already is as its owner wants it.
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        make_private(self.path / FILE)

    def _take_lock(self) -> None:
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            raise DataDirectoryInUse(
                f"the data directory {self.path} is in use by another server"
                + (f" (process {holder})" if holder else "")
                + ". Stop it, or give this one its own directory with --data."
            ) from None
        self.let_go()
        self._lock = lock
        with suppress(OSError):  # on a full disk: the data itself has a reserve, and says better what is wrong
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)

    def let_go(self) -> None:
        """Let another server have it. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- is it still there ---------------------------------------------------------

    def note(self) -> None:
        """The data was opened: from now on ``check`` expects the files that lie here. OSError."""
        self._known = {}
        for name in (FILE, LOG):
            with suppress(FileNotFoundError):
                self._known[name] = _identity(os.stat(self._paths[name]))
        if self._lock is not None:
            self._known[LOCK] = _identity(os.fstat(self._lock))
        self._itself = (0, 0)

    @property
    def device(self) -> int:
        """That the data was opened on."""
        return self._known[FILE][0]

    def check(self, now: float) -> None:
        """Return if what is open lies under its names. Misplaced; StoreLost if another server took the directory.

        ``now``: real monotonic seconds. A lock that alone was removed is taken anew.
        """
        try:
            found = os.stat(self._text)
        except OSError:
            raise Misplaced(self.path, frozenset(self._known), frozenset()) from None
        unchanged = found.st_mtime_ns == self._changed and (found.st_dev, found.st_ino) == self._itself
        if unchanged and now >= self._sure_from:
            return
        self._check_files()
        if not unchanged:
            self._itself, self._changed = _identity(found), found.st_mtime_ns
            self._sure_from = now + _COARSE

    def _check_files(self) -> None:
        missing, foreign = set(), set()
        for name, known in self._known.items():
            try:
                if _identity(os.stat(self._paths[name])) != known:
                    foreign.add(name)
            except OSError:
                missing.add(name)
        if not missing and not foreign:
            return
        if missing == {LOCK} and not foreign:
            self.take_again()
        elif foreign == {LOCK}:
            # Whoever took it may have changed the data, and this server would go on with what it knows.
            raise StoreLost(f"another server has taken the data directory {self.path}")
        else:
            raise Misplaced(self.path, frozenset(missing), frozenset(foreign))

    def take_again(self) -> None:
        """Make a new lock where there is none. StoreLost if another server was quicker; OSError."""
        try:
            self._take_lock()
        except DataDirectoryInUse as error:
            raise StoreLost(str(error)) from None
        assert self._lock is not None
        self._known[LOCK] = _identity(os.fstat(self._lock))

    def try_out(self) -> None:
        """Write a block and sync it, behind what stands in the lock. OSError: why nothing can be written."""
        if self._lock is None:
            return
        try:
            size = os.fstat(self._lock).st_size
            try:
                os.pwrite(self._lock, bytes(_BLOCK), _BLOCK)
                os.fsync(self._lock)
            finally:
                os.ftruncate(self._lock, min(size, _BLOCK))
        except OSError as error:
            error.filename = str(self.path)
            raise

    def why(self, error: OSError | sqlite3.Error) -> OSError | sqlite3.Error:
        """What the operating system says of a failure of which SQLite says only that it was the disk, or damage.

        While no connection is open, or none is used any more: see ``read_through``.
        """
        try:
            if is_unreadable(error):
                for name in (FILE, LOG):
                    with suppress(FileNotFoundError):
                        descriptor = os.open(self._paths[name], os.O_RDONLY | os.O_CLOEXEC)
                        try:
                            read_through(descriptor, self._paths[name])
                        finally:
                            os.close(descriptor)
            elif isinstance(error, sqlite3.Error) and is_io(error):
                self.try_out()
        except OSError as better:
            return better
        return error

    # -- names on the disk -----------------------------------------------------------

    def sync(self) -> None:
        """Names must be on the disk too: those of the files, and of every directory on the way that may be new.

        A start before this one may have made them and been cut short, so all are synced, up to where this file system
        is mounted. OSError if the directory itself cannot be; those above may be somebody else's.
        """
        whole = self.path.resolve()
        sync_directory(whole)
        for above in whole.parents:
            with suppress(OSError):
                if above.stat().st_dev != whole.stat().st_dev:
                    return
                sync_directory(above)


def read_through(descriptor: int, name: str) -> None:
    """Read all of a file, to see whether that can be done. OSError.

    Of a file that SQLite has open ``descriptor`` must stay open as long as its connections: to close any ends all
    locks that this process has on it.
    """
    at = 0
    try:
        while size := len(os.pread(descriptor, _CHUNK, at)):
            at += size
    except OSError as error:
        error.filename = name
        raise


def make_private(file: Path) -> None:
    """Make an empty file that only this user may read, for SQLite to fill; those beside it get its rights from it."""
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def sync_directory(path: Path) -> None:
    """Names that were given or taken in it are on the disk. OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(descriptor)


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino

"""A data directory: made for its owner alone, held by one server at a time.

The lock is a file beside the data, locked with flock, which ends with the
process, however it ends. In it stands who holds it, for people.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from trunkline.storage.sqlite_file import FILE
from trunkline.storage.store import StoreError

LOCK = "trunkline.lock"


class DataDirectoryInUse(StoreError):
    """Another server holds the data directory."""


class DataDirectory:
    """The directory ``path``, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def take(self) -> None:
        """Make it if need be, and hold it. DataDirectoryInUse; OSError with the file that is in the way."""
        # What lies in queues is nobody else's. A directory that is there already is as its owner wants it.
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        _make_private(self._path / FILE)

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

    def let_go(self) -> None:
        """Let another server have it. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def sync(self) -> None:
        """Names must be on the disk too: those of the files, and of every directory on the way that may be new.

        A start before this one may have made them and been cut short, so all are synced, up to where this file system
        is mounted. OSError if the directory itself cannot be; those above may be somebody else's.
        """
        whole = self._path.resolve()
        sync_directory(whole)
        for above in whole.parents:
            with suppress(OSError):
                if above.stat().st_dev != whole.stat().st_dev:
                    return
                sync_directory(above)


def _make_private(file: Path) -> None:
    """Make an empty file that only this user may read, for SQLite to fill; those beside it get its rights from it."""
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def sync_directory(path: Path) -> None:
    """Names that were given or taken in it are on the disk. OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

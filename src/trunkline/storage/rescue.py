"""Writes data whose files were removed under a running server into its directory again.

The files are gone by name, but the server has them open, and what it has
acknowledged is in them until it ends. So who has removed the directory by
mistake makes an empty one in its place. The server does not make that itself:
a directory may be gone because its disk is, and what would be made then lies
on another one, hidden when the disk comes back. For the same reason it must be
on the disk that the files were on.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress

from trunkline.storage.directory import LOCK, DataDirectory, Misplaced, make_private, sync_directory
from trunkline.storage.sqlite_file import FILE, LOG

_STEP_PAGES = 512


def may(directory: DataDirectory) -> bool:
    """Is there a directory, on the same disk, without a data file in it?"""
    try:
        return directory.path.stat().st_dev == directory.device and not os.path.lexists(directory.path / FILE)
    except OSError:
        return False


def write(source: sqlite3.Connection, directory: DataDirectory, misplaced: Misplaced) -> None:
    """Copy all that ``source`` shows, which nobody changes meanwhile, to a new file, and give it its name.

    ``misplaced``: what is missing; the lock is taken anew, a log that is not missing removed. StoreLost if another
    server has the lock, sqlite3.Error, OSError.
    """
    if LOCK in misplaced.missing:
        directory.take_again()
    file = directory.path / FILE
    partial = file.with_name(f".{FILE}.{os.getpid()}.partial")
    with suppress(FileNotFoundError):
        partial.unlink()
    make_private(partial)
    try:
        with closing(sqlite3.connect(partial, isolation_level=None)) as target:
            target.execute("PRAGMA journal_mode=OFF")
            target.execute("PRAGMA synchronous=OFF")
            source.backup(target, pages=_STEP_PAGES)
        descriptor = os.open(partial, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if LOG not in misplaced.missing:
            (directory.path / LOG).unlink()  # its pages are in the copy, and it must not be laid over that
        os.link(partial, file)  # fails if somebody has put another one there
    finally:
        with suppress(OSError):
            partial.unlink()
    sync_directory(directory.path)

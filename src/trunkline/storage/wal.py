"""SQLite's write-ahead log where its own care ends: when a sync fails.

A sync that fails leaves pages in the kernel's memory that are not on the disk,
and the kernel takes them for written: the next sync succeeds without them.
While the connection lives that is no danger. SQLite does not count what it
could not sync, and writes the next commit over it, so these pages are written
again. But two things outlive their connection, or reach too far:

- After a kill the next server finds the lost pages in the kernel's memory,
  whole and with the right checksums, takes them for committed and goes on
  behind them. A power cut would then show a log with a hole, and all behind
  the hole would be gone, acknowledged or not. So a log that is found at the
  start is written again, as it is read, and synced, before anything is
  promised: ``renew``.

- A checkpoint that a reader cut short counts the pages that it has copied to
  the data file as copied, and leaves their sync to a later one. If that sync
  fails, the checkpoint after it copies only what is not counted, syncs with
  success, and lets the log begin anew, over the only good copies. So after a
  failed checkpoint the data is opened anew with the count set to nothing:
  ``forget_copied``.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

_CHUNK = 1 << 20
_COPIED_AT = 96
"""Of the count in the index of the log, the file -shm: https://www.sqlite.org/walformat.html, 'nBackfill'."""


def renew(connection: sqlite3.Connection, log: Path) -> None:
    """Write every byte of the log again and sync it: what is read of it is then on the disk.

    ``connection`` keeps other writers out meanwhile. OSError, sqlite3.Error.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        # SQLite holds no locks on this file, which closing it would end.
        descriptor = os.open(log, os.O_RDWR | os.O_CLOEXEC)
        try:
            at = 0
            while data := os.pread(descriptor, _CHUNK, at):
                at += os.pwrite(descriptor, data, at)
            os.fsync(descriptor)
        except OSError as error:
            error.filename = error.filename or str(log)
            raise
        finally:
            os.close(descriptor)
    finally:
        connection.execute("ROLLBACK")


def forget_copied(index: Path) -> None:
    """Let the next checkpoint copy all of the log. While this process has no connection: closing ``index`` would end
    its locks.

    Where nobody else has the data open, SQLite makes the index anew anyway. OSError.
    """
    try:
        descriptor = os.open(index, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if os.fstat(descriptor).st_size > _COPIED_AT:
            os.pwrite(descriptor, bytes(4), _COPIED_AT)
    finally:
        os.close(descriptor)

"""What a disk that fails means: which error of the store it is, in words for people.

SQLite does not say with which errno a call failed, only which call it was. So
whoever has to know why tries the disk himself (DataDirectory.try_out) and gets
an OSError, which is better to read; where that goes well, SQLite's word stands.

Nor does it tell a file that is damaged from one that cannot be read now: of a
read that fails with EIO it says that the database is malformed. Only who reads
the file himself knows; see SqliteStore._verify.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from trunkline.storage.store import StoreError, StoreFull, StoreGone, StoreLost, StoreReadOnly

_KINDS: Mapping[int, type[StoreError]] = {
    errno.ENOSPC: StoreFull,
    errno.EDQUOT: StoreFull,
    errno.EROFS: StoreReadOnly,
    errno.EACCES: StoreReadOnly,
    errno.EPERM: StoreReadOnly,
    errno.ENOENT: StoreGone,
    errno.ENOTDIR: StoreGone,
    errno.ESTALE: StoreGone,
}
_SQLITE_KINDS: Mapping[int, type[StoreError]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_READONLY: StoreReadOnly,
}

_HELD = "Another program holds it: stop that one (a backup, or sqlite3)."
_DISK = "See what the kernel says of that disk (dmesg)."
_RIGHTS = "This user may not write there: give it the rights, or choose another directory with --data."
_AT_START: Mapping[int, str] = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "Nothing can be written there: choose another directory with --data.",
    errno.EEXIST: "That is a file: choose a directory with --data.",
    errno.ENOTDIR: "A part of that path is a file: choose a directory with --data.",
    errno.ENOSPC: "Make room on that disk, or choose another directory with --data.",
    errno.EDQUOT: "Make room on that disk or raise this user's quota, or choose another directory with --data.",
    errno.EIO: "See what the kernel says of that disk (dmesg), or choose another directory with --data.",
}
_SQLITE_AT_START: Mapping[int, str] = {
    sqlite3.SQLITE_READONLY: _RIGHTS,
    sqlite3.SQLITE_CANTOPEN: "Is it a file that this user may read and write? If not, choose another with --data.",
    sqlite3.SQLITE_FULL: _AT_START[errno.ENOSPC],
    sqlite3.SQLITE_IOERR: _AT_START[errno.EIO],
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_NOTADB: "It is no data of Trunkline: choose another directory with --data.",
    sqlite3.SQLITE_CORRUPT: "It is damaged: put a backup in its place, or start anew with another --data.",
}


def failed(error: OSError | sqlite3.Error, file: Path) -> StoreError:
    """The store's error for one of a running server, with what to do in its ``advice``."""
    if isinstance(error, OSError):
        kind = _KINDS.get(error.errno or 0, StoreError)
        found = kind(f"{error.filename or file}: {_reason(error)}")
    else:
        lost = isinstance(error, sqlite3.ProgrammingError)
        found = (StoreLost if lost else _SQLITE_KINDS.get(primary(error), StoreError))(f"{file}: {_words(error)}")
        if primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            found.advice = _HELD
    found.advice = found.advice or _DISK
    return found


def cannot_open(file: Path | str, error: OSError | sqlite3.Error) -> str:
    """Why a server cannot start with its data, and what to do."""
    if isinstance(error, OSError):
        text, advice = error.strerror or str(error), _AT_START.get(error.errno or 0, "")
    else:
        text, advice = _words(error), _SQLITE_AT_START.get(primary(error), "")
    return f"{file}: {text}. {advice}".rstrip()


def is_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return primary(error) == sqlite3.SQLITE_FULL


def is_io(error: OSError | sqlite3.Error) -> bool:
    """Was it the disk, and not for want of room?"""
    return not is_full(error) and (isinstance(error, OSError) or primary(error) == sqlite3.SQLITE_IOERR)


def is_unreadable(error: object) -> bool:
    """Is the file damaged, or could it not be read?"""
    return isinstance(error, sqlite3.Error) and primary(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def primary(error: sqlite3.Error) -> int:
    """SQLite's code without what extends it (as CORRUPT_INDEX); 0 if it is Python's own error."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _reason(error: OSError) -> str:
    return f"{error.strerror or error} ({errno.errorcode.get(error.errno or 0, error.errno)})"


def _words(error: sqlite3.Error) -> str:
    """``disk I/O error`` alone tells nobody whether it was a write or a sync."""
    name = getattr(error, "sqlite_errorname", None)
    if is_unreadable(error):
        return f"{error}, or cannot be read"
    return f"{error} ({name})" if name and name.startswith("SQLITE_IOERR") else str(error)

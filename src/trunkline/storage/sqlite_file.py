"""The SQLite file of a store: its format, how it is opened, how it is read without a server.

    rows(partition INTEGER, key BLOB, value BLOB, PRIMARY KEY(partition, key)) WITHOUT ROWID
    leases(shard INTEGER PRIMARY KEY, epoch INTEGER)

Page size, vacuum mode and application id are set before the first table and
asserted at every open; the format's number is ``user_version``.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trunkline.storage.faults import cannot_open
from trunkline.storage.store import StoreError

log = logging.getLogger(__name__)

FILE = "trunkline.db"
LOG = FILE + "-wal"
INDEX = FILE + "-shm"
"""Of the log, by SQLite's names."""
APPLICATION_ID = 0x54524B4C  # "TRKL"
FORMAT = 1
"""user_version of the file. A newer one is refused, an older one upgraded by UPGRADES."""
PAGE_SIZE = 8192
"""Of a new file. A row lies within its leaf if a quarter of a page holds it, else it has a page to itself: of 4 KiB
pages a message of 1 KB took a whole one, and was sent at a third of the speed. Small commits cost the same."""
_PAGE_SIZES = (4096, PAGE_SIZE)
"""Earlier versions made files with the first."""
LOG_BYTES = 256 << 20
"""What the log keeps of the disk when it begins anew; twice what it takes while nobody reads for long."""

SYNCHRONOUS = {"fsync": "FULL", "os": "OFF"}
"""By durability."""

_CHANGES = """
CREATE TEMP VIEW changes AS SELECT partition, key, value FROM main.rows;
CREATE TEMP TRIGGER put INSTEAD OF INSERT ON changes WHEN NEW.value IS NOT NULL BEGIN
    INSERT OR REPLACE INTO rows(partition, key, value) VALUES (NEW.partition, NEW.key, NEW.value);
END;
CREATE TEMP TRIGGER dropped INSTEAD OF INSERT ON changes WHEN NEW.value IS NULL BEGIN
    DELETE FROM rows WHERE partition = NEW.partition AND key = NEW.key;
END;
"""

UPGRADES: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""From format n to n + 1, in one transaction (so without executescript, which would end it).

Values carry versions of their own and are upgraded on read, so none is rewritten here.
"""


class NewerFormat(StoreError):
    """The data was written by a newer Trunkline."""


class Transaction:
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


def connect(file: Path, durability: str) -> sqlite3.Connection:
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

    fresh = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    found = _check_ours(connection, file, fresh)  # before anything is changed
    if fresh:
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    # A file that may only be read opens all the same; it is to be said now, not at the first write.
    connection.execute(f"PRAGMA user_version={found}")
    connection.execute(f"PRAGMA synchronous={SYNCHRONOUS[durability]}")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    # What a long reader, such as a backup, has let it grow to beyond that goes back when it begins anew.
    connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
    connection.execute("PRAGMA busy_timeout=0")  # a checkpoint that a reader keeps from its end must not wait for it
    connection.execute("PRAGMA cache_size=-16384")
    # Debian compiles it in: every page of a deleted message would be written once more, full of zeros.
    connection.execute("PRAGMA secure_delete=OFF")
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
        upgrade = UPGRADES.get(found)
        if upgrade is None:
            raise StoreError(f"the data in {file} has format {found}, from which no upgrade is known")
        log.info("Upgrading %s from format %d", file, found)
        with Transaction(connection):
            upgrade(connection)
            found += 1
            connection.execute(f"PRAGMA user_version={found}")
    connection.executescript(_CHANGES)
    if pragma("page_size") not in _PAGE_SIZES or (pragma("auto_vacuum"), pragma("application_id")) != (
        2,
        APPLICATION_ID,
    ):
        raise StoreError(f"{file} was not made by Trunkline: its page size, vacuum mode or application id differ")


def _check_ours(connection: sqlite3.Connection, file: Path, fresh: bool) -> int:
    """The format of a file of ours, which has its application id before its first table. StoreError, NewerFormat."""
    [(application,)] = connection.execute("PRAGMA application_id").fetchall()
    if application not in ((0, APPLICATION_ID) if fresh else (APPLICATION_ID,)):
        raise StoreError(f"{file} is a SQLite file of another program")
    [(found,)] = connection.execute("PRAGMA user_version").fetchall()
    if found > FORMAT:
        raise NewerFormat(
            f"the data in {file} has format {found}; this Trunkline knows up to {FORMAT}. Use a newer Trunkline."
        )
    return int(found)


def read_rows(path: Path | str) -> Iterator[tuple[int, bytes, bytes]]:
    """Every row (partition, key, value) of a data directory, read-only. NewerFormat, or StoreError if there is none.

    Page by page: a read that stays open, as long as somebody looks at what it gave, would keep a running server from
    folding its WAL in. A row may therefore be later than one before it.
    """
    file = Path(path) / FILE
    if not file.exists():
        raise StoreError(f"there is no Trunkline data in {path}")
    with reading(file) as connection:
        after: tuple[int, bytes] = (-1, b"")
        while page := connection.execute(_PAGE, (*after, _PAGE_ROWS)).fetchall():
            yield from page
            after = page[-1][:2]


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads a file of ours. NewerFormat; StoreError, also for SQLite's errors within."""
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            _check_ours(connection, file, fresh=False)
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(cannot_open(file, error)) from error


_PAGE = "SELECT partition, key, value FROM rows WHERE (partition, key) > (?, ?) ORDER BY partition, key LIMIT ?"
_PAGE_ROWS = 500

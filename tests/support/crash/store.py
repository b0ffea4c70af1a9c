"""The data directory, looked into while no server runs: is the file sound, can it be read, what is left in it?"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from trunkline.dump import readable
from trunkline.storage.sqlite_file import read_rows


def faults(directory: Path, scratch: Path) -> Iterator[str]:
    """What is wrong with the data, found in a copy of it, for whoever opens it folds its WAL in."""
    copied = scratch / "copy"
    shutil.rmtree(copied, ignore_errors=True)
    copied.mkdir()
    for name in ("trunkline.db", "trunkline.db-wal"):
        if (directory / name).exists():
            shutil.copyfile(directory / name, copied / name)
    if not (copied / "trunkline.db").exists():
        return
    try:
        connection = sqlite3.connect(copied / "trunkline.db")
        try:
            found = [text for (text,) in connection.execute("PRAGMA integrity_check(5)")]
        finally:
            connection.close()
        if found != ["ok"]:
            yield f"SQLite's integrity_check says {found}"
        unknown = kinds(copied)["unknown"]
        if unknown:
            yield f"{unknown} rows cannot be understood by trunkline dump"
    except sqlite3.Error as error:
        yield f"SQLite cannot read it: {error}"
    shutil.rmtree(copied)


def kinds(directory: Path) -> Counter[str]:
    """How many rows of each kind ``trunkline dump`` shows; ``dead`` counts those that are not swept yet."""
    found: Counter[str] = Counter()
    for line in readable(read_rows(directory)):
        found[line["kind"]] += 1
        if line.get("dead"):
            found["dead"] += 1
    return found

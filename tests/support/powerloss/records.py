"""The log of the disk shim (disk_shim/shim.c) and the marks between its records.

A mark is appended by a client, by one write to the same file: before it sends a
request, and when it has the answer. The server's records of what the answer
stands on were appended before the answer left it, so in the log cause stands
before effect, whichever process wrote it and whatever the clocks say. A cut at
a place in the log is therefore a cut at an instant for all of them: whoever has
its mark of an answer before that place had the answer before the cut.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPEN, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, UNLINK, RENAME, LINK, MKDIR, RMDIR, MAP = range(1, 12)
MARK = 100
CREATED, DIRECTORY = 1, 2

_MAGIC = 0x8F5DC0DE1A7B39E3
_BEGINNING = struct.pack("<Q", _MAGIC)
_HEAD = struct.Struct("<QIIQqq")


@dataclass(slots=True)
class Record:
    """See shim.c. ``payload``: what was written, a path, two paths with a NUL between them, or a mark's JSON."""

    kind: int
    file: int
    a: int
    b: int
    payload: bytes

    @property
    def path(self) -> str:
        return os.fsdecode(self.payload)

    @property
    def mark(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload)
        return found


def read(log: Path, torn: int = 0) -> list[Record]:
    """All records; of those that a kill cut short there may be ``torn``, one for each, and they are left out.

    The write that such a record was to tell of is done, so it is one of those that nobody came to record.
    """
    raw = log.read_bytes()
    found: list[Record] = []
    at = 0
    while at < len(raw):
        end = -1
        if len(raw) - at >= _HEAD.size and raw.startswith(_BEGINNING, at):
            _, length, kind, file, a, b = _HEAD.unpack_from(raw, at)
            end = at + length
        # Behind it comes nothing, or the next one, of which a kill may have left less than its first bytes.
        if at < end <= len(raw) and _BEGINNING.startswith(raw[end : end + len(_BEGINNING)]):
            found.append(Record(kind, file, a, b, raw[at + _HEAD.size : end]))
        else:
            torn -= 1
            assert torn >= 0, f"the log is broken at byte {at}"
            following = raw.find(_BEGINNING, at + 1)
            end = following if following >= 0 else len(raw)
        at = end
    return found


class Marks:
    """Writes marks. One for all threads: each mark is one write."""

    def __init__(self, log: Path) -> None:
        self._fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def put(self, **mark: Any) -> None:
        self.append(Record(MARK, 0, 0, 0, json.dumps(mark).encode()))

    def append(self, record: Record) -> None:
        size = _HEAD.size + len(record.payload)
        raw = _HEAD.pack(_MAGIC, size, record.kind, record.file, record.a, record.b) + record.payload
        assert os.write(self._fd, raw) == size

    def close(self) -> None:
        os.close(self._fd)

"""``trunkline dump``: a data directory as JSON lines, for people. Read-only; the server may be running.

    rows of partition 0          what the runtime remembers          runtime.system draws them
    rows of a catalogue          its queues                          services.sqs.catalogue
    rows of a queue              its messages, and what goes with them   services.sqs.rows

A line for each row, in the order of the store: a catalogue is older than its
queues, so its partition comes before theirs, and a queue's rows can be named
as they pass. They are read page by page, so beside a running server a line may
be of a later instant than one before it.

A row that cannot be understood is shown as it lies there, as all are with ``--raw``.
"""

from __future__ import annotations

import base64
import json
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from trunkline.kernel.arn import Arn, partition_of
from trunkline.kernel.ids import uuid_text
from trunkline.kernel.time import NEVER, Millis
from trunkline.runtime import system
from trunkline.services.sqs import rows
from trunkline.services.sqs.catalogue import DELETED, ENTRY
from trunkline.services.sqs.deduplication import entries_of
from trunkline.services.sqs.messages import Attribute, decode_tail
from trunkline.services.sqs.move_tasks import Progress
from trunkline.services.sqs.rows import MessageRow, StateRow
from trunkline.storage.sqlite_file import read_rows
from trunkline.storage.store import StoreError

Line = dict[str, Any]
StoredRow = tuple[int, bytes, bytes]
"""(partition, key, value)"""


def dump(directory: Path, out: TextIO, raw: bool = False) -> int:
    """Write every row of the data in ``directory`` to ``out``; the exit code. BrokenPipeError if nobody reads on."""
    plain = (out.encoding or "").lower().replace("-", "") != "utf8"  # a terminal that knows not every letter
    try:
        stored = read_rows(directory)
        for line in map(raw_line, stored) if raw else readable(stored):
            out.write(json.dumps(line, ensure_ascii=plain) + "\n")
    except StoreError as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 1
    return 0


def raw_line(row: StoredRow) -> Line:
    """A row as it lies in the store; the node's secret is left out, for it makes receipt handles."""
    partition, key, value = row
    line: Line = {"partition": partition, "key": key.hex(), "bytes": len(value)}
    if partition == system.SYSTEM and key == system.SECRET:
        return line | {"redacted": True}
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    return line | ({"text": text} if text and text.isprintable() else {"hex": value.hex()})


def readable(stored: Iterable[StoredRow]) -> Iterator[Line]:
    """The rows, each with its kind and what it says."""
    reader = _Reader()
    for row in stored:
        yield reader.line(row)


class _Reader:
    """Remembers, from the rows that have passed, whose the next ones are."""

    def __init__(self) -> None:
        self._catalogues: dict[int, system.CatalogueKey] = {}
        self._queues: dict[int, str] = {}
        self._generations: dict[int, int] = {}

    def line(self, row: StoredRow) -> Line:
        partition, key, value = row
        line: Line = {"partition": partition}
        if partition in self._queues:
            line["queue"] = self._queues[partition]
        try:
            if partition == system.SYSTEM:
                return line | self._system(key, value)
            if partition in self._catalogues:
                return line | self._catalogue(self._catalogues[partition], key, value)
            return line | self._queue(partition, key, value)
        except (ValueError, KeyError, IndexError, struct.error):
            return {**line, "kind": "unknown", **raw_line(row)}

    def _system(self, key: bytes, value: bytes) -> Line:
        if key.startswith(system.CATALOGUE):
            self._catalogues[_number(value)] = system.parse_catalogue_key(key)
        return _SYSTEM[key[:1]](key, value)

    def _catalogue(self, catalogue: system.CatalogueKey, key: bytes, value: bytes) -> Line:
        service, region, account = catalogue
        name = key[1:].decode()
        if key.startswith(DELETED):
            return {"kind": "deleted queue", "name": name, "deleted": _time(_number(value))}
        if not key.startswith(ENTRY):
            raise ValueError
        entry = json.loads(value)
        arn = str(Arn(partition_of(region), service, region, account, name))
        held = entry.pop("partition")
        self._queues[held] = arn
        times = {each: _time(entry[each]) for each in ("created", "modified")}
        return {"kind": "queue", "name": name, "arn": arn, "rows_in": held, **entry, **times}

    def _queue(self, partition: int, key: bytes, value: bytes) -> Line:
        if key == rows.META:
            self._generations[partition] = generation = _number(value[:4])
            return {"kind": "generation", "generation": generation}
        if key.startswith(rows.MOVE_TASK):
            return {"kind": "move task", "started": _time(_number(key[1:])), **_move_task(key, value)}
        kind, decode = _QUEUE_KINDS[key[:1]]
        generation = _number(key[1:5])
        line: Line = {"kind": kind, "generation": generation}
        if partition not in self._queues or generation < self._generations.get(partition, 0):
            line["dead"] = True  # of a deleted or purged queue, and not swept yet
        return line | decode(key[5:], value)


def _clock(key: bytes, value: bytes) -> Line:
    row = system.ClockRow.decode(value)
    now = {"frozen_at" if row.frozen else "not_before": _time(row.high_water)}
    return {"kind": "clock", "offset": row.offset, "frozen": row.frozen, **now}


def _node_catalogue(key: bytes, value: bytes) -> Line:
    service, region, account = system.parse_catalogue_key(key)
    return {"kind": "catalogue", "service": service, "region": region, "account": account, "rows_in": _number(value)}


def _dead_range(key: bytes, value: bytes) -> Line:
    dead = system.DeadRange.decode(key, value)
    return {"kind": "dead rows", "rows_in": dead.partition, "from": dead.start.hex(), "to": dead.end.hex()}


def _alarm(key: bytes, value: bytes) -> Line:
    due, partition = system.parse_alarm_key(key)
    return {"kind": "alarm", "rows_in": partition, "due": _time(due)}


_SYSTEM: Mapping[bytes, Callable[[bytes, bytes], Line]] = {
    system.NEXT_PARTITION: lambda key, value: {"kind": "next partition", "number": _number(value)},
    system.SECRET: lambda key, value: {"kind": "secret", "redacted": True},
    system.CLOCK: _clock,
    system.COPIED: lambda key, value: {"kind": "copy", "made": _time(_number(value))},
    system.FLOOR: lambda key, value: {"kind": "floor", "sequence": _number(value)},
    system.CATALOGUE: _node_catalogue,
    system.OWNER: lambda key, value: {"kind": "owner", "rows_in": _number(key[1:]), "catalogue": _number(value)},
    system.DEAD: _dead_range,
    system.ALARM: _alarm,
}


def _counters(key: bytes, value: bytes) -> Line:
    following, live, oldest, purged = rows.COUNTS.unpack(value)
    return {"next_sequence": following, "messages": live, "oldest": _time(oldest), "purged": _time(purged)}


def _histogram(key: bytes, value: bytes) -> Line:
    return {"what": rows.HISTOGRAMS[key[0]], "second": _time(_number(key[1:]) * 1000), "messages": _number(value)}


def _move_task(key: bytes, value: bytes) -> Line:
    progress = Progress.decode(_number(key[1:]), value)
    task = progress.task
    return {
        "id": uuid_text(task.id), "status": task.status, "destination": task.destination, "rate": task.rate,
        "moved": task.moved, "to_move": task.to_move, "failure": task.failure,
        "cursor": progress.cursor, "tail": progress.tail,
    }  # fmt: skip


def _message(key: bytes, value: bytes) -> Line:
    row = MessageRow.decode(value)
    sender, trace, attributes, body = decode_tail(row.tail)
    line: Line = {"sequence": _number(key), "id": uuid_text(row.id), "sent": _time(row.sent), "sender": sender}
    more = {
        "due": _time(row.due),
        "received_before": row.receives_before,
        "first_received": _time(row.first_received),
        "group": row.group,
        "deduplication": row.deduplication,
        "dead_letter_of": row.source_arn,
        "trace": trace,
        "attributes": {each.name: _attribute(each) for each in attributes},
    }
    return {**line, **{name: found for name, found in more.items() if found}, "body": body}


def _attribute(attribute: Attribute) -> Line:
    shown = attribute.rendered()
    if "BinaryValue" in shown:
        shown["BinaryValue"] = base64.b64encode(shown["BinaryValue"]).decode()
    return shown


def _state(key: bytes, value: bytes) -> Line:
    row = StateRow.decode(value)
    return {
        "sequence": _number(key), "received": row.receives, "first_received": _time(row.first_received),
        "visible": _time(row.visible_at),
    }  # fmt: skip


def _deduplications(key: bytes, value: bytes) -> Line:
    entries = [
        {"accepted": _time(accepted), "key": digest.hex(), "id": uuid_text(id_), "sequence": sequence}
        for digest, id_, accepted, sequence in entries_of(value)
    ]
    return {"sends": entries}


_QUEUE_KINDS: Mapping[bytes, tuple[str, Callable[[bytes, bytes], Line]]] = {
    rows.COUNTERS: ("counters", _counters),
    rows.HISTOGRAM: ("count", _histogram),
    rows.ATTEMPT: ("receive attempt", lambda key, value: {"attempt": key.decode(), "hex": value.hex()}),
    rows.MESSAGE: ("message", _message),
    rows.STATE: ("state", _state),
    rows.DELAYED: ("delayed", lambda key, value: {"due": _time(_number(key[:8])), "sequence": _number(key[8:])}),
    rows.SENT_INDEX: ("sent", lambda key, value: {"sent": _time(_number(key[:8])), "sequence": _number(key[8:])}),
    rows.DEDUPLICATION: ("deduplication", _deduplications),
    rows.DEDUPLICATION_RUN: ("deduplication run", _deduplications),
}
"""By the first byte of a key, which four bytes of generation follow; what decodes gets what is behind those."""


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _time(instant: Millis) -> str | None:
    """ISO 8601; None for no instant."""
    if instant in (0, NEVER):
        return None
    try:
        return datetime.fromtimestamp(instant / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{instant} ms"

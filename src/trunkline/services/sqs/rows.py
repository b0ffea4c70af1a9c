"""How a queue lies in its partition: row keys and byte layouts.

All integers are big-endian, so keys sort as numbers do. ``gen`` (4 bytes) is
the generation: PurgeQueue starts a new one with one row, and everything of
the older generations is dead at once and swept later.

    key                                   value
    01                                    meta: generation u32
    02 gen                                counters: next sequence u64, live messages u64, ...
    03 gen kind u8, second u64            histogram bucket: count u32 (kind: see HISTOGRAMS)
    04 started u64                        message move task (see move_tasks)
    05 gen attempt                        FIFO: what a receive request attempt was given (see fifo)
    40 gen seq u64                        the message (immutable; layout below)
    50 gen seq u64                        its state, from the first receive on
    60 gen due u64, seq u64               delayed index, until the first receive: head of the message
    68 gen sent u64, seq u64              messages whose sent time is out of sequence order (dead letters)
    71 gen seq u64                        FIFO: a send of the last minutes (see deduplication)
    72 gen accepted u64, seq u64, u8      FIFO: many of them

A message row:

    u8 version=1 | u8 flags | u64 sent | u64 due | u32 receives before | u64 first received | 16s id
    | 16s MD5 of body | u32 size | u8+group | u8+deduplication id | u16+source ARN | tail

``due`` is 0 for a message without delay. ``receives before``/``first received``
/``source ARN`` are those of the queue that it was a dead letter of. ``size``
is SQS's own measure (body and attributes). The tail belongs to the service
(see messages): the machine never looks into it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

VERSION = 1

FLAG_DELAYED = 1
"""Sent with a delay: listed in the delayed index until its first receive."""
FLAG_MOVED = 2
"""Came from another queue: its sent time is out of order and listed in the 68 index."""

IN_FLIGHT_UNTIL, DELAYED_UNTIL, UNRECEIVED = 0, 1, 2
HISTOGRAMS = {
    IN_FLIGHT_UNTIL: "in flight until",
    DELAYED_UNTIL: "delayed until",
    UNRECEIVED: "not received, sent in",
}
COUNTS = struct.Struct(">QQQQ")
"""A counters row: next sequence, live messages, when the oldest was sent (2^63 - 1 if there is none), last purge."""

META = b"\x01"
COUNTERS = b"\x02"
HISTOGRAM = b"\x03"
MOVE_TASK = b"\x04"
MESSAGE = b"\x40"
STATE = b"\x50"
DELAYED = b"\x60"
SENT_INDEX = b"\x68"
DEDUPLICATION = b"\x71"
DEDUPLICATION_RUN = b"\x72"
ATTEMPT = b"\x05"

_FIXED = struct.Struct(">BBQQIQ16s16sI")
_HEADING = struct.Struct(">BBQQIQ")
"""What of it a head is made of."""
_STATE = struct.Struct(">BQIQ")
_ID, _MD5 = slice(30, 46), slice(46, 62)
"""Where they stand in a message row."""
_U64 = struct.Struct(">Q")
_U32 = struct.Struct(">I")


def u64(number: int) -> bytes:
    return _U64.pack(number)


def u32(number: int) -> bytes:
    return _U32.pack(number)


def encode_message(
    flags: int, sent: int, due: int, before: int, first: int, id_: bytes, md5: bytes, size: int,
    group: str, deduplication: str, source_arn: str, tail: bytes,
) -> bytes:  # fmt: skip
    """A message row of its parts (see MessageRow), which a send need not put together first."""
    fixed = _FIXED.pack(VERSION, flags, sent, due, before, first, id_, md5, size)
    if not (group or deduplication or source_arn):
        return fixed + b"\0\0\0\0" + tail
    who, dedup, arn = group.encode(), deduplication.encode(), source_arn.encode()
    return b"".join(
        (fixed, bytes((len(who),)), who, bytes((len(dedup),)), dedup, len(arn).to_bytes(2, "big"), arn, tail)
    )


def glance(value: bytes) -> tuple[bytes, bytes, bytes]:
    """Of a message row (id, MD5, tail): all that a plain receive shows. ValueError for an unknown version."""
    if value[0] != VERSION:
        raise ValueError(f"message row of unknown version {value[0]}")
    at = _FIXED.size
    if value[at : at + 4] == b"\0\0\0\0":
        at += 4
    else:
        at += 1 + value[at]
        at += 1 + value[at]
        at += 2 + int.from_bytes(value[at : at + 2], "big")
    return value[_ID], value[_MD5], value[at:]


def heading(value: bytes) -> tuple[int, int, int, str, int, int]:
    """Of a message row (flags, sent, due, group, receives before, first received): all that a head keeps.

    ValueError for an unknown version.
    """
    version, flags, sent, due, before, first = _HEADING.unpack_from(value)
    if version != VERSION:
        raise ValueError(f"message row of unknown version {version}")
    length = value[_FIXED.size]
    group = value[_FIXED.size + 1 : _FIXED.size + 1 + length].decode() if length else ""
    return flags, sent, due, group, before, first


@dataclass(slots=True)
class MessageRow:
    """A message row, taken apart. Times in ms since the epoch."""

    flags: int
    sent: int
    due: int
    receives_before: int
    first_received: int
    id: bytes
    md5: bytes
    size: int
    group: str
    deduplication: str
    source_arn: str
    tail: bytes

    def encode(self) -> bytes:
        return encode_message(
            self.flags, self.sent, self.due, self.receives_before, self.first_received, self.id, self.md5, self.size,
            self.group, self.deduplication, self.source_arn, self.tail,
        )  # fmt: skip

    @classmethod
    def decode(cls, value: bytes) -> MessageRow:
        version, flags, sent, due, before, first, id_, md5, size = _FIXED.unpack_from(value)
        if version != VERSION:
            raise ValueError(f"message row of unknown version {version}")
        at = _FIXED.size
        end = at + 1 + value[at]
        group = value[at + 1 : end].decode()
        at, end = end, end + 1 + value[end]
        dedup = value[at + 1 : end].decode()
        at, end = end + 2, end + 2 + int.from_bytes(value[end : end + 2], "big")
        return cls(flags, sent, due, before, first, id_, md5, size, group, dedup, value[at:end].decode(), value[end:])

    def moved(self, **changes: object) -> MessageRow:
        return replace(self, **changes)  # type: ignore[arg-type]


def encode_state(visible_at: int, receives: int, first_received: int) -> bytes:
    """A StateRow of its parts, which a receive need not put together first."""
    return _STATE.pack(VERSION, visible_at, receives, first_received)


@dataclass(slots=True)
class StateRow:
    """What receives did to a message: hidden until ``visible_at``, received ``receives`` times here."""

    visible_at: int
    receives: int
    first_received: int

    def encode(self) -> bytes:
        return encode_state(self.visible_at, self.receives, self.first_received)

    @classmethod
    def decode(cls, value: bytes) -> StateRow:
        version, visible_at, receives, first = _STATE.unpack(value)
        if version != VERSION:
            raise ValueError(f"state row of unknown version {version}")
        return cls(visible_at, receives, first)

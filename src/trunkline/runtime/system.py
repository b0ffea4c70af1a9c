"""The node's own partition, 0: what the runtime must remember.

key                                          value
01                                           next partition id u64
02                                           the node's secret, 32 bytes
03                                           clock: offset i64, high water u64, frozen u8
04                                           this is a copy that no server has opened yet: made at u64 (real time, ms)
05                                           floor of sequences and partition ids u64 (see Floor in partitions)
10 service 00 region 00 account              partition of that catalogue u64
12 partition u64                             partition of the catalogue that lists it u64
20 partition u64, number u32                 dead rows: u16+start, end (empty: to the partition's end)
30 due u64, partition u64                    alarm of a machine that may be unloaded
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SYSTEM = 0
FIRST_PARTITION = 1

NEXT_PARTITION = b"\x01"
SECRET = b"\x02"
CLOCK = b"\x03"
COPIED = b"\x04"
FLOOR = b"\x05"
CATALOGUE = b"\x10"
OWNER = b"\x12"
DEAD = b"\x20"
ALARM = b"\x30"

_CLOCK = struct.Struct(">qQB")
_U64 = struct.Struct(">Q")
_PAIR = struct.Struct(">QQ")
_DEAD = struct.Struct(">QI")

CatalogueKey = tuple[str, str, str]
"""(service, region, account)"""


@dataclass(frozen=True, slots=True)
class ClockRow:
    offset: int
    high_water: int
    frozen: bool

    def encode(self) -> bytes:
        return _CLOCK.pack(self.offset, self.high_water, self.frozen)

    @classmethod
    def decode(cls, value: bytes) -> ClockRow:
        offset, high_water, frozen = _CLOCK.unpack(value)
        return cls(offset, high_water, bool(frozen))


@dataclass(frozen=True, slots=True)
class DeadRange:
    """Rows [start, end) of ``partition`` that nobody will read again; ``number`` tells several ranges apart."""

    partition: int
    number: int
    start: bytes
    end: bytes

    @property
    def key(self) -> bytes:
        return DEAD + _DEAD.pack(self.partition, self.number)

    def encode(self) -> bytes:
        return len(self.start).to_bytes(2, "big") + self.start + self.end

    @classmethod
    def decode(cls, key: bytes, value: bytes) -> DeadRange:
        partition, number = _DEAD.unpack_from(key, 1)
        cut = 2 + int.from_bytes(value[:2], "big")
        return cls(partition, number, value[2:cut], value[cut:])


def u64(number: int) -> bytes:
    return _U64.pack(number)


def catalogue_key(key: CatalogueKey) -> bytes:
    return CATALOGUE + "\0".join(key).encode()


def parse_catalogue_key(key: bytes) -> CatalogueKey:
    service, _, place = key[1:].decode().partition("\0")
    region, _, account = place.rpartition("\0")
    return service, region, account


def owner_key(partition: int) -> bytes:
    return OWNER + _U64.pack(partition)


def alarm_key(due: int, partition: int) -> bytes:
    return ALARM + _PAIR.pack(due, partition)


def parse_alarm_key(key: bytes) -> tuple[int, int]:
    due, partition = _PAIR.unpack_from(key, 1)
    return due, partition

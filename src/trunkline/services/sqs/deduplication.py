"""What a FIFO queue remembers of the last five minutes' sends (aws/sqs.md section 8).

    71 gen sequence u64                           the entries of one send that are in no run yet
    72 gen accepted u64, sequence u64, first u8   those of a run whose key begins with this byte

    entry: key 12s, id 16s, accepted u64, sequence u64

In a row's key accepted and sequence are those of the last entry, of the send or
of the whole run.

The key is a digest of the deduplication id, with the group if the scope is the
message group. A send decides without a read, so all of the window is in
memory, but as nothing but its 44 bytes: entries lie end to end in buckets by
their key, which the garbage collector does not look at, and are found by a
search for the key's bytes. There are about as many buckets as ``_FULL`` asks
for at any time, for one after the other is split in two when that is due
(linear hashing), so that no send pays for all.

A send writes a row of its own. When there are ``run`` entries in them they are
written once more, by their first byte, and the rows are swept. The first 256
buckets are by the first byte too: so after a restart entries are taken up
sixteen at a time, a million in a moment. Meanwhile senders wait. (All of a run
in one row would be read sooner yet, but SQLite would copy it whenever a search
for another row came by.) A duplicate does not extend the window. Rows leave in
the order of their time.
"""

from __future__ import annotations

import struct
from collections import deque
from hashlib import blake2b

from trunkline.kernel.step import Row, Step
from trunkline.kernel.time import Millis
from trunkline.services.sqs.rows import DEDUPLICATION, DEDUPLICATION_RUN, u32, u64

WINDOW: Millis = 300_000
RUN = 4_096
"""Entries in a run: made of single ones in about 2 ms. A row of it has some 700 bytes, and does not fill a page."""
_FULL = 16
"""Entries for each bucket. More would be searched for longer; with fewer the buckets themselves take room."""
_FIRST_BYTES = 256
_TIDY_SENDS = 16
_TIDY_AFTER: Millis = 1_000
"""After so many sends, or so long, the next one tidies up: it does about as much as came since, whatever there is."""
_SPLIT = 1_024
"""Entries that it moves to other buckets, or one bucket."""
_TIDIED = 4
"""Buckets that it rids of what is past the window: all have their turn while a quarter of what is in them comes."""
_FORGOTTEN = 32
"""Rows of sends past the window that it deletes."""

_KEY = 12
_LAYOUT = struct.Struct(">12s16sQQ")
_ENTRY = _LAYOUT.size
_ACCEPTED, _SEQUENCE = 28, 36
"""Where they stand in an entry."""


def key_of(deduplication: str, group: str) -> bytes:
    """``group`` is "" where the scope is the queue."""
    return blake2b(f"{group}\0{deduplication}".encode(), digest_size=_KEY).digest()


def entries_of(value: bytes) -> list[tuple[bytes, bytes, Millis, int]]:
    """What a row says: (key, id, accepted, sequence) of each message."""
    return list(_LAYOUT.iter_unpack(value))


class Deduplication:
    """``complete``: there is nothing to be read from the store. ``run``: how many sends make a run, for tests."""

    def __init__(self, generation: int, complete: bool, run: int = RUN) -> None:
        self.complete = complete
        self.singles = DEDUPLICATION + u32(generation)
        self.runs = DEDUPLICATION_RUN + u32(generation)
        self._run = run
        self.buckets = [bytearray()]
        # Buckets in full rounds of splitting are a power of two: places are taken modulo _round, and those below _next
        # have been split in this round already.
        self._round = 1
        self._next = 0
        self._cursor = 0
        self._held = 0
        self._latest: Millis = 0
        self._new: list[bytes] = []
        """Entries that are not written yet."""
        self._single: list[bytes] = []
        """The rows of what is in no run, in the order of their sequence, and how many entries are in them."""
        self._singles_held = 0
        self._run_keys: deque[bytes] = deque()
        """How the keys of each run's rows begin."""
        self._tidy_at: Millis = 0
        self._tidy_from = 0

    def __len__(self) -> int:
        """How many entries are in memory; some may be past the window."""
        return self._held

    @property
    def weight(self) -> int:
        """About how many bytes they take."""
        return _ENTRY * self._held * 9 // 8 + 64 * len(self.buckets) + (_ENTRY + 41) * self._singles_held

    def _bucket(self, key: bytes) -> bytearray:
        place = int.from_bytes(key[:4], "little")
        at = place % self._round
        return self.buckets[at if at >= self._next else place % (2 * self._round)]

    def accept(self, key: bytes, id_: bytes, sequence: int, now: Millis) -> tuple[bytes, int] | None:
        """(id, sequence) of the message that ``key`` was accepted for inside the window. If there is none, this one is
        it from now on, and None is returned. ``write`` is to follow."""
        bucket = self._bucket(key)
        at = bucket.find(key)
        while at >= 0:
            if at % _ENTRY == 0:
                _, found, accepted, original = _LAYOUT.unpack_from(bucket, at)
                if accepted + WINDOW > now:
                    return found, original
            at = bucket.find(key, at + 1)
        entry = _LAYOUT.pack(key, id_, now, sequence)
        bucket += entry
        self._held += 1
        self._latest = now
        self._new.append(entry)
        return None

    def write(self, step: Step) -> None:
        """The row of what was accepted since the last call."""
        new = self._new
        if new:
            row = b"".join(new)
            self._single.append(row)
            self._singles_held += len(new)
            new.clear()
            step.writes.append((self.singles + row[-8:], row))

    def tidy(self, now: Millis, step: Step) -> None:
        """Before a send, what sends do for each other: make a run, keep the buckets short, forget what is past."""
        if self._held < self._tidy_from and now < self._tidy_at:
            return
        if self._singles_held >= self._run:
            self._close_run(step)
        past = now - WINDOW
        more = self._forget(past, step)
        if self._latest <= past:
            self.buckets, self._round, self._next, self._cursor, self._held = [bytearray()], 1, 0, 0, 0
        if self._held > _FULL * len(self.buckets):
            self._split()
        self._shorten(past)
        self._tidy_from = self._held + min(_TIDY_SENDS, self._run)
        self._tidy_at = now + (0 if more else _TIDY_AFTER)

    def _close_run(self, step: Step) -> None:
        last = self._single[-1]
        groups: list[list[bytes]] = [[] for _ in range(_FIRST_BYTES)]
        for row in self._single:
            for at in range(0, len(row), _ENTRY):
                groups[row[at]].append(row[at : at + _ENTRY])
        key = self.runs + last[-_ENTRY + _ACCEPTED :]
        step.writes += [(key + bytes((first,)), b"".join(group)) for first, group in enumerate(groups) if group]
        step.sweeps.append((self.singles, self.singles + last[_SEQUENCE - _ENTRY :] + b"\0"))
        self._run_keys.append(key)
        self._single, self._singles_held = [], 0

    def _split(self) -> None:
        moved = 0
        buckets = self.buckets
        while moved < _SPLIT and self._held > _FULL * len(buckets):
            byte, bit = divmod(self._round.bit_length() - 1, 8)
            bit = 1 << bit
            whole = bytes(buckets[self._next])
            entries = [whole[at : at + _ENTRY] for at in range(0, len(whole), _ENTRY)]
            buckets[self._next] = bytearray().join([entry for entry in entries if not entry[byte] & bit])
            buckets.append(bytearray().join([entry for entry in entries if entry[byte] & bit]))
            moved += len(entries)
            self._next += 1
            if self._next == self._round:
                self._round, self._next = 2 * self._round, 0

    def _forget(self, past: Millis, step: Step) -> bool:
        """Delete rows that are past the window; True if there are more."""
        single, keys = self._single, self._run_keys
        lapsed = 0
        for row in single[:_FORGOTTEN]:
            if _accepted(row, 0) > past:
                break
            step.writes.append((self.singles + row[-8:], None))
            self._singles_held -= len(row) // _ENTRY
            lapsed += 1
        del single[:lapsed]
        while keys and int.from_bytes(keys[0][-16:-8], "big") <= past:
            key = keys.popleft()
            step.sweeps.append((key, key + b"\xff\xff"))
        return lapsed == _FORGOTTEN

    def _shorten(self, past: Millis) -> None:
        for _ in range(_TIDIED):
            self._cursor = (self._cursor + 1) % len(self.buckets)
            bucket = self.buckets[self._cursor]
            end = 0
            while end < len(bucket) and _accepted(bucket, end) <= past:
                end += _ENTRY
            if end:
                del bucket[:end]
                self._held -= end // _ENTRY

    # -- after a restart -----------------------------------------------------------

    def load_runs(self, rows: list[Row]) -> None:
        """Take up runs of the store, in the order of their keys, before all single entries."""
        if self._round < _FIRST_BYTES:
            self.buckets = [bytearray() for _ in range(_FIRST_BYTES)]
            self._round = _FIRST_BYTES
        for key, entries in rows:
            self.buckets[key[-1]] += entries
            self._held += len(entries) // _ENTRY
            self._latest = int.from_bytes(key[-17:-9], "big")
            if not self._run_keys or self._run_keys[-1] != key[:-1]:
                self._run_keys.append(key[:-1])

    def load_singles(self, rows: list[Row]) -> None:
        """Take up the rows of sends, likewise."""
        for _, row in rows:
            for at in range(0, len(row), _ENTRY):
                entry = row[at : at + _ENTRY]
                self._bucket(entry[:_KEY]).extend(entry)
                self._held += 1
            self._single.append(row)
            self._singles_held += len(row) // _ENTRY
            self._latest = _accepted(row, 0)

    @property
    def after_runs(self) -> bytes:
        """Where the rows begin of what is in no run."""
        return self.singles + (u64(int.from_bytes(self._run_keys[-1][-8:], "big") + 1) if self._run_keys else b"")


def _accepted(entries: bytes | bytearray, at: int) -> Millis:
    return int.from_bytes(entries[at + _ACCEPTED : at + _SEQUENCE], "big")

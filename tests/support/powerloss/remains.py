"""The files as they may stand after the power was cut.

``Files`` follows the records of a log. Of each file it keeps what is surely on
the disk, and the changes since the last sync of it that began and ended; of
each name likewise, until its directory was synced. ``remains`` then draws one
of the states that a cut at this instant may leave:

- each 512-byte sector of a file as it surely was, or as any of the later writes
  or truncations left it, whatever became of its neighbours;
- the file's size as it surely was, or as any later change left it;
- each change of a name made or not made.

That is more than a file system with a journal does: there later writes to a
file whose name is gone are gone too, and sizes do not go back by themselves.
What holds for all of these states holds for those of the real ones.

A sync that failed leaves the pages that it was to write as they were, or as
they should be, and the kernel believes that they are written: a later sync that
succeeds does not write them again, unless they were changed again meanwhile,
and then the whole page of 4,096 bytes.

SQLite's ``-shm`` is no lasting state: after a cut it is not there, or full of
rubbish.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from powerloss.records import (
    CREATED,
    DIRECTORY,
    LINK,
    MAP,
    MARK,
    MKDIR,
    OPEN,
    RENAME,
    RMDIR,
    SYNC_BEGIN,
    SYNC_END,
    TRUNCATE,
    UNLINK,
    WRITE,
    Record,
)

SECTOR = 512
PAGE = 4096

NOTHING, EVERYTHING, ORDER, SOME, FEW, MOST = "nothing", "everything", "in order", "some", "few", "most"
LOST = "lost"
"""Nothing of what was not synced, and nothing of what a sync that failed was to write."""
MODES = (NOTHING, EVERYTHING, ORDER, SOME, SOME, FEW, MOST)
_CHANCE = {LOST: 0.0, NOTHING: 0.0, EVERYTHING: 1.0, SOME: 0.5, FEW: 0.1, MOST: 0.9}


@dataclass(slots=True)
class _Change:
    """A write of ``data`` at ``at``, or (data None) a truncation to ``at``. ``number``: its place among all changes."""

    number: int
    at: int
    data: bytes | None


@dataclass(slots=True)
class _File:
    """``sure``: as it is on the disk, but for ``doubt``: what else a sector may hold after a sync that failed."""

    sure: bytearray = field(default_factory=bytearray)
    pending: list[_Change] = field(default_factory=list)
    settled: int = 0
    doubt: dict[int, list[bytes]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    mapped: bool = False

    @property
    def content(self) -> bytearray:
        """As a reader sees it while the power is on."""
        whole = bytearray(self.sure)
        for change in self.pending:
            _apply(whole, change)
        return whole


@dataclass(slots=True)
class _Rename:
    """Names that change together, in one directory or two."""

    number: int
    names: list[tuple[str, object]]


_DIRECTORY = object()
"""Stands for a directory where a name stands for a file."""


class Files:
    """What is below ``root``, which is there and empty, or is filled with ``start``, when the log begins."""

    def __init__(self, root: Path, start: Path | None = None) -> None:
        self._root = str(root)
        self._names: dict[str, object] = {}
        self._sure: dict[str, object] = {}
        self._renames: list[_Rename] = []
        self._open: dict[int, object] = {}
        self._paths: dict[int, str] = {}
        self._begun: dict[int, tuple[object, int]] = {}
        self._number = 0
        if start is not None:
            for path in sorted(start.rglob("*")):
                name = self._root + "/" + str(path.relative_to(start))
                self._sure[name] = _DIRECTORY if path.is_dir() else _File(bytearray(path.read_bytes()))
            self._names = dict(self._sure)

    # -- following the log -------------------------------------------------------

    def follow(self, record: Record) -> None:
        kind = record.kind
        if kind == MARK:
            return
        self._number += 1
        if kind == WRITE:
            self._change(record.file, record.a, record.payload)
        elif kind == TRUNCATE:
            self._change(record.file, record.a, None)
        elif kind == OPEN:
            self._opened(record)
        elif kind == SYNC_BEGIN:
            target = self._open[record.file]
            place = self._number if target is _DIRECTORY else _settled(target)
            self._begun[record.a] = (target, place)
        elif kind == SYNC_END:
            self._synced(record)
        elif kind in (UNLINK, RMDIR):
            self._rename([(record.path, None)])
        elif kind == MKDIR:
            self._rename([(record.path, _DIRECTORY)])
        elif kind in (RENAME, LINK):
            one, _, two = record.path.partition("\0")
            moved: list[tuple[str, object]] = [(two, self._names[one])]
            self._rename([*moved, (one, None)] if kind == RENAME else moved)
        elif kind == MAP:
            target = self._open[record.file]
            assert isinstance(target, _File)
            target.mapped = True

    def _opened(self, record: Record) -> None:
        path = record.path
        if record.a & DIRECTORY:
            self._open[record.file] = _DIRECTORY
        elif record.a & CREATED:
            self._open[record.file] = made = _File()
            self._rename([(path, made)])
        else:
            self._open[record.file] = self._names[path]
        self._paths[record.file] = path

    def _change(self, number: int, at: int, data: bytes | None) -> None:
        target = self._open[number]
        assert isinstance(target, _File)
        target.pending.append(_Change(self._number, at, data))

    def _rename(self, names: list[tuple[str, object]]) -> None:
        self._renames.append(_Rename(self._number, names))
        for name, target in names:
            if target is None:
                self._names.pop(name, None)
            else:
                self._names[name] = target

    def _synced(self, record: Record) -> None:
        target, place = self._begun.pop(record.a)
        if target is _DIRECTORY:
            if record.b == 0:
                self._names_synced(self._paths[record.file], place)
            return
        assert isinstance(target, _File)
        count = place - target.settled
        if count <= 0:
            return  # another sync has done that already
        synced, target.pending = target.pending[:count], target.pending[count:]
        target.settled = place
        if record.b == 0:
            _settle(target, synced)
        else:
            _fail(target, synced)

    def _names_synced(self, directory: str, place: int) -> None:
        later: list[_Rename] = []
        for rename in self._renames:
            left = []
            for name, target in rename.names:
                if rename.number <= place and name.rpartition("/")[0] == directory:
                    _put(self._sure, name, target)
                else:
                    left.append((name, target))
            if left:
                later.append(_Rename(rename.number, left))
        self._renames = later

    # -- what is left ------------------------------------------------------------

    def now(self) -> dict[str, bytes | None]:
        """Every file (None: a directory) as a reader sees it while the power is on; without what lasts not."""
        found: dict[str, bytes | None] = {}
        for name, target in self._names.items():
            if isinstance(target, _File):
                assert not target.mapped, f"{name} was written through a mapping, which is not recorded"
                if not name.endswith("-shm"):
                    found[name[len(self._root) + 1 :]] = bytes(target.content)
            else:
                found[name[len(self._root) + 1 :]] = None
        return found

    def remains(self, into: Path, mode: str, chance: random.Random) -> None:
        """Draw a state of ``mode`` (MODES, LOST) that a cut now may leave, and make it in ``into``, which is not there.

        ``nothing`` and ``everything`` are what was not synced; ``in order`` is all of that up to some change;
        ``some``, ``few`` and ``most`` are chance for each sector, size and name.
        """
        last = chance.randint(0, self._number) if mode == ORDER else None
        names = dict(self._sure)
        for rename in self._renames:
            if rename.number <= last if last is not None else chance.random() < _CHANCE[mode]:
                for name, target in rename.names:
                    _put(names, name, target)
        into.mkdir()
        for name in sorted(names):
            target, path = names[name], into / name[len(self._root) + 1 :]
            if not path.parent.is_dir():
                continue  # so its directory was not kept
            if isinstance(target, _File):
                if name.endswith("-shm"):
                    if chance.random() < 0.5:
                        path.write_bytes(chance.randbytes(SECTOR) * 64)
                elif name.endswith(".reserve"):
                    with path.open("wb") as file:  # 16 MiB of nothing
                        file.truncate(_size(target, mode, last, chance))
                else:
                    path.write_bytes(_drawn(target, mode, last, chance))
            else:
                path.mkdir()


def _settled(target: object) -> int:
    assert isinstance(target, _File)
    return target.settled + len(target.pending)


def _put(names: dict[str, object], name: str, target: object) -> None:
    if target is None:
        names.pop(name, None)
    else:
        names[name] = target


def _apply(content: bytearray, change: _Change) -> None:
    if change.data is None:
        if change.at < len(content):
            del content[change.at :]
        else:
            content.extend(bytes(change.at - len(content)))
        return
    if change.at > len(content):
        content.extend(bytes(change.at - len(content)))
    content[change.at : change.at + len(change.data)] = change.data


def _touched(content: bytearray, change: _Change) -> range:
    """Sectors that a change to ``content`` changes."""
    if change.data is None:
        return range(change.at // SECTOR, -(-len(content) // SECTOR))
    return range(change.at // SECTOR, -(-(change.at + len(change.data)) // SECTOR))


def _sector(content: bytearray, number: int) -> bytes:
    return bytes(content[number * SECTOR : (number + 1) * SECTOR]).ljust(SECTOR, b"\0")


def _settle(target: _File, synced: list[_Change]) -> None:
    """They are on the disk, each with the whole page that it is in."""
    for change in synced:
        if target.doubt:
            for sector in _touched(target.sure, change):
                first = sector - sector % (PAGE // SECTOR)
                for each in range(first, first + PAGE // SECTOR):
                    target.doubt.pop(each, None)
        _apply(target.sure, change)
    if synced:
        target.sizes.clear()


def _fail(target: _File, lost: list[_Change]) -> None:
    """They may be on the disk or not, and nobody will write them again."""
    for change in lost:
        target.sizes.append(len(target.sure))
        for sector in _touched(target.sure, change):
            target.doubt.setdefault(sector, []).append(_sector(target.sure, sector))
        _apply(target.sure, change)


def _size(target: _File, mode: str, last: int | None, chance: random.Random) -> int:
    content = len(target.sure)
    sizes = [*target.sizes, content]
    for change in target.pending:
        if last is None or change.number <= last:
            content = change.at if change.data is None else max(content, change.at + len(change.data))
            sizes.append(content)
    if last is not None:
        return sizes[-1]
    if chance.random() >= _CHANCE[mode]:
        return sizes[0] if mode == LOST else chance.choice(sizes[: len(target.sizes) + 1])
    return sizes[-1] if mode == EVERYTHING else chance.choice(sizes)


def _drawn(target: _File, mode: str, last: int | None, chance: random.Random) -> bytes:
    """One of the contents that the file may have."""
    content = bytearray(target.sure)
    versions: dict[int, list[bytes]] = {}
    widest = len(content)
    for change in target.pending:
        if last is None or change.number <= last:
            touched = _touched(content, change)
            for sector in touched:
                if sector not in versions:
                    versions[sector] = []
            _apply(content, change)
            widest = max(widest, len(content))
            for sector in touched:
                versions[sector].append(_sector(content, sector))
    size = _size(target, mode, last, chance)
    drawn = bytearray(target.sure.ljust(max(widest, size, 1), b"\0"))
    drawn.extend(bytes(-len(drawn) % SECTOR))
    for sector, others in target.doubt.items():
        if mode == LOST or chance.random() < 0.5:
            drawn[sector * SECTOR : (sector + 1) * SECTOR] = others[0] if mode == LOST else chance.choice(others)
    for sector, later in versions.items():
        if mode == EVERYTHING or last is not None:
            found = later[-1]
        elif chance.random() < _CHANCE[mode]:
            found = chance.choice(later)
        else:
            continue
        drawn[sector * SECTOR : (sector + 1) * SECTOR] = found
    return bytes(drawn[:size])


def differences(files: Files, root: Path) -> list[str]:
    """How the files below ``root`` differ from what was recorded: the proof that nothing escaped the log."""
    recorded = files.now()
    real = {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
        if not path.name.endswith("-shm")
    }
    return [name for name in sorted(recorded.keys() | real.keys()) if recorded.get(name, 0) != real.get(name, 0)]


def missed(files: Files, root: Path, number: int) -> list[Record]:
    """The records of a change that a killed server made and did not come to record; [] if there is none.

    The shim makes and records one change at a time, so there is one at the most: AssertionError if there are more.
    ``number`` stands for the file in them.
    """
    names = differences(files, root)
    assert len(names) <= 1, f"a kill can hide one change, and these differ: {names}"
    found: list[Record] = []
    recorded = files.now()
    for name in names:
        path = root / name
        where = os.fsencode(path)
        if not path.exists():
            return [Record(UNLINK if recorded[name] is not None else RMDIR, 0, 0, 0, where)]
        if path.is_dir():
            return [Record(MKDIR, 0, 0, 0, where)]
        before, after = recorded.get(name), path.read_bytes()
        found.append(Record(OPEN, number, 0 if name in recorded else CREATED, 0, where))
        before = before or b""
        kept = min(len(before), len(after))
        one, two = before[:kept], after[:kept]  # a truncation may end within a sector
        differs = [at for at in range(0, kept, SECTOR) if one[at : at + SECTOR] != two[at : at + SECTOR]]
        if len(after) < len(before):
            assert not differs, f"{name} was written and truncated, of which one must have been recorded"
            found.append(Record(TRUNCATE, number, len(after), 0, b""))
        elif differs or len(after) > kept:
            begin = differs[0] if differs else kept
            end = len(after) if len(after) > kept else min(differs[-1] + SECTOR, kept)
            found.append(Record(WRITE, number, begin, 0, after[begin:end]))
    return found

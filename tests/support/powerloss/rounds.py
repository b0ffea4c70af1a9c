"""A round: a real server under load on a recorded disk, stopped and killed and started again; then many cuts.

    python -m powerloss --rounds 10 --cuts 400 --seed 1

Cuts fall anywhere, but mostly where something is half done: while a sync is
under way, behind one that ended, at what is no write to the WAL (a checkpoint,
a truncation, a name that comes or goes), at the start; and a few times behind
each truncation of the WAL. How much of what was not synced is kept is chance
too (remains.MODES). On one in ten of what is left a whole server is started.
"""

from __future__ import annotations

import argparse
import errno
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from disk_shim import Disk
from servers import Server

from powerloss import records
from powerloss.audit import Promises, audit
from powerloss.clients import Load
from powerloss.records import MARK, OPEN, SYNC_BEGIN, SYNC_END, TRUNCATE, WRITE, Marks, Record
from powerloss.remains import MODES, Files, differences, missed

DATA = "made/for/it/data"
"""Below the root: a data directory whose parents are not there either."""


@dataclass(slots=True)
class Report:
    records: int = 0
    answered: int = 0
    cuts: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return (
            f"{self.records} changes and syncs recorded, {self.answered} requests answered with success; "
            f"{self.cuts} cuts ({kinds}); {len(self.losses)} with a loss"
        )


class Round:
    """``work`` is a directory that is there and empty; ``options`` go to the server."""

    def __init__(self, work: Path, seed: int, options: tuple[str, ...] = ()) -> None:
        self.root = work / "disk"
        self.root.mkdir()
        self.log = work / "log"
        self.data = self.root / DATA
        self._work = work
        self._seed = seed
        self._kills = 0
        self.chance = random.Random(seed)
        self.marks = Marks(self.log)
        self.disk = Disk(self.root, work / "faults", self.log)
        self._stderr = (work / "stderr").open("w+")
        self.server = Server("--data", str(self.data), *options)
        self.server.environment |= self.disk.environment
        self.server.stderr = self._stderr
        self.load = Load(self.marks, seed)

    # -- making a history ----------------------------------------------------------

    def start(self) -> None:
        self.server.start()
        self.marks.put(ready=True)

    def under_load(self, seconds: float, clients: int = 6) -> None:
        """Real time: what happens to be written is what a disk has to keep."""
        self.load.start(self.server.port, clients)
        time.sleep(seconds)
        self.load.stop()

    def kill_under_load(self, seconds: float, clients: int = 6) -> None:
        self.load.start(self.server.port, clients)
        time.sleep(seconds)
        self.server.kill()
        self.load.join()
        self.complete()

    def complete(self) -> None:
        """Record what the killed server had just done and not come to record; nobody has written since."""
        files = Files(self.root)
        self._kills += 1
        for record in records.read(self.log, torn=self._kills):
            files.follow(record)
        for record in missed(files, self.root, self._kills):
            self.marks.append(record)

    def stop_under_load(self, seconds: float, clients: int = 6) -> None:
        self.load.start(self.server.port, clients)
        time.sleep(seconds)
        self.server.stop()
        self.load.join()

    def until_struck(self) -> None:
        """Wait until a sync has failed; of the file one comes when the load has paused."""
        end = time.monotonic() + 30
        while not self.disk.hits("sync"):
            if time.monotonic() > end - 27:
                self.load.stop()
            assert time.monotonic() < end, "no sync came"
            time.sleep(0.01)

    def rest(self, seconds: float = 0.8) -> None:
        """Let the server fold its WAL in, and give space back."""
        time.sleep(seconds)

    def close(self) -> None:
        if self.server.process.poll() is None:
            self.server.kill()
        self.marks.close()
        self._stderr.close()

    # -- cutting the power ---------------------------------------------------------

    def cut(self, cuts: int) -> Report:
        """Draw ``cuts`` states and audit each. AssertionError if the log is not whole."""
        log = records.read(self.log, torn=self._kills)
        chosen = Counter(_places(log, cuts, self.chance))
        report = Report(records=sum(record.kind != MARK for record in log))
        files, promises = Files(self.root), Promises()
        for place, record in enumerate(log):
            for _ in range(chosen[place]):
                self._cut_here(files, promises, place, report, "the start" if not promises.starts else _kind(record))
            if record.kind == MARK:
                promises.put(record.mark)
            else:
                files.follow(record)
        report.answered = sum(deed.answered is not None for deed in promises.deeds.values())
        assert not (escaped := differences(files, self.root)), f"the log of the disk is not whole: {escaped}"
        return report

    def _cut_here(self, files: Files, promises: Promises, place: int, report: Report, kind: str) -> None:
        mode = self.chance.choice(MODES)
        left = self._work / "left"
        files.remains(left, mode, self.chance)
        try:
            wrong = audit(left / DATA, promises, serve=report.cuts % 10 == 9)
        finally:
            shutil.rmtree(left)
        report.cuts += 1
        report.kinds[kind] += 1
        if wrong:
            shown = "; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more" if len(wrong) > 4 else "")
            report.losses.append(f"seed {self._seed}, place {place}, before {kind}, {mode}: {shown}")


def _kind(record: Record) -> str:
    """What comes next, when the power is cut."""
    return {
        MARK: "a mark", WRITE: "a write", SYNC_BEGIN: "a sync", SYNC_END: "the end of a sync", OPEN: "an open",
    }.get(record.kind, "a truncation or a name")  # fmt: skip


def _places(log: list[Record], cuts: int, chance: random.Random) -> Iterator[int]:
    """Where to cut: at index n, what comes before record n has happened."""
    wal: set[int] = set()
    starts = [place for place, record in enumerate(log) if record.kind == MARK and "ready" in record.mark]
    cut_short: list[int] = []
    half: list[int] = []
    rare: list[int] = []
    for place, record in enumerate(log):
        if record.kind == OPEN and record.path.endswith("-wal"):
            wal.add(record.file)
        if record.kind == TRUNCATE and record.file in wal:
            cut_short.append(place)
        if record.kind in (SYNC_BEGIN, SYNC_END):
            half.append(place)
        elif record.kind != MARK and (record.kind != WRITE or record.file not in wal):
            rare.append(place)
    for place in cut_short:
        yield from [min(place + 1, len(log) - 1)] * 4
    begin = starts[0] if starts else len(log)
    choices: list[Callable[[], int]] = [
        lambda: chance.randrange(len(log)),
        lambda: chance.choice(half),
        lambda: min(chance.choice(half) + 2, len(log) - 1),
        lambda: min(chance.choice(rare) + 1, len(log) - 1),
        lambda: chance.randrange(begin),
    ]
    weights = (3, 3, 1, 3, 1)
    for _ in range(cuts):
        yield chance.choices(choices, weights)[0]()


# -- rounds ----------------------------------------------------------------------


def short(round_: Round) -> None:
    """Every kind of a moment once: under load, at rest, killed, started after a kill, stopped."""
    round_.start()
    round_.load.prepare(round_.server.port)
    round_.under_load(0.5)
    round_.rest(0.6)
    round_.kill_under_load(0.3)
    round_.start()
    round_.stop_under_load(0.4)


def ill(round_: Round) -> None:
    """A sync of the log fails under load, and of the file in a checkpoint; killed at once and started again, each."""
    round_.start()
    round_.load.prepare(round_.server.port)
    for only in ("-wal", ".db", ""):
        round_.load.start(round_.server.port, 6)
        time.sleep(0.2)
        round_.disk.fail("sync", errno.EIO, times=1, only=only)
        round_.until_struck()
        round_.server.kill()
        round_.load.join()
        round_.complete()
        round_.disk.mend()
        round_.start()
        round_.under_load(0.3)
        round_.rest(0.6)
    round_.kill_under_load(0.2)


def long(round_: Round) -> None:
    """Several of them, and a sync that fails once, under load."""
    round_.start()
    round_.load.prepare(round_.server.port)
    for _ in range(2):
        round_.under_load(0.7)
        round_.rest(round_.chance.uniform(0.2, 1.0))
        round_.kill_under_load(round_.chance.uniform(0.1, 0.6))
        round_.start()
    round_.load.start(round_.server.port, 6)
    for _ in range(3):
        time.sleep(0.2)
        round_.disk.fail("sync", errno.EIO, times=round_.chance.randint(1, 3), only=round_.chance.choice(("-wal", "")))
    time.sleep(0.3)
    round_.load.stop()
    round_.disk.mend()
    round_.rest(0.5)
    round_.stop_under_load(0.5)
    round_.start()
    round_.kill_under_load(0.3)


def run(history: Callable[[Round], None], work: Path, seed: int, cuts: int, options: tuple[str, ...] = ()) -> Report:
    round_ = Round(work, seed, options)
    try:
        history(round_)
    finally:
        round_.close()
    return round_.cut(cuts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="powerloss", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=6, help="servers to put under load (default: %(default)s)")
    parser.add_argument("--cuts", type=int, default=300, help="cuts for each of them (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of the first round, to choose as before")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.randrange(1 << 30)
    lost = 0
    for number in range(asked.rounds):
        with tempfile.TemporaryDirectory(prefix="trunkline-powerloss-") as work:
            begun = time.monotonic()
            report = run(long, Path(work), seed + number, asked.cuts)
            print(f"round {number + 1} (seed {seed + number}): {report} [{time.monotonic() - begun:.0f} s]", flush=True)
            for loss in report.losses[:10]:
                print(f"  {loss}")
            lost += len(report.losses)
    print("nothing acknowledged was lost" if not lost else f"{lost} cuts LOST what was promised")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())

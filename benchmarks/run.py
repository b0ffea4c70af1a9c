"""What the server can do, beside its limits, in one run.

    python benchmarks/run.py [--seconds 2] [--rounds 3] [--connections 1,32,256] [--modes fsync,memory]
                             [--only NAMES] [--backlog 1000000] [--against REVISION | --tls] [--json FILE]

The limits are bare.py's: a no-op handler on the same HTTP layer, and the same
layer with one durable row for each request. All servers run at the same time
and are loaded in turn, round after round, so that a machine that is slow for a
while is slow for all; ratios are taken within a round, and the range that is
printed with them is the noise. The load (wrk: apt install wrk) shares the
machine's cores with the server.

With ``--against`` another revision is checked out beside this one, measured in
the same rounds, and each case's ratio of this one to that one is printed. With
``--tls`` the other one is this revision, over TLS with a certificate that the
server makes (an elliptic key), and the ratio is that of TLS to clear text.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from load import BACKLOG, CASES, Case, ensure_queue, figures, fill, measure, wrk
from longpoll import wakeups
from subjects import ROOT, Process, Revision, bare, trunkline

NOOP, BARE, HERE, THERE, TLS = "no-op handler", "bare durable row", "this", "that", "over TLS"
MODES = ("fsync", "os", "memory")
STARTS = 5

Row = dict[str, float]
Key = tuple[str, str, str, int]
"""Subject, mode, case, connections."""


class Results:
    """Every round's figures, by subject, mode, case and connections."""

    def __init__(self) -> None:
        self.rounds: dict[Key, list[Row]] = {}
        self.singles: dict[str, float] = {}

    def add(self, subject: str, mode: str, case: str, connections: int, row: Row) -> None:
        self.rounds.setdefault((subject, mode, case, connections), []).append(row)

    def middle(self, key: Key) -> Row:
        rows = self.rounds[key]
        return {name: statistics.median(row[name] for row in rows) for name in rows[0]}

    def ratios(self, key: Key, other: Key, name: str = "rate") -> list[float]:
        """Of one round each, smallest first."""
        pairs = zip(self.rounds.get(key, ()), self.rounds.get(other, ()), strict=False)
        return sorted(one[name] / two[name] for one, two in pairs if two[name])


def arguments() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(each) for each in text.split(",")]

    parser = argparse.ArgumentParser(description="The server beside its limits.")
    parser.add_argument("--seconds", type=int, default=2, help="of load on each server, in each round and case (2)")
    parser.add_argument("--rounds", type=int, default=3, help="of all servers in turn (3)")
    parser.add_argument("--connections", type=numbers, default=[1, 32, 256], help="open at the same time (1,32,256)")
    parser.add_argument("--modes", default="fsync,memory", help=f"of {', '.join(MODES)} (fsync,memory)")
    parser.add_argument("--only", default="", metavar="NAMES", help="cases whose names hold one of these words")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="messages of the long queue (1000000); 0: none")
    parser.add_argument("--wakeups", type=int, default=500, help="long polls that are woken (500)")
    beside = parser.add_mutually_exclusive_group()
    beside.add_argument("--against", metavar="REVISION", help="a commit to be measured in the same rounds")
    beside.add_argument("--tls", action="store_true", help="measure this server over TLS too, in the same rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write what was measured")
    given = parser.parse_args()
    given.modes = given.modes.split(",")
    if unknown := set(given.modes) - set(MODES):
        parser.error(f"--modes takes {', '.join(MODES)}, not {', '.join(sorted(unknown))}")
    return given


def wanted(given: argparse.Namespace, name: str) -> bool:
    return not given.only or any(word in name for word in given.only.split(","))


def start_times(source: Path, folder: Path, tls: bool) -> list[float]:
    """Seconds to ``Ready.``: of a new directory first, then of the same one again and again."""
    taken = []
    for _ in range(STARTS):
        server = trunkline(source, folder, tls=tls)
        taken.append(server.start_seconds)
        server.stop()
    return taken


def run_mode(given: argparse.Namespace, mode: str, sources: dict[str, Path], folder: Path, results: Results) -> None:
    with ExitStack() as stack:

        def up(process: Process) -> Process:
            stack.callback(process.stop)
            return process

        def serve(name: str, source: Path) -> Process:
            data = None if mode == "memory" else folder / f"{mode}-{name}"
            return up(trunkline(source, data, "fsync" if mode == "memory" else mode, tls=name == TLS))

        servers = {name: serve(name, source) for name, source in sources.items()}
        for name, server in servers.items():
            results.singles[f"{name} {mode} idle MB"] = server.memory()
        limits = {NOOP: up(bare("noop"))}
        if mode == "fsync":
            limits[BARE] = up(bare("durable", str(folder / "bare")))
        for server in servers.values():
            wrk(server, "send", ensure_queue(server, "warm"), 32, 1, "0")
        for number in range(given.rounds):
            for connections in given.connections:
                for name, server in limits.items():
                    results.add(name, mode, "send", connections, measure_limit(server, connections, given.seconds))
                for case in CASES:
                    if case.connections is not None and connections != given.connections[0]:
                        continue
                    if not needed(given, case):
                        continue
                    at = case.connections or connections
                    for name, server in servers.items():
                        row = measure(server, case, at, given.seconds, f"{number}-{at}")
                        results.add(name, mode, case.name, at, row)
        for name, server in servers.items():
            if wanted(given, "long-poll wake-up"):
                results.add(name, mode, "long-poll wake-up", 2, wakeups(server, given.wakeups))
            results.singles[f"{name} {mode} loaded MB"] = server.memory()
        if given.backlog and wanted(given, BACKLOG.name):
            for name, server in servers.items():
                backlog(given, name, mode, server, results)


def measure_limit(server: Process, connections: int, seconds: int) -> Row:
    got = wrk(server, "send", f"{server.url}/000000000000/none", connections, seconds, "0")
    return figures(got, got["requests"])


def needed(given: argparse.Namespace, case: Case) -> bool:
    """Wanted itself, or fills the queue of one that is."""
    return wanted(given, case.name) or any(other.drains == case.name and wanted(given, other.name) for other in CASES)


def backlog(given: argparse.Namespace, name: str, mode: str, server: Process, results: Results) -> None:
    url = ensure_queue(server, "backlog")
    results.singles[f"{name} {mode} backlog"] = fill(server, url, given.backlog)
    results.singles[f"{name} {mode} backlog MB"] = server.memory()
    short = ensure_queue(server, "short")
    for number in range(given.rounds):
        got = wrk(server, "drain", url, 32, given.seconds, str(number))
        results.add(name, mode, BACKLOG.name, 32, figures(got, got["deleted"]))
        fill(server, short, 1)
        got = wrk(server, "drain", short, 32, given.seconds, str(number))
        results.add(name, mode, "the same of a short queue", 32, figures(got, got["deleted"]))


def _share(shares: list[float]) -> str:
    if not shares:
        return ""
    return f"{statistics.median(shares):.0%} ({shares[0]:.0%}-{shares[-1]:.0%})"


def show(given: argparse.Namespace, results: Results) -> None:
    for mode in given.modes:
        bare_shown = f"{'of bare (range)':>18}" if mode == "fsync" else ""
        against = f"{'to ' + given.against:>20}" if given.against else f"{'to clear text':>20}" if given.tls else ""
        print(f"\n{mode}: medians of {given.rounds} rounds of {given.seconds} s")
        heads = f"{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>8}{'refused':>9}"
        print(f"{'':36}{'conns':>6}{'messages/s':>12}{bare_shown}{heads}{against}")
        for subject, at_mode, case, connections in sorted(
            (key for key in results.rounds if key[1] == mode and key[0] != THERE), key=_order
        ):
            if case == "long-poll wake-up":
                continue
            key = (subject, at_mode, case, connections)
            row = results.middle(key)
            share = ""
            if mode == "fsync":
                yardstick = (BARE, mode, "send", connections)
                share = f"{_share(results.ratios(key, yardstick)) if case == 'send' else '':>18}"
            ratio = ""
            if given.against:
                ratio = f"{_share(results.ratios(key, (THERE, mode, case, connections))):>20}"
            elif subject == TLS:
                ratio = f"{_share(results.ratios(key, (HERE, mode, case, connections))):>20}"
            name = case if subject == HERE else f"{case}, {TLS}" if subject == TLS else subject
            refused = sum(each["refused"] for each in results.rounds[key])
            print(
                f"{name:36}{connections:>6}{row['rate']:12,.0f}{share}{row['p50']:9.2f}{row['p99']:9.2f}"
                f"{row['cpu_us']:8.1f}{refused:9.0f}{ratio}"
            )
        for name in (HERE, THERE, TLS):
            if (key := (name, mode, "long-poll wake-up", 2)) in results.rounds:
                row = results.middle(key)
                whose = "" if name == HERE else f" {TLS}" if name == TLS else f" of {given.against}"
                print(
                    f"long-poll wake-up{whose}: p50 {row['p50']:.2f} ms, p99 {row['p99']:.2f} ms, most {row['max']:.2f}"
                )
    print()
    for name, figure in results.singles.items():
        print(f"{name.removeprefix(HERE).strip()}: {figure:,.2f}")


def _order(key: Key) -> tuple[int, int, int]:
    """Limits first, then the cases in the order of their running, each by connections."""
    subject, _, case, connections = key
    limits = [NOOP, BARE]
    return limits.index(subject) if subject in limits else len(limits), _case_number(case), connections


def _case_number(name: str) -> int:
    known = [case.name for case in CASES] + [BACKLOG.name]
    return known.index(name) if name in known else len(known)


def write(path: Path, given: argparse.Namespace, results: Results) -> None:
    revision = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    told: dict[str, Any] = {
        "revision": revision.strip(),
        "against": given.against,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "seconds": given.seconds,
        "singles": {name: None if math.isnan(figure) else figure for name, figure in results.singles.items()},
        "rounds": [
            {"subject": subject, "mode": mode, "case": case, "connections": connections, "rounds": rows}
            for (subject, mode, case, connections), rows in results.rounds.items()
        ],
    }
    path.write_text(json.dumps(told, indent=1) + "\n")


def main() -> None:
    given = arguments()
    if shutil.which("wrk") is None:
        sys.exit("the benchmark needs wrk, which makes the load: apt install wrk (or brew install wrk)")
    results = Results()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trunkline-bench-")))
        sources = {HERE: ROOT / "src"}
        if given.tls:
            sources[TLS] = sources[HERE]
        if given.against:
            sources[THERE] = stack.enter_context(Revision(given.against, folder))
        if wanted(given, "start"):
            for name, source in sources.items():
                taken = start_times(source, folder / f"start-{name}", tls=name == TLS)
                results.singles[f"{name} start s, new directory"] = taken[0]
                results.singles[f"{name} start s, again"] = statistics.median(taken[1:])
        for mode in given.modes:
            run_mode(given, mode, sources, folder, results)
    show(given, results)
    if given.json is not None:
        write(given.json, given, results)


if __name__ == "__main__":
    main()

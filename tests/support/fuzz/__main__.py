"""``python -m fuzz``: every target for its share of the time, a table, and 1 if a promise was broken.

What broke it lies in ``.fuzz/found/`` as a file (shrunk, where Hypothesis found
it). Corpora of atheris stay in ``.fuzz/corpus/`` and are gone on from.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from fuzz.targets import TARGETS, Target

PLACE = Path(".fuzz")
FOUND = PLACE / "found"
_ROUND = 500
_SEEDS = 300


def keep(name: str, data: bytes) -> Path:
    """Write what broke a promise where it can be read again."""
    FOUND.mkdir(parents=True, exist_ok=True)
    place = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    place.write_bytes(data)
    return place


def by_hypothesis(name: str, target: Target, seconds: float) -> tuple[int, int, list[str]]:
    """(executions, outcomes, what was broken)"""
    end = time.monotonic() + seconds
    executions = 0
    outcomes: set[str] = set()
    broken: list[bytes] = []
    for number in range(1 << 30):

        @seed(number)
        @settings(max_examples=_ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck),
                  phases=[Phase.generate, Phase.shrink])  # fmt: skip
        @given(target.inputs)
        def run(data: bytes) -> None:
            nonlocal executions
            if time.monotonic() > end and not broken:
                return
            executions += 1
            try:
                outcomes.add(target.check(data))
            except Exception:
                broken.append(data)
                raise

        try:
            run()
        except Exception as error:
            if not broken:
                raise
            return executions, len(outcomes), [f"{error!r:.300} in {keep(name, broken[-1])}"]
        if time.monotonic() > end:
            break
    return executions, len(outcomes), []


def by_atheris(name: str, target: Target, seconds: float) -> tuple[int, int, list[str]]:
    """(executions, corpus, what was broken)"""
    corpus = PLACE / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    FOUND.mkdir(parents=True, exist_ok=True)

    @settings(max_examples=_SEEDS, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck), phases=[Phase.generate])  # fmt: skip
    @given(target.inputs)
    def sow(data: bytes) -> None:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)

    sow()
    before = set(FOUND.iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.guided", name, str(corpus), f"-max_total_time={max(1, int(seconds))}",
         "-print_final_stats=1", "-timeout=30", "-max_len=16384", f"-artifact_prefix={FOUND}/{name}-"],
        capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    said = done.stdout + done.stderr
    found = re.search(r"number_of_executed_units:\s*(\d+)", said)
    broken = [str(each) for each in sorted(set(FOUND.iterdir()) - before)]
    if done.returncode and not broken:
        broken = [f"atheris ended with {done.returncode}: {said[-500:]}"]
    return int(found[1]) if found else 0, len(list(corpus.iterdir())), broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all targets together")
    parser.add_argument("--only", choices=sorted(TARGETS), action="append", help="this target (may be repeated)")
    given_ = parser.parse_args()
    names = given_.only or list(TARGETS)
    guided = importlib.util.find_spec("atheris") is not None
    if not guided:
        print("atheris is not installed: Hypothesis alone (pip install -e '.[fuzz]')")
    share = given_.seconds / len(names)
    print(f"{'target':10s} {'by':10s} {'executions':>12s} {'a second':>9s} {'corpus':>7s}  broken", flush=True)
    failed = False
    for name in names:
        target = TARGETS[name]
        begun = time.monotonic()
        tool = "atheris" if guided and target.guided else "hypothesis"
        run = by_atheris if tool == "atheris" else by_hypothesis
        executions, corpus, broken = run(name, target, share)
        rate = executions / (time.monotonic() - begun)
        print(f"{name:10s} {tool:10s} {executions:12,d} {rate:9.0f} {corpus:7d}  {len(broken)}", flush=True)
        for each in broken:
            print(f"    {each}", flush=True)
        failed = failed or bool(broken)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""``make bench``, as far as it goes without a load, and ``make bench-big`` with little of everything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent.parent / "benchmarks" / "run.py"
BIG = RUN.with_name("big.py")


def test_without_wrk_it_says_what_to_install_before_it_starts_anything(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(RUN), "--json", str(tmp_path / "out.json")],
        capture_output=True, text=True, timeout=30, env={"PATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert "apt install wrk" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk makes the load of the benchmark: apt install wrk")
def test_every_case_is_measured_and_kept_and_nothing_of_it_is_refused(tmp_path: Path) -> None:
    told = tmp_path / "out.json"
    little = ("--seconds", "1", "--rounds", "1", "--connections", "4", "--modes", "memory", "--backlog", "1")
    ended = subprocess.run(
        [sys.executable, str(RUN), *little, "--wakeups", "5", "--json", str(told)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    measured = {row["case"]: row["rounds"][0] for row in json.loads(told.read_text())["rounds"]}
    assert {"send batch of 10", "FIFO receive 10 + delete 10", "send + receive + delete"} <= measured.keys()
    assert measured.pop("long-poll wake-up")["p50"] > 0
    assert all(row["rate"] > 0 and row["refused"] == 0 for row in measured.values()), measured


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk makes the load of the benchmark: apt install wrk")
def test_the_server_over_tls_is_measured_beside_itself_in_clear(tmp_path: Path) -> None:
    told = tmp_path / "out.json"
    little = ("--seconds", "1", "--rounds", "1", "--connections", "4", "--modes", "memory", "--backlog", "0")
    ended = subprocess.run(
        [sys.executable, str(RUN), *little, "--tls", "--only", "send + receive", "--json", str(told)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    rounds = {(row["subject"], row["case"]): row["rounds"][0] for row in json.loads(told.read_text())["rounds"]}
    for subject in ("this", "over TLS"):
        row = rounds[subject, "send + receive + delete"]
        assert row["rate"] > 0 and row["refused"] == 0, rounds
    assert "to clear text" in ended.stdout


@pytest.mark.slow
def test_twenty_thousand_messages_go_through_everything_that_ten_million_do(tmp_path: Path) -> None:
    told = tmp_path / "big.json"
    little = ("--scale", "0.002", "--only", "backlog", "--json", str(told), "--data", str(tmp_path))
    ended = subprocess.run(
        [sys.executable, str(BIG), *little], capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in ended.stderr and told.exists(), ended.stderr
    figures = json.loads(told.read_text())["figures"]
    # How long what takes is for the benchmark to judge, on a machine that does nothing else.
    broken = [figure for figure in figures if figure["ok"] is False and figure["unit"] in ("MB", "s")]
    assert broken == []
    assert {"file, after all that", "in the end: memory, greatest"} <= {figure["name"] for figure in figures}
    assert list(tmp_path.iterdir()) == [told]


def test_a_case_that_there_is_not_is_refused() -> None:
    ended = subprocess.run(
        [sys.executable, str(BIG), "--only", "backlock"], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert "there is no case backlock" in ended.stderr

"""``make bench``, as far as it goes without a load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parent.parent / "benchmarks" / "run.py"


def test_without_wrk_it_says_what_to_install_before_it_starts_anything(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(RUN), "--json", str(tmp_path / "out.json")],
        capture_output=True, text=True, timeout=30, env={"PATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (1, "")
    [line] = ended.stderr.splitlines()
    assert "apt install wrk" in line
    assert list(tmp_path.iterdir()) == []

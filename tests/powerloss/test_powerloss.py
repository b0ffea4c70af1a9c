"""Power cuts on a real server under load. `make powerloss` runs more of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from powerloss.rounds import Round, run, short

pytestmark = pytest.mark.slow


def test_a_power_cut_at_any_moment_leaves_what_was_acknowledged_and_no_halves(tmp_path: Path) -> None:
    report = run(short, tmp_path, seed=1, cuts=60)
    assert report.answered > 100 and report.cuts >= 60
    assert not report.losses, "\n".join(report.losses)


def under_load(round_: Round, damage: Callable[[Round], None]) -> None:
    round_.start()
    round_.load.prepare(round_.server.port)
    damage(round_)
    round_.kill_under_load(0.4)


@pytest.mark.parametrize(
    ("options", "damage"),
    [
        pytest.param(("--durability", "os"), lambda round_: None, id="durability os"),
        pytest.param((), lambda round_: round_.disk.lie(), id="a disk whose syncs do nothing"),
        pytest.param((), lambda round_: round_.disk.lie("-wal"), id="no sync of the WAL"),
    ],
)
def test_the_checker_sees_what_is_lost_where_nothing_is_synced(
    tmp_path: Path, options: tuple[str, ...], damage: Callable[[Round], None]
) -> None:
    report = run(lambda round_: under_load(round_, damage), tmp_path, seed=1, cuts=25, options=options)
    assert any("are not there" in loss or "is not there" in loss for loss in report.losses), str(report)

"""The log of the disk is read as it was written, also where a kill cut a record short."""

from __future__ import annotations

from pathlib import Path

import pytest
from powerloss.records import MARK, WRITE, Marks, Record, read


def test_a_record_that_a_kill_cut_short_is_left_out_and_what_follows_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    marks = Marks(log)
    whole = Record(WRITE, 1, 0, 0, b"w" * 100)
    marks.append(whole)
    before = log.stat().st_size
    marks.append(Record(WRITE, 1, 100, 0, b"x" * 10_000))
    with log.open("r+b") as file:
        file.truncate(before + 4_096)
    marks.put(after="the kill")
    marks.close()
    found = read(log, torn=1)
    assert [record.kind for record in found] == [WRITE, MARK]
    assert found[0] == whole and found[1].mark == {"after": "the kill"}
    with pytest.raises(AssertionError, match=f"broken at byte {before}"):
        read(log)


@pytest.mark.parametrize("left", [1, 7, 8, 20, 60])
def test_it_may_be_the_last_one_and_lack_most_of_its_head(tmp_path: Path, left: int) -> None:
    log = tmp_path / "log"
    marks = Marks(log)
    marks.put(number=1)
    before = log.stat().st_size
    marks.put(number=2, text="t" * 50)
    with log.open("r+b") as file:
        file.truncate(before + left)
    marks.close()
    assert [record.mark for record in read(log, torn=1)] == [{"number": 1}]

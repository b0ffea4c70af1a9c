"""What SIGHUP reads again."""

from __future__ import annotations

import logging

import pytest

from trunkline.reloads import Reloads


def test_there_is_nothing_to_read_again_until_somebody_registers() -> None:
    reloads = Reloads()
    assert not reloads
    reloads.run()
    reloads.register("the plan", lambda: None)
    assert reloads


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("nonsense"), RuntimeError("a defect")])
def test_what_cannot_be_read_keeps_nothing_else_from_being_read(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    read: list[str] = []

    def fail() -> None:
        raise error

    reloads = Reloads()
    reloads.register("the plan", fail)
    reloads.register("the lists", lambda: read.append("lists"))
    reloads.run()
    assert read == ["lists"]
    failed, done = caplog.records
    assert failed.levelno == logging.ERROR and "the plan" in failed.message and "stays in force" in failed.message
    assert "the lists were read again" in done.message

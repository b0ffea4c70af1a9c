"""Programs that a few tests need beyond Python: node, java, go, wrk and their packages.

`make test` is to run for a user who has none of them, so where one is missing those
tests skip and say what was missing. A skip must not pass for a success in CI, so with
REQUIRE_TOOLS=1 the same absence is a failure.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def absent(what: str) -> NoReturn:
    """Skip the test for want of ``what``; fail it where tools are required."""
    if os.environ.get("REQUIRE_TOOLS") == "1":
        pytest.fail(f"{what} (and REQUIRE_TOOLS is 1)", pytrace=False)
    pytest.skip(what)


def tool(name: str) -> str:
    """The path of a program."""
    path = shutil.which(name)
    return path if path is not None else absent(f"there is no {name} on this machine")


def installed(path: Path, by: str) -> Path:
    """A file or directory that an install step makes; ``by`` says which."""
    return path if path.exists() else absent(f"{path} is not there; {by} makes it")

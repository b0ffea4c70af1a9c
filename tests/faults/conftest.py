"""Servers on disks that fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ailing import Ailing


@pytest.fixture
def ailing(tmp_path: Path) -> Iterator[Ailing]:
    """Started; its disk is well."""
    made = Ailing(tmp_path)
    try:
        yield made.start()
    finally:
        made.close()

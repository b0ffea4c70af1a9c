"""Room kept for the day on which the disk is full.

A file of some MiB with nothing in it lies beside the data. When there is as
little room as that left, the store is *short*: whoever would make it grow is
refused, and what makes room goes on: deletes, the sweeper, vacuum, checkpoints.
Should even that meet a full disk, for other programs write there too, the
file is removed, and they have its room to work in. It is made again when there
is twice its size, and the store is short no longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

FILE = "trunkline.reserve"
LARGEST = 16 << 20
SMALLEST = 1 << 20

Space = Callable[[Path], tuple[int, int]]
"""(bytes that are free, bytes in all) of the disk that a directory is on."""


def space(directory: Path) -> tuple[int, int]:
    """As the operating system tells it to this user."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


class Reserve:
    """In ``directory``, which exists. Called by whoever may write to the store."""

    def __init__(self, directory: Path, space: Space = space) -> None:
        self._directory = directory
        self._file = directory / FILE
        self._space = space
        self.size = max(SMALLEST, min(LARGEST, space(directory)[1] // 32))
        """Bytes."""

    @property
    def free(self) -> int:
        """Bytes that are free beside the reserve."""
        return self._space(self._directory)[0]

    def has_room(self, beside: int = 0) -> bool:
        """Is there twice the size of the reserve and ``beside``, with it in its place? It is put there if need be."""
        whole = self._file.exists() and self._file.stat().st_size == self.size
        if self.free < beside + (2 if whole else 3) * self.size:
            return False
        return whole or self._take()

    def drop(self) -> bool:
        """Give its room away; False if that was done before."""
        try:
            self._file.unlink()
        except OSError:
            return False
        return True

    def _take(self) -> bool:
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, self.size)
            else:
                for at in range(0, self.size, SMALLEST):
                    os.pwrite(descriptor, bytes(min(SMALLEST, self.size - at)), at)
        except OSError:
            with suppress(OSError):
                self._file.unlink()
            return False
        finally:
            os.close(descriptor)
        return True

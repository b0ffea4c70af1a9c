"""A disk that records what a server writes, and fails when it is told to: see shim.c.

    disk = Disk(tmp_path)                          # below it lies what the server may write
    server.environment |= disk.environment
    disk.fail("sync", errno.EIO, times=1)          # the next fsync fails, the one after it does not
    disk.fail("write", errno.ENOSPC)               # until ...
    disk.mend()                                    # ... now
    disk.slow("sync", seconds=0.05)
    disk.free = 0                                  # what statvfs shows

Needs gcc, once for each run of the tests.
"""

from __future__ import annotations

import atexit
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tools import tool

_RULE = struct.Struct("<6i40s")
_KINDS = ("write", "sync", "truncate", "open", "unlink", "read", "allocate")
_FREE = struct.Struct("<q")
FOREVER = -1


@cache
def shim() -> Path:
    """The library, compiled. Skips the test, or fails it, where there is no gcc."""
    compiler = tool("gcc")
    made = Path(tempfile.mkdtemp(prefix="trunkline-disk-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    library = made / "disk.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source, "-lpthread"],
        check=True,
    )
    return library


class Disk:
    """Stands between the servers started with ``environment`` and what they write below ``root``.

    ``log``: where to record it; None: nowhere.
    """

    def __init__(self, root: Path, control: Path, log: Path | None = None) -> None:
        self.root = root
        self._free = -1
        size = _RULE.size * len(_KINDS)
        control.write_bytes(bytes(size + _FREE.size))
        self._attach(control)
        self.free = -1
        self.environment = {"LD_PRELOAD": str(shim()), "DISK_ROOT": str(root), "DISK_FAULTS": str(control)}
        if log is not None:
            self.environment["DISK_LOG"] = str(log)

    def _attach(self, control: Path) -> None:
        with control.open("r+b") as file:
            self._rules = mmap.mmap(file.fileno(), 0)

    @classmethod
    def attached(cls, control: Path) -> Disk:
        """One that was made elsewhere, for a program that runs on it and is to break it itself."""
        disk = cls.__new__(cls)
        disk._free = -1
        disk._attach(control)
        return disk

    @property
    def free(self) -> int:
        """Bytes that are free, as the server is told; -1: the truth."""
        return self._free

    @free.setter
    def free(self, size: int) -> None:
        self._free = size
        _FREE.pack_into(self._rules, _RULE.size * len(_KINDS), size)

    def fail(self, call: str, error: int, times: int = FOREVER, only: str = "") -> None:
        """Let ``call`` fail with errno ``error``, ``times`` times, on paths that end with ``only``."""
        self._tell(call, error=error, times=times, only=only)

    def slow(self, call: str, seconds: float, only: str = "") -> None:
        """Let each ``call`` take so much longer."""
        self._tell(call, delay=round(seconds * 1e6), only=only)

    def chop(self, size: int, only: str = "") -> None:
        """A write takes ``size`` bytes at the most and says so."""
        self._tell("write", chop=size, only=only)

    def lie(self, only: str = "") -> None:
        """A sync says that it is done and does nothing; nor is it recorded."""
        self._tell("sync", lie=1, only=only)

    def mend(self) -> None:
        """No faults any more."""
        for call in _KINDS:
            self._tell(call)
        self.free = -1

    def hits(self, call: str) -> int:
        """How many calls were struck since the rule was given."""
        hits: int = _RULE.unpack_from(self._rules, self._at(call))[5]
        return hits

    def _tell(
        self, call: str, error: int = 0, times: int = 0, delay: int = 0, chop: int = 0, lie: int = 0, only: str = ""
    ) -> None:
        at = self._at(call)
        # The error last, or a call could meet half a rule.
        struct.pack_into("<i", self._rules, at, 0)
        _RULE.pack_into(self._rules, at, 0, times, delay, chop, lie, 0, os.fsencode(only))
        struct.pack_into("<i", self._rules, at, error)

    @staticmethod
    def _at(call: str) -> int:
        return _RULE.size * _KINDS.index(call)

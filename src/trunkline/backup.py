"""``trunkline backup`` and ``trunkline restore``: the data as one file, and a data directory of that file.

Both are the same copy (see storage.copying), one out of a data directory and
one into a new one; neither needs the server, and a backup does not mind it.

A copy is marked as one. A server that opens it goes on with sequences and
partition ids far above any that the original can have given out since: a
receipt handle of the original's later life is then good for nothing, instead
of for another message, and no sequence number of a FIFO queue comes twice. The
mark goes with the first start, so each start of another copy of the same file
is one of its own. Service time goes on from the copy's at the earliest; leases
are taken anew at every start.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from trunkline.kernel.time import RealClock
from trunkline.runtime.system import COPIED, SYSTEM, u64
from trunkline.storage.copying import Copied, Progress, copy
from trunkline.storage.directory import sync_directory
from trunkline.storage.sqlite_file import FILE
from trunkline.storage.store import StoreError


class Ended(Exception):
    """A signal has ended the copying; ``code``: the exit code of the process, as shells have it."""

    def __init__(self, number: int) -> None:
        self.code = 128 + number
        super().__init__(f"it was ended by {signal.Signals(number).name}")


def backup(data: Path, file: Path, out: TextIO, errors: TextIO, real: RealClock) -> int:
    """Copy the data directory ``data`` to ``file``; the exit code: 0, or another one after a clear message."""
    if file.is_dir():
        return _fail(errors, f"{file} is a directory: name a file in it, such as {file / 'trunkline-backup.db'}")
    try:
        with _ended_by_signals():
            copied = copy(data / FILE, file, [_mark(real)], real, _progress(errors))
    except StoreError as error:
        return _fail(errors, f"no backup was made: {error}")
    except Ended as error:
        return _fail(errors, f"no backup was made: {error}", error.code)
    print(f"{_told(copied)} from {data} to {file}", file=out)
    return 0


def restore(data: Path, file: Path, out: TextIO, errors: TextIO, real: RealClock) -> int:
    """Make the data directory ``data`` of the backup ``file``; the exit code as above."""
    for name in (FILE, FILE + "-wal"):
        if (data / name).exists():
            return _fail(errors, f"{data / name} is there already, and nothing is overwritten: name another directory")
    if not file.is_file():
        return _fail(errors, f"there is no file {file}")
    try:
        if not data.exists():
            data.mkdir(mode=0o700, parents=True)
            sync_directory(data.absolute().parent)
        with _ended_by_signals():
            copied = copy(file, data / FILE, [_mark(real)], real, _progress(errors))
    except OSError as error:
        return _fail(errors, f"nothing was restored: {error.filename or data}: {error.strerror}")
    except StoreError as error:
        return _fail(errors, f"nothing was restored: {error}")
    except Ended as error:
        return _fail(errors, f"nothing was restored: {error}", error.code)
    print(f"{_told(copied)} from {file} to {data}", file=out)
    return 0


def _mark(real: RealClock) -> tuple[int, bytes, bytes]:
    return SYSTEM, COPIED, u64(int(real.wall() * 1000))


def _fail(errors: TextIO, text: str, code: int = 1) -> int:
    print(f"trunkline: {text}", file=errors)
    return code


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise Ended, so that nothing half-made is left; further ones are ignored then."""
    if threading.current_thread() is not threading.main_thread():
        yield  # whose signals these are not
        return

    def end(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Ended(number)

    before = {
        number: found
        for number in (signal.SIGTERM, signal.SIGHUP)
        # nohup has a process ignore SIGHUP, so that it outlives its terminal.
        if (found := signal.getsignal(number)) is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, found in before.items():
            signal.signal(number, found)


def _told(copied: Copied) -> str:
    grown = f"; the log grew by {_size(copied.log_bytes)} meanwhile" if copied.log_bytes else ""
    return f"{copied.rows} rows, {_size(copied.bytes)}, copied and verified in {copied.seconds:.1f} s{grown}:"


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"


def _progress(errors: TextIO) -> Progress | None:
    """A line that counts, for who watches; nothing for a log."""
    if not errors.isatty():
        return None

    def show(done: int, total: int) -> None:
        errors.write(f"\r{_size(done)} of {_size(total)}" + ("\n" if done == total else ""))
        errors.flush()

    return show

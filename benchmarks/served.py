"""A durable server that is stopped, killed and started again on the same data, and how long its files are."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from subjects import ROOT, Process

_LOOK_SECONDS = 0.1
_PATIENCE = 120.0


class Served:
    """``trunkline serve`` of this revision on a free port of loopback, with its data in ``data``."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self._options = options
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    @property
    def port(self) -> int:
        return self.process.port

    def start(self) -> float:
        """Seconds from the start of the process to ``Ready.``"""
        data = ("--data", str(self.data))
        self._process = Process(ROOT / "src", "-m", "trunkline", "serve", "--port", "0", *data, *self._options)
        return self._process.start_seconds

    def stop(self) -> float:
        """Seconds from SIGTERM to the end of the process; 0 if there is none."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> float:
        process, self._process = self._process, None
        return 0.0 if process is None else process.stop(number, _PATIENCE)

    def file_bytes(self) -> int:
        return (self.data / "trunkline.db").stat().st_size

    def log_bytes(self) -> int:
        """Length of the write-ahead log."""
        try:
            return (self.data / "trunkline.db-wal").stat().st_size
        except FileNotFoundError:
            return 0


class LongestLog:
    """The greatest length of the write-ahead log while the context lasts."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.bytes = 0

    def __enter__(self) -> LongestLog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            self.bytes = max(self.bytes, self._server.log_bytes())

"""A durable server in a process of its own, and what the system says of it: memory, files, its start."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

_LOOK_SECONDS = 0.1


class Served:
    """``python -m trunkline serve`` on a free port of loopback, with its data in ``data``."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> float:
        """Seconds from the start of the process to ``Ready.``"""
        begun = time.monotonic()
        command = [sys.executable, "-m", "trunkline", "serve", "--port", "0", "--data", str(self.data), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
            if line.strip() == "Ready.":
                return time.monotonic() - begun
        raise RuntimeError("the server did not start")

    def stop(self) -> float:
        """Seconds from SIGTERM to the end of the process."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> float:
        process, self._process = self._process, None
        if process is None:
            return 0.0
        begun = time.monotonic()
        process.send_signal(number)
        try:
            process.wait(120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return time.monotonic() - begun

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def memory(self) -> tuple[int, int]:
        """Resident bytes now, and at the most since ``forget_peak``."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        now, peak = (int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) << 10 for name in ("VmRSS", "VmHWM"))  # type: ignore[index]
        return now, peak

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def seconds_used(self) -> float:
        """Processor time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

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

"""The processes that are measured: this revision's server, another revision's, and the two limits of bare.py."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent


class Process:
    """A server process of Python code under ``source``, up when its constructor returns."""

    def __init__(self, source: Path, *command: str) -> None:
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(source), "TRUNKLINE_LOG_LEVEL": "error"},
        )
        assert self.process.stdout is not None
        self.port, self.scheme = 0, "http"
        for line in self.process.stdout:
            found = re.search(r"PORT (\d+)|(https?)://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port, self.scheme = int(found[1] or found[3]), found[2] or "http"
            if line.startswith(("PORT", "Ready.")):
                break
        self.start_seconds = time.perf_counter() - began
        """From the start of the process to ``Ready.``, the interpreter's own start included."""
        if self.process.poll() is not None or not self.port:
            raise RuntimeError(f"{' '.join(command)} did not start")

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def memory(self, which: str = "VmRSS") -> float:
        """Resident bytes now, or at the most since the start (``VmHWM``), in MB; not a number where there is no
        /proc."""
        try:
            text = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return float("nan")
        found = re.search(rf"{which}:\s+(\d+) kB", text)
        return int(found[1]) * 1024 / 1e6 if found else float("nan")

    def cpu_seconds(self) -> float:
        """User and system time of all threads so far; not a number where there is no /proc."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """One SQS operation, by JSON."""
        head = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"}
        sent = urllib.request.Request(f"{self.url}/", json.dumps(request).encode(), head)
        # The server made its certificate a moment ago, and nobody else is at this port.
        trusting = ssl._create_unverified_context() if self.scheme == "https" else None
        with urllib.request.urlopen(sent, timeout=60, context=trusting) as answer:
            return dict(json.loads(answer.read() or b"{}"))

    def forget_peak(self) -> None:
        """Let ``memory("VmHWM")`` count from now on. Linux only."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self, number: signal.Signals = signal.SIGTERM, patience: float = 30) -> float:
        """Send it a signal to end; the seconds that it took. After ``patience`` seconds it is killed."""
        began = time.perf_counter()
        self.process.send_signal(number)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return time.perf_counter() - began


def bare(kind: str, *rest: str) -> Process:
    """``noop`` or ``durable DIR``, of bare.py."""
    return Process(ROOT / "src", str(HERE / "bare.py"), kind, *rest)


def trunkline(source: Path, data: Path | None, durability: str = "fsync", tls: bool = False) -> Process:
    """A server on a free port; ``data`` None keeps everything in memory."""
    where = ("--memory",) if data is None else ("--data", str(data), "--durability", durability)
    secure = ("--tls-self-signed",) if tls else ()
    return Process(source, "-m", "trunkline", "serve", "--port", "0", *where, *secure)


class Revision:
    """Another commit's source, checked out beside this one for as long as the block lasts."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder / "revision"

    def __enter__(self) -> Path:
        subprocess.run(
            ["git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(self._folder), self.name], check=True
        )
        return self._folder / "src"

    def __exit__(self, *_: object) -> None:
        subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(self._folder)], check=False)

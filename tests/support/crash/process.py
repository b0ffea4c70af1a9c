"""The server: ``trunkline serve`` in a process of its own, on one data directory, ended by SIGKILL."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path


class DidNotStart(Exception):
    """The text is what the server said."""


class Server:
    """``directory`` holds the data, ``log`` takes what the servers say on standard error."""

    def __init__(self, directory: Path, log: Path) -> None:
        self.directory = directory
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    async def spawn(self, durability: str) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRUNKLINE_", "LOCALSTACK_", "AWS_"))}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "trunkline", "serve", "--port", "0",
                "--data", str(self.directory), "--durability", durability,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log, env=environment,
            )  # fmt: skip

    async def ready(self) -> None:
        """Return at its line ``Ready.``; DidNotStart if it ends before, or takes 30 seconds."""
        assert self._process is not None and self._process.stdout is not None
        banner = ""
        try:
            async with asyncio.timeout(30):
                async for line in self._process.stdout:
                    if line.strip() == b"Ready.":
                        self.port = int(banner.split("http://127.0.0.1:")[1].split()[0].strip("/,;"))
                        return
                    banner += line.decode()
        except TimeoutError:
            banner += "(nothing more for 30 seconds)"
        raise DidNotStart(banner or self._log.read_text()[-2_000:])

    async def start(self, durability: str) -> float:
        """Spawn it and wait until it is ready; the seconds that this took."""
        begun = time.monotonic()
        await self.spawn(durability)
        await self.ready()
        return time.monotonic() - begun

    async def kill(self) -> None:
        """SIGKILL; return when the process is gone."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(how)
        code = await process.wait()
        self._process = None
        return code

    @property
    def ended(self) -> bool:
        """Did it end by itself?"""
        return self._process is not None and self._process.returncode is not None

    def written(self) -> int:
        """When the main file was last written, in ns: a checkpoint is under way when this changes."""
        try:
            return (self.directory / "trunkline.db").stat().st_mtime_ns
        except OSError:
            return 0

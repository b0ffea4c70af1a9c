"""Load on one server: wrk with one of the cases of load.lua."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from subjects import Process

HERE = Path(__file__).parent
_WRK = ("wrk", "-t1", "--latency", "--timeout", "20s")


@dataclass(frozen=True)
class Case:
    """What is sent, and what of it is counted."""

    name: str
    script: str
    """The name of the case in load.lua."""
    counted: str
    """``requests``, or ``received`` or ``deleted`` messages as the script counts them."""
    each: int = 1
    """Messages in one request, where requests are counted."""
    fifo: bool = False
    drains: str | None = None
    """The case whose queue this one empties: it runs straight after it."""
    connections: int | None = None
    """Always so many, whatever is asked for."""
    wanted: float | None = None
    """Messages a second, durable, at 32 connections (64 for the workers)."""


CASES = (
    Case("send", "send", "requests", wanted=10_000),
    Case("send batch of 10", "batch", "requests", 10, wanted=60_000),
    Case("receive 10 + delete 10", "drain", "deleted", drains="send batch of 10", wanted=40_000),
    Case("FIFO send, 1,000 groups", "fifo-send", "requests", fifo=True),
    Case("FIFO send batch of 10", "fifo-batch", "requests", 10, fifo=True),
    Case("FIFO receive 10 + delete 10", "fifo-drain", "deleted", fifo=True, drains="FIFO send batch of 10"),
    Case("send + receive + delete", "cycle", "deleted", connections=64),
)
BACKLOG = Case("receive 10 + delete 10 of a backlog", "drain", "deleted")
"""Of a million messages; beside it stands the same case on a short queue."""


def queue_of(case: Case, connections: int) -> str:
    """The queue that the case fills, empties or works on; a queue for each number of connections."""
    owner = (case.drains or case.name).replace(" ", "-").replace(",", "").replace("+", "and")
    return f"{owner}-{connections}" + (".fifo" if case.fifo else "")


def ensure_queue(server: Process, name: str) -> str:
    fifo = {"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    server.call("CreateQueue", {"QueueName": name, **({"Attributes": fifo} if name.endswith(".fifo") else {})})
    return f"{server.url}/000000000000/{name}"


def wrk(server: Process, script: str, queue_url: str, connections: int, seconds: float, seed: str) -> dict[str, float]:
    """What the run's RESULT line says, with ``seconds`` that it really lasted and both sides' CPU seconds."""
    before = server.cpu_seconds()
    ran = subprocess.run(
        [
            *_WRK,
            f"-c{connections}",
            f"-d{max(1, round(seconds))}s",
            "-s",
            str(HERE / "load.lua"),
            f"{server.url}/",
            "--",
            script,
            queue_url,
            seed,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"^RESULT (.*)$", ran.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"wrk failed: {ran.stdout}{ran.stderr}")
    result: dict[str, float] = json.loads(found[1])
    result["seconds"] = result.pop("us") / 1e6
    result["cpu"] = server.cpu_seconds() - before
    return result


def measure(server: Process, case: Case, connections: int, seconds: float, seed: str) -> dict[str, float]:
    """One case; see figures."""
    url = ensure_queue(server, queue_of(case, connections))
    got = wrk(server, case.script, url, connections, seconds, seed)
    messages = got[case.counted] * (case.each if case.counted == "requests" else 1)
    # Counted when deletes are sent: the few that were not answered when wrk stopped are a part in thousands.
    return figures(got, messages)


def figures(got: dict[str, float], messages: float) -> dict[str, float]:
    """Messages and requests a second, latency of a request in ms, server CPU in microseconds a message."""
    return {
        "rate": messages / got["seconds"],
        "requests": got["requests"] / got["seconds"],
        "p50": got["p50"] / 1e3,
        "p99": got["p99"] / 1e3,
        "max": got["max"] / 1e3,
        "cpu_us": got["cpu"] / max(1, messages) * 1e6,
        "refused": got["refused"] + got["broken"],
        "empty": got["empty"],
    }


def fill(server: Process, queue_url: str, messages: int) -> int:
    """Send at least ``messages`` in batches of ten; returns how many it were."""
    sent = 0
    while sent < messages:
        got = wrk(server, "batch", queue_url, 32, 5, "0")
        sent += int(got["requests"] - got["refused"]) * 10
    return sent

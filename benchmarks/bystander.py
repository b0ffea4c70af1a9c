"""Somebody who uses another queue meanwhile: sends, receives and deletes a message, again and again, at an even pace.

What a stall is, is what this one sees of it. It is a process of its own, so as not to wait for what else the benchmark
does:

    python benchmarks/bystander.py PORT URL ACCOUNT

It says ``Going.``, goes on until its standard input ends, and then prints its latencies as JSON.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from calls import Client

_PAUSE = 0.002


@dataclass(frozen=True)
class Latency:
    """Of one request, in milliseconds."""

    requests: int
    p50: float
    p99: float
    longest: float


class Bystander:
    """Goes on while the context lasts; then ``latency`` says how it went."""

    def __init__(self, port: int, url: str, account: str) -> None:
        self._command = [sys.executable, __file__, str(port), url, account]
        self.latency: Latency

    def __enter__(self) -> Bystander:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        told, _error = self._process.communicate(timeout=600)
        self.latency = Latency(**json.loads(told))


def _go(port: int, url: str, account: str) -> Latency:
    client = Client(port, account)
    seconds: list[float] = []

    def timed(action: str, **parameters: object) -> dict:  # type: ignore[type-arg]
        begun = time.monotonic()
        answer = client.sqs(action, QueueUrl=url, **parameters)
        seconds.append(time.monotonic() - begun)
        return answer

    def once() -> None:
        timed("SendMessage", MessageBody="x" * 100)
        for message in timed("ReceiveMessage", MaxNumberOfMessages=10).get("Messages", []):
            timed("DeleteMessage", ReceiptHandle=message["ReceiptHandle"])

    once()
    seconds.clear()
    print("Going.", flush=True)
    once()
    while not select.select([sys.stdin], [], [], _PAUSE)[0]:
        once()
    found = sorted(1000 * each for each in seconds)
    return Latency(len(found), found[len(found) // 2], found[len(found) * 99 // 100], found[-1])


if __name__ == "__main__":
    print(json.dumps(asdict(_go(int(sys.argv[1]), sys.argv[2], sys.argv[3]))))

"""SendMessage beside its limits, in one run: a no-op handler, one durable row for each request, and Trunkline.

    python benchmarks/run.py [seconds] [connections]

Wants wrk (Debian: apt install wrk). The load shares the machine's cores with
the server, so read the ratios, not the figures.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent


class Peer:
    """A server process; the port that it says it took."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = 0
        for line in self.process.stdout:
            found = re.search(r"PORT (\d+)|http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found[1] or found[2])
            if line.startswith(("PORT", "Ready.")):
                break

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def load(port: int, seconds: int, connections: int) -> dict[str, float]:
    """Requests per second, p50 and p99 in ms, and how many were refused."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(HERE / "send.lua")]
    text = subprocess.run([*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True).stdout

    def ms(name: str) -> float:
        found = re.search(rf"{name}%\s+([\d.]+)(us|ms|s)\b", text)
        assert found is not None, text
        return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]

    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    assert rate is not None, text
    return {"rate": float(rate[1]), "p50": ms("50"), "p99": ms("99"), "refused": float(bad[1]) if bad else 0}


def create_queue(port: int) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/",
        json.dumps({"QueueName": "bench"}).encode(),
        {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.CreateQueue"},
    )
    urllib.request.urlopen(request).read()


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    connections = int(sys.argv[2]) if len(sys.argv) > 2 else 32
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        serve = ("-m", "trunkline", "serve", "--port", "0")
        peers = {
            "no-op handler": (str(HERE / "bare.py"), "noop"),
            "bare durable row": (str(HERE / "bare.py"), "durable", f"{folder}/bare"),
            "SendMessage, fsync": (*serve, "--data", f"{folder}/data"),
            "SendMessage, memory": (*serve, "--memory"),
        }
        for name, command in peers.items():
            peer = Peer(*command)
            try:
                if "Send" in name:
                    create_queue(peer.port)
                load(peer.port, 1, connections)
                results[name] = load(peer.port, seconds, connections)
            finally:
                peer.stop()
    bare = results["bare durable row"]["rate"]
    print(f"{connections} connections, {seconds} s each, load on the same machine\n")
    print(f"{'':22}{'requests/s':>12}{'of bare':>9}{'p50 ms':>9}{'p99 ms':>9}{'refused':>9}")
    for name, row in results.items():
        share = f"{row['rate'] / bare:.0%}"
        print(f"{name:22}{row['rate']:12.0f}{share:>9}{row['p50']:9.2f}{row['p99']:9.2f}{row['refused']:9.0f}")
    print("\n" + json.dumps(results))


if __name__ == "__main__":
    main()

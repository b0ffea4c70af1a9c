"""SendMessage beside its limits, in one run: a no-op handler, one durable row for each request, and Trunkline.

    python benchmarks/run.py [--seconds 4] [--connections 32] [--rounds 5] [--json FILE]

Wants wrk (Debian: apt install wrk). The load shares the machine's cores with
the server, so read the ratios, not the figures: each is taken within a round.
``--json`` writes what was measured in every round to a file.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
BARE = "bare durable row"


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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="SendMessage beside its limits.")
    parser.add_argument("--seconds", type=int, default=4, help="of load on each server in each round (4)")
    parser.add_argument("--connections", type=int, default=32, help="open at the same time (32)")
    parser.add_argument("--rounds", type=int, default=5, help="of all servers in turn (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write what was measured")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    seconds, connections, rounds = given.seconds, given.connections, given.rounds
    if shutil.which("wrk") is None:
        sys.exit("the benchmark needs wrk, which makes the load: apt install wrk (or brew install wrk)")
    measured: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        serve = ("-m", "trunkline", "serve", "--port", "0")
        commands = {
            "no-op handler": (str(HERE / "bare.py"), "noop"),
            BARE: (str(HERE / "bare.py"), "durable", f"{folder}/bare"),
            "SendMessage, fsync": (*serve, "--data", f"{folder}/data"),
            "SendMessage, memory": (*serve, "--memory"),
        }
        peers: dict[str, Peer] = {}
        try:
            for name, command in commands.items():
                peers[name] = Peer(*command)
                if "Send" in name:
                    create_queue(peers[name].port)
                load(peers[name].port, 1, connections)
            # In turn, so that a machine that is slow for a while is slow for all of them.
            for _ in range(rounds):
                for name, peer in peers.items():
                    measured.setdefault(name, []).append(load(peer.port, seconds, connections))
        finally:
            for peer in peers.values():
                peer.stop()
    print(f"{connections} connections, {rounds} rounds of {seconds} s each, load on the same machine; medians\n")
    print(f"{'':22}{'requests/s':>12}{'of bare':>9}{'(range)':>13}{'p50 ms':>9}{'p99 ms':>9}{'refused':>9}")
    for name, rows in measured.items():
        shares = sorted(row["rate"] / bare["rate"] for row, bare in zip(rows, measured[BARE], strict=True))
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(
            f"{name:22}{middle['rate']:12.0f}{statistics.median(shares):>9.0%}"
            f"{f'({shares[0]:.0%}-{shares[-1]:.0%})':>13}{middle['p50']:9.2f}{middle['p99']:9.2f}"
            f"{sum(row['refused'] for row in rows):9.0f}"
        )
    if given.json is not None:
        given.json.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Crowds on a real server: idle, slow and vanishing clients by the thousand, and what is left when they are gone."""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CROWD = 2_000


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CROWD + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this machine allows {hard} open files; {wanted} are wanted")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Process:
    """What the system says of a server's process."""

    def __init__(self, pid: int) -> None:
        self._place = Path(f"/proc/{pid}")

    @property
    def descriptors(self) -> int:
        return len(os.listdir(self._place / "fd"))

    @property
    def resident(self) -> int:
        return int((self._place / "statm").read_text().split()[1]) * resource.getpagesize()

    @property
    def seconds(self) -> float:
        fields = (self._place / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def crowd(port: int, says: bytes, count: int = CROWD) -> list[socket.socket]:
    found = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port), timeout=20)
        if says:
            one.sendall(says)
        found.append(one)
    return found


def median(port: int, count: int = 40) -> float:
    """Seconds that a call takes on a connection of its own, the middle of many."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    took = []
    for _ in range(count):
        begun = time.monotonic()
        client.request("POST", "/", b"{}", {"X-Amz-Target": "AmazonSQS.ListQueues"})
        assert client.getresponse().read()
        took.append(time.monotonic() - begun)
    client.close()
    return statistics.median(took)


HALF = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n" + b"x" * 20_000
POLL = json.dumps({"QueueUrl": "q", "WaitTimeSeconds": 20}).encode()
WAITING = b"POST / HTTP/1.1\r\nHost: h\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: %d\r\n\r\n" % len(
    POLL
)


def test_thousands_that_are_idle_slow_or_vanish_slow_nobody_down_and_leave_nothing(start: Any) -> None:
    server = start("--memory", "--idle-seconds", "4", "--request-seconds", "3")
    server.http("POST", "/", {"QueueName": "q"}, {"X-Amz-Target": "AmazonSQS.CreateQueue"})
    process = Process(server.process.pid)
    alone = median(server.port)
    # Twice before it is measured, for what a server that was busy keeps: the allocator's arenas, the table of files.
    # After one crowd it has the memory of two, or sometimes of one.
    for says in 2 * (HALF, WAITING + POLL):
        clients = crowd(server.port, says)
        until(lambda: process.descriptors > CROWD)
        for one in clients:
            one.close()
        until(lambda: process.descriptors < 60)
    descriptors, resident = process.descriptors, process.resident
    for says in (b"", b"GET / HT", HALF, WAITING + POLL):
        clients = crowd(server.port, says)
        until(lambda: process.descriptors > CROWD)
        assert median(server.port) < alone + 0.02
        if says in (b"", b"GET / HT"):
            answers = [one.recv(1_000) for one in clients]  # the server closes, in its own time
            assert all(answer.startswith(b"HTTP/1.1 408 ") if says else answer == b"" for answer in answers)
        for one in clients:
            one.close()
        until(lambda: process.descriptors <= descriptors)
    assert process.resident < resident + (16 << 20)
    assert server.stop() == 0


def test_a_client_that_trickles_its_body_is_told_that_it_took_too_long(start: Any) -> None:
    server = start("--memory", "--request-seconds", "1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as one:
        one.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        one.settimeout(0.05)
        begun = time.monotonic()
        while True:
            try:
                answer = one.recv(1_000)
                break
            except TimeoutError:
                assert time.monotonic() - begun < 20
                one.sendall(b"x")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - begun >= 1


def test_a_full_server_tells_newcomers_and_serves_those_inside(start: Any) -> None:
    server = start("--memory", "--max-connections", "100")
    process = Process(server.process.pid)
    inside = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    inside.request("GET", "/_trunkline/health")
    assert inside.getresponse().read()
    clients = crowd(server.port, b"", 300)
    assert [one.recv(12) for one in clients[-200:]] == [b"HTTP/1.1 503"] * 200
    begun = process.seconds
    inside.request("POST", "/", b'{"QueueName": "q"}', {"X-Amz-Target": "AmazonSQS.CreateQueue"})
    assert inside.getresponse().read().startswith(b'{"QueueUrl"')
    time.sleep(0.5)  # real time: does a server that is full turn round and round?
    assert process.seconds - begun < 0.3
    for one in clients:
        one.close()
    until(lambda: process.descriptors < 60)
    assert server.http("GET", "/_trunkline/health")[0] == 200

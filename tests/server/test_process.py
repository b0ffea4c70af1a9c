"""The server as a process: how it starts, refuses to start, and stops."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import trunkline


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A call of the command line that is to end by itself."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TRUNKLINE_", "LOCALSTACK_", "AWS_"))}
    return subprocess.run(
        [sys.executable, "-m", "trunkline", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env=clean | environment,
    )


def only_line(text: str) -> str:
    """Of standard error: one clear line and no traceback."""
    [line] = text.splitlines()
    assert line.startswith("trunkline: ")
    return line


def test_the_version_is_printed_and_the_exit_code_is_0() -> None:
    ended = run("--version")
    assert (ended.returncode, ended.stdout) == (0, f"trunkline {trunkline.__version__}\n")


def test_port_0_takes_a_free_port_and_prints_it(durable: Any) -> None:
    assert durable.port > 0
    assert durable.http("GET", "/health")[0] == 200


def test_the_banner_shows_address_data_durability_and_auth(durable: Any) -> None:
    data = durable.options[durable.options.index("--data") + 1]
    for part in (f"http://127.0.0.1:{durable.port}", data, "fsync", "auth        open", trunkline.__version__):
        assert part in durable.banner


def test_a_second_server_on_one_directory_is_refused(durable: Any) -> None:
    data = durable.options[durable.options.index("--data") + 1]
    ended = run("serve", "--port", "0", "--data", data)
    assert (ended.returncode, ended.stdout) == (1, "")
    line = only_line(ended.stderr)
    assert data in line and "in use" in line and f"process {durable.process.pid}" in line
    assert durable.http("GET", "/health")[0] == 200


def test_a_newer_format_is_refused(durable: Any) -> None:
    data = durable.options[durable.options.index("--data") + 1]
    assert durable.stop() == 0
    connection = sqlite3.connect(Path(data) / "trunkline.db", isolation_level=None)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    ended = run("serve", "--port", "0", "--data", data)
    assert ended.returncode == 1
    assert "format 99" in only_line(ended.stderr) and "newer Trunkline" in ended.stderr


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run("serve", "--port", "0", "--data", str(tmp_path / "file" / "data"))
    assert ended.returncode == 1
    assert str(tmp_path / "file" / "data") in only_line(ended.stderr)


def test_a_port_that_is_taken_is_refused_with_its_number(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("serve", "--port", str(port), "--data", str(tmp_path))
    assert (ended.returncode, ended.stdout) == (1, "")
    line = only_line(ended.stderr)
    assert f"127.0.0.1:{port}" in line and "in use" in line


def test_a_bad_setting_ends_with_exit_code_2() -> None:
    ended = run("serve", TRUNKLINE_WINDOW="many")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert only_line(ended.stderr) == (
        "trunkline: TRUNKLINE_WINDOW is 'many'; it takes a whole number from 3 to 1000000"
    )


def test_dump_reads_the_data_of_a_running_server_and_ends_quietly_when_nobody_reads_on(durable: Any) -> None:
    sqs = durable.client()
    sqs.create_queue(QueueName="shown")
    for number in range(30):
        sqs.send_message(QueueUrl="shown", MessageBody=f"{number} " + "body of a message " * 1000)
    data = durable.options[durable.options.index("--data") + 1]
    ended = run("dump", data)
    assert ended.returncode == 0
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert "body of a message" in ended.stdout.replace(b"body of a message".hex(), "body of a message")
    assert {"partition", "key", "bytes"} <= rows[0].keys()
    dump = subprocess.Popen(
        [sys.executable, "-m", "trunkline", "dump", data], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert dump.stdout is not None and dump.stderr is not None
    dump.stdout.readline()
    dump.stdout.close()
    assert dump.stderr.read() == ""
    dump.stderr.close()
    assert dump.wait(timeout=30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_answers_a_long_poll_and_keeps_what_was_acknowledged(durable: Any, number: signal.Signals) -> None:
    sqs = durable.client()
    empty = sqs.create_queue(QueueName="empty")["QueueUrl"]
    sqs.create_queue(QueueName="kept")
    sqs.send_message(QueueUrl="kept", MessageBody="acknowledged")
    connection = http.client.HTTPConnection("127.0.0.1", durable.port, timeout=30)
    body = json.dumps({"QueueUrl": empty, "WaitTimeSeconds": 20})
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.ReceiveMessage"}
    answered: list[tuple[int, Any]] = []

    def poll() -> None:
        response = connection.getresponse()
        answered.append((response.status, json.loads(response.read())))

    connection.request("POST", "/", body, headers)
    thread = threading.Thread(target=poll)
    thread.start()
    # The server reads what came first: with this answer, the poll is in its hands.
    assert durable.http("GET", "/health")[0] == 200
    assert answered == []
    durable.process.send_signal(number)
    assert durable.process.wait(timeout=15) == 0
    thread.join(timeout=10)
    [(status, error)] = answered
    assert status == 503 and "ServiceUnavailable" in error["__type"]
    durable.start()
    [message] = durable.client().receive_message(QueueUrl="kept")["Messages"]
    assert message["Body"] == "acknowledged"

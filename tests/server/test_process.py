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
    bodies = [row["body"] for row in rows if row["kind"] == "message"]
    assert [body.split()[0] for body in bodies] == [str(number) for number in range(30)]
    dump = subprocess.Popen(
        [sys.executable, "-m", "trunkline", "dump", data], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert dump.stdout is not None and dump.stderr is not None
    dump.stdout.readline()
    dump.stdout.close()
    assert dump.stderr.read() == ""
    dump.stderr.close()
    assert dump.wait(timeout=30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
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


def half_sent(server: Any) -> tuple[socket.socket, bytes]:
    """A connection on which the server has half of a CreateQueue, and the other half."""
    body = json.dumps({"QueueName": "late"}).encode()
    head = f"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\nX-Amz-Target: AmazonSQS.CreateQueue\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(head.encode() + body[:5])
    # The server reads what came first: with this answer, the half is in its hands.
    assert server.http("GET", "/health")[0] == 200
    return connection, body[5:]


def await_refusal(port: int) -> None:
    """Return when nobody listens at ``port`` any longer."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
        except OSError:
            return


def test_a_request_half_sent_when_the_stop_begins_is_answered_and_kept(durable: Any) -> None:
    connection, rest = half_sent(durable)
    with connection:
        durable.process.send_signal(signal.SIGTERM)
        await_refusal(durable.port)
        connection.sendall(rest)
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
    assert durable.process.wait(timeout=15) == 0
    durable.start()
    assert len(durable.client().list_queues()["QueueUrls"]) == 1


def test_a_second_signal_ends_a_stop_at_once(start: Any) -> None:
    server = start("--memory", "--grace", "300")
    connection, _ = half_sent(server)
    with connection:
        server.process.send_signal(signal.SIGTERM)
        await_refusal(server.port)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=15) == 128 + signal.SIGINT


def test_who_ignores_the_end_of_a_terminal_goes_on_serving(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trunkline", "serve", "--port", "0", "--memory"]
    process = subprocess.Popen(["nohup", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line == "Ready.\n":
                break
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        # Had the first one counted, the second would have ended the process at once.
        assert process.wait(timeout=15) == 0


def test_requests_are_logged_at_level_info_and_not_by_default(tmp_path: Path) -> None:
    for options, logged in ((["--log-level", "INFO"], True), ([], False)):
        command = [sys.executable, "-m", "trunkline", "serve", "--port", "0", "--memory", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if line == "Ready.\n":
                break
        port = int(shown.split("http://127.0.0.1:")[1].split()[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/", '{"QueueName": "q"}', {"X-Amz-Target": "AmazonSQS.CreateQueue"})
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=15)
        assert ("POST / CreateQueue from 127.0.0.1: 200 in" in log) is logged
        assert logged or log == ""


def test_a_name_that_nobody_knows_is_refused_with_what_fits() -> None:
    ended = run("serve", "--port", "0", "--memory", "--insecure", "--host", "nonsense.invalid")
    warning, line = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert "auth is open" in warning
    assert line.startswith("trunkline: cannot listen on nonsense.invalid:0: ") and "--host takes" in line
    assert "--port" not in line

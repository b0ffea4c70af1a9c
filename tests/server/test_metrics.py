"""/metrics of a real server, read with the parsers of Prometheus's client library."""

from __future__ import annotations

import http.client
import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from trunkline.credentials import BadCredentials
from trunkline.metrics.table import METRICS
from trunkline.metrics.token import Token

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


class Scrape:
    def __init__(self, server: Any) -> None:
        status, self.text = server.http("GET", "/metrics")
        assert status == 200, self.text
        self.families = {each.name: each for each in text_string_to_metric_families(self.text)}

    def get(self, name: str, **labels: str) -> float | None:
        """The sample with these labels, among others; None if there is none."""
        found = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) < 2, found
        return found[0] if found else None

    def states(self, queue: str) -> tuple[float | None, ...]:
        return tuple(
            self.get("trunkline_queue_messages", queue=queue, state=state)
            for state in ("visible", "in_flight", "delayed")
        )


def test_requests_are_counted_by_operation_and_outcome(start: Any) -> None:
    server = start("--memory")
    sqs = server.client()
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    for _ in range(3):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.send_message(QueueUrl=url + "x", MessageBody="x")
    server.http(
        "POST", "/", b"{}", {"X-Amz-Target": "AmazonSQS.Nonsense", "Content-Type": "application/x-amz-json-1.0"}
    )
    server.http("POST", "/", b"{}", {"Content-Length": "99999999999"})
    seen = Scrape(server)
    name = "trunkline_requests_total"
    assert seen.get(name, operation="SendMessage", code="OK") == 3
    assert seen.get(name, operation="SendMessage", code="QueueDoesNotExist") == 1
    assert seen.get("trunkline_request_duration_seconds_count", operation="SendMessage") == 4
    assert 0 < (seen.get("trunkline_request_duration_seconds_sum", operation="SendMessage") or 0) < 4
    operations = {sample.labels["operation"] for sample in seen.families["trunkline_requests"].samples}
    assert operations == {"CreateQueue", "SendMessage"}, "what is no operation has no series of its own"
    assert sum(sample.value for sample in seen.families["trunkline_requests_refused"].samples) == 1
    assert seen.get("trunkline_http_refused_total", status="413") == 1


def test_queues_show_what_is_in_them_and_what_went_through(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="watched")["QueueUrl"]
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": "x"} for n in range(4)])
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=60)
    frozen.clock("advance", seconds=7)
    first, second = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=2, VisibilityTimeout=30)["Messages"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    empty = sqs.create_queue(QueueName="empty")["QueueUrl"]
    assert "Messages" not in sqs.receive_message(QueueUrl=empty)
    seen = Scrape(frozen)
    assert seen.states("watched") == (2, 1, 1)
    assert seen.get("trunkline_queue_oldest_message_age_seconds", queue="watched") == 7
    assert seen.get("trunkline_queue_oldest_message_age_seconds", queue="empty") == 0
    counted = {"sent": 5, "received": 2, "deleted": 1}
    for what, count in counted.items():
        assert seen.get(f"trunkline_queue_messages_{what}_total", queue="watched") == count
    assert seen.get("trunkline_queue_empty_receives_total", queue="empty") == 1
    frozen.clock("advance", seconds=60)
    assert Scrape(frozen).states("watched") == (4, 0, 0)
    sqs.delete_message_batch(QueueUrl=url, Entries=[{"Id": "a", "ReceiptHandle": second["ReceiptHandle"]}])
    sqs.delete_queue(QueueUrl=url)
    seen = Scrape(frozen)
    assert seen.states("watched") == (None, None, None), "a deleted queue has no series"
    assert seen.get("trunkline_queues") == 1


def test_who_waits_is_counted(start: Any) -> None:
    server = start("--memory")
    url = server.client().create_queue(QueueName="q")["QueueUrl"]
    body = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    head = {"X-Amz-Target": "AmazonSQS.ReceiveMessage", "Content-Type": "application/x-amz-json-1.0"}
    connection.request("POST", "/", body, head)
    until = time.monotonic() + 10
    while Scrape(server).get("trunkline_queue_waiting_receivers", queue="q") != 1:
        assert time.monotonic() < until
    assert Scrape(server).get("trunkline_waiting_receivers") == 1
    connection.close()


def test_what_is_kept_out_is_counted_by_its_bound(start: Any) -> None:
    server = start(
        "--memory", "--max-waiting-receivers", "1", "--max-body-bytes", "100000", "--max-reading-bytes", "200000"
    )
    url = server.client().create_queue(QueueName="q")["QueueUrl"]
    body = json.dumps({"QueueUrl": url, "WaitTimeSeconds": 20}).encode()
    head = {"X-Amz-Target": "AmazonSQS.ReceiveMessage", "Content-Type": "application/x-amz-json-1.0"}
    waiting, half = (http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(2))
    waiting.request("POST", "/", body, head)
    until = time.monotonic() + 10
    while Scrape(server).get("trunkline_waiting_receivers") != 1:
        assert time.monotonic() < until
    status, text = server.http("POST", "/", body, head)
    assert status == 403 and "RequestThrottled" in text
    half.request("POST", "/", b"x", {"Content-Length": "100000"})
    while Scrape(server).get("trunkline_http_reading_bytes") != 100_000:
        assert time.monotonic() < until
    assert server.http("POST", "/", b"x", {"Content-Length": "100000"})[0] == 403
    seen = Scrape(server)
    kept_out = {
        sample.labels["bound"]: sample.value
        for sample in seen.families["trunkline_throttled"].samples
        if sample.name == "trunkline_throttled_total"
    }
    assert kept_out == {
        "max_connections": 0, "max_reading_bytes": 1, "max_uncommitted_bytes": 0, "max_waiting_receivers": 1,
    }  # fmt: skip
    waiting.close()
    half.close()
    while Scrape(server).get("trunkline_http_reading_bytes") != 0:
        assert time.monotonic() < until


def test_a_restarted_server_shows_what_lies_in_queues_without_loading_them(durable: Any) -> None:
    durable.clock("freeze")
    sqs = durable.client()
    url = sqs.create_queue(QueueName="kept")["QueueUrl"]
    for _ in range(3):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    sqs.receive_message(QueueUrl=url, VisibilityTimeout=30)
    durable.clock("advance", seconds=5)
    durable.stop()
    durable.start()
    seen = Scrape(durable)
    assert seen.states("kept") == (2, 1, 0)
    assert seen.get("trunkline_queue_oldest_message_age_seconds", queue="kept") == 5
    assert seen.get("trunkline_queues_unread") == 0
    assert seen.get("trunkline_machines") == 1, "the catalogue alone"
    assert (seen.get("trunkline_store_bytes") or 0) > 0 and (seen.get("trunkline_store_free_bytes") or 0) > 0
    durable.clock("advance", seconds=26)
    assert Scrape(durable).states("kept") == (3, 0, 0)


def test_commits_are_counted_with_their_latency_and_size(durable: Any) -> None:
    sqs = durable.client()
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    before = Scrape(durable)
    for _ in range(5):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    seen = Scrape(durable)
    for name in ("trunkline_commits_total", "trunkline_commit_duration_seconds_count", "trunkline_commit_units_count"):
        assert (seen.get(name) or 0) - (before.get(name) or 0) == 5
    assert seen.get("trunkline_commits_failed_total") == 0
    assert seen.get("trunkline_uncommitted_bytes") == 0


def test_the_number_of_queues_is_bounded_by_a_setting(start: Any) -> None:
    server = start("--memory", "--metrics-queues", "2")
    for name in ("a", "b", "c"):
        server.client().create_queue(QueueName=name)
    server.client(account="111122223333").create_queue(QueueName="other")
    seen = Scrape(server)
    assert {sample.labels["queue"] for sample in seen.families["trunkline_queue_messages"].samples} == {"a", "b"}
    assert seen.get("trunkline_queues_left_out") == 1
    assert seen.get("trunkline_accounts_left_out") == 1


def test_no_queue_is_shown_where_none_is_wanted(start: Any) -> None:
    server = start("--memory", "--metrics-queues", "0")
    server.client().create_queue(QueueName="a")
    seen = Scrape(server)
    assert not [name for name in seen.families if name.startswith("trunkline_queue")]
    assert seen.get("trunkline_requests_total", operation="CreateQueue") == 1


def test_openmetrics_is_written_to_who_accepts_it(shared: Any) -> None:
    status, text = shared.http("GET", "/_trunkline/metrics", headers={"Accept": OPENMETRICS})
    assert status == 200
    names = {family.name for family in openmetrics.text_string_to_metric_families(text)}
    assert {"trunkline_build_info", "trunkline_commits", "process_resident_memory_bytes"} <= names


def test_a_mistyped_parameter_is_refused(shared: Any) -> None:
    assert shared.http("GET", "/metrics?name=x")[0] == 400
    assert shared.http("POST", "/metrics")[0] == 405


def test_every_metric_of_the_table_is_in_a_scrape_and_in_the_reference(durable: Any) -> None:
    text = Scrape(durable).text
    page = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()
    for each in METRICS:
        assert re.search(rf"^# TYPE {each.name} {each.kind}$", text, re.MULTILINE), each.name
        assert f"`{each.name}`" in page


def asked(server: Any, authorization: str = "", path: str = "/metrics") -> int:
    status: int = server.http("GET", path, headers={"Authorization": authorization} if authorization else {})[0]
    return status


def test_a_token_opens_the_metrics_and_nothing_else(start: Any, tmp_path: Path) -> None:
    token, keys = tmp_path / "token", tmp_path / "keys"
    token.write_text("0123456789abcdef0123\n")
    keys.write_text("[me]\naws_access_key_id = AKIA1\naws_secret_access_key = x\naws_account_id = 111122223333\n")
    keys.chmod(0o600)
    server = start("--memory", "--metrics-token", str(token), "--auth", "verify", "--credentials", str(keys))
    good, bad = "Bearer 0123456789abcdef0123", "Bearer 0123456789abcdef0124"
    assert asked(server, good) == asked(server, good, "/_trunkline/metrics") == 200
    assert asked(server, bad) == asked(server) == 403
    assert asked(server, good, "/_trunkline/clock") != 200
    token.write_text(bad.removeprefix("Bearer "))
    server.process.send_signal(signal.SIGHUP)
    until = time.monotonic() + 10
    while asked(server, bad) != 200:
        assert time.monotonic() < until
    assert asked(server, good) == 403


def test_with_auth_open_the_metrics_want_the_token_too(start: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef0123")
    server = start("--memory", "--metrics-token", str(tmp_path / "token"))
    assert asked(server) == asked(server, "Bearer \xff") == 401
    assert asked(server, "Bearer 0123456789abcdef0123") == 200


@pytest.mark.parametrize("text", [None, "", "short", "two lines of it\nand another one", "0123456789abcdé0"])
def test_a_token_that_is_none_is_refused_at_the_start(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadCredentials, match="metrics token"):
        Token(file)

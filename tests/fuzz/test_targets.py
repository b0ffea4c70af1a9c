"""The targets of ``make fuzz`` for a second each, and everything that ever broke one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzz import targets
from fuzz.targets import LIMIT, OPERATIONS, TARGETS
from fuzz.wire import Broken, statuses
from hypothesis import HealthCheck, given, settings

from trunkline.http import server

REGRESSIONS = Path(__file__).parent / "regressions"


@pytest.mark.parametrize("name", TARGETS)
def test_no_promise_is_broken(name: str) -> None:
    outcomes: set[str] = set()

    @settings(max_examples=400, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(TARGETS[name].inputs)
    def run(data: bytes) -> None:
        outcomes.add(TARGETS[name].check(data))

    run()
    assert len(outcomes) > 1, "the inputs all come to the same"


@pytest.mark.parametrize("file", sorted(REGRESSIONS.glob("*/*")), ids=lambda file: f"{file.parent.name}/{file.name}")
def test_what_once_broke_a_promise_breaks_none(file: Path) -> None:
    TARGETS[file.parent.name].check(file.read_bytes())


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_empty_input_of_every_operation_is_decided(operation: str) -> None:
    index = bytes((OPERATIONS.index(operation),))
    for protocol, data in (("json", index + b"{}"), ("form", index)):
        assert TARGETS[protocol].check(data).split()[0] in (operation, "MissingParameter", "ValidationException")


# -- the targets can fail ----------------------------------------------------------------


def test_a_server_that_reads_a_body_wrongly_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = server._Connection.on_body
    monkeypatch.setattr(server._Connection, "on_body", lambda self, body: real(self, body[:2]))
    with pytest.raises(Broken):
        TARGETS["chunked"].check(b"3\r\nabc\r\n0\r\n\r\n")
    with pytest.raises(Broken, match="understood otherwise"):
        TARGETS["http"].check(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")


def test_a_server_that_keeps_too_long_a_body_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "LIMIT", 100)
    monkeypatch.setattr(server.HttpServer, "__init__", _without_limit(server.HttpServer.__init__))
    with pytest.raises(Broken, match="is kept than is allowed"):
        TARGETS["http"].check(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n" + b"x" * 800)


def _without_limit(init):  # type: ignore[no-untyped-def]
    return lambda self, handler, max_body_bytes=LIMIT, **given: init(self, handler, 1 << 30, **given)


def test_a_server_that_fails_or_logs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    request = targets._request("ListQueues", b"{}")
    assert TARGETS["whole"].check(request) == "[200]"
    monkeypatch.setattr("trunkline.wire.protocols.json.orjson.loads", lambda _: 1 // 0)
    with pytest.raises(Broken, match="it was answered"):
        TARGETS["whole"].check(request)


def test_a_long_step_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "STEP_SECONDS", 0.0)
    with pytest.raises(Broken, match="processor time"):
        TARGETS["whole"].check(targets._request("ListQueues", json.dumps({"a": [1] * 1_000}).encode()))


@pytest.mark.parametrize(
    "out",
    [b"x", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na",
     b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: \n\r\n\r\n"],
)  # fmt: skip
def test_an_answer_that_is_not_http_is_found(out: bytes) -> None:
    with pytest.raises(Broken):
        statuses(out, [])


def test_answers_are_read_one_behind_another() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    assert statuses(b"HTTP/1.1 100 Continue\r\n\r\n" + ok + b"ok" + ok, [False, True]) == [200, 200]

"""The log of requests."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pytest

from trunkline.gateway import Exchange
from trunkline.http.access import SHOWN_BYTES, AccessLog
from trunkline.wire.message import HttpRequest, HttpResponse

JSON = {"x-amz-target": "AmazonSQS.SendMessage", "authorization": "AWS4-HMAC-SHA256 Credential=secret"}


class Wire:
    """An exchange that remembers."""

    def __init__(self) -> None:
        self.answers: list[HttpResponse] = []
        self.actions: list[Callable[[], None]] = []

    def respond(self, response: HttpResponse) -> None:
        self.answers.append(response)

    def when_gone(self, action: Callable[[], None]) -> None:
        self.actions.append(action)


def logged(
    caplog: pytest.LogCaptureFixture, request: HttpRequest, response: HttpResponse, level: int = logging.INFO
) -> list[str]:
    """What stands in the log when ``request`` was answered after a quarter of a second."""
    seconds = iter((1.0, 1.25))
    wire = Wire()

    def handler(_: HttpRequest, exchange: Exchange) -> None:
        exchange.when_gone(lambda: None)
        exchange.respond(response)

    with caplog.at_level(level, "trunkline.http.access"):
        AccessLog(handler, lambda: next(seconds))(request, wire)
    assert wire.answers == [response] and len(wire.actions) == 1
    return caplog.messages


def test_an_answer_is_one_line_with_operation_status_and_time(caplog: pytest.LogCaptureFixture) -> None:
    request = HttpRequest("POST", "/", "", JSON, b"{}", "192.0.2.1")
    assert logged(caplog, request, HttpResponse(200, (), b"{}")) == [
        "POST / SendMessage from 192.0.2.1: 200 in 250.0 ms"
    ]


@pytest.mark.parametrize("body", [b'{"__type":"com.amazonaws.sqs#X.Y","message":""}', b"<E><Code>X.Y</Code></E>"])
def test_an_error_is_named(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    request = HttpRequest("POST", "/1/q", "", {}, b"Version=1&Action=SendMessage&MessageBody=x")
    assert logged(caplog, request, HttpResponse(400, (), body)) == [
        "POST /1/q SendMessage from 127.0.0.1: 400 X.Y in 250.0 ms"
    ]


@pytest.mark.parametrize("name", ["Send Message\n\x1b[31m", "SendMessage"])
def test_an_operation_is_named_by_letters_alone(name: str, caplog: pytest.LogCaptureFixture) -> None:
    for request in (
        HttpRequest("POST", "/", "", {"x-amz-target": f"AmazonSQS.{name}"}, b"{}"),
        HttpRequest("POST", "/", "", {}, b"", form={"Action": name}),
    ):
        caplog.clear()
        [line] = logged(caplog, request, HttpResponse(200, (), b"{}"))
        assert re.match(r"POST / SendMessage(31m)? from ", line)


def test_a_page_has_no_operation(caplog: pytest.LogCaptureFixture) -> None:
    request = HttpRequest("GET", "/health", "", {}, b"")
    assert logged(caplog, request, HttpResponse(200, (), b"{}")) == ["GET /health from 127.0.0.1: 200 in 250.0 ms"]


def test_at_level_debug_bodies_are_shown_cut_and_headers_are_not(caplog: pytest.LogCaptureFixture) -> None:
    request = HttpRequest("POST", "/", "", JSON, b"x" * (SHOWN_BYTES + 1))
    _, detail = logged(caplog, request, HttpResponse(200, (), b'{"a":1}'), logging.DEBUG)
    assert "x" * SHOWN_BYTES in detail and "x" * (SHOWN_BYTES + 1) not in detail
    assert f"({SHOWN_BYTES + 1} bytes)" in detail and '{"a":1}' in detail and "secret" not in detail

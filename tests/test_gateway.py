"""The steps of a request, with services made for the test."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from trunkline.gateway import Gateway
from trunkline.kernel.errors import InternalFailure, ServiceError
from trunkline.kernel.ids import RandomIds
from trunkline.wire.message import HttpRequest, HttpResponse


class Kept:
    """An exchange that keeps its answer."""

    def __init__(self) -> None:
        self.responses: list[HttpResponse] = []

    def respond(self, response: HttpResponse) -> None:
        self.responses.append(response)

    def when_gone(self, action: Callable[[], None]) -> None:
        return


def answer_of(operation: Any) -> HttpResponse:
    gateway = Gateway({"sqs": {"ListQueues": operation}, "sts": {}}, RandomIds())
    exchange = Kept()
    gateway.handle(HttpRequest("POST", "/", "", {"x-amz-target": "AmazonSQS.ListQueues"}, b"{}"), exchange)
    [response] = exchange.responses
    return response


def raising(error: Exception) -> Any:
    def operation(parameters: dict[str, Any], call: Any) -> None:
        raise error

    return operation


def test_a_failure_that_an_operation_raises_is_logged_with_its_action_and_request_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for error in (InternalFailure(), RuntimeError("a secret of ours")):
        caplog.clear()
        response = answer_of(raising(error))
        assert response.status == 500
        assert b"secret" not in response.body
        [record] = caplog.records
        assert record.levelno == logging.ERROR and record.exc_info is not None
        assert "sqs:ListQueues" in record.message
        assert dict(response.headers)["x-amzn-RequestId"] in record.message


def test_a_refusal_of_an_operation_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    response = answer_of(raising(ServiceError("QueueDoesNotExist", "m")))
    assert json.loads(response.body)["message"] == "m"
    assert caplog.records == []

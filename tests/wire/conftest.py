"""The SQS model and its two protocols, and a short way to ask them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline.wire.message import HttpRequest
from trunkline.wire.protocols import Codec, codec
from trunkline.wire.shapes import ServiceModel

FORM = {"content-type": "application/x-www-form-urlencoded"}

Decode = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def model() -> ServiceModel:
    return ServiceModel.load("sqs")


@pytest.fixture(scope="session")
def by_json(model: ServiceModel) -> Codec:
    return codec(model, "json")


@pytest.fixture(scope="session")
def by_query(model: ServiceModel) -> Codec:
    return codec(model, "query")


@pytest.fixture(scope="session")
def read_json(by_json: Codec) -> Decode:
    def read(operation: str, body: str | bytes) -> dict[str, Any]:
        data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        return by_json.decode(operation, HttpRequest("POST", "/", "", {}, data))

    return read


@pytest.fixture(scope="session")
def read_form(by_query: Codec) -> Decode:
    def read(operation: str, body: str | bytes = b"", query: str = "") -> dict[str, Any]:
        data = body.encode() if isinstance(body, str) else body
        return by_query.decode(operation, HttpRequest("POST" if data else "GET", "/", query, dict(FORM), data))

    return read

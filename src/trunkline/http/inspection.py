"""/_aws/sqs/messages: LocalStack's page for looking at a queue, also as an SDK's endpoint_url.

    GET|POST /_aws/sqs/messages?QueueUrl=…[&ShowInvisible=true&ShowDelayed=true]
    GET      /_aws/sqs/messages/<region>/<account>/<queue>[?…]
    POST     /_aws/sqs/messages/ with X-Amz-Target: AmazonSQS.ReceiveMessage    (an SDK)
    DELETE   /_aws/sqs/messages…                                                purges the queue, as floci does
    …        /_ministack/sqs/messages?account=…&QueueUrl=…                      MiniStack's name of the same

Answers are ReceiveMessage's, in XML, or in JSON to those that accept it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.ids import Ids
from trunkline.wire import sigv4
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.protocols import codec
from trunkline.wire.protocols.query import old_json
from trunkline.wire.shapes import ServiceModel

_ROOTS = ("/_aws/sqs/messages", "/_ministack/sqs/messages")

_METHODS = ("GET", "HEAD", "POST", "DELETE")
_ACTION = "ReceiveMessage"
_JSON = ("Content-Type", "application/json")

Look = Callable[[str, str, str, bool, bool], Awaitable[list[dict[str, Any]]]]
"""(account, region, queue, in flight too, delayed too) -> messages as ReceiveMessage shows them."""

Empty = Callable[[str, str, str], Awaitable[None]]
"""(account, region, queue) -> when all its messages are deleted."""


class Place(Protocol):
    """Where a queue URL points: see services.sqs.urls."""

    @property
    def account(self) -> str | None: ...
    @property
    def region(self) -> str | None: ...
    @property
    def name(self) -> str: ...


class SqsPages:
    def __init__(
        self, look: Look, empty: Empty, parse_url: Callable[[str], Place | None], ids: Ids, account: str, region: str
    ) -> None:
        self._look = look
        self._empty = empty
        self._parse = parse_url
        self._ids = ids
        self._account = account
        self._region = region

    async def answer(self, request: HttpRequest, parameters: Mapping[str, Any]) -> HttpResponse:
        json_target = "x-amz-target" in request.headers
        coder = codec(ServiceModel.load("sqs"), "json" if json_target else "query")
        request_id = self._ids.text()
        wants_json = not json_target and "application/json" in request.headers.get("accept", "")
        try:
            if request.method not in _METHODS:
                text = f"This page takes {', '.join(_METHODS)}, not {request.method}."
                return HttpResponse(405, (_JSON,), json.dumps({"message": text}).encode())
            action = request.headers.get("x-amz-target", "").rpartition(".")[2] or parameters.get("Action", _ACTION)
            if action != _ACTION:
                raise ServiceError("InvalidRequest", "This endpoint only accepts ReceiveMessage calls")
            account, region, name = self._place(request, parameters)
            if request.method == "DELETE":
                await self._empty(account, region, name)
                return HttpResponse(200, (_JSON,), json.dumps({"purged": name}).encode())
            shown = await self._look(
                account, region, name, _said(parameters, "ShowInvisible"), _said(parameters, "ShowDelayed")
            )
            response = coder.encode("ReceiveMessage", {"Messages": shown} if shown else {}, request_id)
        except ServiceError as error:
            response = coder.encode_error(error, request_id)
        return old_json(response) if wants_json else response

    def _place(self, request: HttpRequest, parameters: Mapping[str, Any]) -> tuple[str, str, str]:
        credential = sigv4.parse(request)
        account, region = self._account, self._region
        if credential is not None:
            account, region = sigv4.account_of(credential.access_key, account), credential.region
        if parameters.get("account"):
            account = str(parameters["account"])
        path = next(request.path[len(root) :] for root in _ROOTS if request.path.startswith(root)).strip("/")
        if path:
            parts = path.split("/")
            if len(parts) != 3:
                raise ServiceError("InvalidAddress", f"The path is {_ROOTS[0]}/<region>/<account>/<queue>.")
            return parts[1], parts[0], parts[2]
        url = parameters.get("QueueUrl")
        place = self._parse(str(url)) if url else None
        if place is None:
            raise ServiceError("MissingParameter", "The request must contain the parameter QueueUrl.")
        return place.account or account, place.region or region, place.name


def _said(parameters: Mapping[str, Any], name: str) -> bool:
    return str(parameters.get(name, "")).lower() in ("1", "true")

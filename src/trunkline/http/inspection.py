"""/_aws/sqs/messages: LocalStack's page for looking at a queue, also as an SDK's endpoint_url.

    GET|POST /_aws/sqs/messages?QueueUrl=…[&ShowInvisible=true&ShowDelayed=true]
    GET      /_aws/sqs/messages/<region>/<account>/<queue>[?…]
    POST     /_aws/sqs/messages/ with X-Amz-Target: AmazonSQS.ReceiveMessage    (an SDK)

Answers are ReceiveMessage's, in XML, or in JSON to those that accept it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.ids import Ids
from trunkline.wire import sigv4
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.protocols import codec
from trunkline.wire.protocols.query import old_json
from trunkline.wire.shapes import ServiceModel

_ROOT = "/_aws/sqs/messages"

Look = Callable[[str, str, str, bool, bool], Awaitable[list[dict[str, Any]]]]
"""(account, region, queue, in flight too, delayed too) -> messages as ReceiveMessage shows them."""


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
        self, look: Look, parse_url: Callable[[str], Place | None], ids: Ids, account: str, region: str
    ) -> None:
        self._look = look
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
            account, region, name = self._place(request, parameters)
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
        path = request.path[len(_ROOT) :].strip("/")
        if path:
            parts = path.split("/")
            if len(parts) != 3:
                raise ServiceError("InvalidAddress", f"The path is {_ROOT}/<region>/<account>/<queue>.")
            return parts[1], parts[0], parts[2]
        url = parameters.get("QueueUrl")
        place = self._parse(str(url)) if url else None
        if place is None:
            raise ServiceError("MissingParameter", "The request must contain the parameter QueueUrl.")
        return place.account or account, place.region or region, place.name


def _said(parameters: Mapping[str, Any], name: str) -> bool:
    return str(parameters.get(name, "")).lower() in ("1", "true")

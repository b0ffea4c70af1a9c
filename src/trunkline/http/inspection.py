"""/_aws/sqs/messages: LocalStack's page for looking at a queue, also as an SDK's endpoint_url.

    GET|POST /_aws/sqs/messages?QueueUrl=…[&ShowInvisible=true&ShowDelayed=true]
    GET      /_aws/sqs/messages/<region>/<account>/<queue>[?…]
    POST     /_aws/sqs/messages[/<account>/<queue>] with X-Amz-Target: AmazonSQS.ReceiveMessage    (an SDK)
    DELETE   /_aws/sqs/messages…                                                purges the queue, as floci does
    …        /_ministack/sqs/messages?account=…&QueueUrl=…                      MiniStack's name of the same

Answers are ReceiveMessage's, in XML, or in JSON to those that accept it. They
are made on a thread. What is looked at is bounded (see services.sqs.inspection):
if there is more, the header X-Trunkline-More says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from trunkline.http.endpoints import said
from trunkline.kernel.caller import Caller
from trunkline.kernel.errors import ServiceError
from trunkline.kernel.ids import Ids
from trunkline.wire import sigv4
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.protocols import Codec, codec
from trunkline.wire.protocols.old_json import OldJsonCodec, accepts_json
from trunkline.wire.shapes import ServiceModel

_ROOTS = ("/_aws/sqs/messages", "/_ministack/sqs/messages")
_METHODS = ("GET", "HEAD", "POST", "DELETE")
_ACTION = "ReceiveMessage"
_JSON = ("Content-Type", "application/json")

Look = Callable[[str, str, str, bool, bool], Awaitable[tuple[list[dict[str, Any]], bool]]]
"""(account, region, queue, in flight too, delayed too) -> messages as ReceiveMessage shows them; are there more?"""

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
        self._codecs: dict[str, Codec] = {}

    async def answer(self, request: HttpRequest, caller: Caller | None = None) -> HttpResponse:
        """A ``caller`` who is known sees its own alone. BadRequest if it is no request of AWS's or of these pages."""
        request_id = self._ids.text()
        if request.method not in _METHODS:
            text = f"This page takes {', '.join(_METHODS)}, not {request.method}."
            return HttpResponse(405, (_JSON, ("Allow", ", ".join(_METHODS))), json.dumps({"message": text}).encode())
        target = request.headers.get("x-amz-target")
        coder = self._codec("json" if target is not None else "old-json" if accepts_json(request) else "query")
        try:
            if target is not None:
                # An SDK: what it sends wrong is refused as SQS does it, and not as a page of ours.
                coder.decode(_ACTION, request)
            parameters = said(request)
            action = parameters.get("Action", _ACTION) if target is None else target.rpartition(".")[2]
            if action != _ACTION:
                raise ServiceError("InvalidRequest", "This endpoint only accepts ReceiveMessage calls")
            account, region, name = self._place(request, parameters, caller)
            if caller is not None and account != caller.account:
                raise ServiceError("AccessDenied", f"Queues of {account} are not shown to a key of {caller.account}.")
            if request.method == "DELETE":
                await self._empty(account, region, name)
                return HttpResponse(200, (_JSON,), json.dumps({"purged": name}).encode())
            shown, more = await self._look(
                account, region, name, _said(parameters, "ShowInvisible"), _said(parameters, "ShowDelayed")
            )
            output = {"Messages": shown} if shown else {}
            response = await asyncio.to_thread(coder.encode, _ACTION, output, request_id)
            if more:
                response.headers = (*response.headers, ("X-Trunkline-More", "true"))
            return response
        except ServiceError as error:
            return coder.encode_error(error, request_id)

    def _codec(self, protocol: str) -> Codec:
        found = self._codecs.get(protocol)
        if found is None:
            model = ServiceModel.load("sqs")
            # LocalStack's page calls the attributes of a message as the XML does, unlike AWS's own old JSON.
            found = OldJsonCodec(model, {}) if protocol == "old-json" else codec(model, protocol)
            self._codecs[protocol] = found
        return found

    def _place(
        self, request: HttpRequest, parameters: Mapping[str, Any], caller: Caller | None
    ) -> tuple[str, str, str]:
        credential = sigv4.parse(request)
        account, region = self._account, self._region
        if caller is not None:
            account, region = caller.account, caller.region
        elif credential is not None:
            account, region = sigv4.account_of(credential.access_key, account), credential.region
        if parameters.get("account"):
            account = str(parameters["account"])
        path = next(request.path[len(root) :] for root in _ROOTS if request.path.startswith(root)).strip("/")
        if path:
            parts = path.split("/")
            if len(parts) == 2:
                return parts[0], region, parts[1]  # an SDK that follows a queue's URL under this endpoint
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

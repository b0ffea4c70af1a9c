"""The log of requests: a line for each answer, and at level debug what was said.

It stands around the handler only where the level asks for it, so that who does
not read it pays nothing for it. Headers are not written, nor a presigned query's
signature and session token: who reads a log may not call in another's name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from trunkline.gateway import Exchange, queue_named
from trunkline.wire.message import HttpRequest, HttpResponse

log = logging.getLogger(__name__)

Handler = Callable[[HttpRequest, Exchange], None]

SHOWN_BYTES = 1_000
"""Of a body, at level debug."""

_LOOKED_AT = 4_096
"""Bytes of a form that nobody read, in which an Action is looked for."""
_ACTION = re.compile(rb"(?:^|&)Action=(\w{1,100})")
_NO_NAME = re.compile(r"\W")
_SECRET = re.compile(rb"(?i)(X-Amz-(?:Signature|Security-Token)=)[^&]*")
_CODE = re.compile(rb'"__type":\s*"(?:[^"#]*#)?(\w[\w.]*)|<Code>([\w.]+)</Code>')


Place = Callable[[HttpRequest], tuple[str, str]]
"""The account and the region that a request's signature names; "" for what it does not."""


def nowhere(_: HttpRequest) -> tuple[str, str]:
    return "", ""


class AccessLog:
    """A handler around ``handler``. ``monotonic``: real seconds, for how long an answer took."""

    def __init__(self, handler: Handler, monotonic: Callable[[], float], place: Place = nowhere) -> None:
        self._handler = handler
        self._monotonic = monotonic
        self._place = place

    def __call__(self, request: HttpRequest, exchange: Exchange) -> None:
        self._handler(request, _Logged(request, exchange, self._monotonic, self._place))


class _Logged:
    """An exchange that writes its line when it is answered."""

    __slots__ = ("_begun", "_exchange", "_monotonic", "_place", "_request")

    def __init__(self, request: HttpRequest, exchange: Exchange, monotonic: Callable[[], float], place: Place) -> None:
        self._place = place
        self._request = request
        self._exchange = exchange
        self._monotonic = monotonic
        self._begun = monotonic()

    def respond(self, response: HttpResponse) -> None:
        request = self._request
        took = (self._monotonic() - self._begun) * 1000
        code, operation = _code(response), _operation(request)
        fields: dict[str, Any] = {
            "request_id": _request_id(response), "operation": operation.strip(), "method": request.method,
            "path": request.path, "peer": request.peer, "status": response.status, "code": code.strip(),
            "milliseconds": round(took, 1),
        }  # fmt: skip
        # Who was not let in is not who the request says.
        if operation and response.status not in (401, 403):
            fields["account"], fields["region"] = self._place(request)
            fields["queue"] = queue_named(request)
        log.info(
            "%s %s%s from %s: %d%s in %.1f ms",
            request.method, request.path, operation, request.peer, response.status, code, took, extra=fields,
        )  # fmt: skip
        if log.isEnabledFor(logging.DEBUG):
            asked = _shown(_without_secrets(request.body or request.query.encode()))
            log.debug("asked %s, answered %s", asked, _shown(response.body), extra={"request_id": fields["request_id"]})
        self._exchange.respond(response)

    def when_gone(self, action: Callable[[], None]) -> None:
        self._exchange.when_gone(action)


def _operation(request: HttpRequest) -> str:
    target = request.headers.get("x-amz-target", "").rpartition(".")[2]
    if target:
        return " " + _NO_NAME.sub("", target[:100])
    if request.form is not None:
        action = _NO_NAME.sub("", request.form.get("Action", "")[:100])
        return " " + action if action else ""
    found = _ACTION.search(request.body, 0, _LOOKED_AT) or _ACTION.search(request.query.encode(), 0, _LOOKED_AT)
    return " " + found[1].decode() if found else ""


def _code(response: HttpResponse) -> str:
    if response.status < 400:
        return ""
    found = _CODE.search(response.body)
    return " " + (found[1] or found[2]).decode() if found else ""


def _request_id(response: HttpResponse) -> str:
    """As the client was given it; "" where none was."""
    return next((value for name, value in response.headers if name.lower() == "x-amzn-requestid"), "")


def _without_secrets(said: bytes) -> bytes:
    """Of a query or a form, and no more of it than is shown."""
    return _SECRET.sub(rb"\1...", said[:_LOOKED_AT]) + said[_LOOKED_AT:]


def _shown(body: bytes) -> str:
    text = repr(body[:SHOWN_BYTES].decode(errors="replace"))
    return text if len(body) <= SHOWN_BYTES else f"{text}… ({len(body)} bytes)"

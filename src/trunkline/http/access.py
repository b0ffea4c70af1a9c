"""The log of requests: a line for each answer, and at level debug what was said.

It stands around the handler only where the level asks for it, so that who does
not read it pays nothing for it. Headers are not written, nor a presigned query's
signature and session token: who reads a log may not call in another's name.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from trunkline.gateway import Exchange
from trunkline.wire.message import HttpRequest, HttpResponse

log = logging.getLogger(__name__)

Handler = Callable[[HttpRequest, Exchange], None]

SHOWN_BYTES = 1_000
"""Of a body, at level debug."""

_LOOKED_AT = 4_096
"""Bytes of a form that nobody read, in which an Action is looked for."""
_ACTION = re.compile(rb"(?:^|&)Action=(\w{1,100})")
_NO_NAME = re.compile(r"\W")
_SECRET = re.compile(r"(?i)(X-Amz-(?:Signature|Security-Token)=)[^&]*")
_CODE = re.compile(rb'"__type":\s*"(?:[^"#]*#)?(\w[\w.]*)|<Code>([\w.]+)</Code>')


class AccessLog:
    """A handler around ``handler``. ``monotonic``: real seconds, for how long an answer took."""

    def __init__(self, handler: Handler, monotonic: Callable[[], float]) -> None:
        self._handler = handler
        self._monotonic = monotonic

    def __call__(self, request: HttpRequest, exchange: Exchange) -> None:
        self._handler(request, _Logged(request, exchange, self._monotonic))


class _Logged:
    """An exchange that writes its line when it is answered."""

    __slots__ = ("_begun", "_exchange", "_monotonic", "_request")

    def __init__(self, request: HttpRequest, exchange: Exchange, monotonic: Callable[[], float]) -> None:
        self._request = request
        self._exchange = exchange
        self._monotonic = monotonic
        self._begun = monotonic()

    def respond(self, response: HttpResponse) -> None:
        request = self._request
        took = (self._monotonic() - self._begun) * 1000
        code = _code(response)
        log.info(
            "%s %s%s from %s: %d%s in %.1f ms",
            request.method, request.path, _operation(request), request.peer, response.status, code, took,
        )  # fmt: skip
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "asked %s, answered %s", _shown(request.body or _without_secrets(request.query)), _shown(response.body)
            )
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


def _without_secrets(query: str) -> bytes:
    return _SECRET.sub(r"\1…", query).encode()


def _shown(body: bytes) -> str:
    text = repr(body[:SHOWN_BYTES].decode(errors="replace"))
    return text if len(body) <= SHOWN_BYTES else f"{text}… ({len(body)} bytes)"

"""The list of steps that a request takes.

    a browser? -> own pages -> route -> is there room -> who calls -> decode -> may they -> operation -> encode

Everything a client can do wrong ends in an error of AWS's; everything of ours
that fails ends in a 500 without a word of how, and in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from trunkline.admission import Admission
from trunkline.kernel.arn import is_region
from trunkline.kernel.call import Operation
from trunkline.kernel.caller import Caller
from trunkline.kernel.errors import InternalFailure, RequestThrottled, ServiceError
from trunkline.kernel.ids import Ids
from trunkline.kernel.measures import MOST_CODES, Answers
from trunkline.kernel.time import RealClock
from trunkline.signatures import LargeBody, Verifier
from trunkline.wire import sigv4, unserved
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.protocols import Codec, codec, old_json
from trunkline.wire.route import METHODS, NotServed, Unroutable, route
from trunkline.wire.shapes import ServiceModel

log = logging.getLogger(__name__)

OwnPages = Callable[[HttpRequest, Callable[[HttpResponse], None]], bool]
Authorize = Callable[[Caller, str, str, Mapping[str, str]], None]
"""(caller, action such as sqs:SendMessage, resource, context): returns if allowed, else raises AccessDenied."""

Aside = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""(work, then): do ``work`` beside the event loop, and call ``then`` on it with the result or the exception."""

_MOST_CALLERS = 4_096
_REMEMBERED = 512
"""Characters of the longest credential scope that is remembered."""


class Exchange(Protocol):
    """What the HTTP server gives with a request."""

    def respond(self, response: HttpResponse) -> None: ...
    def when_gone(self, action: Callable[[], None]) -> None: ...


AdmitBrowser = Callable[[HttpRequest, Exchange], Exchange | None]
"""How to answer a request that a browser sent; None if that is done. See http.browsers."""


def allow_all(caller: Caller, action: str, resource: str, context: Mapping[str, str]) -> None:
    """The seam where policies will stand: until they are built every call is allowed (see unenforced)."""


_QUEUE = re.compile(rb'"QueueUrl"\s*:\s*"[^"]*?([A-Za-z0-9_.-]{1,80})"')
_LOOKED_AT = 4_096
"""Bytes of a body in which a queue's URL is looked for."""


def queue_named(request: HttpRequest) -> str:
    """The name of the queue that a request says it is for, for the log; "" if it does not say so soon."""
    return _queue_of(_url_of(request), request.body, request.path)


def _url_of(request: HttpRequest) -> str | None:
    return None if request.form is None else request.form.get("QueueUrl")


def _queue_of(url: str | None, body: bytes, path: str) -> str:
    if url is not None:
        return url.rpartition("/")[2][:80]
    found = _QUEUE.search(body, 0, _LOOKED_AT)
    return found[1].decode() if found else path.rpartition("/")[2][:80]


class _HttpCall:
    """A call that came over HTTP; see kernel.call.Call."""

    __slots__ = (
        "_answered", "_answers", "_beginning", "_begun", "_codec", "_exchange", "_headers", "_queue_url", "_scheme",
        "caller", "operation", "path", "request_id", "size", "trace",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, known: _Known, caller: Caller, request: HttpRequest, request_id: str, begun: float
    ) -> None:
        self._exchange = exchange
        self._codec = known.codec
        self._answers = known.answers
        self._answered = False
        self._begun = begun
        self.operation = known.operation
        self.caller = caller
        self.request_id = request_id
        # Not the request: its body would stay in memory until the answer. For the log its beginning is enough.
        self._beginning = request.body[:_LOOKED_AT]
        self._queue_url = _url_of(request)
        self._headers = headers = request.headers
        self._scheme = request.scheme
        self.size = len(request.body)
        self.path = request.path
        self.trace = headers.get("x-amzn-trace-id")

    @property
    def endpoint(self) -> str:
        """Made when asked for: most operations never show a URL."""
        return f"{self._scheme}://{self._headers.get('host', 'localhost')}"

    @property
    def concerns(self) -> dict[str, Any]:
        return {
            "request_id": self.request_id,
            "operation": self.operation,
            "account": self.caller.account,
            "region": self.caller.region,
            "queue": _queue_of(self._queue_url, self._beginning, self.path),
        }

    def answer(self, output: dict[str, Any]) -> None:
        self._send(self._codec.encode(self.operation, output, self.request_id))

    def fail(self, error: ServiceError) -> None:
        response = self._codec.encode_error(error, self.request_id)
        if not self._answered:
            self._answers.failed(error.name)
        self._send(response)

    def when_gone(self, action: Callable[[], None]) -> None:
        self._exchange.when_gone(action)

    def _send(self, response: HttpResponse) -> None:
        if self._answered:
            log.error("%s %s was answered twice", self.operation, self.request_id, extra=self.concerns)
            return
        self._answered = True
        self._answers.given(self._begun)
        self._exchange.respond(response)


class _Known:
    """An X-Amz-Target that was routed before, with all that follows from it."""

    __slots__ = ("action", "answers", "codec", "most", "operation", "reads", "run", "service")

    def __init__(
        self,
        service: str,
        codec: Codec,
        operation: str,
        action: str,
        run: Operation,
        answers: Answers,
        most: int,
        reads: bool,
    ) -> None:
        self.reads = reads
        self.answers = answers
        self.service = service
        self.codec = codec
        self.operation = operation
        self.action = action
        self.run = run
        self.most = most


class InProcessCall:
    """A call that never was bytes: from one service to another, or from a test."""

    def __init__(self, operation: str, caller: Caller, request_id: str) -> None:
        self.operation = operation
        self.caller = caller
        self.request_id = request_id
        self.endpoint = "http://localhost"
        self.path = "/"
        self.trace: str | None = None
        self.size = 0
        self.result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    @property
    def concerns(self) -> dict[str, Any]:
        caller = self.caller
        return {
            "request_id": self.request_id,
            "operation": self.operation,
            "account": caller.account,
            "region": caller.region,
        }

    def answer(self, output: dict[str, Any]) -> None:
        if not self.result.done():
            self.result.set_result(output)

    def fail(self, error: ServiceError) -> None:
        if not self.result.done():
            self.result.set_exception(error)

    def when_gone(self, action: Callable[[], None]) -> None:
        return


class Gateway:
    """``services``: for each service its operations by name. ``own_pages`` answers what is not AWS's API.

    ``answers``: what became of the requests for each (service, operation) that was asked for. ``refused``: of those for
    no operation of ours, by the error's code.

    ``verifier``: with it only who signs with a known key is let in; it wants ``aside``, for the hashes of large bodies.
    Without it signatures are read for account and region. ``browsers``: without it they are not judged.
    """

    def __init__(
        self,
        services: Mapping[str, Mapping[str, Operation]],
        ids: Ids,
        default_account: str = "000000000000",
        default_region: str = "us-east-1",
        own_pages: OwnPages | None = None,
        authorize: Authorize = allow_all,
        monotonic: Callable[[], float] = RealClock.monotonic,
        verifier: Verifier | None = None,
        aside: Aside | None = None,
        browsers: AdmitBrowser | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.answers: dict[tuple[str, str], Answers] = {}
        self.refused: dict[str, int] = {}
        self._monotonic = monotonic
        self._services = services
        self._ids = ids
        self._account = default_account
        self._region = default_region
        self._own_pages = own_pages
        self._authorize = authorize
        self._verifier = verifier
        self._aside = aside
        self._browsers = browsers
        self.admission = admission or Admission()
        self._lane = self.admission.lane
        self._codecs: dict[tuple[str, str], Codec] = {}
        self._callers: dict[str, Caller] = {}
        self._known: dict[str, _Known] = {}

    def handle(self, request: HttpRequest, exchange: Exchange, payload: str | None = None) -> None:
        """Take a request through its steps. Never raises. ``payload``: its body's hash, when that was taken aside."""
        request_id = self._ids.text()
        try:
            headers = request.headers
            if (
                ("accept-language" in headers or "origin" in headers or "sec-fetch-site" in headers)
                and payload is None
                and self._browsers is not None
            ):
                answers = self._browsers(request, exchange)
                if answers is None:
                    return
                exchange = answers
            path = request.path
            if (
                path[:2] in ("/_", "/h", "/m")
                and self._own_pages is not None
                and self._own_pages(request, exchange.respond)
            ):
                return
            known = self._known.get(headers.get("x-amz-target", ""))
            if known is None or request.method != "POST":
                try:
                    self._look_before_routing(request)
                    known = self._route(request)
                except ServiceError as error:
                    self._refuse(error, request, request_id, exchange)
                    return
            if self._lane.uncommitted + len(request.body) > known.most:
                self._keep_out(self.admission.refusal(), known, request_id, exchange)
                return
            if self._lane.failing and not known.reads:
                self._keep_out(self._lane.turn_away(), known, request_id, exchange)
                return
            try:
                if self._verifier is None:
                    caller = self._caller(request)
                else:
                    caller = self._verifier.caller(request, known.service, payload)
            except ServiceError as error:
                self._keep_out(error, known, request_id, exchange)
                return
            except LargeBody:
                self._hash(request, exchange, request_id)
                return
            call = _HttpCall(exchange, known, caller, request, request_id, self._monotonic())
            try:
                parameters = known.codec.decode(known.operation, request)
                self._authorize(call.caller, known.action, "*", _NO_CONTEXT)
                known.run(parameters, call)
            except InternalFailure as error:
                log.exception("%s %s failed", known.action, request_id, extra=call.concerns)
                call.fail(error)
            except ServiceError as error:
                call.fail(error)
            except Exception:
                log.exception("%s %s failed", known.action, request_id, extra=call.concerns)
                call.fail(InternalFailure())
        except Exception:
            log.exception("A request failed on its way (%s)", request_id, extra={"request_id": request_id})
            exchange.respond(HttpResponse(500, (("x-amzn-RequestId", request_id),), b"InternalFailure"))

    def _keep_out(self, error: ServiceError, known: _Known, request_id: str, exchange: Exchange) -> None:
        """Answer a request that is not decoded."""
        known.answers.failed(error.name)
        known.answers.given(self._monotonic())
        exchange.respond(known.codec.encode_error(error, request_id))

    def _hash(self, request: HttpRequest, exchange: Exchange, request_id: str) -> None:
        """Take the hash of a large body beside the event loop, and the request through its steps again with it."""
        assert self._aside is not None

        def then(digest: str | Exception) -> None:
            if isinstance(digest, Exception):
                log.error("A body could not be hashed: %s", digest, extra={"request_id": request_id})
                exchange.respond(HttpResponse(500, (("x-amzn-RequestId", request_id),), b"InternalFailure"))
            else:
                self.handle(request, exchange, digest)

        self._aside(lambda: hashlib.sha256(request.body).hexdigest(), then)

    def _look_before_routing(self, request: HttpRequest) -> None:
        """RequestThrottled for a form that will not be let in: routing would take it apart to find its Action."""
        if "x-amz-target" not in request.headers:
            form = request.body or request.query.encode()
            if form and not self.admission.fits_unread(len(form), form):
                raise self.admission.refusal()

    def refuse_early(self, request: HttpRequest, size: int) -> HttpResponse | None:
        """The answer to a request of whose body, ``size`` bytes, nothing needs to be read; None if it may come in.

        Never raises. It is asked for long bodies alone, which only senders have; ``request`` has its head.
        """
        try:
            if request.path[:2] == "/_":
                return None
            if self._lane.failing:
                return self._in_its_form(self._lane.turn_away(), request)
            if "x-amz-target" not in request.headers:
                fits = self.admission.fits_unread(size)
            else:
                fits = self._lane.uncommitted + size <= self._route(request).most
        except ServiceError:
            return None  # the whole request will say what is wrong with it
        if fits:
            return None
        self.admission.refused.add()
        return self.throttled(request, "too much waits to be stored")

    def throttled(self, request: HttpRequest, why: str) -> HttpResponse:
        """AWS's answer to a request that comes when too much is under way, in the form that its client reads.

        Never raises. ``request`` needs no body.
        """
        error = RequestThrottled(why)
        if request.path[:2] == "/_":
            text = json.dumps({"message": error.message}).encode()
            return HttpResponse(503, (("Content-Type", "application/json"), ("Retry-After", "1")), text)
        return self._in_its_form(error, request)

    def _in_its_form(self, error: ServiceError, request: HttpRequest) -> HttpResponse:
        protocol = "json" if "x-amz-target" in request.headers else "query"
        return self._codec("sqs", protocol, request).encode_error(error, self._ids.text())

    def _route(self, request: HttpRequest) -> _Known:
        target = route(request)
        service, operation = target.service, target.operation
        known = _Known(
            service,
            self._codec(service, target.protocol, request),
            operation,
            f"{service}:{operation}",
            self._services[service][operation],
            self._answers_of(service, operation),
            self.admission.most_of(f"{service}:{operation}"),
            self.admission.reads(f"{service}:{operation}"),
        )
        header = request.headers.get("x-amz-target")
        if header:
            self._known[header] = known
        return known

    def _answers_of(self, service: str, operation: str) -> Answers:
        found = self.answers.get((service, operation))
        if found is None:
            found = self.answers[service, operation] = Answers(self._monotonic)
        return found

    def _refuse(self, error: ServiceError, request: HttpRequest, request_id: str, exchange: Exchange) -> None:
        """Answer a request that is for no operation of ours."""
        if request.method == "OPTIONS":
            exchange.respond(_NO_PREFLIGHT)
        elif isinstance(error, NotServed):
            self._count_refused(error)
            exchange.respond(unserved.refuse(error.protocol, error.message, request_id))
        elif isinstance(error, Unroutable):
            if error.name == "UnknownOperation" and self._own_pages and self._own_pages(request, exchange.respond):
                return  # the front page
            self._count_refused(error)
            response = self._codec(error.service, error.protocol, request).encode_error(error, request_id)
            if response.status == 405:
                response.headers = (*response.headers, _ALLOW)
            exchange.respond(response)
        else:
            self._count_refused(error)
            exchange.respond(self._codec("sqs", "query", request).encode_error(error, request_id))

    def _count_refused(self, error: ServiceError) -> None:
        code = error.name if error.name in self.refused or len(self.refused) < MOST_CODES else "Other"
        self.refused[code] = self.refused.get(code, 0) + 1

    async def in_process(
        self, service: str, operation: str, parameters: dict[str, Any], caller: Caller
    ) -> dict[str, Any]:
        """Call an operation without HTTP. ServiceError as over the wire."""
        call = InProcessCall(operation, caller, self._ids.text())
        self._authorize(caller, f"{service}:{operation}", "*", _NO_CONTEXT)
        self._services[service][operation](parameters, call)
        return await call.result

    def _codec(self, service: str, protocol: str, request: HttpRequest) -> Codec:
        if protocol == "query" and old_json.wanted(request):
            protocol = "old-json"
        key = (service, protocol)
        found = self._codecs.get(key)
        if found is None:
            found = self._codecs[key] = codec(ServiceModel.load(service), protocol)
        return found

    def _caller(self, request: HttpRequest) -> Caller:
        scope = sigv4.scope(request)
        found = self._callers.get(scope)
        if found is None:
            if len(self._callers) >= _MOST_CALLERS:
                self._callers.clear()
            found = self._make_caller(sigv4.read(scope))
            if len(scope) <= _REMEMBERED:
                self._callers[scope] = found
        return found

    def _make_caller(self, credential: sigv4.Credential | None) -> Caller:
        """Until there are users, every key is its account's root."""
        if credential is None:
            account, region, key = self._account, self._region, None
        else:
            if not is_region(credential.region):
                raise ServiceError("SignatureDoesNotMatch", "Credential should be scoped to a valid region.")
            account = sigv4.account_of(credential.access_key, self._account)
            region, key = credential.region, credential.access_key
        return Caller(account, region, account, f"arn:aws:iam::{account}:root", key)


_NO_CONTEXT: Mapping[str, str] = {}
_ALLOW = ("Allow", ", ".join(METHODS))
_NO_PREFLIGHT = HttpResponse(
    405,
    (_ALLOW, ("Content-Type", "text/plain; charset=utf-8")),
    b"OPTIONS is answered only as the CORS preflight of a web page whose origin is allowed (setting allow_origin).\n",
)

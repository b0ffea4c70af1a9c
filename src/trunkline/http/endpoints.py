"""Trunkline's own pages beside the AWS API: health, clock, reset, inspection.

    GET  /                                                      a page for people who come with a browser
    GET  /_trunkline/health, /_localstack/health, /health      is it up (200), or can it store nothing (503)
    GET  /metrics, /_trunkline/metrics                          for Prometheus
    GET  /_trunkline/clock                                      service time
    POST /_trunkline/clock/freeze | resume                      stop it, let it run
    POST /_trunkline/clock/advance  {"seconds": n}              move it on; answers when everything due has happened
    POST /_trunkline/clock/set      {"to": ms or ISO 8601}      the same, to an instant
    POST /_trunkline/reset          {"account": …, "service": …}  empty it
    POST /_localstack/state/reset, /_ministack/reset            the same
    GET  /_trunkline/unenforced                                 what is stored and not enforced
    GET  /_localstack/info, init[/<stage>], plugins, config, diagnose   what LocalStack's pages say, of us
    POST /_localstack/state/save                                nothing is left to save: said if it is so
    GET  /_aws/sqs/messages[/<region>/<account>/<queue>]        look at messages without receiving them
    DELETE /_aws/sqs/messages[/…]                               purge the queue

What such pages do elsewhere and we do not is refused with 501 and the reason:
restart, kill, loading of state, configuration at run time.

Parameters may stand in the query string, in a form or in a JSON object. A page
of ours refuses those that it does not know: a reset whose account was mistyped
must not empty everything. LocalStack's pages that only show take any.

Clock and reset are answered only to callers on this machine, unless
``clock_from`` says so. With auth verify all pages but the front page and the
health pages, which tell nothing, want a request signed by a known key, for the
service sqs; a reset, and looking at messages, are for that key's account alone.
Browsers are judged before they come here: see browsers.
"""

from __future__ import annotations

import asyncio
import difflib
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl

from trunkline.kernel.arn import is_account
from trunkline.kernel.caller import Caller
from trunkline.kernel.errors import ServiceError
from trunkline.kernel.ids import RandomIds
from trunkline.signatures import LargeBody
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.shapes import COMMON

log = logging.getLogger(__name__)

Respond = Callable[[HttpResponse], None]
JSON = ("Content-Type", "application/json")


class Advanced(Protocol):
    """What moving the clock came to: see runtime.timekeeper."""

    @property
    def now(self) -> int: ...
    @property
    def instants(self) -> int: ...
    @property
    def reached(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class Clock(Protocol):
    """Service time as these pages drive it: see runtime.timekeeper."""

    @property
    def now(self) -> int: ...
    @property
    def frozen(self) -> bool: ...
    @property
    def offset(self) -> int: ...
    async def freeze(self) -> int: ...
    async def resume(self) -> int: ...
    async def advance(self, by: int, force: bool = False) -> Advanced: ...
    async def move_to(self, instant: int, force: bool = False) -> Advanced: ...


Reset = Callable[[str | None, str | None], Awaitable[int]]
"""(account or None for all, service or None for all) -> how many resources are gone."""

Inspect = Callable[[HttpRequest, Caller | None], Awaitable[HttpResponse]]
"""Answers a request for /_aws/sqs/messages, of whom it is known who it is or of anybody (None).

BadRequest; it raises nothing else that a client can cause."""

Admit = Callable[[HttpRequest], Caller]
"""Who signed a request. ServiceError if nobody did who may call; LargeBody."""


Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]
"""(Accept header) -> the metrics as text, and its content type."""


Storage = Callable[[], Mapping[str, Any]]
"""How the store is: ``state`` (``ok``, ``short`` or ``failing``); if not ok, ``reason``, which names paths; if failing,
``kind`` and for how many ``seconds``."""


class BadRequest(Exception):
    """The text says what was wrong and what to send."""


@dataclass(frozen=True, slots=True)
class _Page:
    """``takes``: the parameters, or None for any. ``guarded``: it changes something. ``public``: nobody need sign."""

    run: Callable[[dict[str, Any]], Awaitable[Any]]
    takes: tuple[str, ...] | None = None
    guarded: bool = False
    public: bool = False


class NotServed(Exception):
    """The text says what is not done here, and what to do instead."""


class Refused(Exception):
    """The text says why this caller may not, and who may."""


_STAGES = ("BOOT", "START", "READY", "SHUTDOWN")
_INSPECTED = ("/_aws/sqs/messages", "/_ministack/sqs/messages")
_METRICS = ("/metrics", "/_trunkline/metrics")
_OWN = ("/_trunkline", "/_localstack", "/_ministack", "/_aws")
"""What own pages' paths begin with."""


class Endpoints:
    """``handle`` answers a request for one of its pages and returns True; it returns False for any other."""

    def __init__(
        self,
        services: list[str],
        version: str,
        clock: Clock,
        reset: Reset,
        inspect: Inspect,
        unenforced: list[dict[str, str]],
        from_anywhere: bool = False,
        settings: Mapping[str, Any] | None = None,
        scrape: Scrape | None = None,
        admit: Admit | None = None,
        new_id: Callable[[], str] | None = None,
        token: Callable[[str], bool] | None = None,
        storage: Storage = lambda: {"state": "ok"},
    ) -> None:
        self._storage = storage
        self._token = token
        self._new_id = new_id or RandomIds().text
        self._scrape = scrape
        self._services = services
        self._version = version
        self._clock = clock
        self._reset = reset
        self._inspect = inspect
        self._unenforced = unenforced
        self._from_anywhere = from_anywhere
        self._settings = dict(settings or {})
        self._admit = admit
        self._tasks: set[asyncio.Task[None]] = set()
        self._pages = {
            ("GET", "/_trunkline/health"): _Page(self._health, (), public=True),
            ("GET", "/metrics"): _Page(self._metrics, ()),
            ("GET", "/_trunkline/metrics"): _Page(self._metrics, ()),
            ("GET", "/_trunkline/unenforced"): _Page(self._show_unenforced, ()),
            ("GET", "/_trunkline/clock"): _Page(self._show_clock, ()),
            ("POST", "/_trunkline/clock/freeze"): _Page(self._freeze, (), True),
            ("POST", "/_trunkline/clock/resume"): _Page(self._resume, (), True),
            ("POST", "/_trunkline/clock/advance"): _Page(self._advance, ("seconds", "force"), True),
            ("POST", "/_trunkline/clock/set"): _Page(self._set, ("to", "force"), True),
            ("POST", "/_trunkline/reset"): _Page(self._empty, ("account", "service"), True),
            ("POST", "/_ministack/reset"): _Page(self._empty, ("account", "service", "init"), True),
            ("GET", "/health"): _Page(self._health, public=True),
            ("GET", "/_localstack/health"): _Page(self._health, public=True),
            ("GET", "/_localstack/info"): _Page(self._info),
            ("GET", "/_localstack/plugins"): _Page(self._plugins),
            ("GET", "/_localstack/config"): _Page(self._config),
            ("GET", "/_localstack/diagnose"): _Page(self._diagnose),
            ("GET", "/_localstack/init"): _Page(self._init),
            ("POST", "/_localstack/health"): _Page(self._act, ("action",), True),
            ("POST", "/_localstack/config"): _Page(self._configure, None, True),
            ("POST", "/_localstack/state/reset"): _Page(self._empty, ("account", "service"), True),
            ("POST", "/_localstack/state/save"): _Page(self._save, (), True),
            ("POST", "/_localstack/state/load"): _Page(self._load, None, True),
        }
        for stage in _STAGES:
            self._pages["GET", _INIT + stage.lower()] = _Page(self._init_stage)
        for service in services:
            self._pages["POST", f"/_localstack/state/save/{service}"] = _Page(self._save, (), True)
            self._pages["POST", f"/_localstack/state/load/{service}"] = _Page(self._load, None, True)

    def handle(self, request: HttpRequest, respond: Respond) -> bool:
        path = request.path.rstrip("/") or "/"
        if path.startswith(_INIT):
            path = path.lower()  # READY is what LocalStack calls the stage
        method, headers = "GET" if request.method == "HEAD" else request.method, request.headers
        if path == "/":
            return self._front(method, request, respond)
        page = self._pages.get((method, path))
        known = sorted({m for m, p in self._pages if p == path})
        if not known and not path.startswith(_OWN):
            return False
        caller = None
        scraped = self._token is not None and path in _METRICS and self._token(headers.get("authorization", ""))
        if self._token is not None and self._admit is None and path in _METRICS and not scraped:
            respond(_WANTS_TOKEN)
            return True
        if self._admit is not None and not scraped and (page is None or not page.public):
            try:
                caller = self._admit(request)
            except (ServiceError, LargeBody) as error:
                respond(_unsigned(error, path, request))
                return True
        if any(path == root or path.startswith(root + "/") for root in _INSPECTED):
            self._spawn(self._run_inspect(request, caller, respond))
            return True
        if page is not None:
            if page.guarded and not self._may_drive(request):
                text = f"{path} is open to callers on this machine only (setting clock_from)"
                respond(_json(403, {"message": text}))
            else:
                self._spawn(self._run(page, path, request, caller, respond))
            return True
        if known:
            refused = _json(405, {"message": f"{path} takes {' and '.join(known)}, not {request.method}"})
            refused.headers = (*refused.headers, ("Allow", ", ".join(known)))
            respond(refused)
            return True
        pages = ", ".join(sorted({p for _, p in self._pages}))
        respond(_json(404, {"message": f"There is no page {path}. There are: {pages}, {', '.join(_INSPECTED)}"}))
        return True

    def _front(self, method: str, request: HttpRequest, respond: Respond) -> bool:
        """A browser that was pointed at the port; a client of the API signs, or does not ask for HTML."""
        headers = request.headers
        if method != "GET" or "text/html" not in headers.get("accept", "").lower():
            return False
        if "authorization" in headers or "x-amz-target" in headers:
            return False
        name = "Trunkline" if self._admit is not None else f"Trunkline {self._version}"
        text = (
            f"{name} is up. It serves the AWS APIs of: {', '.join(self._services)}.\n\n"
            f"Point an AWS SDK or the AWS CLI here: --endpoint-url {request.scheme}://{headers.get('host', '')}\n"
            "Health: /_trunkline/health\n"
        )
        respond(HttpResponse(200, (("Content-Type", "text/plain; charset=utf-8"),), text.encode("utf-8", "replace")))
        return True

    def _may_drive(self, request: HttpRequest) -> bool:
        if self._from_anywhere:
            return True
        try:
            return ipaddress.ip_address(request.peer.split("%")[0]).is_loopback
        except ValueError:
            return False

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, page: _Page, path: str, request: HttpRequest, caller: Caller | None, respond: Respond) -> None:
        try:
            parameters = said(request)
            if page.takes is not None:
                _check_names(path, parameters, page.takes)
            asked = {**parameters, _PATH: path, _CALLER: caller, _ACCEPT: request.headers.get("accept", "")}
            shown = await page.run(asked)
            answer = shown if isinstance(shown, HttpResponse) else _json(200, shown)
        except BadRequest as error:
            answer = _json(400, {"message": str(error)})
        except Refused as error:
            answer = _json(403, {"message": str(error)})
        except NotServed as error:
            answer = _json(501, {"message": str(error)})
        except ServiceError as error:
            answer = _json(503, {"message": error.message})
        except Exception:
            answer = self._failed(request)
        respond(answer)

    def _failed(self, request: HttpRequest) -> HttpResponse:
        """Said in the log too, under the id that the client is given."""
        request_id = self._new_id()
        log.exception("%s %s failed", request.method, request.path, extra={"request_id": request_id})
        text = f"Something of ours failed; the log says what, at request_id {request_id}."
        answer = _json(500, {"message": text, "request_id": request_id})
        answer.headers = (*answer.headers, ("x-amzn-RequestId", request_id))
        return answer

    async def _run_inspect(self, request: HttpRequest, caller: Caller | None, respond: Respond) -> None:
        try:
            answer = await self._inspect(request, caller)
        except BadRequest as error:
            answer = _json(400, {"message": str(error)})
        except Exception:
            answer = self._failed(request)
        respond(answer)

    # -- pages -----------------------------------------------------------------

    async def _health(self, _: dict[str, Any]) -> Any:
        """200 if all is well or the disk has hardly any room, for then what makes room goes on; else 503."""
        health = self._how_it_is()
        return _json(503 if health["storage"]["state"] == "failing" else 200, health)

    def _how_it_is(self) -> dict[str, Any]:
        """Everybody may ask, also with auth verify: it must tell nothing that helps a stranger."""
        storage = dict(self._storage())
        if self._admit is not None:
            storage.pop("reason", None)
        state = "error" if storage["state"] == "failing" else "running"
        health = {"services": dict.fromkeys(self._services, state), "edition": "community", "storage": storage}
        return health if self._admit is not None else {**health, "version": self._version}

    async def _metrics(self, parameters: dict[str, Any]) -> Any:
        if self._scrape is None:
            raise NotServed("This server keeps no metrics")
        text, content_type = await self._scrape(parameters[_ACCEPT])
        return HttpResponse(200, (("Content-Type", content_type),), text)

    async def _info(self, _: dict[str, Any]) -> Any:
        return {"version": self._version, "edition": "community", "is_license_activated": False}

    async def _plugins(self, _: dict[str, Any]) -> Any:
        return {}

    async def _config(self, _: dict[str, Any]) -> Any:
        return self._settings

    async def _configure(self, _: dict[str, Any]) -> Any:
        raise NotServed("Settings are fixed at the start: give them as flags, in the environment or in the file")

    async def _diagnose(self, parameters: dict[str, Any]) -> Any:
        return {
            "version": self._version,
            "health": self._how_it_is(),
            "clock": await self._show_clock(parameters),
            "config": self._settings,
            "unenforced": self._unenforced,
        }

    async def _init(self, _: dict[str, Any]) -> Any:
        """Trunkline runs no scripts; whoever waits for a stage may go on, for a server that answers is ready."""
        return {"completed": {stage: stage != "SHUTDOWN" for stage in _STAGES}, "scripts": []}

    async def _init_stage(self, parameters: dict[str, Any]) -> Any:
        return {"completed": parameters[_PATH].rpartition("/")[2].upper() != "SHUTDOWN", "scripts": []}

    async def _act(self, parameters: dict[str, Any]) -> Any:
        action = parameters.get("action")
        if action not in ("restart", "kill"):
            raise BadRequest(f'health takes {{"action": "restart" or "kill"}}, not {action!r}')
        raise NotServed(
            "Trunkline does not end or restart itself: send the process SIGTERM, or empty it with /_trunkline/reset"
        )

    async def _save(self, _: dict[str, Any]) -> Any:
        if self._settings.get("memory"):
            raise NotServed("This server keeps everything in memory and saves nothing: start it without --memory")
        return {"message": "Nothing is left to save: a change is answered when the data directory holds it."}

    async def _load(self, _: dict[str, Any]) -> Any:
        raise NotServed("State is read when the server starts: stop it, put the data directory in place, start it")

    async def _show_unenforced(self, _: dict[str, Any]) -> Any:
        return {"unenforced": self._unenforced}

    async def _show_clock(self, _: dict[str, Any]) -> Any:
        now = self._clock.now
        return {"now": now, "iso": _iso(now), "frozen": self._clock.frozen, "offset": self._clock.offset}

    async def _freeze(self, parameters: dict[str, Any]) -> Any:
        await self._clock.freeze()
        return await self._show_clock(parameters)

    async def _resume(self, parameters: dict[str, Any]) -> Any:
        await self._clock.resume()
        return await self._show_clock(parameters)

    async def _advance(self, parameters: dict[str, Any]) -> Any:
        seconds = parameters.get("seconds")
        try:
            if isinstance(seconds, bool):
                raise TypeError
            by = round(float(seconds) * 1000)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise BadRequest(f'advance takes {{"seconds": a number}}, not {_shown(seconds)}') from None
        if not 0 <= by <= _FARTHEST:
            raise BadRequest("advance takes 0 seconds to 100 years: service time never goes backward")
        return await self._moved(await self._clock.advance(by, _truth("force", parameters.get("force"))))

    async def _set(self, parameters: dict[str, Any]) -> Any:
        instant = _instant(parameters.get("to"))
        now = self._clock.now
        if instant > now + _FARTHEST:
            raise BadRequest(
                f"set goes 100 years from now at the most; now is {_iso(now)}. "
                "A number is milliseconds since 1970, not seconds and not microseconds"
            )
        try:
            return await self._moved(await self._clock.move_to(instant, _truth("force", parameters.get("force"))))
        except ValueError:
            raise BadRequest(
                f"It is {_iso(self._clock.now)} already and not {_iso(instant)}: service time never goes backward. "
                "A number is milliseconds since 1970"
            ) from None

    async def _moved(self, moved: Advanced) -> Any:
        answer = await self._show_clock({})
        answer |= {"instants": moved.instants, "reached": moved.reached}
        if moved.reason:
            answer["reason"] = moved.reason
        return answer

    async def _empty(self, parameters: dict[str, Any]) -> Any:
        for name in ("account", "service"):
            # null is what a script sends whose variable was not set.
            if name in parameters and not isinstance(parameters[name], str | int):
                raise BadRequest(f"{name} is to be a text, not {_shown(parameters[name])}: leave it out to empty all")
        account, service = parameters.get("account"), parameters.get("service")
        caller: Caller | None = parameters[_CALLER]
        if caller is not None and str(account) != caller.account:
            raise Refused(
                f"With auth verify a reset empties the account of the key that signed it, so say account="
                f"{caller.account}, and not {_shown(account)}"
            )
        if service is not None and service not in self._services:
            raise BadRequest(f"There is no service {_shown(service)} here; there are: {', '.join(self._services)}")
        if account is not None and not is_account(str(account)):
            raise BadRequest(f"An account has 12 digits; {_shown(account)} has not")
        again = _truth("init", parameters.get("init"))
        answer: dict[str, Any] = {"reset": await self._reset(None if account is None else str(account), service)}
        if again:
            answer["init"] = "Trunkline runs no init scripts: there are none to run again"
        return answer


_INIT = "/_localstack/init/"
_PATH, _CALLER, _ACCEPT = " path", " caller", " accept"
"""A page's own path, who calls it, and what its reader accepts, among its parameters. What a client sends by such a
name is overwritten."""
_FARTHEST = 100 * 365 * 86_400_000
"""Milliseconds that one call may move the clock."""


def said(request: HttpRequest) -> dict[str, Any]:
    """The parameters of a request, in its query string and its body. BadRequest."""
    if len(request.body) > _MOST_BYTES:
        raise BadRequest(f"The body has {len(request.body)} bytes; this page takes {_MOST_BYTES} at the most")
    try:
        parameters: dict[str, Any] = dict(parse_qsl(request.query, keep_blank_values=True, max_num_fields=_MOST))
    except ValueError:
        raise BadRequest(f"There are more than {_MOST} parameters") from None
    body = request.body.strip()
    if body.startswith(b"{"):
        try:
            parameters |= json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"The body is not JSON: {error}") from None
    elif body:
        try:
            parameters |= dict(
                parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST)
            )
        except ValueError:
            raise BadRequest("The body is neither a JSON object nor a form") from None
    return parameters


_MOST = 1_000
_MOST_BYTES = 65_536


_WANTS_TOKEN = HttpResponse(
    401,
    (JSON, ("WWW-Authenticate", "Bearer")),
    b'{"message": "The metrics want the token of the setting metrics_token: Authorization: Bearer TOKEN"}',
)


def _unsigned(error: ServiceError | LargeBody, path: str, request: HttpRequest) -> HttpResponse:
    """The answer to a caller whom nobody knows."""
    if isinstance(error, LargeBody):
        return _json(413, {"message": f"{path} takes no body of {len(request.body)} bytes"})
    text = error.message
    if error.name in ("AccessDenied", "MissingAuthenticationToken"):
        text = (
            f"{path} wants a request that is signed by a known key, for the service sqs: "
            "curl --aws-sigv4 aws:amz:us-east-1:sqs --user KEY:SECRET"
        )
    return _json(COMMON[error.name].status if error.name in COMMON else 400, {"message": text, "code": error.name})


def _check_names(path: str, parameters: Mapping[str, Any], takes: tuple[str, ...]) -> None:
    for name in parameters:
        if name in takes:
            continue
        if not takes:
            raise BadRequest(f"{path} takes no parameters, so not {_shown(name)}")
        near = difflib.get_close_matches(name[:100], takes, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise BadRequest(f"{path} takes {' and '.join(takes)}, not {_shown(name)}{meant}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "…"


def _truth(name: str, value: object) -> bool:
    text = str(value).lower()
    if text in ("1", "true", "yes"):
        return True
    if value is None or text in ("0", "false", "no", ""):
        return False
    raise BadRequest(f"{name} is true or false, not {_shown(value)}")


def _instant(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    if text.isascii() and text.isdigit() and len(text) < 40:
        return int(text)
    try:
        when = datetime.fromisoformat(text)
        return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise BadRequest(
            f'set takes {{"to": milliseconds since 1970, or an ISO 8601 time}}, not {_shown(value)}'
        ) from None


def _iso(instant: int) -> str:
    try:
        return datetime.fromtimestamp(instant / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{instant} ms"


def _json(status: int, value: Any) -> HttpResponse:
    return HttpResponse(status, (JSON,), json.dumps(value).encode())

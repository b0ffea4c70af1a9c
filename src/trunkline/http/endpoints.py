"""Trunkline's own pages beside the AWS API: health, clock, reset, inspection.

    GET  /_trunkline/health, /_localstack/health, /health      is it up
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
restart, kill, loading of state, configuration at run time, init scripts.

Parameters may stand in the query string or in a JSON body. Clock and reset
are answered only to callers on this machine, unless ``clock_from`` says so.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import parse_qsl

from trunkline.kernel.arn import is_account
from trunkline.kernel.errors import ServiceError
from trunkline.wire.message import HttpRequest, HttpResponse

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

Inspect = Callable[[HttpRequest, Mapping[str, str]], Awaitable[HttpResponse]]


class BadRequest(Exception):
    """The text says what was wrong and what to send."""


class NotServed(Exception):
    """The text says what is not done here, and what to do instead."""


_STAGES = ("BOOT", "START", "READY", "SHUTDOWN")
_INSPECTED = ("/_aws/sqs/messages", "/_ministack/sqs/messages")


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
    ) -> None:
        self._services = services
        self._version = version
        self._clock = clock
        self._reset = reset
        self._inspect = inspect
        self._unenforced = unenforced
        self._from_anywhere = from_anywhere
        self._settings = dict(settings or {})
        self._tasks: set[asyncio.Task[None]] = set()
        self._pages: dict[tuple[str, str], Callable[[dict[str, Any]], Awaitable[Any]]] = {}
        for path in ("/_trunkline/health", "/_localstack/health", "/health"):
            self._pages["GET", path] = self._health
        self._pages["GET", "/_localstack/info"] = self._info
        self._pages["GET", "/_localstack/plugins"] = self._plugins
        self._pages["GET", "/_localstack/config"] = self._config
        self._pages["GET", "/_localstack/diagnose"] = self._diagnose
        self._pages["GET", "/_localstack/init"] = self._init
        for stage in _STAGES:
            self._pages["GET", f"/_localstack/init/{stage.lower()}"] = self._init_stage
        self._pages["GET", "/_trunkline/unenforced"] = self._show_unenforced
        self._pages["GET", "/_trunkline/clock"] = self._show_clock
        self._guarded: dict[tuple[str, str], Callable[[dict[str, Any]], Awaitable[Any]]] = {
            ("POST", "/_trunkline/clock/freeze"): self._freeze,
            ("POST", "/_trunkline/clock/resume"): self._resume,
            ("POST", "/_trunkline/clock/advance"): self._advance,
            ("POST", "/_trunkline/clock/set"): self._set,
            ("POST", "/_localstack/health"): self._act,
            ("POST", "/_localstack/config"): self._configure,
            ("POST", "/_localstack/state/save"): self._save,
            ("POST", "/_localstack/state/load"): self._load,
        }
        for service in services:
            self._guarded["POST", f"/_localstack/state/save/{service}"] = self._save
            self._guarded["POST", f"/_localstack/state/load/{service}"] = self._load
        for path in ("/_trunkline/reset", "/_localstack/state/reset", "/_ministack/reset"):
            self._guarded["POST", path] = self._empty

    def handle(self, request: HttpRequest, respond: Respond) -> bool:
        path = request.path.rstrip("/") or "/"
        method = "GET" if request.method == "HEAD" else request.method
        if any(path == root or path.startswith(root + "/") for root in _INSPECTED):
            self._spawn(self._run_inspect(request, respond))
            return True
        page = self._pages.get((method, path)) or self._guarded.get((method, path))
        if page is not None:
            if (method, path) in self._guarded and not self._may_drive(request):
                respond(_json(403, {"message": f"{path} is open to callers on this machine only (setting clock_from)"}))
            else:
                self._spawn(self._run(page, request, respond))
            return True
        known = sorted({m for m, p in (*self._pages, *self._guarded) if p == path})
        if known:
            respond(_json(405, {"message": f"{path} takes {' and '.join(known)}, not {request.method}"}))
            return True
        if path.startswith(("/_trunkline", "/_localstack", "/_ministack", "/_aws")):
            pages = ", ".join(sorted({p for _, p in (*self._pages, *self._guarded)}))
            respond(_json(404, {"message": f"There is no page {path}. There are: {pages}, {', '.join(_INSPECTED)}"}))
            return True
        return False

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

    async def _run(
        self, page: Callable[[dict[str, Any]], Awaitable[Any]], request: HttpRequest, respond: Respond
    ) -> None:
        try:
            answer = _json(200, await page({**_parameters(request), _PATH: request.path.rstrip("/")}))
        except BadRequest as error:
            answer = _json(400, {"message": str(error)})
        except NotServed as error:
            answer = _json(501, {"message": str(error)})
        except ServiceError as error:
            answer = _json(503, {"message": error.message})
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            answer = _json(500, {"message": "Something of ours failed; the log says what."})
        respond(answer)

    async def _run_inspect(self, request: HttpRequest, respond: Respond) -> None:
        try:
            answer = await self._inspect(request, _parameters(request))
        except BadRequest as error:
            answer = _json(400, {"message": str(error)})
        except ServiceError as error:
            answer = _json(400 if "NotExist" in error.name else 503, {"message": error.message, "code": error.name})
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            answer = _json(500, {"message": "Something of ours failed; the log says what."})
        respond(answer)

    # -- pages -----------------------------------------------------------------

    async def _health(self, _: dict[str, Any]) -> Any:
        return {
            "services": {name: "running" for name in self._services},
            "edition": "community",
            "version": self._version,
        }

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
            "health": await self._health(parameters),
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
            by = round(float(seconds) * 1000)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise BadRequest(f'advance takes {{"seconds": a number}}, not {seconds!r}') from None
        if not 0 <= by <= 100 * 365 * 86_400_000:
            raise BadRequest("advance takes 0 seconds to 100 years: service time never goes backward")
        return await self._moved(await self._clock.advance(by, _truth(parameters.get("force"))))

    async def _set(self, parameters: dict[str, Any]) -> Any:
        instant = _instant(parameters.get("to"))
        try:
            return await self._moved(await self._clock.move_to(instant, _truth(parameters.get("force"))))
        except ValueError:
            raise BadRequest(f"It is {_iso(self._clock.now)} already: service time never goes backward") from None

    async def _moved(self, moved: Advanced) -> Any:
        answer = await self._show_clock({})
        answer |= {"instants": moved.instants, "reached": moved.reached}
        if moved.reason:
            answer["reason"] = moved.reason
        return answer

    async def _empty(self, parameters: dict[str, Any]) -> Any:
        account, service = parameters.get("account"), parameters.get("service")
        if service is not None and service not in self._services:
            raise BadRequest(f"There is no service {service!r} here; there are: {', '.join(self._services)}")
        if account is not None and not is_account(str(account)):
            raise BadRequest(f"An account has 12 digits; {account!r} has not")
        if _truth(parameters.get("init")):
            raise NotServed("Trunkline runs no init scripts: reset without init, and run them yourself")
        return {"reset": await self._reset(None if account is None else str(account), service)}


_PATH = " path"
"""A page's own path among its parameters: no client can send this name by accident."""


def _parameters(request: HttpRequest) -> dict[str, Any]:
    parameters: dict[str, Any] = dict(parse_qsl(request.query, keep_blank_values=True))
    body = request.body.strip()
    if body:
        if body.startswith(b"{"):
            try:
                parameters |= json.loads(body)
            except ValueError as error:
                raise BadRequest(f"The body is not JSON: {error}") from None
        else:
            try:
                parameters |= dict(parse_qsl(body.decode(), keep_blank_values=True))
            except ValueError:
                raise BadRequest("The body is neither JSON nor a form") from None
    return parameters


def _truth(value: object) -> bool:
    return value is True or str(value).lower() in ("1", "true", "yes")


def _instant(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value)
    if text.isdigit():
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(f'set takes {{"to": milliseconds or an ISO 8601 time}}, not {value!r}') from None
    return round((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def _iso(instant: int) -> str:
    try:
        return datetime.fromtimestamp(instant / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        return f"{instant} ms"


def _json(status: int, value: Any) -> HttpResponse:
    return HttpResponse(status, (JSON,), json.dumps(value).encode())

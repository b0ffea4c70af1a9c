"""Who may drive the server from a browser: one rule for everything that it serves.

A browser sends requests for any page that its user looks at, and to this machine too. So of what a browser sent
(it says so by itself; no page can leave these headers out):

- ``Host`` must be an address, a name of this machine or network, or one of the server's own. A name of the world may
  have been led here by its owner, whose page then passes for one of ours (DNS rebinding).
- ``Origin`` must be the server's own or an allowed one, and ``Sec-Fetch-Site`` must not say that another site asks,
  unless an allowed origin does. For allowed origins the preflight is answered, and answers carry what lets the page
  read them (CORS: https://fetch.spec.whatwg.org/#http-cors-protocol).

The rest is refused with 403 and the reason. SDKs, the AWS CLI and curl send none of these headers and are not judged.
``Accept-Language`` counts because over plain HTTP a browser sends the other two with hardly any GET.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from typing import Protocol

from trunkline.wire.message import HttpRequest, HttpResponse

_LOCAL = ("localhost", "local", "internal", "test", "home.arpa", "localhost.localstack.cloud")
"""Nobody can get a name under these for a page of the world's: RFC 6761, 6762 and 8375, and ICANN's private-use
``internal``. The last one is LocalStack's own, which all its users' queue URLs hold, and stands for 127.0.0.1."""
_MOST = 1_024
_LONGEST = 255
"""Hosts remembered at once, and characters of the longest: a name in the DNS has no more."""
_EXPOSED = (
    "x-amzn-requestid, x-amzn-errortype, x-amzn-query-error, x-amzn-errormessage, date, content-length, "
    "x-trunkline-more"
)
_METHODS = "GET, HEAD, POST, DELETE"
_SECONDS = "7200"
"""That a browser may remember a preflight: Chromium's own limit."""


class Exchange(Protocol):
    def respond(self, response: HttpResponse) -> None: ...
    def when_gone(self, action: Callable[[], None]) -> None: ...


class Browsers:
    """``names``: hosts of this server, with port or without. ``allowed``: origins that may call; ``*`` is all."""

    def __init__(self, names: Collection[str] = (), allowed: Collection[str] = ()) -> None:
        self._names = frozenset(_without_port(name).lower() for name in names)
        self._allowed = frozenset(origin.lower() for origin in allowed)
        self._all = "*" in allowed
        self._judged: dict[str, bool] = {}

    def admit(self, request: HttpRequest, exchange: Exchange) -> Exchange | None:
        """How to answer a browser's request; None if that is done: it was refused, or a preflight."""
        headers = request.headers
        host = headers.get("host", "")
        if not self._is_ours(host):
            exchange.respond(_refusal(_by_a_name_of_the_world(host)))
            return None
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", "none")
        if origin is None:
            if site in ("none", "same-origin") or self._all:
                return exchange
            exchange.respond(_refusal(_OF_ANOTHER_SITE))
            return None
        if self._is_own(request, origin, host, site):
            return exchange
        if not (self._all or origin.lower() in self._allowed):
            exchange.respond(_refusal(_of_another_origin(origin, host)))
            return None
        if request.method == "OPTIONS" and "access-control-request-method" in headers:
            exchange.respond(_preflight(request, origin))
            return None
        return _Shared(exchange, origin)

    def _is_ours(self, host: str) -> bool:
        found = self._judged.get(host)
        if found is None:
            if len(self._judged) >= _MOST:
                self._judged.clear()
            found = self._judge(host)
            if len(host) <= _LONGEST:
                self._judged[host] = found
        return found

    def _judge(self, host: str) -> bool:
        name = _without_port(host).lower().rstrip(".")
        if name in self._names or "." not in name:
            return name != ""  # a name without a dot is this network's: no page of the world has one
        try:
            ipaddress.ip_address(name.strip("[]"))
            return True
        except ValueError:
            return name.endswith(tuple("." + each for each in _LOCAL)) or name in _LOCAL

    def _is_own(self, request: HttpRequest, origin: str, host: str, site: str) -> bool:
        scheme, _, authority = origin.lower().partition("://")
        if authority != host.lower() or site not in ("none", "same-origin"):
            return False
        # Behind a proxy that ends TLS the page's scheme is not ours, but the browser says that its origin is the same.
        return scheme == request.scheme or site == "same-origin"


class _Shared:
    """An exchange whose answer a page of another origin may read."""

    __slots__ = ("_exchange", "_origin")

    def __init__(self, exchange: Exchange, origin: str) -> None:
        self._exchange = exchange
        self._origin = origin

    def respond(self, response: HttpResponse) -> None:
        shared = (*response.headers, *_sharing(self._origin), ("Access-Control-Expose-Headers", _EXPOSED))
        self._exchange.respond(HttpResponse(response.status, shared, response.body))

    def when_gone(self, action: Callable[[], None]) -> None:
        self._exchange.when_gone(action)


def _without_port(host: str) -> str:
    if host.endswith("]"):
        return host
    name, colon, port = host.rpartition(":")
    return name if colon and (port == "" or port.isdigit()) else host


def _sharing(origin: str) -> tuple[tuple[str, str], ...]:
    return (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))


def _preflight(request: HttpRequest, origin: str) -> HttpResponse:
    headers = [*_sharing(origin), ("Access-Control-Allow-Methods", _METHODS), ("Access-Control-Max-Age", _SECONDS)]
    asked = request.headers.get("access-control-request-headers")
    if asked:
        headers.append(("Access-Control-Allow-Headers", asked))
    if request.headers.get("access-control-request-private-network") == "true":
        headers.append(("Access-Control-Allow-Private-Network", "true"))
    return HttpResponse(200, tuple(headers), b"")


def _refusal(text: str) -> HttpResponse:
    headers = (("Content-Type", "text/plain; charset=utf-8"), ("Vary", "Origin, Host"))
    return HttpResponse(403, headers, f"{text}\n".encode("utf-8", "replace"))


_OF_ANOTHER_SITE = (
    "Trunkline answers no browser that asks for a page of another site (Sec-Fetch-Site says so). "
    "To look at this address, type it into the browser."
)


def _by_a_name_of_the_world(host: str) -> str:
    return (
        f"Trunkline answers no browser that calls it {host[:200]!r}: a page of another site may have led that name "
        "here (DNS rebinding). Call it by its address or as localhost; or, if that name is its own, start it with "
        "--hostname and the name (TRUNKLINE_HOSTNAME)."
    )


def _of_another_origin(origin: str, host: str) -> str:
    return (
        f"Trunkline answers no web pages of other origins, also no CORS preflight: the Origin is {origin[:200]!r}, the "
        f"Host {host[:200]!r}. To let the pages of that origin in, start it with --allow-origin and the origin "
        "(TRUNKLINE_ALLOW_ORIGIN)."
    )

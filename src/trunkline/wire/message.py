"""An HTTP request and an HTTP response, as plain values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class HttpRequest:
    """``path`` is percent-encoded as sent, without the query; ``query`` is what follows ``?``.

    Header names are in lower case; of a repeated header the values are joined with ``,``.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    peer: str = "127.0.0.1"
    scheme: str = "http"
    form: dict[str, str] | None = None
    """What wire.protocols.query read of the query and the body, once it was asked."""


@dataclass(slots=True)
class HttpResponse:
    """Content-Length is added by the server. Header names as they go out."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

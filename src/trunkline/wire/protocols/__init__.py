"""Protocols: how an operation's input and output lie in HTTP messages.

A protocol is four functions: locate (in ``route``), decode, encode and
encode_error. Each compiles a shape to a closure once, at its first use:
walking shapes for every request costs three times as much.
"""

from __future__ import annotations

from typing import Any, Protocol

from trunkline.kernel.errors import ServiceError
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.shapes import ServiceModel


class Codec(Protocol):
    """One protocol of one service."""

    def decode(self, operation: str, request: HttpRequest) -> dict[str, Any]:
        """The members of the operation's input. ServiceError if it is not one."""
        ...

    def encode(self, operation: str, output: dict[str, Any], request_id: str) -> HttpResponse: ...

    def encode_error(self, error: ServiceError, request_id: str) -> HttpResponse: ...


def codec(model: ServiceModel, protocol: str) -> Codec:
    """``protocol``: ``json``, ``query`` or ``old-json``. ValueError for one that is not built."""
    from trunkline.wire.protocols.json import JsonCodec
    from trunkline.wire.protocols.old_json import OldJsonCodec
    from trunkline.wire.protocols.query import QueryCodec

    if protocol == "json":
        return JsonCodec(model)
    if protocol == "query":
        return QueryCodec(model)
    if protocol == "old-json":
        return OldJsonCodec(model)
    raise ValueError(f"protocol {protocol!r} is not built")

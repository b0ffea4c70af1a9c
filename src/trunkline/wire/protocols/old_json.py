"""The JSON form of the query protocol's answers, as AWS gives it to a GET that accepts JSON.

The names are the form's and the XML's, and every value is text, as there; lists
and maps are arrays whatever their length, and are left out when they are empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trunkline.kernel.errors import ServiceError
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.protocols.json import dump
from trunkline.wire.protocols.query import QueryCodec, scalar_text
from trunkline.wire.shapes import ServiceModel, Shape

RENAMED: Mapping[str, str] = {"Attribute": "Attributes"}
"""Arrays that the old JSON form calls otherwise than the XML (recorded)."""


def accepts_json(request: HttpRequest) -> bool:
    return "application/json" in request.headers.get("accept", "").lower()


def wanted(request: HttpRequest) -> bool:
    """True if a query request is answered in this form: only to a GET (recorded)."""
    return request.method == "GET" and accepts_json(request)


class OldJsonCodec(QueryCodec):
    """``renamed``: arrays by their names in XML, and what they are called here."""

    def __init__(self, model: ServiceModel, renamed: Mapping[str, str] = RENAMED) -> None:
        super().__init__(model)
        self._renamed = renamed

    def encode(self, operation: str, output: dict[str, Any], request_id: str) -> HttpResponse:
        reference = self._model.operations[operation].get("output")
        answer: dict[str, Any] = {}
        if reference is not None:
            members = self._members(self._model.shape(reference), output)
            wrapper = reference.get("resultWrapper")
            answer = members if wrapper is None else {wrapper: members or None}
        answer["ResponseMetadata"] = {"RequestId": request_id}
        return _json(200, {f"{operation}Response": answer}, request_id)

    def encode_error(self, error: ServiceError, request_id: str) -> HttpResponse:
        if error.name == "UnknownOperation":
            return super().encode_error(error, request_id)  # XML in any case (recorded)
        code = self._model.error(error.name)
        message = code.query_message.get(error.message, error.message)
        return _json(
            code.status, {"Error": {"Code": code.code, "Message": message}, "RequestId": request_id}, request_id
        )

    def _members(self, shape: Shape, value: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name, reference in shape.get("members", {}).items():
            item = value.get(name)
            if item is None:
                continue
            of = self._model.shape(reference)
            wire = self._form_name(name, reference)
            if of["type"] in ("list", "map"):
                if item:
                    found[self._renamed.get(wire, wire)] = self._value(of, item)
            else:
                found[wire] = self._value(of, item)
        return found

    def _value(self, shape: Shape, value: Any) -> Any:
        kind = shape["type"]
        if kind == "structure":
            return self._members(shape, value)
        if kind == "list":
            member = self._model.shape(shape["member"])
            return [self._value(member, item) for item in value]
        if kind == "map":
            key_name = shape["key"].get("locationName", "key")
            value_name = shape["value"].get("locationName", "value")
            of = self._model.shape(shape["value"])
            return [{key_name: key, value_name: self._value(of, item)} for key, item in value.items()]
        return scalar_text(shape, value)


def _json(status: int, value: Any, request_id: str) -> HttpResponse:
    headers = (("x-amzn-RequestId", request_id), ("Content-Type", "application/json"))
    return HttpResponse(status, headers, dump(value))

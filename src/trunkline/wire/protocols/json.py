"""AWS JSON 1.0 and 1.1, server side.

The input is a JSON object, the output another; blobs are base64 text, times
are numbers. Where a value is of another type than the model says, AWS's own
parser decides: numbers and booleans become strings, and the rest is refused
with a SerializationException whose texts are those of ``aws/sqs.md`` section 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import orjson

from trunkline.kernel.errors import ServiceError
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.protocols.scalars import INTEGER, LONG, blob, blob_text, malformed, time, time_text
from trunkline.wire.protocols.values import MOST_VALUES, too_many
from trunkline.wire.shapes import ErrorCode, ServiceModel, Shape

Convert = Callable[[Any], Any]

_OBJECT = "Start of structure or map found where not expected."
_LIST = "Start of list found where not expected"

_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def _no_number(name: str) -> Any:
    """NaN and the infinities are Python's JSON, not JSON."""
    raise ValueError(name)


_loads = json.JSONDecoder(parse_constant=_no_number).decode


_SLOWLY = 2 << 20
"""Bytes of the longest body that is read the slow way: a message of 1 MiB, each character of two bytes escaped."""


def _read(body: bytes) -> Any:
    """orjson is seven times faster, but knows neither lone surrogates nor numbers beyond 64 bits."""
    if too_many(body):
        raise malformed(f"The request body holds more than {MOST_VALUES} values")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            if len(body) > _SLOWLY:
                raise ValueError
            return _loads(body.decode())
        except (ValueError, RecursionError):
            raise malformed("The request body is not valid JSON") from None


def dump(value: Any) -> bytes:
    """``value`` as JSON, lone surrogates and all."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return _dumps(value).encode("utf-8", "replace")


class JsonCodec:
    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._content_type = ("Content-Type", f"application/x-amz-json-{model.metadata.get('jsonVersion', '1.0')}")
        self._decoders: dict[str, Convert] = {}
        self._encoders: dict[str, Convert | None] = {}
        self._shapes: dict[tuple[str, str], Convert] = {}
        self._errors: dict[str, ErrorCode] = {}

    def decode(self, operation: str, request: HttpRequest) -> dict[str, Any]:
        decoder = self._decoders.get(operation)
        if decoder is None:
            decoder = self._decoders[operation] = self._operation_decoder(operation)
        body = request.body
        if not body:
            value: Any = {}
        else:
            value = _read(body)
            if type(value) is not dict:
                raise malformed(_LIST if isinstance(value, list) else "The request body is not a JSON object")
        decoded: dict[str, Any] = decoder(value)
        return decoded

    def encode(self, operation: str, output: dict[str, Any], request_id: str) -> HttpResponse:
        try:
            encoder = self._encoders[operation]
        except KeyError:
            encoder = self._encoders[operation] = self._operation_encoder(operation)
        if encoder is not None:
            output = encoder(output)
        return HttpResponse(200, (("x-amzn-RequestId", request_id), self._content_type), dump(output))

    def encode_error(self, error: ServiceError, request_id: str) -> HttpResponse:
        code = self._model.error(error.name)
        fault = "Receiver" if code.status >= 500 else "Sender"
        headers = (
            ("x-amzn-RequestId", request_id),
            ("x-amzn-query-error", f"{code.code};{fault}"),
            # Bare: the Java SDK looks here first, and knows no name with a namespace before it.
            ("x-amzn-errortype", code.type.rpartition("#")[2]),
            self._content_type,
        )
        return HttpResponse(code.status, headers, dump({"__type": code.type, "message": error.message}))

    # -- decoding ----------------------------------------------------------------

    def _operation_decoder(self, operation: str) -> Convert:
        reference = self._model.operations[operation].get("input")
        if reference is None:
            return lambda value: {}
        convert = self._decoder(reference)
        required = [
            name
            for name in self._model.shape(reference).get("required", ())
            if name not in self._model.judged_by_service
        ]
        if not required:
            return convert
        missing = self._model.missing

        def checked(value: Any) -> Any:
            found = convert(value)
            for name in required:
                if name not in found:
                    raise ServiceError(missing["name"], missing["message"].format(member=name))
            return found

        return checked

    def _decoder(self, reference: dict[str, Any]) -> Convert:
        key = (reference["shape"], reference.get("timestampFormat", ""))
        found = self._shapes.get(key)
        if found is None:
            # A shape may contain itself: what is compiled later is looked up at the call.
            self._shapes[key] = lambda value: self._shapes[key](value)
            found = self._shapes[key] = self._compile(self._model.shape(reference))
        return found

    def _compile(self, shape: Shape) -> Convert:
        kind = shape["type"]
        if kind == "structure" and not shape.get("document"):
            return self._structure(shape)
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        return _SCALARS.get(kind, lambda value: value) if not shape.get("document") else lambda value: value

    def _structure(self, shape: Shape) -> Convert:
        members = {
            reference.get("locationName", name): (name, self._decoder(reference))
            for name, reference in shape.get("members", {}).items()
        }
        names = {wire: name for wire, (name, _) in members.items()}
        converts = {wire: convert for wire, (_, convert) in members.items()}
        # What is right as it was read: most requests are so from end to end, and need no copy.
        right = {wire: str for wire, (name, convert) in members.items() if wire == name and convert is _text}

        def structure(value: Any) -> Any:
            if type(value) is not dict:
                raise _unexpected(value)
            for wire, item in value.items():
                if type(item) is not right.get(wire):
                    break
            else:
                return value
            found = {}
            for wire, item in value.items():
                if item is not None and wire in converts:
                    found[names[wire]] = converts[wire](item)
            return found

        return structure

    def _list(self, shape: Shape) -> Convert:
        convert = self._decoder(shape["member"])
        sparse = shape.get("sparse", False)

        def items(value: Any) -> Any:
            if type(value) is not list:
                raise _unexpected(value)
            return [convert(item) if item is not None else None for item in value if item is not None or sparse]

        return items

    def _map(self, shape: Shape) -> Convert:
        convert = self._decoder(shape["value"])
        text_values = self._model.shape(shape["value"])["type"] == "string"
        sparse = shape.get("sparse", False)

        def entries(value: Any) -> Any:
            if type(value) is not dict:
                raise _unexpected(value)
            found = {}
            for name, item in value.items():
                if item is not None:
                    if text_values and type(item) is list:
                        raise malformed("Unrecognized collection type class java.lang.String")
                    found[name] = convert(item)
                elif sparse:
                    found[name] = None
            return found

        return entries

    # -- encoding ----------------------------------------------------------------

    def _operation_encoder(self, operation: str) -> Convert | None:
        reference = self._model.operations[operation].get("output")
        return None if reference is None else self._encoder(reference, ())

    def _encoder(self, reference: dict[str, Any], above: tuple[str, ...]) -> Convert | None:
        """How a value becomes JSON; None where it is JSON already."""
        name = reference["shape"]
        if name in above:
            return lambda value: _walk(self._encoder(reference, ()), value)
        above = (*above, name)
        shape = self._model.shape(reference)
        kind = shape["type"]
        if shape.get("document"):
            return None
        if kind == "structure":
            return self._structure_encoder(shape, above)
        if kind == "list":
            member = self._encoder(shape["member"], above)
            return None if member is None else lambda value: [_walk(member, item) for item in value]
        if kind == "map":
            item = self._encoder(shape["value"], above)
            return None if item is None else lambda value: {k: _walk(item, v) for k, v in value.items()}
        if kind == "blob":
            return blob_text
        if kind == "timestamp":
            style = shape.get("timestampFormat", "unixTimestamp")
            return lambda value: time_text(value, style)
        if kind in ("float", "double"):
            return lambda value: value if math.isfinite(value) else _SPECIAL[str(value)]
        return None

    def _structure_encoder(self, shape: Shape, above: tuple[str, ...]) -> Convert | None:
        members = shape.get("members", {})
        converts = {name: self._encoder(reference, above) for name, reference in members.items()}
        names = {name: reference.get("locationName", name) for name, reference in members.items()}
        converted = {name for name, convert in converts.items() if convert is not None or names[name] != name}
        if not converted:
            return None

        def structure(value: Any) -> Any:
            if converted.isdisjoint(value):
                return value
            return {names[k]: _walk(converts[k], v) for k, v in value.items() if k in names and v is not None}

        return structure


_SPECIAL = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


def _walk(convert: Convert | None, value: Any) -> Any:
    return value if convert is None or value is None else convert(value)


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int | float):
        return json.dumps(value)
    raise malformed(_LIST if isinstance(value, list) else _OBJECT)


def _whole(noun: str, most: int) -> Convert:
    """``most``: the largest number that the type holds."""

    def whole(value: Any) -> int:
        # A number beyond 64 bits was read as a float.
        if type(value) is int or (isinstance(value, float) and math.isfinite(value)):
            if -most - 1 <= value <= most:
                return int(value)
            raise malformed(f"NUMBER_VALUE can not be converted to {noun}")
        if isinstance(value, float):
            raise malformed(f"NUMBER_VALUE can not be converted to {noun}")
        if isinstance(value, str):
            raise malformed(f"STRING_VALUE can not be converted to {noun}")
        if isinstance(value, bool):
            raise malformed(f"{str(value).upper()}_VALUE can not be converted to {noun}")
        raise malformed(_LIST if isinstance(value, list) else _OBJECT)

    return whole


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, str):
        raise malformed("STRING_VALUE can not be converted to a Double")
    raise _unexpected(value)


def _truth(value: Any) -> bool:
    if type(value) is bool:
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise malformed(_LIST if isinstance(value, list) else "Unexpected token where a Boolean is wanted")


def _blob(value: Any) -> bytes:
    if type(value) is str:
        return blob(value)
    raise _unexpected(value)


def _unexpected(value: Any) -> ServiceError:
    if isinstance(value, list):
        return malformed(_LIST)
    return malformed(_OBJECT if isinstance(value, dict) else "Unexpected field type")


_SCALARS: dict[str, Convert] = {
    "string": _text,
    "character": _text,
    "integer": _whole("an Integer", INTEGER),
    "long": _whole("a Long", LONG),
    "float": _number,
    "double": _number,
    "boolean": _truth,
    "blob": _blob,
    "timestamp": time,
}

"""The query protocol: forms in, XML out. What SDKs spoke to SQS before JSON, and what SNS and STS speak still.

A form's names are paths: ``Attribute.1.Name``. They are folded into a tree,
and the tree is read by the shape: lists and maps are numbered, with
``.member``/``.entry`` between unless the model says flattened. Where a flattened
list or map is given without a number, as in AWS's older examples
(``AttributeName=All``, ``Attribute.Name=…&Attribute.Value=…``), it is element 1.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_qp
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from trunkline.kernel.errors import ServiceError
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.protocols.scalars import INTEGER, LONG, blob, blob_text, malformed, time, time_text
from trunkline.wire.shapes import ServiceModel, Shape

Tree = dict[str, Any]
Read = Callable[[Any], Any]
Write = Callable[[list[str], Any], None]

_MOST_NAMES = 4_096
"""Ten entries with ten attributes each have 410."""
_DEEPEST = 10
"""Parts of a name; the longest that means something has seven."""
_FEW = 8
_LONG = 65_536
_ENVELOPE = ("Action", "Version")
_NUMBER = re.compile(r"[0-9]{1,9}")
_OWN = "."
"""Where a tree keeps a name's own value beside those below it (``a=1&a.b=2``): no part of a path holds a dot."""


def parse_form(text: str) -> dict[str, str]:
    """The parameters of a query string or form body; the last of a repeated name wins. SerializationException."""
    found: dict[str, str] = {}
    if not text:
        return found
    pairs = text.split("&", _MOST_NAMES)
    if len(pairs) > _MOST_NAMES:
        raise malformed("The request has too many parameters")
    for pair in pairs:
        if pair:
            name, _, value = pair.partition("=")
            found[_plain(name)] = _plain(value)
    return found


def parameters(request: HttpRequest) -> dict[str, str]:
    """Everything that a query request says, in its query string and in its form. Read once for each request."""
    if request.form is not None:
        return request.form
    found = parse_form(request.query)
    if request.body and not request.headers.get("content-type", "").startswith("application/x-amz-json"):
        try:
            found |= parse_form(request.body.decode())
        except UnicodeDecodeError:
            raise malformed("The request body is not UTF-8") from None
    request.form = found
    return found


def _plain(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    text = text.replace("+", " ")
    try:
        raw = unquote_to_bytes(text) if text.count("%") <= _FEW else _unquoted(text)
        return raw.decode()
    except UnicodeError:
        raise malformed("A parameter is not UTF-8") from None


def _unquoted(text: str) -> bytes:
    """``unquote_to_bytes`` a hundred times as fast: a million escapes of a long message took it half a second.

    Quoted-printable is percent-encoding with another sign, and its reader is compiled. Where the two differ, which is
    where a sign is not followed by two digits, the slow way decides, or for what is very long nobody.
    """
    coded = text.encode().replace(b"=", b"%3D").replace(b"%", b"=")
    if b"=\n" not in coded and b"=\r" not in coded and b"==" not in coded:
        raw = a2b_qp(coded)
        if len(coded) - len(raw) == 2 * coded.count(b"="):  # each became one byte of three
            return raw
    if len(text) > _LONG:
        raise malformed("A long parameter has a % that is not followed by two hexadecimal digits")
    return unquote_to_bytes(text)


class QueryCodec:
    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self._namespace = model.metadata.get("xmlNamespace", "")
        self._readers: dict[str, Read] = {}
        self._writers: dict[str, Write] = {}

    def decode(self, operation: str, request: HttpRequest) -> dict[str, Any]:
        reference = self._model.operations[operation].get("input")
        if reference is None:
            return {}
        tree: Tree = {}
        for name, value in parameters(request).items():
            if name not in _ENVELOPE:
                _plant(tree, name.split(".", _DEEPEST), value)
        found: dict[str, Any] = self._reader(reference)(tree)
        shape = self._model.shape(reference)
        for name in shape.get("required", ()):
            if name in found:
                continue
            if name not in self._model.judged_by_service:
                missing = self._model.missing
                raise ServiceError(missing["name"], missing["message"].format(member=name))
            if self._model.shape(shape["members"][name])["type"] == "list":
                found[name] = []  # a form cannot tell an empty list from none
        return found

    def encode(self, operation: str, output: dict[str, Any], request_id: str) -> HttpResponse:
        reference = self._model.operations[operation].get("output")
        out = [f'<?xml version="1.0"?><{operation}Response xmlns="{self._namespace}">']
        if reference is not None:
            wrapper = reference.get("resultWrapper")
            inner: list[str] = []
            self._write_members(inner, self._model.shape(reference), output)
            if wrapper is None:
                out += inner
            elif inner:
                out += [f"<{wrapper}>", *inner, f"</{wrapper}>"]
            else:
                out.append(f"<{wrapper}/>")
        out.append(f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>")
        return xml(200, "".join(out), request_id)

    def encode_error(self, error: ServiceError, request_id: str) -> HttpResponse:
        code = self._model.error(error.name)
        if error.name == "UnknownOperation":
            return xml(code.status, "<UnknownOperationException/>", request_id)
        message = code.query_message.get(error.message, error.message)
        fault = "Receiver" if code.status >= 500 else "Sender"
        return xml(
            code.status,
            f'<?xml version="1.0"?><ErrorResponse xmlns="{self._namespace}"><Error><Type>{fault}</Type>'
            f"<Code>{escape(code.code)}</Code><Message>{escape(message)}</Message><Detail/></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>",
            request_id,
        )

    # -- reading a form ----------------------------------------------------------

    def _reader(self, reference: dict[str, Any]) -> Read:
        key = json.dumps(reference, sort_keys=True)
        found = self._readers.get(key)
        if found is None:
            self._readers[key] = lambda value: self._readers[key](value)
            found = self._readers[key] = self._compile_reader(self._model.shape(reference))
        return found

    def _compile_reader(self, shape: Shape) -> Read:
        kind = shape["type"]
        if kind == "structure":
            return self._structure_reader(shape)
        if kind == "list":
            return self._list_reader(shape)
        if kind == "map":
            return self._map_reader(shape)
        convert = _READ[kind]

        def scalar(value: Any) -> Any:
            if isinstance(value, dict):
                if _OWN not in value:
                    raise malformed("A parameter that is a single value was given as a structure")
                value = value[_OWN]
            return convert(value)

        return scalar

    def _structure_reader(self, shape: Shape) -> Read:
        members = [
            (self._form_name(name, reference), name, self._reader(reference))
            for name, reference in shape.get("members", {}).items()
        ]

        def structure(value: Any) -> Any:
            if not isinstance(value, dict):
                raise malformed("A parameter that is a structure was given as a single value")
            return {name: read(value[wire]) for wire, name, read in members if wire in value}

        return structure

    def _list_reader(self, shape: Shape) -> Read:
        read = self._reader(shape["member"])
        between = None if shape.get("flattened") else shape["member"].get("locationName", "member")

        def items(value: Any) -> Any:
            return [read(item) for item in _numbered(value, between)]

        return items

    def _map_reader(self, shape: Shape) -> Read:
        read_key, read_value = self._reader(shape["key"]), self._reader(shape["value"])
        key_name = shape["key"].get("locationName", "key")
        value_name = shape["value"].get("locationName", "value")
        between = None if shape.get("flattened") else "entry"

        def entries(value: Any) -> Any:
            found = {}
            for item in _numbered(value, between):
                if not isinstance(item, dict):
                    raise malformed("An entry of a map was given as a single value")
                if key_name in item and value_name in item:
                    found[read_key(item[key_name])] = read_value(item[value_name])
            return found

        return entries

    def _form_name(self, name: str, reference: dict[str, Any]) -> str:
        """A list that is flattened itself goes by its elements' name; one that the reference flattens, by its own."""
        shape = self._model.shapes[reference["shape"]]
        if shape["type"] == "list" and shape.get("flattened"):
            inner = shape["member"].get("locationName")
            if inner is not None:
                return str(inner)
        shape = self._model.shape(reference)
        return str(shape.get("queryName") or shape.get("locationName", name))

    # -- writing XML ---------------------------------------------------------------

    def _write_members(self, out: list[str], shape: Shape, value: dict[str, Any]) -> None:
        for name, reference in shape.get("members", {}).items():
            item = value.get(name)
            if item is not None:
                self._write(out, self._form_name(name, reference), self._model.shape(reference), item)

    def _write(self, out: list[str], tag: str, shape: Shape, value: Any) -> None:
        kind = shape["type"]
        if kind == "structure":
            out.append(f"<{tag}>")
            self._write_members(out, shape, value)
            out.append(f"</{tag}>")
        elif kind == "list":
            member = self._model.shape(shape["member"])
            if shape.get("flattened"):
                for item in value:
                    self._write(out, tag, member, item)
            else:
                inner = shape["member"].get("locationName", "member")
                out.append(f"<{tag}>")
                for item in value:
                    self._write(out, inner, member, item)
                out.append(f"</{tag}>")
        elif kind == "map":
            self._write_map(out, tag, shape, value)
        else:
            out.append(f"<{tag}>{escape(scalar_text(shape, value))}</{tag}>")

    def _write_map(self, out: list[str], tag: str, shape: Shape, value: dict[str, Any]) -> None:
        key_name = shape["key"].get("locationName", "key")
        value_name = shape["value"].get("locationName", "value")
        key_shape, value_shape = self._model.shape(shape["key"]), self._model.shape(shape["value"])
        flattened = shape.get("flattened")
        entry = tag if flattened else "entry"
        if not flattened:
            out.append(f"<{tag}>")
        for key, item in value.items():
            out.append(f"<{entry}>")
            self._write(out, key_name, key_shape, key)
            self._write(out, value_name, value_shape, item)
            out.append(f"</{entry}>")
        if not flattened:
            out.append(f"</{tag}>")


def _plant(tree: Tree, path: list[str], value: str) -> None:
    if len(path) > _DEEPEST:
        raise malformed("A parameter's name is nested too deeply")
    for name in path[:-1]:
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            below = tree[name] = {_OWN: below}
        tree = below
    last = tree.get(path[-1])
    if isinstance(last, dict):
        last[_OWN] = value
    else:
        tree[path[-1]] = value


def _numbered(value: Any, between: str | None) -> list[Any]:
    """The elements of a list or map in the order of their numbers; gaps are passed over."""
    if value == "":
        return []
    if between is not None:
        if not isinstance(value, dict):
            raise malformed("A parameter that is a list was given as a single value")
        value = value.get(between, {})
        if not isinstance(value, dict):
            return []
    elif not isinstance(value, dict):
        return [value]
    elements: dict[int, Any] = {}
    names: dict[str, Any] = {}
    for number, item in value.items():
        if _NUMBER.fullmatch(number) is not None:
            if int(number) == 0:
                raise malformed(_FROM_1)
            elements[int(number)] = item
        elif number != _OWN:
            if between is not None or number[:1].isdigit() or number == "":
                raise malformed(_FROM_1)
            names[number] = item
    if between is None:
        first = names or value.get(_OWN)
        if first:
            if 1 in elements:
                raise malformed("The first element of a list was given with its number and without")
            elements[1] = first
    return [elements[number] for number in sorted(elements)]


_FROM_1 = "The elements of a list are numbered from 1"


def _whole(noun: str, most: int) -> Callable[[str], int]:
    """``most``: the largest number that the type holds."""

    def whole(text: str) -> int:
        if re.fullmatch(r"[+-]?[0-9]{1,19}", text) is None or not -most - 1 <= int(text) <= most:
            raise malformed(f"'{text[:40]}' can not be converted to {noun}")
        return int(text)

    return whole


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise malformed(f"'{text[:40]}' can not be converted to a Double") from None


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise malformed(f"'{text[:40]}' can not be converted to a Boolean")
    return text.lower() == "true"


_READ: dict[str, Callable[[str], Any]] = {
    "string": str,
    "character": str,
    "integer": _whole("an Integer", INTEGER),
    "long": _whole("a Long", LONG),
    "float": _real,
    "double": _real,
    "boolean": _truth,
    "blob": blob,
    "timestamp": time,
}


def scalar_text(shape: Shape, value: Any) -> str:
    kind = shape["type"]
    if kind == "blob":
        return blob_text(value)
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "timestamp":
        return str(time_text(value, shape.get("timestampFormat", "iso8601")))
    if kind in ("float", "double"):
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(str(value), str(value))
    return str(value)


_SPECIAL = re.compile(r'[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]')
_UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def escape(text: str) -> str:
    """``text`` as it stands inside XML. What XML 1.0 cannot hold becomes U+FFFD."""
    if _SPECIAL.search(text) is None:
        return text
    # Each replaced by itself: a call for every character of a long message would hold up the event loop.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return _UNFIT.sub("\ufffd", text.replace("\r", "&#xD;"))


def xml(status: int, text: str, request_id: str) -> HttpResponse:
    headers = (("x-amzn-RequestId", request_id), ("Content-Type", "text/xml"))
    return HttpResponse(status, headers, text.encode("utf-8", "replace"))

"""What a message carries: attributes, their MD5, and the tail of its row.

The tail of a message row (see rows) is the service's; no machine looks in:

    u8+sender | u16+AWSTraceHeader | u8 attributes | each: u16+name, u16+type, u8 kind, u32+value | body

``kind`` is the transport type that the MD5 counts: 1 text, 2 binary.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.ids import uuid_text
from trunkline.services.sqs.errors import invalid
from trunkline.services.sqs.limits import MESSAGE_ATTRIBUTES
from trunkline.services.sqs.rows import MessageRow, glance

_TEXT, _BINARY = 1, 2
_LONG = struct.Struct(">I")
_BAD_CHARACTER = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_GOOD_ASCII = bytes((0x09, 0x0A, 0x0D, *range(0x20, 0x80)))
_NAME = re.compile(r"[\w.\-]+")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
"""No two ways to read one text: trying both for each digit takes seconds for some thousand."""

TRACE_BYTES = 65_535
"""The longest AWSTraceHeader that a row can hold; AWS's own limit is not known."""
BAD_BODY = (
    "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | "
    "#x10000 to #x10FFFF"
)


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    type: str
    kind: int
    value: bytes

    def digestible(self) -> bytes:
        """As the MD5 of message attributes sees it (aws/sqs.md section 5)."""
        name, type_ = self.name.encode(), self.type.encode()
        return b"".join((
            _LONG.pack(len(name)), name, _LONG.pack(len(type_)), type_, bytes((self.kind,)),
            _LONG.pack(len(self.value)), self.value,
        ))  # fmt: skip

    @property
    def size(self) -> int:
        return len(self.name.encode()) + len(self.type.encode()) + len(self.value)

    def rendered(self) -> dict[str, Any]:
        if self.kind == _BINARY:
            return {"BinaryValue": self.value, "DataType": self.type}
        return {"StringValue": self.value.decode(), "DataType": self.type}


def encoded(body: str) -> bytes | None:
    """``body`` in UTF-8, or None if it has a character that may not be in a message."""
    if body.isascii():
        raw = body.encode()
        return None if raw.translate(None, _GOOD_ASCII) else raw
    return None if _BAD_CHARACTER.search(body) else body.encode()


def clean(body: str) -> bool:
    """May every character of ``body`` be in a message?"""
    return encoded(body) is not None


def digest(attributes: Iterable[Attribute]) -> str:
    """MD5OfMessageAttributes."""
    ordered = sorted(attributes, key=lambda each: each.name)
    return hashlib.md5(b"".join(each.digestible() for each in ordered), usedforsecurity=False).hexdigest()


def read_attributes(given: dict[str, Any]) -> list[Attribute]:
    """MessageAttributes of a request, checked in AWS's order. InvalidParameterValue."""
    if len(given) > MESSAGE_ATTRIBUTES:
        raise invalid(
            f"Number of message attributes [{len(given)}] exceeds the allowed maximum [{MESSAGE_ATTRIBUTES}]."
        )
    return [_read_attribute(name, value) for name, value in given.items()]


def _read_attribute(name: str, value: dict[str, Any]) -> Attribute:
    _check_name(name)
    if not value:
        raise invalid(f"The message (user) attribute '{name}' must contain a non-empty message attribute value.")
    if value.get("StringListValues") or value.get("BinaryListValues"):
        raise invalid("Message attribute list values in SendMessage operation are not supported.")
    type_ = value.get("DataType", "")
    base = type_.split(".", 1)[0]
    if base not in ("String", "Number", "Binary") or not clean(type_):
        raise invalid(
            f"The type of message (user) attribute '{name}' is invalid. You must use only the following supported "
            "type prefixes: Binary, Number, String."
        )
    if len(type_) > 256:
        raise invalid("Message (user) attribute type must be shorter than 256 bytes.")
    if base == "Binary":
        data, kind = value.get("BinaryValue") or b"", _BINARY
    else:
        text = value.get("StringValue") or ""
        data, kind = text.encode("utf-8", "surrogatepass"), _TEXT
    if not data:
        raise invalid(f"Message (user) attribute '{name}' must contain a non-empty value of type '{base}'.")
    if kind == _TEXT:
        if not clean(text):
            raise invalid(f"Message (user) attribute '{name}' contains invalid characters. {BAD_BODY}")
        if base == "Number" and not _is_number(text):
            raise invalid(f"Can't cast the value of message (user) attribute '{name}' to a number.")
    return Attribute(name, type_, kind, data)


def _check_name(name: str) -> None:
    if not name:
        raise invalid("The request must contain non-empty message (user) attribute names.")
    if len(name) > 256:
        raise invalid("Message (user) attribute name must be shorter than 256 bytes.")
    low = name.lower()
    if low.startswith(("aws.", "amazon.")):
        raise invalid(
            "You can't use message attribute names beginning with 'AWS.' or 'Amazon'. These strings are reserved for "
            "internal use."
        )
    if _NAME.fullmatch(name) is None or name[0] == "." or name[-1] == ".":
        raise invalid(f"Message (user) attribute name '{name}' is invalid. {_NAME_RULE}")


_NAME_RULE = (
    "The name can only contain alphanumeric characters, hyphens, underscores and periods, and does not start or end "
    "with a period."
)


def _is_number(text: str) -> bool:
    """Up to 38 digits of precision, between -10^128 and 10^126."""
    if _NUMBER.fullmatch(text) is None:
        return False
    digits = re.split("[eE]", text)[0].replace(".", "").lstrip("+-").strip("0")
    if len(digits) > 38:
        return False
    number = float(text)
    return -1e128 <= number <= 1e126


def read_system_attributes(given: dict[str, Any]) -> list[Attribute]:
    """MessageSystemAttributes of a request: AWSTraceHeader alone."""
    for name in given:
        if name != "AWSTraceHeader":
            raise invalid(f"Message system attribute name '{name}' is invalid.")
    found = [_read_attribute_value(name, value) for name, value in given.items()]
    return found


def _read_attribute_value(name: str, value: dict[str, Any]) -> Attribute:
    text = value.get("StringValue") or ""
    if value.get("DataType") != "String":
        raise invalid(
            f"The type of message (system) attribute '{name}' is invalid. You must use only the following supported "
            "type prefixes: String."
        )
    if not text:
        raise invalid(f"Message (system) attribute '{name}' must contain a non-empty value of type 'String'.")
    value_ = text.encode("utf-8", "replace")
    if len(value_) > TRACE_BYTES:
        raise invalid(f"Message (system) attribute '{name}' must be shorter than {TRACE_BYTES} bytes.")
    return Attribute(name, "String", _TEXT, value_)


@lru_cache(1_024)
def plain_tail(sender: str) -> bytes:
    """The tail of a message without attributes, up to its body: the same for all messages of a sender."""
    who = sender.encode()
    return bytes((len(who),)) + who + b"\0\0\0"


def encode_tail(sender: str, trace: str, attributes: list[Attribute], body: bytes) -> bytes:
    if not trace and not attributes:
        return plain_tail(sender) + body
    who, path = sender.encode(), trace.encode()
    parts = [bytes((len(who),)), who, len(path).to_bytes(2, "big"), path, bytes((len(attributes),))]
    for each in attributes:
        name, type_ = each.name.encode(), each.type.encode()
        parts += (len(name).to_bytes(2, "big"), name, len(type_).to_bytes(2, "big"), type_)
        parts += (bytes((each.kind,)), _LONG.pack(len(each.value)), each.value)
    parts.append(body)
    return b"".join(parts)


def decode_tail(tail: bytes) -> tuple[str, str, list[Attribute], str]:
    """(sender, trace header, attributes, body)"""
    at = 1 + tail[0]
    sender = tail[1:at].decode()
    end = at + 2 + int.from_bytes(tail[at : at + 2], "big")
    trace = tail[at + 2 : end].decode()
    count, at = tail[end], end + 1
    attributes = []
    for _ in range(count):
        end = at + 2 + int.from_bytes(tail[at : at + 2], "big")
        name = tail[at + 2 : end].decode()
        at, end = end, end + 2 + int.from_bytes(tail[end : end + 2], "big")
        type_ = tail[at + 2 : end].decode()
        kind = tail[end]
        at, end = end + 1, end + 5 + int.from_bytes(tail[end + 1 : end + 5], "big")
        attributes.append(Attribute(name, type_, kind, tail[at + 4 : end]))
        at = end
    return sender, trace, attributes, tail[at:].decode()


def body_of(tail: bytes) -> str:
    """The body alone, quicker where nothing but the sender stands before it."""
    at = 1 + tail[0]
    if tail[at : at + 3] == b"\0\0\0":
        return tail[at + 3 :].decode()
    return decode_tail(tail)[3]


Wanted = Callable[[str], bool]


def wanted_attributes(names: list[str]) -> Wanted | None:
    """Which message attributes a receive asked for; None for none of them."""
    if not names:
        return None
    if any(name in ("All", ".*", "*") for name in names):
        return _all
    prefixes = tuple(name[:-2] for name in names if name.endswith(".*"))
    exact = frozenset(names)
    return lambda name: name in exact or (bool(prefixes) and name.startswith(prefixes))


def _all(_: str) -> bool:
    return True


def render(
    value: bytes,
    handle: str,
    receives: int,
    first_received: int,
    sequence: int,
    wanted: Wanted | None,
    system: frozenset[str],
) -> dict[str, Any]:
    """The Message structure of a ReceiveMessage answer. ``system``: the system attributes asked for."""
    if wanted is None and not system:
        id_, md5, tail = glance(value)
        return {
            "MessageId": uuid_text(id_),
            "ReceiptHandle": handle,
            "MD5OfBody": md5.hex(),
            "Body": body_of(tail),
        }
    row = MessageRow.decode(value)
    sender, trace, attributes, body = decode_tail(row.tail)
    message: dict[str, Any] = {
        "MessageId": uuid_text(row.id),
        "ReceiptHandle": handle,
        "MD5OfBody": row.md5.hex(),
        "Body": body,
    }
    if system:
        shown = system_attributes(row, sender, trace, receives, first_received, sequence)
        if "All" not in system:
            shown = {name: text for name, text in shown.items() if name in system}
        if shown:
            message["Attributes"] = shown
    if wanted is not None and attributes:
        returned = [each for each in attributes if wanted(each.name)]
        if returned:
            message["MD5OfMessageAttributes"] = digest(returned)
            message["MessageAttributes"] = {each.name: each.rendered() for each in returned}
    return message


def system_attributes(
    row: MessageRow, sender: str, trace: str, receives: int, first_received: int, sequence: int
) -> dict[str, str]:
    shown = {
        "SenderId": sender,
        "SentTimestamp": str(row.sent),
        "ApproximateReceiveCount": str(receives),
    }
    if first_received:
        shown["ApproximateFirstReceiveTimestamp"] = str(first_received)
    if trace:
        shown["AWSTraceHeader"] = trace
    if row.source_arn:
        shown["DeadLetterQueueSourceArn"] = row.source_arn
    if row.group:
        shown["MessageGroupId"] = row.group
    if sequence:
        shown["MessageDeduplicationId"] = row.deduplication
        shown["SequenceNumber"] = str(sequence)
    return shown


def bad_body() -> ServiceError:
    return ServiceError("InvalidMessageContents", BAD_BODY)

"""Blobs, numbers and times as text: shared by the protocols."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from trunkline.kernel.errors import ServiceError

INTEGER = 2**31 - 1
LONG = 2**63 - 1
"""The largest numbers of the models' types ``integer`` and ``long``."""

_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")


def malformed(message: str) -> ServiceError:
    return ServiceError("SerializationException", message)


def blob(text: str) -> bytes:
    """Base64 text as bytes; SerializationException if it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise malformed("Invalid base64 in a binary value") from None


def blob_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def time(value: Any) -> float:
    """Epoch seconds from a number, ISO 8601 or an RFC 822 date."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        if _NUMBER.fullmatch(value):
            return float(value)
        try:
            when = parsedate_to_datetime(value) if "," in value else datetime.fromisoformat(value)
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError, TypeError, IndexError):
            pass
    raise malformed("A value is not a timestamp")


def iso(seconds: float) -> str:
    when = datetime.fromtimestamp(seconds, UTC)
    text = when.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{when.microsecond // 1000:03d}Z" if when.microsecond else f"{text}Z"


def time_text(seconds: float, style: str) -> str | float:
    """``style`` is the model's timestampFormat: iso8601, rfc822 or unixTimestamp."""
    if style == "iso8601":
        return iso(seconds)
    if style == "rfc822":
        return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)
    return int(seconds) if float(seconds).is_integer() else seconds

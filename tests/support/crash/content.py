"""What a message carries, made of its token alone, so that whoever receives it knows what it must be.

A token is unique to one message; the body begins with it. Sizes, attributes
and letters vary with its hash: bodies of a few bytes, bodies of 70 KB and
more (which the server validates beside its event loop), line ends, letters of
all lengths in UTF-8, string, number and binary attributes.
"""

from __future__ import annotations

import base64
import struct
from functools import lru_cache
from hashlib import md5, sha256
from typing import Any

_LETTERS = 'abc "quoted" \\ <&> \t line\r\n näïve 漢字 \U0001f600 {"json": [1]} '


class Content:
    """``body``, ``attributes`` (as in JSON) and ``trace`` of the message ``token``, with their MD5 sums."""

    __slots__ = ("attributes", "attributes_md5", "body", "body_md5", "trace")

    def __init__(self, token: str) -> None:
        dice = sha256(token.encode()).digest()
        length = _length(dice)
        start = dice[4] % len(_LETTERS)
        self.body = (token + "|" + _LETTERS[start:] + _LETTERS * (length // len(_LETTERS)))[: len(token) + 1 + length]
        self.body_md5 = md5(self.body.encode()).hexdigest()
        self.attributes: dict[str, dict[str, str]] = {}
        if dice[5] % 2:
            self.attributes["kind"] = {"DataType": "String.kind", "StringValue": f"of {token}"}
        if dice[5] % 4 == 3:
            self.attributes["number"] = {"DataType": "Number", "StringValue": str(dice[6] * 1.5)}
            self.attributes["raw"] = {"DataType": "Binary", "BinaryValue": base64.b64encode(dice[7:20]).decode()}
        self.attributes_md5 = _attributes_md5(self.attributes) if self.attributes else ""
        self.trace = f"Root=1-{dice[:4].hex()}-{dice[4:16].hex()}" if dice[21] % 8 == 0 else ""

    def parameters(self) -> dict[str, Any]:
        """As SendMessage and the entries of its batch take them."""
        found: dict[str, Any] = {"MessageBody": self.body}
        if self.attributes:
            found["MessageAttributes"] = self.attributes
        if self.trace:
            found["MessageSystemAttributes"] = {"AWSTraceHeader": {"DataType": "String", "StringValue": self.trace}}
        return found


content = lru_cache(4_096)(Content)


def token_of(body: str) -> str:
    return body.partition("|")[0]


def faults_sent(token: str, answer: dict[str, Any]) -> list[str]:
    """What is wrong with the sums that the sender was told."""
    expected = content(token)
    return _differences(
        ("MD5OfMessageBody", answer.get("MD5OfMessageBody"), expected.body_md5),
        ("MD5OfMessageAttributes", answer.get("MD5OfMessageAttributes", ""), expected.attributes_md5),
    )


def faults_received(message: dict[str, Any]) -> list[str]:
    """What is wrong with a message that was received with all its attributes."""
    expected = content(token_of(message["Body"]))
    return _differences(
        ("Body", message["Body"], expected.body),
        ("MD5OfBody", message["MD5OfBody"], expected.body_md5),
        ("MessageAttributes", message.get("MessageAttributes", {}), expected.attributes),
        ("MD5OfMessageAttributes", message.get("MD5OfMessageAttributes", ""), expected.attributes_md5),
        ("AWSTraceHeader", message.get("Attributes", {}).get("AWSTraceHeader", ""), expected.trace),
    )


def _differences(*parts: tuple[str, Any, Any]) -> list[str]:
    return [f"{name} is {str(is_)[:80]!r}, not {str(be)[:80]!r}" for name, is_, be in parts if is_ != be]


def _length(dice: bytes) -> int:
    size = int.from_bytes(dice[:2], "big")
    match dice[2] % 64:
        case 0:
            return 70_000 + size // 2
        case 1 | 2 | 3:
            return 2_000 + size // 8
        case _:
            return size // 256


def _attributes_md5(attributes: dict[str, dict[str, str]]) -> str:
    """aws/sqs: sorted by name; length and text of name, of type; 1 and text or 2 and bytes."""
    parts = []
    for name in sorted(attributes):
        given = attributes[name]
        binary = "BinaryValue" in given
        value = base64.b64decode(given["BinaryValue"]) if binary else given["StringValue"].encode()
        parts += [_sized(name.encode()), _sized(given["DataType"].encode()), b"\2" if binary else b"\1", _sized(value)]
    return md5(b"".join(parts)).hexdigest()


def _sized(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value

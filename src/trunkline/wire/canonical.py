"""The canonical request of Signature Version 4: what client and server each make of a request and sign.

    POST                                         method
    /000000000000/orders                         path: no dots, no empty segments, each segment encoded once more
    Action=SendMessage&MessageBody=a%20b         query: names and values encoded anew, in order of both
    host:localhost:4566                          each signed header: name in lower case, value folded
    x-amz-date:20260101T000000Z

    host;x-amz-date                              their names
    e3b0c442…                                    SHA-256 of the body

It is made of the request as it came, byte for byte: text here is what latin-1 makes of those bytes.
The rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote_to_bytes

_UNRESERVED = "-_.~"
_SPACES = re.compile("[ \t]+")
_is_plain = re.compile("[A-Za-z0-9_.~-]*").fullmatch


def request(
    method: str, path: str, query: str, headers: Mapping[str, str], signed: Iterable[str], names: str, payload: str
) -> str:
    """``path`` and ``query`` in canonical form; ``signed`` the names of headers in order, ``names`` them joined with
    ``;``; ``payload`` the body's SHA-256 in hexadecimal. KeyError if a signed header is not there."""
    lines = "".join([f"{name}:{_folded(headers[name])}\n" for name in signed])
    return f"{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}"


def path(sent: str) -> str:
    """A path as it was sent, in canonical form: dots and empty segments resolved, then percent-encoded (again)."""
    if sent == "/":
        return sent
    kept: list[str] = []
    for segment in sent.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and sent.endswith("/") else ""
    return quote(f"/{'/'.join(kept)}{end}".encode("latin-1", "replace"), safe="/" + _UNRESERVED)


def query(sent: str, without: str | None = None) -> str:
    """A query string as it was sent, in canonical form; ``without`` the parameter of that (decoded) name."""
    if not sent:
        return ""
    pairs = []
    for pair in sent.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            encoded = _encoded(name)
            if encoded != without:
                pairs.append((encoded, _encoded(value)))
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs])


def _encoded(text: str) -> str:
    if _is_plain(text):
        return text
    return quote(unquote_to_bytes(text.replace("+", " ").encode("latin-1", "replace")), safe=_UNRESERVED)


def _folded(value: str) -> str:
    """Without spaces before and after, and with one where there are several."""
    if "  " in value or "\t" in value:
        value = _SPACES.sub(" ", value)
    return value.strip(" ")

"""What a Signature V4 says about the caller: parsed here, not verified.

In the Authorization header:  AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …
In a presigned query:         X-Amz-Credential=KEY%2FDATE%2FREGION%2FSERVICE%2Faws4_request
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import unquote

from trunkline.wire.message import HttpRequest


@dataclass(frozen=True, slots=True)
class Credential:
    access_key: str
    date: str
    region: str
    service: str


_cache: dict[str, Credential | None] = {}
_MOST = 4_096


def parse(request: HttpRequest) -> Credential | None:
    """The credential scope of a request; None if it is unsigned or the scope is not one."""
    header = request.headers.get("authorization")
    if header is not None:
        # A client signs with one key a day: the scope is the same text from call to call.
        start = header.find("Credential=")
        if start < 0:
            return None
        end = header.find(",", start)
        scope = header[start + 11 : end if end > 0 else len(header)].strip()
    elif "X-Amz-Credential=" in request.query:
        scope = unquote(request.query.split("X-Amz-Credential=", 1)[1].split("&", 1)[0])
    else:
        return None
    try:
        return _cache[scope]
    except KeyError:
        if len(_cache) >= _MOST:
            _cache.clear()
        found = _cache[scope] = _parse_scope(scope)
        return found


def _parse_scope(scope: str) -> Credential | None:
    parts = scope.rsplit("/", 4)
    if len(parts) != 5 or not all(parts):
        return None
    return Credential(parts[0], parts[1], parts[2], parts[3])


def account_of(access_key: str, default: str) -> str:
    """The account that an access key belongs to.

    A 12-digit key is that account; LSIA/LKIA keys carry it in base 32;
    everything else belongs to ``default``.
    """
    if len(access_key) == 12 and access_key.isascii() and access_key.isdigit():
        return access_key
    if access_key.startswith(("LSIA", "LKIA")) and len(access_key) >= 12:
        return _encoded_account(access_key[4:12]) or default
    return default


def _encoded_account(text: str) -> str | None:
    """Eight base-32 digits hold 40 bits: the account number, its high bit set aside."""
    try:
        number = int.from_bytes(base64.b32decode(text.upper() + "=" * (-len(text) % 8)), "big") >> 1
    except (binascii.Error, ValueError):
        return None
    return f"{number:012d}" if number < 10**12 else None

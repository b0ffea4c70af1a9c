"""What a Signature V4 says about the caller: parsed here, not verified.

In the Authorization header:  AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …
In a presigned query:         X-Amz-Credential=KEY%2FDATE%2FREGION%2FSERVICE%2Faws4_request
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from trunkline.kernel.arn import is_account
from trunkline.kernel.errors import ServiceError
from trunkline.wire.message import HttpRequest
from trunkline.wire.protocols.query import parse_form


@dataclass(frozen=True, slots=True)
class Credential:
    access_key: str
    date: str
    region: str
    service: str


_BASE_32 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")


def scope(request: HttpRequest) -> str:
    """The text of a request's credential scope: the same from call to call, for a client signs with one key a day.

    "" if the request is unsigned.
    """
    header = request.headers.get("authorization")
    if header is not None:
        start = header.find("Credential=")
        if start < 0:
            return ""
        end = header.find(",", start)
        return header[start + 11 : end if end > 0 else len(header)].strip()
    if request.query:
        try:
            return parse_form(request.query).get("X-Amz-Credential", "")
        except ServiceError:
            pass  # whoever reads the query says what is wrong with it
    return ""


def read(scope: str) -> Credential | None:
    """The credential that a scope names; None if it is not a scope."""
    parts = scope.rsplit("/", 4)
    if len(parts) != 5 or not all(parts) or parts[4] != "aws4_request":
        return None
    return Credential(parts[0], parts[1], parts[2], parts[3])


def parse(request: HttpRequest) -> Credential | None:
    """The credential of a request; None if it is unsigned or its scope is not one."""
    return read(scope(request))


def account_of(access_key: str, default: str) -> str:
    """The account that an access key belongs to.

    A 12-digit key is that account; LSIA/LKIA keys carry it in base 32;
    everything else belongs to ``default``.
    """
    if is_account(access_key):
        return access_key
    if access_key.startswith(("LSIA", "LKIA")):
        return _encoded_account(access_key[4:13]) or default
    return default


def _encoded_account(digits: str) -> str | None:
    """Nine base-32 digits hold 45 bits, as in AWS's own keys: a one, 40 of the account number, and four of the rest."""
    if len(digits) != 9 or not set(digits) <= _BASE_32:
        return None
    number = int.from_bytes(base64.b32decode(digits.ljust(16, "A")), "big") >> 35
    marked, account = number >> 44, number >> 4 & (1 << 40) - 1
    return f"{account:012d}" if marked and account < 10**12 else None

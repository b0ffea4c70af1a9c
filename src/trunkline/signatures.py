"""Who signed a request: Signature Version 4 checked in full, as AWS checks it.

    Authorization: AWS4-HMAC-SHA256 Credential=KEY/20260101/eu-west-1/sqs/aws4_request,
                   SignedHeaders=host;x-amz-date;x-amz-target, Signature=…            (header form)
    ?X-Amz-Algorithm=…&X-Amz-Credential=…&X-Amz-Date=…&X-Amz-Expires=…&X-Amz-SignedHeaders=…&X-Amz-Signature=…
                                                                                      (presigned form)

The checks stand in AWS's order, and each failure has AWS's code, status and text (recorded by those who asked AWS):

    signed in both forms                                        SignatureDoesNotMatch 403
    not signed                                                  AccessDenied 403 (SQS), MissingAuthenticationToken 403
    another algorithm, a part missing or malformed              IncompleteSignature 400
    host, date or target not signed                             SignatureDoesNotMatch 403
    more than 15 minutes from now, in real time                 SignatureDoesNotMatch 403
    presigned, and past its X-Amz-Expires                       RequestExpired 400
    scope of another service, day or terminator                 SignatureDoesNotMatch 403
    no such key                                                 InvalidClientTokenId 403
    another signature                                           SignatureDoesNotMatch 403
    another session token; a token that is over                 InvalidClientTokenId 403, ExpiredToken 403

Where it is stricter than AWS: an X-Amz-Target must be signed (it says which operation is meant, and AWS documents that
X-Amz-* headers are to be signed), an X-Amz-Content-SHA256 must be that of the body (so UNSIGNED-PAYLOAD, which is S3's,
is none), and a presigned request ends with its X-Amz-Expires (SQS itself lets each live for 15 minutes).

A client signs with one key, day and list of headers for thousands of requests: all that stands before ``Signature=`` in
its header is the same text each time. What follows from that text (the key, its signing key, its caller) is remembered,
but only when a signature under it was right, so that nobody without a secret can fill the memory.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from trunkline.credentials import Key
from trunkline.kernel.arn import is_region
from trunkline.kernel.caller import Caller
from trunkline.kernel.errors import ServiceError
from trunkline.wire import canonical
from trunkline.wire.message import HttpRequest
from trunkline.wire.protocols.query import parse_form

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
SKEW = 900
"""Real seconds that a signature's date may be from now, either way."""
LONGEST = 604_800
"""Seconds that a presigned request may live: 7 days, as long as its signing key."""

LARGE = 262_144
"""Bytes of a body from which on its hash would hold up the event loop: it takes a millisecond for 2 MiB or less."""

_MOST = 4_096
"""Signers remembered at once."""
_LONGEST_HEAD = 2_048
"""Characters of the longest text that is remembered."""

_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_FORMAT = "%Y%m%dT%H%M%SZ"
_PARTS = re.compile(r"[\s,]+")
_EXPIRES = re.compile(r"-?[0-9]{1,18}")
_QUERY = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date")
_MUST_BE_SIGNED = ("x-amz-date", "x-amz-target")

_NO_SUCH_KEY = "The security token included in the request is invalid."
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


class LargeBody(Exception):
    """The body is so large that its hash is to be taken beside the event loop: ask again with it. The rest is right."""


@dataclass(frozen=True, slots=True)
class _Signer:
    """What all requests have in common that are signed with one key, on one day, for one place, in one way.

    ``unsigned``: headers that such a request may not have, since they would have to be signed. ``mac``: an HMAC with
    the day's signing key, to be copied for each request: half of its work is done.
    """

    key: Key
    day: str
    service: str
    scope: str
    headers: tuple[str, ...]
    names: str
    unsigned: tuple[str, ...]
    mac: hmac.HMAC
    caller: Caller


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says of its signature. ``expires``: of a presigned one that says so, else None."""

    credential: str
    headers: str
    signature: str
    date: str
    token: str
    expires: int | None = None


class Verifier:
    """``keys``: those in force now, by their ids. ``wall``: real time, in seconds since the epoch."""

    def __init__(self, keys: Callable[[], Mapping[str, Key]], wall: Callable[[], float]) -> None:
        self._keys = keys
        self._wall = wall
        self._in_force: Mapping[str, Key] | None = None
        self._signers: dict[str, _Signer] = {}
        self._dates: dict[str, float] = {}

    def caller(self, request: HttpRequest, service: str, payload: str | None = None) -> Caller:
        """Who signed ``request``, which is for ``service``. ``payload``: its body's SHA-256, if it is known already.

        ServiceError, as above; LargeBody if the hash of the body is wanted and it has more than ``LARGE`` bytes.
        """
        keys = self._keys()
        if keys is not self._in_force:
            self._in_force = keys
            self._signers.clear()
        headers = request.headers
        header = headers.get("authorization")
        if header is not None and not request.query:
            end = header.rfind("Signature=")
            signer = self._signers.get(header[:end]) if end > 0 else None
            date = headers.get("x-amz-date", "")
            if signer is not None and signer.service == service and signer.day == date[:8]:
                for name in signer.unsigned:
                    if name in headers:
                        break
                else:
                    self._check_time(date, None)
                    token = headers.get("x-amz-security-token", "")
                    self._check(request, signer, date, token, header[end + 10 :], payload)
                    return signer.caller
        return self._slowly(request, service, payload)

    def _slowly(self, request: HttpRequest, service: str, payload: str | None) -> Caller:
        """The same for a request whose signer is not remembered."""
        header = request.headers.get("authorization")
        parameters = parse_form(request.query)  # which refuses one that would take long
        if header is not None and "X-Amz-Algorithm" in parameters:
            raise _mismatch("Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.")
        if header is not None and header.startswith("AWS4-"):
            claim = _of_header(header, request)
        elif header is None and any(name in parameters for name in _QUERY):
            claim = _of_query(parameters, request.query)
        else:
            raise _unsigned(request, service, header)
        names = _signed_names(claim, request)
        self._check_time(claim.date, claim.expires)
        signer = self._signer(claim, names, service)
        self._check(request, signer, claim.date, claim.token, claim.signature, payload)
        if header is not None:
            head = header[: header.rfind("Signature=")]
            # Only of this shape is what stands before the signature all that there is.
            if len(head) <= _LONGEST_HEAD and header.endswith("Signature=" + claim.signature):
                if len(self._signers) >= _MOST:
                    self._signers.clear()
                self._signers[head] = signer
        return signer.caller

    def _signer(self, claim: _Claim, names: tuple[str, ...], service: str) -> _Signer:
        parts = claim.credential.split("/")
        if len(parts) != 5:
            raise _incomplete(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got "
                f"'{claim.credential}'"
            )
        key_id, day, region, scoped, terminator = parts
        wrong = []
        if not is_region(region):
            wrong.append("Credential should be scoped to a valid region.")
        if scoped != service:
            wrong.append(f"Credential should be scoped to correct service: '{service}'.")
        if terminator != TERMINATOR:
            wrong.append(f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'.")
        if day != claim.date[:8]:
            wrong.append(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{day}' != '{claim.date[:8]}', from '{claim.date}'."
            )
        if wrong:
            raise _mismatch(" ".join(wrong))
        key = self._keys().get(key_id)
        if key is None:
            raise ServiceError("InvalidClientTokenId", _NO_SUCH_KEY)
        return _Signer(
            key=key,
            day=day,
            service=service,
            scope=f"{day}/{region}/{service}/{TERMINATOR}",
            headers=names,
            names=";".join(names),
            unsigned=tuple(name for name in _MUST_BE_SIGNED if name not in names),
            mac=hmac.new(signing_key(key.secret, day, region, service), digestmod="sha256"),
            # Until there are users, every key is its account's root.
            caller=Caller(key.account, region, key.account, f"arn:aws:iam::{key.account}:root", key_id),
        )

    def _check_time(self, date: str, expires: int | None) -> None:
        """``expires``: seconds that a presigned request lives, if it says so."""
        signed = self._dates.get(date)
        if signed is None:
            signed = _instant(date)
            if len(self._dates) >= _MOST:
                self._dates.clear()
            self._dates[date] = signed
        now = self._wall()
        if signed > now + SKEW:
            raise _mismatch(
                f"Signature not yet current: {date} is still later than {_text(now + SKEW)} ({_text(now)} + 15 min.)"
            )
        if expires is not None:
            if now > signed + expires:
                raise ServiceError("RequestExpired", "Request has expired.")
        elif signed < now - SKEW:
            raise _mismatch(
                f"Signature expired: {date} is now earlier than {_text(now - SKEW)} ({_text(now)} - 15 min.)"
            )

    def _check(
        self, request: HttpRequest, signer: _Signer, date: str, token: str, signature: str, payload: str | None
    ) -> None:
        """The body's hash, the signature, and the session token."""
        headers = request.headers
        if payload is None:
            if len(request.body) > LARGE:
                raise LargeBody
            payload = hashlib.sha256(request.body).hexdigest()
        if headers.get("x-amz-content-sha256", payload) != payload:
            raise _mismatch(
                "The header X-Amz-Content-SHA256 is not the SHA-256 of the request's body, in hexadecimal. "
                "UNSIGNED-PAYLOAD and streaming payloads are for S3 alone."
            )
        query = canonical.query(request.query, "X-Amz-Signature") if request.query else ""
        try:
            text = canonical.request(
                request.method, canonical.path(request.path), query, headers, signer.headers, signer.names, payload
            )
        except KeyError as name:
            raise _mismatch(
                f"{name} is a 'SignedHeader' in the AWS Authorization, but no header of the request."
            ) from None
        digest = hashlib.sha256(text.encode("latin-1", "replace")).hexdigest()
        to_sign = f"{ALGORITHM}\n{date}\n{signer.scope}\n{digest}"
        mac = signer.mac.copy()
        mac.update(to_sign.encode())
        if not hmac.compare_digest(mac.hexdigest().encode(), signature.encode("latin-1", "replace")):
            raise _mismatch(
                f"{_MISMATCH}\n\nThe Canonical String for this request should have been\n'{text}'\n\n"
                f"The String-to-Sign should have been\n'{to_sign}'\n"
            )
        key = signer.key
        if (token or key.token) and not hmac.compare_digest(key.token.encode(), token.encode()):
            raise ServiceError("InvalidClientTokenId", _NO_SUCH_KEY)
        if key.expires is not None and self._wall() >= key.expires:
            raise ServiceError("ExpiredToken", "The security token included in the request is expired")


def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """The key that signs a day's requests (YYYYMMDD) for a service in a region."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _of_header(header: str, request: HttpRequest) -> _Claim:
    algorithm, _, rest = header.partition(" ")
    if algorithm != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{algorithm}'.")
    said: dict[str, str] = {}
    for part in _PARTS.split(rest):
        if part:
            name, equals, value = part.partition("=")
            if not equals:
                raise _incomplete(
                    f"'{part}' not a valid key=value pair (missing equal-sign) in Authorization header: '{header}'."
                )
            said[name] = value
    date = request.headers.get("x-amz-date") or request.headers.get("date") or ""
    lacking = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Credential", "Signature", "SignedHeaders")
        if not said.get(name)
    ]
    if not date:
        lacking.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if lacking:
        raise _incomplete(" ".join(lacking) + f" Authorization={ALGORITHM}")
    token = request.headers.get("x-amz-security-token", "")
    return _Claim(said["Credential"], said["SignedHeaders"], said["Signature"], date, token)


def _of_query(parameters: Mapping[str, str], query: str) -> _Claim:
    lacking = [f"AWS query-string parameters must include '{name}'." for name in _QUERY if not parameters.get(name)]
    if lacking:
        raise _incomplete(" ".join(lacking) + " Re-examine the query-string parameters.")
    if parameters["X-Amz-Algorithm"] != ALGORITHM:
        raise _incomplete(f"Unsupported AWS 'algorithm': '{parameters['X-Amz-Algorithm']}'.")
    given = [pair.partition("=")[0] for pair in canonical.query(query).split("&")]
    for name in (*_QUERY, "X-Amz-Expires", "X-Amz-Security-Token"):
        # Of two only one would be heeded, and whoever reads the URL could not tell which.
        if given.count(name) > 1:
            raise _incomplete(f"AWS query-string parameters must include '{name}' once.")
    expires = None
    if "X-Amz-Expires" in parameters:
        text = parameters["X-Amz-Expires"]
        if _EXPIRES.fullmatch(text) is None:
            raise _incomplete("X-Amz-Expires should be a number")
        expires = int(text)
        if expires < 1:
            raise _incomplete("X-Amz-Expires must be at least 1 (in seconds)")
        if expires > LONGEST:
            raise _incomplete(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less "
                f"than {LONGEST} seconds"
            )
    return _Claim(
        parameters["X-Amz-Credential"],
        parameters["X-Amz-SignedHeaders"],
        parameters["X-Amz-Signature"],
        parameters["X-Amz-Date"],
        parameters.get("X-Amz-Security-Token", ""),
        expires,
    )


def _signed_names(claim: _Claim, request: HttpRequest) -> tuple[str, ...]:
    """The headers that are signed, in order, if what must be among them is."""
    names = tuple(sorted({name for name in claim.headers.lower().split(";") if name}))
    if "host" not in names:
        raise _mismatch("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name in _MUST_BE_SIGNED:
        if name in request.headers and name not in names:
            raise _mismatch(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")
    return names


def _unsigned(request: HttpRequest, service: str, header: str | None) -> ServiceError:
    if service == "sqs" and header is None:
        # SQS knows callers without a name, whom a queue's policy may let in: to it they are denied, not unsigned.
        where = f"{request.scheme}://{request.headers.get('host', '')}{request.path}"
        return ServiceError("AccessDenied", f"Access to the resource {where} is denied.")
    return ServiceError("MissingAuthenticationToken", "Request is missing Authentication Token")


def _instant(date: str) -> float:
    """Seconds since the epoch. IncompleteSignature if ``date`` has not the one form that dates have here."""
    if _DATE.fullmatch(date) is not None:
        try:
            return datetime.strptime(date, _FORMAT).replace(tzinfo=UTC).timestamp()
        except ValueError:
            pass
    raise _incomplete(
        f"Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
    )


def _text(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime(_FORMAT)


def _incomplete(text: str) -> ServiceError:
    return ServiceError("IncompleteSignature", text)


def _mismatch(text: str) -> ServiceError:
    return ServiceError("SignatureDoesNotMatch", text)

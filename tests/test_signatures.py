"""Signature Version 4, as botocore signs: what is let in, and what each single fault is answered with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given
from hypothesis import strategies as st

from trunkline.credentials import Key
from trunkline.kernel.caller import Caller
from trunkline.kernel.errors import ServiceError
from trunkline.signatures import LARGE, LargeBody, Verifier, signing_key
from trunkline.wire.message import HttpRequest

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
KEYS = {
    "AKID": Key("AKID", "111122223333", "secret"),
    "OTHER": Key("OTHER", "444455556666", "another secret"),
    "ASIA": Key("ASIA", "111122223333", "passing", "to/ken+==", (NOW + timedelta(hours=1)).timestamp()),
}
ROOT = Caller("111122223333", "eu-west-1", "111122223333", "arn:aws:iam::111122223333:root", "AKID")
JSON = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.ListQueues"}


class Desk:
    """A verifier with a clock of its own."""

    def __init__(self, keys: Mapping[str, Key] = KEYS) -> None:
        self.now = NOW
        self.keys = keys
        self.verifier = Verifier(lambda: self.keys, lambda: self.now.timestamp())

    def caller(self, request: HttpRequest, service: str = "sqs") -> Caller:
        return self.verifier.caller(request, service)

    def refusal(self, request: HttpRequest, service: str = "sqs") -> tuple[str, str]:
        with pytest.raises(ServiceError) as error:
            self.caller(request, service)
        return error.value.name, error.value.message


@pytest.fixture
def desk() -> Desk:
    return Desk()


def signed(
    method: str = "POST",
    url: str = "http://localhost:4566/",
    headers: Mapping[str, str] = JSON,
    body: bytes = b"{}",
    key: str = "AKID",
    secret: str | None = None,
    token: str | None = None,
    service: str = "sqs",
    region: str = "eu-west-1",
    at: datetime = NOW,
    expires: int | None = None,
) -> HttpRequest:
    """A request as botocore signs it; ``expires``: presigned."""
    known = KEYS.get(key, KEYS["AKID"])
    credentials = Credentials(key, secret or known.secret, known.token or None if token is None else token or None)
    request = AWSRequest(method, url, headers=dict(headers), data=body)
    signer: Any
    if expires is None:
        signer = SigV4Auth(credentials, service, region)
    else:
        signer = SigV4QueryAuth(credentials, service, region, expires=expires)
    with mock.patch("botocore.auth.get_current_datetime", lambda *_, **__: at.replace(tzinfo=None)):
        signer.add_auth(request)
    parts = urlsplit(request.url)
    found = {name.lower(): value for name, value in request.headers.items()}
    return HttpRequest(method, parts.path, parts.query, {"host": parts.netloc, **found}, body if request.data else b"")


# -- what is let in ------------------------------------------------------------


def test_who_signs_with_a_known_key_is_its_account(desk: Desk) -> None:
    for _ in range(2):
        assert desk.caller(signed()) == ROOT
    assert desk.caller(signed(key="OTHER", region="us-east-1")).account == "444455556666"
    assert desk.caller(signed(service="sts"), "sts") == ROOT


def test_a_query_request_is_let_in_whichever_way_it_says_its_parameters(desk: Desk) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    url = "http://localhost:4566/111122223333/q"
    assert desk.caller(signed("POST", url, form, b"Action=SendMessage&MessageBody=a%20b")) == ROOT
    assert desk.caller(signed("GET", f"{url}?Version=2012-11-05&Action=SendMessage&MessageBody=a%20b", {}, b"")) == ROOT


def test_a_presigned_request_is_let_in(desk: Desk) -> None:
    request = signed("GET", "http://localhost:4566/111122223333/q?Action=ReceiveMessage", {}, b"", expires=60)
    assert "authorization" not in request.headers and "X-Amz-Signature=" in request.query
    assert desk.caller(request) == ROOT


def test_a_session_token_is_let_in_with_its_key(desk: Desk) -> None:
    assert desk.caller(signed(key="ASIA")).access_key == "ASIA"
    assert (
        desk.caller(signed("GET", "http://h/?Action=ListQueues", {}, b"", key="ASIA", expires=60)).access_key == "ASIA"
    )


def test_the_vector_that_aws_documents_is_met() -> None:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html (iam, 2015-08-30)
    key = Key("AKIDEXAMPLE", "111122223333", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    derived = signing_key(key.secret, "20150830", "us-east-1", "iam")
    assert derived.hex() == "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    desk = Desk({key.id: key})
    desk.now = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    headers = {
        "host": "iam.amazonaws.com",
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "x-amz-date": "20150830T123600Z",
        "authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    }
    request = HttpRequest("GET", "/", "Action=ListUsers&Version=2010-05-08", headers, b"")
    assert desk.caller(request, "iam").account == "111122223333"


SUITE_TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7"
    "mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d"
    "+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = "application/x-www-form-urlencoded"
SUITE = {
    "get-header-key-duplicate": (
        "GET /",
        {"my-header1": "value2,value2,value1"},
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    "get-header-value-order": (
        "GET /",
        {"my-header1": "value4,value1,value3,value2"},
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    ),
    "get-header-value-trim": (
        "GET /",
        {"my-header1": " value1", "my-header2": ' "a   b   c"'},
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "get-unreserved": (f"GET /{UNRESERVED}", {}, "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
    "get-utf8": ("GET /\xe1\x88\xb4", {}, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    "get-vanilla": ("GET /", {}, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    "get-vanilla-empty-query-key": (
        "GET /?Param1=value1",
        {},
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    "get-vanilla-query-order-key-case": (
        "GET /?Param2=value2&Param1=value1",
        {},
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-vanilla-query-unreserved": (
        f"GET /?{UNRESERVED}={UNRESERVED}",
        {},
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    "get-vanilla-utf8-query": (
        "GET /?\xe1\x88\xb4=bar",
        {},
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    "normalize-path/get-relative": (
        "GET /example/..",
        {},
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "normalize-path/get-slash-dot-slash": (
        "GET /./",
        {},
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "normalize-path/get-slash": ("GET //", {}, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    "post-header-key-sort": (
        "POST /",
        {"my-header1": "value1"},
        "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
    ),
    "post-header-value-case": (
        "POST /",
        {"my-header1": "VALUE1"},
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
    "post-sts-header-before": (
        "POST /",
        {"x-amz-security-token": SUITE_TOKEN},
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
    ),
    "post-vanilla": ("POST /", {}, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    "post-vanilla-query": (
        "POST /?Param1=value1",
        {},
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    "post-vanilla-query-nonunreserved": (
        'POST /?@#$%25^=&%2B=/,?><`";:\\|][{}',
        {},
        "66c82657c86e26fb25238d0e69f011edc4c6df5ae71119d7cb98ed9b87393c1e",
    ),
    "post-vanilla-query-space": ("POST /?p=", {}, "e71688addb58a26418614085fb730ba3faa623b461c17f48f2fbdb9361b94a9b"),
    "post-x-www-form-urlencoded": (
        "POST / Param1=value1",
        {"content-type": FORM},
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "post-x-www-form-urlencoded-parameters": (
        "POST / Param1=value1",
        {"content-type": f"{FORM}; charset=utf8"},
        "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
    ),
}
"""AWS's own test suite (aws-sig-v4-test-suite): what was sent, what was signed beside host and date, the signature."""


@pytest.mark.parametrize("name", SUITE)
def test_the_suite_that_aws_published_is_met(name: str) -> None:
    said, headers, signature = SUITE[name]
    key = Key(
        "AKIDEXAMPLE",
        "111122223333",
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        headers.get("x-amz-security-token", ""),
    )
    desk = Desk({key.id: key})
    desk.now = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    method, url, *body = said.split(" ")
    path, _, query = url.partition("?")
    sent = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z", **headers}
    names = ";".join(sorted(sent))
    sent["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, "
        f"Signature={signature}"
    )
    request = HttpRequest(method, path, query, sent, "".join(body).encode())
    assert desk.caller(request, "service").account == "111122223333"


@pytest.mark.parametrize("spelling", [", ", ",", " ", " , ", ",  "])
def test_the_parts_of_the_header_may_be_parted_by_commas_or_spaces(desk: Desk, spelling: str) -> None:
    request = signed()
    request.headers["authorization"] = request.headers["authorization"].replace(", ", spelling)
    for _ in range(2):
        assert desk.caller(request) == ROOT


def test_the_parts_of_the_header_may_stand_in_any_order(desk: Desk) -> None:
    request = signed()
    algorithm, _, rest = request.headers["authorization"].partition(" ")
    request.headers["authorization"] = f"{algorithm} {', '.join(reversed(rest.split(', ')))}"
    for _ in range(2):
        assert desk.caller(request) == ROOT
    request.body = b"[]"
    assert desk.refusal(request)[0] == "SignatureDoesNotMatch"


def test_a_date_header_stands_for_x_amz_date(desk: Desk) -> None:
    request = signed()
    date = request.headers.pop("x-amz-date")
    request.headers["date"] = date
    text = (
        "POST\n/\n\ncontent-type:application/x-amz-json-1.0\nhost:localhost:4566\nx-amz-target:AmazonSQS.ListQueues\n\n"
        f"content-type;host;x-amz-target\n{hashlib.sha256(b'{}').hexdigest()}"
    )
    _sign_by_hand(request, text, "content-type;host;x-amz-target", date)
    for _ in range(2):
        assert desk.caller(request) == ROOT


def _sign_by_hand(request: HttpRequest, text: str, names: str, date: str) -> None:
    import hmac

    scope = f"{date[:8]}/eu-west-1/sqs/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(text.encode()).hexdigest()}"
    key = signing_key("secret", date[:8], "eu-west-1", "sqs")
    signature = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
    request.headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders={names}, Signature={signature}"
    )


NAMES = st.sampled_from(["x-amz-meta", "accept", "x-a", "x-b", "amz-sdk-request", "content-md5", "x-amzn-query-mode"])
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
PATHS = st.text(st.sampled_from("ab0-_.~/%+@$&()*,;= é"), max_size=15).map(lambda text: "/" + text.replace("?", ""))
QUERIES = st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), max_size=4)


def _query(pairs: list[tuple[str, str]]) -> str:
    def enc(text: str) -> str:
        return quote(text.encode("utf-8", "replace"), safe="-_.~")

    return "&".join(f"{enc(name)}={enc(value)}" for name, value in pairs if name)


@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    PATHS,
    QUERIES,
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.binary(max_size=50),
)
def test_whatever_botocore_signs_is_let_in_and_nothing_else_of_it(
    method: str, path: str, pairs: list[tuple[str, str]], headers: dict[str, str], body: bytes
) -> None:
    desk = Desk()
    query = _query(pairs)
    request = signed(method, f"http://localhost:4566{path}{'?' if query else ''}{query}", headers, body)
    request.path = request.path.encode().decode("latin-1")
    request.body = body
    for _ in range(2):
        assert desk.caller(request) == ROOT
    for change in (
        {"method": "PATCH"},
        {"path": request.path + "x"},
        {"query": f"{query}&x=1"},
        {"body": body + b" "},
        {"headers": {**request.headers, "host": "elsewhere"}},
    ):
        kept = {name: getattr(request, name) for name in change}
        for name, value in change.items():
            setattr(request, name, value)
        assert desk.refusal(request)[0] == "SignatureDoesNotMatch"
        for name, value in kept.items():
            setattr(request, name, value)
    assert desk.caller(request) == ROOT


@given(st.sampled_from(["GET", "POST"]), PATHS, QUERIES, st.integers(1, 604_800))
def test_whatever_botocore_presigns_is_let_in(
    method: str, path: str, pairs: list[tuple[str, str]], expires: int
) -> None:
    desk = Desk()
    # Of a repeated name botocore keeps the first alone.
    query = _query(list(dict(pairs).items()))
    assume(not query.lower().startswith("x-amz"))
    request = signed(method, f"http://localhost:4566{path}{'?' if query else ''}{query}", {}, b"", expires=expires)
    request.path = request.path.encode().decode("latin-1")
    assert desk.caller(request) == ROOT
    request.query = request.query.replace("X-Amz-Expires=", "X-Amz-Expires=1")
    assert desk.refusal(request)[0] in ("SignatureDoesNotMatch", "IncompleteSignature")


@given(
    st.text(max_size=120),
    st.text(max_size=80),
    st.dictionaries(st.sampled_from(["x-amz-date", "date"]), st.text(max_size=20)),
)
def test_no_header_and_no_query_is_more_than_refused(header: str, query: str, headers: dict[str, str]) -> None:
    desk = Desk()
    for text in (
        header,
        "AWS4-HMAC-SHA256 " + header,
        "AWS4-HMAC-SHA256 Credential=AKID/20260301/r/sqs/aws4_request," + header,
    ):
        with pytest.raises(ServiceError):
            desk.caller(HttpRequest("POST", "/", "", {**headers, "authorization": text}, b""))
    for text in (query, "X-Amz-Algorithm=AWS4-HMAC-SHA256&" + query, "X-Amz-Credential=" + query):
        with pytest.raises(ServiceError):
            desk.caller(HttpRequest("GET", "/", text, {"host": "h", **headers}, b""))


# -- what is not ---------------------------------------------------------------

MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
NO_SUCH_KEY = ("InvalidClientTokenId", "The security token included in the request is invalid.")


def test_a_wrong_secret_is_answered_with_what_should_have_been_signed(desk: Desk) -> None:
    name, text = desk.refusal(signed(secret="guess"))
    empty = hashlib.sha256(b"{}").hexdigest()
    assert name == "SignatureDoesNotMatch"
    assert text.startswith(
        f"{MISMATCH}\n\nThe Canonical String for this request should have been\n'POST\n/\n\n"
        "content-type:application/x-amz-json-1.0\nhost:localhost:4566\nx-amz-date:20260301T120000Z\n"
        f"x-amz-target:AmazonSQS.ListQueues\n\ncontent-type;host;x-amz-date;x-amz-target\n{empty}'\n\n"
        "The String-to-Sign should have been\n'AWS4-HMAC-SHA256\n20260301T120000Z\n"
        "20260301/eu-west-1/sqs/aws4_request\n"
    )
    assert "secret" not in text


def test_an_unknown_key_is_told_so_before_its_signature_is_looked_at(desk: Desk) -> None:
    assert desk.refusal(signed(key="NOBODY", secret="s")) == NO_SUCH_KEY


def test_a_key_that_is_taken_out_is_unknown_at_once_and_a_new_secret_is_in_force(desk: Desk) -> None:
    assert desk.caller(signed()) == ROOT
    desk.keys = {"AKID": Key("AKID", "111122223333", "changed")}
    assert desk.refusal(signed())[0] == "SignatureDoesNotMatch"
    assert desk.caller(signed(secret="changed")) == ROOT
    desk.keys = {}
    assert desk.refusal(signed()) == NO_SUCH_KEY


@pytest.mark.parametrize("token", ["", "to/ken+=", "other"])
def test_a_session_token_must_be_the_keys_own(desk: Desk, token: str) -> None:
    assert desk.refusal(signed(key="ASIA", token=token)) == NO_SUCH_KEY


def test_a_key_that_has_no_session_token_takes_none(desk: Desk) -> None:
    assert desk.refusal(signed(token="left over from yesterday")) == NO_SUCH_KEY


def test_a_session_ends_with_its_token(desk: Desk) -> None:
    desk.now = NOW + timedelta(minutes=59, seconds=59)
    assert desk.caller(signed(key="ASIA", at=desk.now)).access_key == "ASIA"
    desk.now = NOW + timedelta(hours=1)
    expired = ("ExpiredToken", "The security token included in the request is expired")
    assert desk.refusal(signed(key="ASIA", at=desk.now)) == expired


@pytest.mark.parametrize("header", [None, "", "Basic dXNlcjpwYXNz", "Bearer x", "AWS AKID:signature", "Signature=x"])
def test_who_signs_nothing_is_nobody(desk: Desk, header: str | None) -> None:
    request = HttpRequest("POST", "/q", "", {"host": "h:1"}, b"{}")
    missing = ("MissingAuthenticationToken", "Request is missing Authentication Token")
    if header is not None:
        request.headers["authorization"] = header
        assert desk.refusal(request) == missing
    else:
        assert desk.refusal(request) == ("AccessDenied", "Access to the resource http://h:1/q is denied.")
    assert desk.refusal(request, "sts") == missing


SKEWS = [
    (-900, None),
    (900, None),
    (-901, "Signature expired: 20260301T114459Z is now earlier than 20260301T114500Z (20260301T120000Z - 15 min.)"),
    (
        901,
        "Signature not yet current: 20260301T121501Z is still later than 20260301T121500Z (20260301T120000Z + 15 min.)",
    ),
]


@pytest.mark.parametrize(("seconds", "says"), SKEWS)
def test_a_signature_is_good_for_fifteen_minutes_either_way(desk: Desk, seconds: int, says: str | None) -> None:
    request = signed(at=NOW + timedelta(seconds=seconds))
    if says is None:
        assert desk.caller(request) == ROOT
    else:
        assert desk.refusal(request) == ("SignatureDoesNotMatch", says)


def test_a_signature_grows_old_though_its_signer_is_remembered(desk: Desk) -> None:
    request = signed()
    assert desk.caller(request) == ROOT
    desk.now = NOW + timedelta(seconds=901)
    name, text = desk.refusal(request)
    assert name == "SignatureDoesNotMatch" and text.startswith("Signature expired: 20260301T120000Z")


def test_around_midnight_both_days_are_good(desk: Desk) -> None:
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    desk.now = midnight + timedelta(minutes=5)
    for _ in range(2):
        assert desk.caller(signed(at=midnight - timedelta(seconds=1))) == ROOT
        assert desk.caller(signed(at=midnight)) == ROOT


def test_a_presigned_request_lives_as_long_as_it_says(desk: Desk) -> None:
    for expires in (1, 901, 604_800):
        request = signed("GET", "http://h/?Action=ListQueues", {}, b"", expires=expires)
        desk.now = NOW + timedelta(seconds=expires)
        assert desk.caller(request) == ROOT
        desk.now += timedelta(seconds=1)
        assert desk.refusal(request) == ("RequestExpired", "Request has expired.")
    desk.now = NOW - timedelta(seconds=901)
    assert desk.refusal(request)[1].startswith("Signature not yet current")


@pytest.mark.parametrize(
    ("expires", "says"),
    [
        (0, "X-Amz-Expires must be at least 1 (in seconds)"),
        (-1, "X-Amz-Expires must be at least 1 (in seconds)"),
        (604_801, "X-Amz-Expires must be less than a week (in seconds)"),
        ("1e3", "X-Amz-Expires should be a number"),
        ("", "X-Amz-Expires should be a number"),
        ("9" * 5000, "X-Amz-Expires should be a number"),
    ],
)
def test_a_presigned_request_lives_from_a_second_to_a_week(desk: Desk, expires: Any, says: str) -> None:
    name, text = desk.refusal(signed("GET", "http://h/?Action=ListQueues", {}, b"", expires=expires))
    assert name == "IncompleteSignature" and text.startswith(says)


def _header(change: Callable[[str], str]) -> Callable[[HttpRequest], None]:
    def apply(request: HttpRequest) -> None:
        request.headers["authorization"] = change(request.headers["authorization"])

    return apply


def _without(part: str) -> Callable[[HttpRequest], None]:
    def change(header: str) -> str:
        algorithm, _, rest = header.partition(" ")
        return f"{algorithm} {', '.join(each for each in rest.split(', ') if not each.startswith(part))}"

    return _header(change)


def _drop(name: str) -> Callable[[HttpRequest], None]:
    return lambda request: request.headers.pop(name) and None


def _set(name: str, value: str) -> Callable[[HttpRequest], None]:
    return lambda request: request.headers.update({name: value})


REQUIRES = "Authorization header requires '{}' parameter. Authorization=AWS4-HMAC-SHA256"
INCOMPLETE, WRONG = "IncompleteSignature", "SignatureDoesNotMatch"
FAULTS = {
    "another algorithm": (
        _header(lambda h: h.replace("SHA256", "SHA512", 1)),
        INCOMPLETE,
        "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512'.",
    ),
    "no equal sign": (
        _header(lambda h: h.replace("Credential=", "Credential ")),
        INCOMPLETE,
        "'Credential' not a valid key=value pair (missing equal-sign) in Authorization header: 'AWS4-",
    ),
    "no credential": (_without("Credential"), INCOMPLETE, REQUIRES.format("Credential")),
    "no signature": (_without("Signature"), INCOMPLETE, REQUIRES.format("Signature")),
    "no signed headers": (_without("SignedHeaders"), INCOMPLETE, REQUIRES.format("SignedHeaders")),
    "no date": (
        _drop("x-amz-date"),
        INCOMPLETE,
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
    ),
    "a date of mail": (
        _set("x-amz-date", "Sun, 01 Mar 2026 12:00:00 GMT"),
        INCOMPLETE,
        "Date must be in ISO-8601 'basic format'. Got 'Sun, 01 Mar 2026 12:00:00 GMT'. See "
        "http://en.wikipedia.org/wiki/ISO_8601",
    ),
    "a day that is not": (
        _set("x-amz-date", "20260230T120000Z"),
        INCOMPLETE,
        "Date must be in ISO-8601 'basic format'.",
    ),
    "a day of other digits": (
        _set("x-amz-date", "٢0260301T120000Z"),
        INCOMPLETE,
        "Date must be in ISO-8601 'basic format'.",
    ),
    "a short credential": (
        _header(lambda h: h.replace("/aws4_request", "")),
        INCOMPLETE,
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got "
        "'AKID/20260301/eu-west-1/sqs'",
    ),
    "a long credential": (
        _header(lambda h: h.replace("AKID/", "AK/ID/")),
        INCOMPLETE,
        "Credential must have exactly 5 slash-delimited elements",
    ),
    "host not signed": (
        _header(lambda h: h.replace("host;", "")),
        WRONG,
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    ),
    "target not signed": (
        _header(lambda h: h.replace(";x-amz-target", "")),
        WRONG,
        "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization.",
    ),
    "date not signed": (
        _header(lambda h: h.replace(";x-amz-date", "")),
        WRONG,
        "'x-amz-date' must be a 'SignedHeader' in the AWS Authorization.",
    ),
    "a signed header not sent": (
        _drop("content-type"),
        WRONG,
        "'content-type' is a 'SignedHeader' in the AWS Authorization, but no header of the request.",
    ),
    "another region": (_header(lambda h: h.replace("eu-west-1", "eu-west-2")), WRONG, MISMATCH),
    "no region": (
        _header(lambda h: h.replace("eu-west-1", "e%u")),
        WRONG,
        "Credential should be scoped to a valid region.",
    ),
    "another service": (
        _header(lambda h: h.replace("/sqs/", "/sns/")),
        WRONG,
        "Credential should be scoped to correct service: 'sqs'.",
    ),
    "another end": (
        _header(lambda h: h.replace("aws4_request", "aws5_request")),
        WRONG,
        "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.",
    ),
    "another day": (
        _header(lambda h: h.replace("/20260301/", "/20260302/")),
        WRONG,
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260302' "
        "!= '20260301', from '20260301T120000Z'.",
    ),
    "everything else": (
        _header(lambda h: h.replace("20260301/eu-west-1/sqs/aws4_request", "x/~/y/z")),
        WRONG,
        "Credential should be scoped to a valid region. Credential should be scoped to correct service: "
        "'sqs'. Credential should be scoped with a valid terminator: 'aws4_request', not 'z'. Date in "
        "Credential scope",
    ),
    "another time": (_set("x-amz-date", "20260301T120001Z"), WRONG, MISMATCH),
    "another target": (_set("x-amz-target", "AmazonSQS.PurgeQueue"), WRONG, MISMATCH),
    "another signature": (_header(lambda h: h[:-1] + ("0" if h[-1] != "0" else "1")), WRONG, MISMATCH),
    "a signature in capitals": (_header(lambda h: h[:-64] + h[-64:].upper()), WRONG, MISMATCH),
    "a short signature": (_header(lambda h: h[:-1]), WRONG, MISMATCH),
    "no ASCII": (_header(lambda h: h[:-1] + "\xe9"), WRONG, MISMATCH),
    "more behind the signature": (_header(lambda h: h + "0"), WRONG, MISMATCH),
    "an unsigned payload": (
        _set("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        WRONG,
        "The header X-Amz-Content-SHA256 is not the SHA-256 of the request's body",
    ),
    "presigned as well": (
        lambda request: setattr(request, "query", "X-Amz-Algorithm=x"),
        WRONG,
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
    ),
}


@pytest.mark.parametrize("remembered", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_each_single_fault_of_a_header_is_refused_in_aws_words(desk: Desk, fault: str, remembered: bool) -> None:
    apply, name, says = FAULTS[fault]
    if remembered:
        assert desk.caller(signed()) == ROOT
    request = signed()
    apply(request)
    found, text = desk.refusal(request)
    assert found == name and text.startswith(says)
    assert desk.caller(signed()) == ROOT


def test_a_target_that_is_added_to_a_query_request_is_not_acted_upon(desk: Desk) -> None:
    for _ in range(2):
        request = signed(headers={"Content-Type": "application/x-www-form-urlencoded"}, body=b"Action=ListQueues")
        assert desk.caller(request) == ROOT
        request.headers["x-amz-target"] = "AmazonSQS.PurgeQueue"
        assert desk.refusal(request)[1].startswith("'x-amz-target' must be a 'SignedHeader'")


def test_a_signature_for_one_service_is_none_for_another(desk: Desk) -> None:
    assert desk.caller(signed()) == ROOT
    assert desk.refusal(signed(), "sts") == (WRONG, "Credential should be scoped to correct service: 'sts'.")


def test_a_payloads_own_hash_is_let_in_and_any_other_is_not(desk: Desk) -> None:
    right = hashlib.sha256(b"{}").hexdigest()
    assert desk.caller(signed(headers={**JSON, "X-Amz-Content-SHA256": right})) == ROOT
    for wrong in (right.upper(), "0" * 64, "UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ""):
        assert desk.refusal(signed(headers={**JSON, "X-Amz-Content-SHA256": wrong}))[0] == WRONG


QUERY_FAULTS = {
    "no algorithm": (
        r"X-Amz-Algorithm=[^&]*&",
        "",
        INCOMPLETE,
        "AWS query-string parameters must include 'X-Amz-Algorithm'. Re-examine the query-string parameters.",
    ),
    "no credential": (
        r"X-Amz-Credential=[^&]*&",
        "",
        INCOMPLETE,
        "AWS query-string parameters must include 'X-Amz-Credential'.",
    ),
    "no date": (r"X-Amz-Date=[^&]*&", "", INCOMPLETE, "AWS query-string parameters must include 'X-Amz-Date'."),
    "no signed headers": (
        r"X-Amz-SignedHeaders=[^&]*&",
        "",
        INCOMPLETE,
        "AWS query-string parameters must include 'X-Amz-SignedHeaders'.",
    ),
    "no signature": (
        r"&X-Amz-Signature=.*",
        "",
        INCOMPLETE,
        "AWS query-string parameters must include 'X-Amz-Signature'.",
    ),
    "another algorithm": (r"SHA256", "SHA1", INCOMPLETE, "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'."),
    "two credentials": (
        r"$",
        "&X-Amz-Credential=x",
        INCOMPLETE,
        "AWS query-string parameters must include 'X-Amz-Credential' once.",
    ),
    "two signatures": (
        r"$",
        "&X%2DAmz%2DSignature=x",
        INCOMPLETE,
        "AWS query-string parameters must include 'X-Amz-Signature' once.",
    ),
    "host not signed": (
        r"SignedHeaders=host",
        "SignedHeaders=date",
        WRONG,
        "'Host' or ':authority' must be a 'SignedHeader'",
    ),
    "another action": (r"ListQueues", "PurgeQueue", WRONG, MISMATCH),
    "one parameter more": (r"$", "&MaxResults=1", WRONG, MISMATCH),
    "a longer life": (r"X-Amz-Expires=60", "X-Amz-Expires=600", WRONG, MISMATCH),
    "no end": (r"X-Amz-Expires=60&", "", WRONG, MISMATCH),
    "another day": (r"%2F20260301%2F", "%2F20260302%2F", WRONG, "Date in Credential scope does not match"),
    "no UTF-8": (r"$", "&a=%ff", "SerializationException", "A parameter is not UTF-8"),
}


@pytest.mark.parametrize("fault", QUERY_FAULTS)
def test_each_single_fault_of_a_presigned_request_is_refused_in_aws_words(desk: Desk, fault: str) -> None:
    import re

    pattern, instead, name, says = QUERY_FAULTS[fault]
    request = signed("GET", "http://h/?Action=ListQueues", {}, b"", expires=60)
    assert desk.caller(request) == ROOT
    changed = re.sub(pattern, instead, request.query, count=1)
    assert changed != request.query
    request.query = changed
    found, text = desk.refusal(request)
    assert found == name and text.startswith(says)


def test_a_presigned_request_that_says_no_end_lives_for_fifteen_minutes(desk: Desk) -> None:
    from trunkline.wire import canonical

    query = (
        "Action=ListQueues&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20260301%2Feu-west-1%2Fsqs"
        "%2Faws4_request&X-Amz-Date=20260301T120000Z&X-Amz-SignedHeaders=host"
    )
    request = HttpRequest("GET", "/", query, {"host": "h"}, b"")
    text = f"GET\n/\n{canonical.query(query)}\nhost:h\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    _sign_by_hand(request, text, "host", "20260301T120000Z")
    signature = request.headers.pop("authorization").rpartition("=")[2]
    request.query = f"{query}&X-Amz-Signature={signature}"
    desk.now = NOW + timedelta(seconds=900)
    assert desk.caller(request) == ROOT
    desk.now += timedelta(seconds=1)
    assert desk.refusal(request)[1].startswith("Signature expired")


# -- what it costs -------------------------------------------------------------


def test_a_large_body_is_hashed_by_whoever_asks_and_only_if_all_else_is_right(desk: Desk) -> None:
    body = b"x" * (LARGE + 1)
    request = signed(body=body)
    for _ in range(2):
        with pytest.raises(LargeBody):
            desk.caller(request)
        assert desk.verifier.caller(request, "sqs", hashlib.sha256(body).hexdigest()) == ROOT
    with pytest.raises(ServiceError, match=MISMATCH[:40]):
        desk.verifier.caller(request, "sqs", hashlib.sha256(b"").hexdigest())
    assert desk.refusal(signed(body=body, key="NOBODY", secret="s")) == NO_SUCH_KEY
    assert desk.refusal(signed(body=body, at=NOW - timedelta(hours=1)))[1].startswith("Signature expired")
    assert desk.caller(signed(body=b"x" * LARGE)) == ROOT


def test_a_query_of_countless_parameters_is_refused_before_it_costs(desk: Desk) -> None:
    for key in ("AKID", "NOBODY"):
        request = signed("GET", "http://h/?" + "&".join(["a"] * 20_000), {}, b"", key=key)
        assert desk.refusal(request) == ("SerializationException", "The request has too many parameters")


def test_what_is_remembered_is_bounded_and_wants_a_right_signature(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.signatures._MOST", 8)
    for number in range(20):
        assert desk.refusal(signed(secret="guess", region=f"r-{number}"))[0] == WRONG
    assert not desk.verifier._signers
    for number in range(20):
        desk.caller(signed(region=f"r-{number}", at=NOW + timedelta(seconds=number)))
        assert 0 < len(desk.verifier._signers) <= 8 and len(desk.verifier._dates) <= 8
    desk.caller(signed(headers={**JSON, "x-" + "a" * 3_000: "1"}))
    assert all(len(head) <= 2_048 for head in desk.verifier._signers)

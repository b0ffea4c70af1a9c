"""Canonical requests, beside those that botocore's signer makes."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from trunkline.wire import canonical

SIGNER: Any = SigV4Auth(Credentials("k", "s"), "sqs", "us-east-1")
PATHS = st.text(st.sampled_from("abZ019-_.~/%+:@!$&'()*,;= é{}[]|"), max_size=20).map(lambda text: "/" + text)
WORDS = st.text(max_size=8)
PAIRS = st.lists(st.tuples(WORDS.filter(bool), WORDS), max_size=6)


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a//b/", "/a/b/"),
        ("//", "/"),
        ("/a/./b/../c", "/a/c"),
        ("/../..", "/"),
        ("/a/..", "/"),
        ("/./", "/"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%2520b"),
        ("/%2F", "/%252F"),
        ("/~a-b_c.d", "/~a-b_c.d"),
        ("/\xc3\xa9", "/%C3%A9"),
    ],
)
def test_a_path_is_resolved_and_encoded_once_more(sent: str, path: str) -> None:
    assert canonical.path(sent) == path


@given(PATHS)
def test_a_path_is_as_botocore_signs_it(path: str) -> None:
    # What goes over the wire are the bytes of UTF-8, and the server reads each as one sign.
    wire = path.encode().decode("latin-1")
    assert canonical.path(wire) == SIGNER._normalize_url_path(path)


@pytest.mark.parametrize(
    ("sent", "query"),
    [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1&a", "a=&a=1&a=2"),
        ("a=b=c", "a=b%3Dc"),
        ("a+b=c+d", "a%20b=c%20d"),
        ("%61=%7e&B=%2f", "B=%2F&a=~"),
        ("a-=1&a=2&aA=3", "a=2&a-=1&aA=3"),
        ("&&a=1&", "a=1"),
        ("a=\xc3\xa9", "a=%C3%A9"),
        ("a=%zz", "a=%25zz"),
    ],
)
def test_a_query_is_encoded_anew_and_sorted(sent: str, query: str) -> None:
    assert canonical.query(sent) == query


@given(PAIRS)
def test_a_query_is_as_botocore_signs_it_however_it_is_encoded(pairs: list[tuple[str, str]]) -> None:
    safe = [
        (name.encode("utf-8", "replace").decode(), value.encode("utf-8", "replace").decode()) for name, value in pairs
    ]
    wanted = SIGNER._canonical_query_string_params(safe)
    tightly = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in safe)
    loosely = "&".join(f"{quote(name, safe='/:@!$')}={quote(value, safe='/:@!$=')}" for name, value in safe)
    assert canonical.query(tightly) == canonical.query(loosely) == wanted


@given(PAIRS, st.text(alphabet="0123456789abcdef", max_size=64))
def test_the_signature_itself_is_no_part_of_the_query(pairs: list[tuple[str, str]], signature: str) -> None:
    safe = [
        f"{quote(name.encode('utf-8', 'replace'), safe='')}={quote(value.encode('utf-8', 'replace'))}"
        for name, value in pairs
    ]
    for name in ("X-Amz-Signature", "X%2DAmz%2DSignature"):
        assert canonical.query("&".join([*safe, f"{name}={signature}"]), "X-Amz-Signature") == canonical.query(
            "&".join(safe)
        )


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        ("a", "a"),
        (" a ", "a"),
        ("a  b   c", "a b c"),
        ("a\t b", "a b"),
        ('"a   b"', '"a b"'),
        ("", ""),
        ("a, b", "a, b"),
    ],
)
def test_a_header_is_folded(value: str, folded: str) -> None:
    text = canonical.request("GET", "/", "", {"x": value}, ("x",), "x", "hash")
    assert text == f"GET\n/\n\nx:{folded}\n\nx\nhash"


@given(
    st.dictionaries(st.sampled_from(["host", "x-a", "x-b", "accept"]), st.text(" abc,;\"'", max_size=12), min_size=1)
)
def test_headers_are_as_botocore_signs_them(headers: dict[str, str]) -> None:
    request = AWSRequest("GET", "http://h/", headers=headers)
    chosen = SIGNER.headers_to_sign(request)
    signed = SIGNER.signed_headers(chosen)
    text = canonical.request("GET", "/", "", {"host": "h", **headers}, signed.split(";"), signed, "hash")
    assert text == f"GET\n/\n\n{SIGNER.canonical_headers(chosen)}\n\n{signed}\nhash"


def test_a_header_that_is_not_there_cannot_be_signed() -> None:
    with pytest.raises(KeyError, match="'x'"):
        canonical.request("GET", "/", "", {}, ("x",), "x", "hash")

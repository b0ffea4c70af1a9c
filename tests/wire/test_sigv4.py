"""What a signature says about the caller."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.wire import sigv4
from trunkline.wire.message import HttpRequest
from trunkline.wire.sigv4 import Credential, account_of

HEADER = "AWS4-HMAC-SHA256 Credential={}, SignedHeaders=host;x-amz-date, Signature=abc"


def _request(header: str | None = None, query: str = "") -> HttpRequest:
    return HttpRequest("POST", "/", query, {} if header is None else {"authorization": header}, b"")


def test_the_scope_is_read_from_the_header() -> None:
    found = sigv4.parse(_request(HEADER.format("AKID/20260101/eu-west-1/sqs/aws4_request")))
    assert found == Credential("AKID", "20260101", "eu-west-1", "sqs")


def test_the_scope_is_read_from_a_presigned_query() -> None:
    query = "Action=ListQueues&X-Amz-Credential=AKID%2F20260101%2Feu-west-1%2Fsqs%2Faws4_request&X-Amz-Date=x"
    assert sigv4.parse(_request(query=query)) == Credential("AKID", "20260101", "eu-west-1", "sqs")


def test_a_key_may_hold_a_slash() -> None:
    found = sigv4.parse(_request(HEADER.format("a/b/20260101/eu-west-1/sqs/aws4_request")))
    assert found is not None and found.access_key == "a/b"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer x", "AWS4-HMAC-SHA256 Credential=", HEADER.format("AKID"), HEADER.format("a//b/c/d")]
)
def test_what_has_no_scope_is_unsigned(header: str | None) -> None:
    assert sigv4.parse(_request(header)) is None


@pytest.mark.parametrize(
    ("key", "account"),
    [
        ("123456789012", "123456789012"),
        ("12345678901", "default"),
        ("1234567890123", "default"),
        ("١٢٣٤٥٦٧٨٩٠١٢", "default"),
        ("test", "default"),
        ("", "default"),
        ("LSIA", "default"),
        ("LSIA!!!!!!!!", "default"),
        ("AKIAIOSFODNN7EXAMPLE", "default"),
    ],
)
def test_a_key_of_twelve_digits_is_its_account_and_others_are_the_defaults(key: str, account: str) -> None:
    assert account_of(key, "default") == account


@pytest.mark.parametrize(
    ("key", "account"), [("LSIAQNZGKIQY56JQ7WML", "029608264753"), ("LKIASP2TPHJSQH3FJXYZ", "171436882533")]
)
def test_an_account_is_read_from_a_key_as_aws_writes_it(key: str, account: str) -> None:
    assert account_of(key, "default") == account


@given(st.integers(0, 10**12 - 1), st.sampled_from(["LSIA", "LKIA"]))
def test_every_account_that_a_key_carries_is_found(number: int, prefix: str) -> None:
    text = base64.b32encode((1 << 79 | number << 39).to_bytes(10, "big")).decode()
    assert account_of(f"{prefix}{text}", "default") == f"{number:012d}"


def test_a_key_of_the_time_before_accounts_were_in_it_belongs_to_the_default() -> None:
    assert account_of("LKIAIOSFODNN7EXAMPLE", "default") == "default"


@given(st.text(), st.text())
def test_any_header_and_query_are_read_or_passed_over(header: str, query: str) -> None:
    for request in (_request(f"Credential={header}"), _request(query=f"X-Amz-Credential={query}")):
        found = sigv4.parse(request)
        assert found is None or all((found.access_key, found.date, found.region, found.service))


SCOPE = "AKID%2F20260101%2Feu-west-1%2Fsqs%2Faws4_request"


@pytest.mark.parametrize("query", [f"X%2DAmz%2DCredential={SCOPE}", f"a=b&&X-Amz-Credential={SCOPE}#&c"])
def test_a_presigned_query_is_read_as_a_query(query: str) -> None:
    found = sigv4.parse(_request(query=query.replace("#", "")))
    assert found == Credential("AKID", "20260101", "eu-west-1", "sqs")


@pytest.mark.parametrize("query", [f"Not-X-Amz-Credential={SCOPE}", f"a=X-Amz-Credential%3D{SCOPE}", f"b=%FF&{SCOPE}"])
def test_what_only_looks_like_a_presigned_query_is_unsigned(query: str) -> None:
    assert sigv4.parse(_request(query=query)) is None


@pytest.mark.parametrize("end", ["aws3_request", "AWS4_REQUEST", "aws4_request/x", ""])
def test_a_scope_ends_with_its_terminator(end: str) -> None:
    assert sigv4.parse(_request(HEADER.format(f"AKID/20260101/eu-west-1/sqs/{end}"))) is None

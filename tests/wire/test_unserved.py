"""Refusals for services that are not here can be read by those who get them."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.wire.unserved import refuse


@pytest.mark.parametrize(
    ("protocol", "root", "path"),
    [
        ("query", "ErrorResponse", "Error"),
        ("rest-xml", "ErrorResponse", "Error"),
        ("ec2", "Response", "Errors/Error"),
        ("s3", "Error", "."),
    ],
)
@given(text=st.text(max_size=50))
def test_a_refusal_in_xml_has_code_and_message_where_its_sdk_looks(
    protocol: str, root: str, path: str, text: str
) -> None:
    answer = refuse(protocol, text, "id")
    assert answer.status == 400
    found = ElementTree.fromstring(answer.body)
    assert found.tag == root
    assert found.findtext(f"{path}/Code") == "InvalidAction"
    assert found.find(f"{path}/Message") is not None


@pytest.mark.parametrize("protocol", ["json", "rest-json"])
@given(text=st.text(max_size=50))
def test_a_refusal_in_json_names_its_type(protocol: str, text: str) -> None:
    answer = refuse(protocol, text, "id")
    assert json.loads(answer.body) == {"__type": "UnknownOperationException", "message": text}
    names = {name.lower(): value for name, value in answer.headers}
    assert names["x-amzn-errortype"] == "UnknownOperationException"
    assert "x-amzn-query-error" not in names


@given(text=st.text(max_size=300) | st.just("x" * 70_000))
def test_a_refusal_in_cbor_is_a_map_of_two_texts(text: str) -> None:
    body = refuse("cbor", text, "id").body
    assert body[0] == 0xA2
    found, at = [], 1
    while at < len(body):
        assert body[at] == 0x79
        size = int.from_bytes(body[at + 1 : at + 3], "big")
        found.append(body[at + 3 : at + 3 + size])
        at += 3 + size
    assert found == [b"__type", b"UnknownOperationException", b"message", text.encode("utf-8", "replace")[:0xFFFF]]

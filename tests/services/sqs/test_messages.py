"""What a message may hold (aws/sqs.md section 5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.kernel.ids import uuid_text
from trunkline.services.sqs.messages import Attribute, clean, decode_tail, encode_tail, encoded, render
from trunkline.services.sqs.rows import MessageRow, encode_message, glance, heading

ALLOWED = [(0x9, 0xA), (0xD, 0xD), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF)]
EDGES = [edge + step for pair in ALLOWED for edge in pair for step in (-1, 0, 1) if edge + step <= 0x10FFFF]


@pytest.mark.parametrize("around", ["", "plain", "größe"])
def test_every_character_is_in_a_message_that_the_sheet_lists_and_no_other(around: str) -> None:
    for code in [*range(0x300), *EDGES]:
        allowed = any(first <= code <= last for first, last in ALLOWED)
        assert clean(around + chr(code) + around) is allowed, hex(code)
        body = around + chr(code) + around
        assert encoded(body) == (body.encode() if allowed else None), hex(code)


_SHORT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    sender=_SHORT,
    trace=_SHORT,
    names=st.lists(_SHORT, max_size=2),
    body=_SHORT,
    group=_SHORT,
    deduplication=_SHORT,
    source=_SHORT,
)
def test_a_plain_receive_shows_what_the_whole_row_holds_whatever_stands_before_the_body(
    sender: str, trace: str, names: list[str], body: str, group: str, deduplication: str, source: str
) -> None:
    attributes = [Attribute(name, "String", 1, b"value") for name in names]
    tail = encode_tail(sender, trace, attributes, body.encode())
    value = encode_message(0, 1, 2, 3, 4, b"i" * 16, b"m" * 16, 5, group, deduplication, source, tail)
    row = MessageRow.decode(value)
    assert render(value, "handle", 1, 1, 0, None, frozenset()) == {
        "MessageId": uuid_text(row.id),
        "ReceiptHandle": "handle",
        "MD5OfBody": row.md5.hex(),
        "Body": decode_tail(row.tail)[3],
    }


def test_a_row_of_a_version_that_is_not_known_is_not_guessed_at() -> None:
    value = b"\x02" + encode_message(0, 1, 2, 3, 4, b"i" * 16, b"m" * 16, 5, "", "", "", b"\0\0\0\0")[1:]
    with pytest.raises(ValueError, match="unknown version 2"):
        render(value, "handle", 1, 1, 0, None, frozenset())


_numbers = st.integers(0, 2**40)
_texts = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=128)


@given(
    st.integers(0, 3),
    _numbers,
    _numbers,
    st.integers(0, 1_000),
    _numbers,
    _texts,
    _texts,
    _texts,
    st.binary(max_size=9),
)
def test_what_is_read_of_a_row_without_taking_it_apart_is_what_stands_in_it(
    flags: int, sent: int, due: int, before: int, first: int, group: str, deduplication: str, arn: str, tail: bytes
) -> None:
    row = MessageRow(flags, sent, due, before, first, b"i" * 16, b"m" * 16, 7, group, deduplication, arn, tail)
    value = row.encode()
    assert MessageRow.decode(value) == row
    assert heading(value) == (flags, sent, due, group, before, first)
    assert glance(value) == (row.id, row.md5, tail)


@pytest.mark.parametrize("read", [MessageRow.decode, heading, glance])
def test_a_row_of_a_version_that_is_not_known_is_refused(read: Callable[[bytes], object]) -> None:
    row = MessageRow(0, 1, 0, 0, 0, b"i" * 16, b"m" * 16, 7, "", "", "", b"")
    with pytest.raises(ValueError, match="unknown version 9"):
        read(b"\x09" + row.encode()[1:])

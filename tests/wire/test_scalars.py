"""Blobs and times as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.kernel.errors import ServiceError
from trunkline.wire.protocols.scalars import blob, blob_text, time, time_text

SECONDS = st.integers(0, 4_000_000_000)


@given(st.binary())
def test_bytes_come_back_from_their_text(value: bytes) -> None:
    assert blob(blob_text(value)) == value


@pytest.mark.parametrize("text", ["Y", "YQ", "YQ=", "Y Q=", "YQ==\n", "é", "-_=="])
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(ServiceError, match="SerializationException"):
        blob(text)


@pytest.mark.parametrize(
    "value",
    [
        1398796238,
        1398796238.0,
        "1398796238",
        "1398796238.0",
        "2014-04-29T18:30:38Z",
        "2014-04-29T18:30:38.000Z",
        "2014-04-29T18:30:38",
        "2014-04-29T19:30:38+01:00",
        "Tue, 29 Apr 2014 18:30:38 GMT",
    ],
)
def test_a_time_is_read_in_every_form(value: float | str) -> None:
    assert time(value) == 1398796238


@pytest.mark.parametrize("value", [True, None, [], {}, "", "soon", "nan", "inf", "1e5", "1_0", ",", "x, y", "9" * 5000])
def test_what_is_not_a_time_is_refused(value: object) -> None:
    with pytest.raises(ServiceError, match="SerializationException"):
        time(value)


@given(st.text() | st.text(alphabet="0123456789-:,.+TZ GMTue"))
def test_any_text_is_a_time_or_is_refused(text: str) -> None:
    try:
        assert time(text) == time(text)
    except ServiceError as refused:
        assert refused.name == "SerializationException"


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ("iso8601", "2014-04-29T18:30:38Z"),
        ("rfc822", "Tue, 29 Apr 2014 18:30:38 GMT"),
        ("unixTimestamp", 1398796238),
    ],
)
def test_a_time_is_written_in_the_models_form(style: str, text: str | int) -> None:
    assert time_text(1398796238.0, style) == text


def test_milliseconds_are_written_only_if_there_are_any() -> None:
    assert time_text(946845296.123, "iso8601") == "2000-01-02T20:34:56.123Z"
    assert time_text(946845296.5, "unixTimestamp") == 946845296.5


@given(SECONDS, st.sampled_from(["iso8601", "rfc822", "unixTimestamp"]))
def test_a_time_comes_back_from_its_text(seconds: int, style: str) -> None:
    assert time(time_text(seconds, style)) == seconds

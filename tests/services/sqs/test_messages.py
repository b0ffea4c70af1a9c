"""What a message may hold (aws/sqs.md section 5)."""

from __future__ import annotations

import pytest

from trunkline.services.sqs.messages import clean

ALLOWED = [(0x9, 0xA), (0xD, 0xD), (0x20, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF)]
EDGES = [edge + step for pair in ALLOWED for edge in pair for step in (-1, 0, 1) if edge + step <= 0x10FFFF]


@pytest.mark.parametrize("around", ["", "plain", "größe"])
def test_every_character_is_in_a_message_that_the_sheet_lists_and_no_other(around: str) -> None:
    for code in [*range(0x300), *EDGES]:
        allowed = any(first <= code <= last for first, last in ALLOWED)
        assert clean(around + chr(code) + around) is allowed, hex(code)

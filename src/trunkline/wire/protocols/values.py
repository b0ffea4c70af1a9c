"""How many values a JSON text may hold, counted before it is read.

Reading JSON takes time by its values, not by its bytes: 8 MiB of ``{},`` are
2.7 million objects and more than a second of the event loop, for nothing, for
no operation takes more than some thousand. A long message is one value, but
may have all the commas and brackets of the world inside its string: what
stands in strings does not count.

So a short text is not looked at. Of a long one all commas, brackets and quotes
are counted, at the speed of memory; only where they are too many the strings
are told from the rest. Either way it ends as soon as there are too many.
"""

from __future__ import annotations

MOST_VALUES = 20_000
FREE = 65_536
"""Bytes of a text that cannot hold so many values as to matter."""
_SLICE = 65_536


def too_many(text: bytes) -> bool:
    """Does ``text`` hold more than MOST_VALUES values? Of what is not JSON it may say either."""
    if len(text) <= FREE:
        return False
    marks = 0
    for at in range(0, len(text), _SLICE):
        piece = text[at : at + _SLICE]
        marks += piece.count(b",") + piece.count(b"{") + piece.count(b"[") + piece.count(b'"')
        if marks > MOST_VALUES:
            return _too_many_outside(text)
    return False


def _too_many_outside(text: bytes) -> bool:
    values, inside, cut = 0, 0, b""
    for at in range(0, len(text), _SLICE):
        piece = cut + text[at : at + _SLICE]
        # An escape that the end of the piece would cut in two waits for the next.
        cut = b"\\" if (len(piece) - len(piece.rstrip(b"\\"))) % 2 else b""
        if cut:
            piece = piece[:-1]
        # Without its escapes, every quote begins or ends a string.
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[inside::2])
        values += outside.count(b",") + outside.count(b"{") + outside.count(b"[") + len(parts) // 2
        if values > MOST_VALUES:
            return True
        inside ^= (len(parts) - 1) & 1
    return False

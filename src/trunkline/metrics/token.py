"""The token that /metrics wants: Prometheus cannot sign a request as AWS's clients do, but it can send a token.

It is read from a file, and again on SIGHUP, so that it stands in no process
list. It opens nothing else.
"""

from __future__ import annotations

import hmac
import re
from pathlib import Path

from trunkline.credentials import BadCredentials

_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,4096}")
"""What may stand behind Bearer (RFC 6750), and long enough not to be guessed."""
_MOST_BYTES = 8_192


class Token:
    """BadCredentials if ``file`` cannot be read, or holds anything but a token on one line."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._expected = b""
        self.read_again()

    def read_again(self) -> None:
        try:
            with self._file.open("rb") as opened:
                text = opened.read(_MOST_BYTES).decode("ascii", "replace").strip()
        except OSError as error:
            raise BadCredentials(f"the metrics token {self._file} cannot be read: {error.strerror or error}") from None
        if _TOKEN.fullmatch(text) is None:
            raise BadCredentials(
                f"the metrics token {self._file} is to be one line of 16 characters or more, of letters, digits and "
                "-._~+/=: openssl rand -hex 32"
            )
        self._expected = b"Bearer " + text.encode()

    def matches(self, authorization: str) -> bool:
        """Is it what an Authorization header says? Compared in constant time."""
        return hmac.compare_digest(authorization.encode("utf-8", "replace"), self._expected)

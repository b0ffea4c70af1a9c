"""The server's own log: a line for each record, as text or as JSON, and what no line may hold."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from trunkline.logs import FIELDS, JsonLines, TextLines


def record(message: str, error: Exception | None = None, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("trunkline.gateway", logging.ERROR, "gateway.py", 1, message, (), None)
    if error is not None:
        made.exc_info = (type(error), error, None)
    made.__dict__.update(extra)
    return made


def test_text_ends_in_the_fields_that_the_message_does_not_name() -> None:
    line = TextLines().format(record("SendMessage failed", operation="SendMessage", request_id="abc", queue="q"))
    assert line.endswith(" ERROR trunkline.gateway: SendMessage failed request_id=abc queue=q")


def test_json_is_an_object_on_one_line_with_every_field_by_its_name() -> None:
    line = JsonLines().format(record("failed\nhere", ValueError("two\nlines"), operation="SendMessage", status=500))
    assert "\n" not in line
    read = json.loads(line)
    assert read["time"].endswith("Z") and read["time"][10] == "T"
    assert {name: read[name] for name in ("level", "logger", "message", "operation", "status")} == {
        "level": "error", "logger": "trunkline.gateway", "message": "failed\nhere", "operation": "SendMessage",
        "status": 500,
    }  # fmt: skip
    assert "ValueError: two\nlines" in read["exception"]


@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
def test_a_client_cannot_write_lines_of_its_own(lines: logging.Formatter) -> None:
    line = lines.format(record("GET /\r\n2026 CRITICAL all is lost \x1b[31m", path="/\n\u2028x"))
    assert len(line.splitlines()) == 1 and "\x1b" not in line


def test_what_others_put_into_a_record_is_not_shown() -> None:
    made = record("x", secret="hunter2", authorization="AWS4-HMAC")
    for lines in (TextLines(), JsonLines()):
        assert "hunter2" not in lines.format(made) and "AWS4" not in lines.format(made)
    assert "authorization" not in FIELDS


def test_the_log_of_a_server_is_json_where_that_is_asked_for() -> None:
    """Standard error alone: standard output is the banner's and Ready."""
    program = "import logging; from trunkline import logs; logs.set_up('info', 'json'); logging.info('up %d', 1)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout == "" and json.loads(shown.stderr)["message"] == "up 1"

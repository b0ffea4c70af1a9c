"""The server's own log on standard error: a line for each record, as text or as a JSON object.

What a record concerns stands in named fields: the request's id, which is the
one that its client was given, the operation, the account, the region, the
queue. Whoever logs hands them over as ``extra``; in text those follow the
message that it does not name itself, in JSON they are members. What others put
into a record is not shown, so nothing gets into the log by accident.

A line is a line: control characters of what a client sent are escaped.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

FIELDS = (
    "request_id", "operation", "account", "region", "queue",
    "method", "path", "peer", "status", "code", "milliseconds", "asked", "answered",
)  # fmt: skip
"""What a record may concern, in the order in which it is shown."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def set_up(level: str, form: str) -> None:
    """Log what is of ``level`` or above. ``form``: text or json."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Its debug level tells of selectors and threads.
    logging.getLogger("asyncio").setLevel(max(logging.INFO, logging.getLogger().level))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = record.__dict__
    return {name: found[name] for name in FIELDS if found.get(name) not in (None, "")}


class TextLines(logging.Formatter):
    """``2026-11-24 17:03:54,356 ERROR trunkline.gateway: sqs:SendMessage failed request_id=… account=…``; tracebacks
    follow on lines of their own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        said = record.message
        rest = [f"{name}={value}" for name, value in _fields(record).items() if str(value) not in said]
        return _CONTROL.sub(lambda found: repr(found[0])[1:-1], " ".join((super().formatMessage(record), *rest)))


class JsonLines(logging.Formatter):
    """``time`` (UTC), ``level``, ``logger``, ``message``, the fields, and ``exception`` with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)

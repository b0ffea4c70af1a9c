"""Generate the reference pages from the tables that the server itself uses.

    python tools/docs.py [--check]

``--check`` writes nothing and fails if a page is out of date.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from trunkline.metrics.table import METRICS
from trunkline.settings import (
    ALSO_PREFIX,
    FIELDS,
    LISTEN,
    LISTEN_FORM,
    MEANINGLESS,
    MIXED,
    TRANSLATED,
    environment_name,
    flag,
    shown_default,
)
from trunkline.unenforced import UNENFORCED
from trunkline.wire.shapes import ServiceModel

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


def toml(value: bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 118)


def settings() -> str:
    lines = [
        "# Settings",
        "",
        *wrapped(
            "Every option of `trunkline serve`. A flag wins over the environment, the environment over the "
            "configuration file, the file over the default. A name that is not known is warned about (on the command "
            "line: refused), with the nearest one that is. An empty environment variable counts as unset."
        ),
        "",
        *wrapped(
            "The configuration file is named by `--config FILE` or `TRUNKLINE_CONFIG`. It is TOML; its keys are those "
            "of the first column and stand at the top level:"
        ),
        "",
        "```toml",
        "port = 4566",
        'data = "/srv/trunkline"',
        'durability = "os"',
        "strict = true",
        "grace = 2.5",
        "```",
        "",
        "| setting | flag | environment | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, each in FIELDS.items():
        names = ", ".join(f"`{alias}`" for alias in (environment_name(name), *each.metadata["also"]))
        convert = each.metadata["convert"].__doc__
        meaning = f"{each.metadata['help']} Takes {convert}."
        lines.append(f"| `{name}` | `{flag(name)}` | {names} | {shown_default(name)} | {meaning} |")
    lines += [
        "",
        "Of several variables for one setting the first in its row wins. Those that do not begin with `TRUNKLINE_` or",
        f"`{ALSO_PREFIX}` are also understood with `{ALSO_PREFIX}` before them, and win without it.",
        "",
        "# Other servers' variables",
        "",
        "These are understood too, with and without the prefix; any variable of the table above wins over them.",
        "",
        f"- `{LISTEN}`: {LISTEN_FORM};",
        "  `TRUNKLINE_PORT`, `EDGE_PORT` and `GATEWAY_PORT` win over its port.",
        "- `DEBUG`: 1 or true sets `log_level` to debug.",
    ]
    for variable, name, values in TRANSLATED:
        lines.append(f"- `{variable}`: true sets `{name}` to {toml(values[True])}, false to {toml(values[False])}.")
    lines += [
        *textwrap.wrap(
            f"- {' and '.join(f'`{each}`' for each in MIXED)}: the port speaks TLS and, as LocalStack's, HTTP in clear "
            "too, unless `tls_mixed` says no. A certificate that is given wins over `USE_SSL`.",
            118,
            subsequent_indent="  ",
        ),
        "",
        f"`{LISTEN}=0.0.0.0:4566`, as containers have it, wants `TRUNKLINE_INSECURE=1` or `TRUNKLINE_AUTH=verify`",
        "beside it: see [beyond loopback](../operations/security.md#beyond-loopback).",
        "",
        "These have no meaning here; the server names those that are set, once, when it starts:",
        *wrapped(", ".join(f"`{variable}`" for variable in MEANINGLESS) + "."),
    ]
    return "\n".join(lines) + "\n"


def unenforced() -> str:
    lines = [
        "# Stored, but not enforced yet",
        "",
        "These settings are accepted, validated, stored and returned, and do nothing more. The list is to be empty at",
        "1.0; the server shows it at `/_trunkline/unenforced` and in its banner. With `--auth verify` what stands",
        "in it is refused.",
        "",
        "| service | setting | what that means |",
        "|---|---|---|",
    ]
    lines += [f"| {each['service']} | `{each['setting']}` | {each['means']} |" for each in UNENFORCED]
    return "\n".join(lines) + "\n"


def operations() -> str:
    lines = [
        "# Operations",
        "",
        "What Trunkline answers. A request for anything else is refused by name.",
        "",
        "| service | operation |",
        "|---|---|",
    ]
    for service in ("sqs", "sts"):
        lines += [f"| {service} | {name} |" for name in sorted(ServiceModel.load(service).operations)]
    return "\n".join(lines) + "\n"


def metrics() -> str:
    lines = [
        "# Metrics",
        "",
        *wrapped(
            "What `/metrics` (and `/_trunkline/metrics`) shows, in Prometheus's text format or, if Accept asks for it, "
            "as OpenMetrics. How to watch a server by them: [monitoring](../operations/monitoring.md)."
        ),
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for each in METRICS:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(f"| `{each.name}` | {each.kind} | {labels} | {each.help} |")
    lines += [
        "",
        *wrapped(
            "Beside these stand the client library's own for the process (`process_resident_memory_bytes`, "
            "`process_cpu_seconds_total`, `process_open_fds`, `process_max_fds`, `process_start_time_seconds`, "
            "`process_virtual_memory_bytes`; on Linux) and for Python's garbage collector (`python_gc_*`)."
        ),
    ]
    return "\n".join(lines) + "\n"


PAGES = {"settings.md": settings, "unenforced.md": unenforced, "operations.md": operations, "metrics.md": metrics}


def main() -> int:
    REFERENCE.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, make in PAGES.items():
        file = REFERENCE / name
        text = make()
        if not file.exists() or file.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                file.write_text(text)
    if "--check" in sys.argv and stale:
        print(f"out of date: {', '.join(stale)}; run make docs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

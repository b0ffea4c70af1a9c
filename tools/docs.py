"""Generate the reference pages from the tables that the server itself uses.

    python tools/docs.py [--check]

``--check`` writes nothing and fails if a page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from trunkline.settings import FIELDS, environment_name, flag
from trunkline.unenforced import UNENFORCED
from trunkline.wire.shapes import ServiceModel

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"


def settings() -> str:
    lines = [
        "# Settings",
        "",
        "Every option of `trunkline serve`. A flag wins over the environment, the environment over the configuration",
        "file (`--config FILE` or `TRUNKLINE_CONFIG`, TOML, keys as in the first column), the file over the default.",
        "A name that is not known is warned about (on the command line: refused), with the nearest one that is.",
        "An empty environment variable counts as unset.",
        "",
        "| setting | flag | environment | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, each in FIELDS.items():
        names = ", ".join(f"`{alias}`" for alias in (environment_name(name), *each.metadata["also"]))
        default = each.metadata["shown"] or (str(each.default).lower() if each.default is not None else "")
        convert = each.metadata["convert"].__doc__
        lines.append(f"| `{name}` | `{flag(name)}` | {names} | {default} | {each.metadata['help']} Takes {convert}. |")
    lines += [
        "",
        "Also understood: `GATEWAY_LISTEN` (host:port), `DEBUG=1`, and `SQS_DELAY_PURGE_RETRY` and",
        "`SQS_DELAY_RECENTLY_DELETED` (true restores AWS's 60 seconds).",
    ]
    return "\n".join(lines) + "\n"


def unenforced() -> str:
    lines = [
        "# Stored, but not enforced yet",
        "",
        "These settings are accepted, validated, stored and returned, and do nothing more. The list is to be empty at",
        "1.0; the server shows it at `/_trunkline/unenforced` and in its banner.",
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


PAGES = {"settings.md": settings, "unenforced.md": unenforced, "operations.md": operations}


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

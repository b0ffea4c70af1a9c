"""Make the service models that Trunkline speaks from those of the installed botocore.

    python tools/models.py [--check]

Prose is stripped; shapes, traits, constraints and operations stay. What AWS
leaves out (SQS's query-protocol names and codes, written down in botocore
1.29.0, from when SQS spoke it) comes from ``wire/overlays/<service>.json``.
The result is deterministic; ``--check`` fails if the files are out of date.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import botocore

WIRE = Path(__file__).parent.parent / "src" / "trunkline" / "wire"
SERVICES: dict[str, list[str] | None] = {"sqs": None, "sts": ["GetCallerIdentity"]}
"""Service -> the operations to take, None for all."""

_KEEP_METADATA = (
    "apiVersion",
    "jsonVersion",
    "protocol",
    "targetPrefix",
    "xmlNamespace",
    "serviceId",
    "endpointPrefix",
)
_PROSE = ("documentation", "deprecatedMessage", "deprecated", "sensitive", "documentationUrl")


def source(service: str) -> dict[str, Any]:
    folder = Path(botocore.__file__).parent / "data" / service
    file = sorted(folder.glob("*/service-2.json*"))[-1]
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    model: dict[str, Any] = json.loads(data)
    return model


def stripped(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: stripped(value) for key, value in node.items() if not (key in _PROSE and not isinstance(value, dict))
        }
    if isinstance(node, list):
        return [stripped(value) for value in node]
    return node


def reached(model: dict[str, Any], names: set[str]) -> set[str]:
    """The shapes that can be reached from ``names``."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        shape = model["shapes"][name]
        parts = [*shape.get("members", {}).values()]
        parts += [shape[part] for part in ("member", "key", "value") if part in shape]
        todo += [part["shape"] for part in parts]
    return found


def merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {key: merged(base.get(key), over[key]) if key in over else base[key] for key in {**base, **over}}
    return over


def built(service: str) -> str:
    full = source(service)
    wanted = SERVICES[service]
    operations = {name: op for name, op in full["operations"].items() if wanted is None or name in wanted}
    roots = {op[part]["shape"] for op in operations.values() for part in ("input", "output") if part in op}
    roots |= {error["shape"] for op in operations.values() for error in op.get("errors", [])}
    shapes = reached(full, roots)
    model = {
        "metadata": {key: full["metadata"][key] for key in _KEEP_METADATA if key in full["metadata"]},
        "operations": {name: stripped(operations[name]) for name in operations},
        "shapes": {name: stripped(full["shapes"][name]) for name in shapes},
    }
    overlay = WIRE / "overlays" / f"{service}.json"
    if overlay.exists():
        model = merged(model, json.loads(overlay.read_text()))
    return json.dumps(model, indent=1, sort_keys=True) + "\n"


def main() -> int:
    stale = []
    for service in SERVICES:
        file = WIRE / "models" / f"{service}.json"
        text = built(service)
        if not file.exists() or file.read_text() != text:
            stale.append(file.name)
            if "--check" not in sys.argv:
                file.write_text(text)
    if "--check" in sys.argv and stale:
        print(f"out of date: {', '.join(stale)}; run python tools/models.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

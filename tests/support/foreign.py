"""Clients in other languages, as programs that run scenarios against a server and print what became of each."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

INSTALLED = Path(__file__).parents[2] / ".cache" / "consumers"
"""Where tests/consumers/install.sh puts libraries, a directory for each kind of client."""


def pointed(url: str) -> dict[str, str]:
    """The environment that the guide for clients tells."""
    credential = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    return credential | {"AWS_ENDPOINT_URL_SQS": url, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}


def outcomes(command: Sequence[str], seconds: float = 120, **environment: str) -> dict[str, str]:
    """Of each scenario: "" where it went well, or the error that it ended in.

    The program's last line is the JSON object; it is to end by itself within ``seconds``. AWS's own variables are
    kept from it, so that it calls nobody but the server that it is told of.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    clean |= {"AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    assert found, "no scenario was run"
    return found


def failures(found: dict[str, str]) -> str:
    """What pytest is to show: nothing if all went well."""
    return "\n\n".join(f"{scenario}: {error}" for scenario, error in found.items() if error)

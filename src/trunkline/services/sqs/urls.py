"""Queue URLs: read in every form that scripts use, written in the form that the settings say.

name                                             the caller's account and region
[scheme://host]/<account>/<name>[/]              any host
[scheme://host]/queue/<region>/<account>/<name>  LocalStack's path strategy
[scheme://host]/queue/<name>                     ElasticMQ, GoAWS
http://sqs.<region>.host/…                       standard: the region is in the host
http://[<region>.]queue.host/…                   domain, and AWS's legacy hosts
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_REGION = re.compile(r"^(?:sqs\.([a-z0-9-]+)\.|([a-z0-9-]+)\.queue\.)")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queue is. ``account``/``region`` None: the caller's."""

    account: str | None
    region: str | None
    name: str


_read: dict[str, Place | None] = {}
_MOST = 8_192


def parse(url: str) -> Place | None:
    """The place that ``url`` names, or None if it names none."""
    try:
        return _read[url]
    except KeyError:
        if len(_read) >= _MOST:
            _read.clear()
        found = _read[url] = _parse(url)
        return found


def _parse(url: str) -> Place | None:
    host, path = "", url
    if "://" in url:
        host, _, path = url.split("://", 1)[1].partition("/")
    path = path.strip("/")
    parts = path.split("/")
    region = None
    found = _REGION.match(host.lower())
    if found is not None:
        region = found[1] or found[2]
    if not parts[-1]:
        return None
    if parts[0] == "queue" and len(parts) == 4:
        return Place(parts[2], parts[1], parts[3])
    if parts[0] == "queue" and len(parts) == 2:
        return Place(None, region, parts[1])
    if len(parts) == 1:
        return Place(None, region, parts[0])
    if len(parts) == 2 and len(parts[0]) == 12 and parts[0].isdigit():
        return Place(parts[0], region, parts[1])
    if len(parts) == 3 and parts[0] == "queue" and parts[1].isdigit():
        return Place(parts[1], region, parts[2])
    return None


def write(strategy: str, endpoint: str, hostname: str, region: str, account: str, name: str) -> str:
    """A queue's URL. ``hostname`` (with or without a port), if set, stands for the caller's host."""
    scheme, _, host = endpoint.partition("://")
    if hostname:
        port = host.rpartition(":")[2] if ":" in host and not host.endswith("]") else ""
        host = hostname if ":" in hostname or not port else f"{hostname}:{port}"
    if strategy == "path":
        return f"{scheme}://{host}/queue/{region}/{account}/{name}"
    if strategy in ("standard", "domain"):
        domain = (
            host if hostname else "localhost.localstack.cloud" + (":" + host.rpartition(":")[2] if ":" in host else "")
        )
        prefix = (
            f"sqs.{region}" if strategy == "standard" else ("queue" if region == "us-east-1" else f"{region}.queue")
        )
        return f"{scheme}://{prefix}.{domain}/{account}/{name}"
    return f"{scheme}://{host}/{account}/{name}"

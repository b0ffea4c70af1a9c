"""Queue URLs: read in every form that scripts use, written in the form that the settings say.

name                                             the caller's account and region
[scheme://host]/<account>/<name>[/]              any host
[scheme://host]/queue/<region>/<account>/<name>  LocalStack's path strategy
[scheme://host]/queue/<name>                     ElasticMQ, GoAWS
http://sqs.<region>.host/…                       standard: the region is in the host
http://[<region>.]queue.host/…                   domain, and AWS's legacy hosts

A label of a host is a region only if it looks like one: ``sqs.my-network`` is a
container's name. ``queue.amazonaws.com`` without a region is us-east-1's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trunkline.kernel.arn import is_account

_REGION = re.compile(r"(?:^|\.)(?:sqs(?:-fips)?\.{0}\.|{0}\.queue\.)".format(r"([a-z]{2,}(?:-[a-z]+)+-[0-9]+)"))
_FIRST_REGION = re.compile(r"^(?:queue\.amazonaws\.com|queue\.localhost\.localstack\.cloud)(?::|$)")
_LOCAL = "localhost.localstack.cloud"
_REMEMBERED = 512
"""Characters of the longest URL that is remembered: what a client may send is longer than memory allows."""
_LONGEST = 4_096
"""Characters of a URL: a host has 253 at the most, an account 12, a name 80."""


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
        found = _parse(url) if len(url) <= _LONGEST else None
        if len(url) <= _REMEMBERED:
            _read[url] = found
        return found


def _parse(url: str) -> Place | None:
    host, path = "", url
    if "://" in url:
        host, _, path = url.split("://", 1)[1].partition("/")
    path = path.strip("/")
    parts = path.split("/")
    region = _region_of(host.lower())
    if not parts[-1]:
        return None
    if parts[0] == "queue" and len(parts) == 4:
        return Place(parts[2], parts[1], parts[3])
    if parts[0] == "queue" and len(parts) == 2:
        return Place(None, region, parts[1])
    if len(parts) == 1:
        return Place(None, region, parts[0])
    if len(parts) == 2 and is_account(parts[0]):
        return Place(parts[0], region, parts[1])
    if len(parts) == 3 and parts[0] == "queue" and is_account(parts[1]):
        return Place(parts[1], region, parts[2])
    return None


def _region_of(host: str) -> str | None:
    found = _REGION.search(host)
    if found is not None:
        return found[1] or found[2]
    return "us-east-1" if _FIRST_REGION.match(host) else None


def write(strategy: str, endpoint: str, hostname: str, region: str, account: str, name: str) -> str:
    """A queue's URL. ``hostname`` (with or without a port), if set, stands for the caller's host."""
    scheme, _, host = endpoint.partition("://")
    port = "" if ":" not in host or host.endswith("]") else ":" + host.rpartition(":")[2]
    if hostname:
        host = hostname if ":" in hostname else hostname + port
    if strategy == "path":
        return f"{scheme}://{host}/queue/{region}/{account}/{name}"
    if strategy in ("standard", "domain"):
        domain = host if hostname else _LOCAL + port
        if strategy == "standard":
            prefix = f"sqs.{region}"
        else:
            # Only of LocalStack's own domain is it known, when the URL comes back, which region has no name.
            prefix = "queue" if region == "us-east-1" and domain.startswith(_LOCAL) else f"{region}.queue"
        return f"{scheme}://{prefix}.{domain}/{account}/{name}"
    return f"{scheme}://{host}/{account}/{name}"

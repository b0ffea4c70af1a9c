"""What the server says of itself when it has started."""

from __future__ import annotations

from collections.abc import Iterable

import trunkline
from trunkline.settings import Settings
from trunkline.unenforced import UNENFORCED


def url(host: str, port: int) -> str:
    """Of a server that listens at ``host``; an IPv6 address stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def banner(settings: Settings, hosts: Iterable[str], port: int, credentials: str = "") -> str:
    """A few lines: addresses, data directory, durability, auth mode, and what is stored but not enforced.

    ``credentials``: what is known of those who may call, if they are asked.
    """
    shown = ", ".join(url(host, port) for host in hosts)
    where = "in memory (nothing survives)" if settings.memory else str(settings.data)
    durability = "none" if settings.memory else settings.durability
    held = ", ".join(each["setting"] for each in UNENFORCED)
    return "\n".join(
        (
            f"Trunkline {trunkline.__version__}",
            f"  listening   {shown}",
            "  services    sqs, sts",
            f"  data        {where}",
            f"  durability  {durability}",
            f"  auth        {settings.auth}"
            + (f" ({credentials})" if credentials else "")
            + (", strict" if settings.strict else ""),
            f"  unenforced  {held} ({'refused' if settings.verified else 'see /_trunkline/unenforced'})",
        )
    )

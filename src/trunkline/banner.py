"""What the server says of itself when it has started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import trunkline
from trunkline.certificates import Certificates
from trunkline.settings import Settings
from trunkline.unenforced import UNENFORCED


def url(host: str, port: int, scheme: str = "http") -> str:
    """Of a server that listens at ``host``; an IPv6 address stands in brackets."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def banner(
    settings: Settings, hosts: Iterable[str], port: int, credentials: str = "", certificates: Certificates | None = None
) -> str:
    """A few lines: addresses, TLS, data directory, durability, auth mode, and what is stored but not enforced.

    ``credentials``: what is known of those who may call, if they are asked. ``certificates``: what the server shows, if
    it speaks TLS.
    """
    shown = ", ".join(url(host, port, settings.scheme) for host in hosts)
    where = "in memory (nothing survives)" if settings.memory else str(settings.data)
    durability = "none" if settings.memory else settings.durability
    held = ", ".join(each["setting"] for each in UNENFORCED)
    return "\n".join(
        (
            f"Trunkline {trunkline.__version__}",
            f"  listening   {shown}" + (" (http:// too)" if settings.tls_mixed else ""),
            *_of_tls(settings, certificates),
            "  services    sqs, sts",
            f"  data        {where}",
            f"  durability  {durability}",
            f"  auth        {settings.auth}"
            + (f" ({credentials})" if credentials else "")
            + (", strict" if settings.strict else ""),
            f"  unenforced  {held} ({'refused' if settings.verified else 'see /_trunkline/unenforced'})",
        )
    )


def _of_tls(settings: Settings, certificates: Certificates | None) -> Iterator[str]:
    if certificates is None:
        return
    yield f"  tls         {certificates}"
    if settings.tls_self_signed:
        yield f"              made by itself: clients trust it by AWS_CA_BUNDLE={certificates.pair.file}"

"""What the server says of itself when it has started."""

from __future__ import annotations

import trunkline
from trunkline.settings import Settings
from trunkline.unenforced import UNENFORCED


def banner(settings: Settings, host: str, port: int) -> str:
    """A few lines: address, data directory, durability, auth mode, and what is stored but not enforced."""
    shown = f"[{host}]" if ":" in host else host
    where = "in memory (nothing survives)" if settings.memory else str(settings.data)
    durability = "none" if settings.memory else settings.durability
    held = ", ".join(each["setting"] for each in UNENFORCED)
    return "\n".join(
        (
            f"Trunkline {trunkline.__version__}",
            f"  listening   http://{shown}:{port}",
            "  services    sqs, sts",
            f"  data        {where}",
            f"  durability  {durability}",
            f"  auth        {settings.auth}" + (", strict" if settings.strict else ""),
            f"  unenforced  {held} (see /_trunkline/unenforced)",
        )
    )

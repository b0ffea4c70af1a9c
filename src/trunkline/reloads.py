"""What is read again on SIGHUP: files that are renewed while the server runs, such as credentials and certificates.

Who reads such a file registers here how to read it again. A file that cannot be read, or says what cannot be, changes
nothing: what was read before stays in force, and the log says why. While nothing is registered SIGHUP stops the server,
as the end of its terminal does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Reloads:
    """False while nothing is registered."""

    def __init__(self) -> None:
        self._registered: list[tuple[str, Callable[[], None]]] = []

    def __bool__(self) -> bool:
        return bool(self._registered)

    def register(self, what: str, read: Callable[[], None]) -> None:
        """``what``: its name for people, such as ``the credentials``. ``read`` puts the new in force, or raises and
        leaves the old; it is called on the event loop, so it is to be quick."""
        self._registered.append((what, read))

    def run(self) -> None:
        """Read everything again, each on its own. Never raises."""
        for what, read in self._registered:
            try:
                read()
            except (OSError, ValueError) as error:
                log.error("On SIGHUP %s could not be read again; what was read before stays in force: %s", what, error)
            except Exception:
                log.exception("On SIGHUP %s could not be read again; what was read before stays in force", what)
            else:
                log.warning("On SIGHUP %s were read again", what)

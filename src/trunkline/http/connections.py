"""How long connections may last, how many there may be, and what they may hold of answers that nobody takes.

    idle       nothing under way                     closed after ``idle_seconds``
    slow       a request has begun and does not end  408 after ``request_seconds``, head and body together
    deaf       does not read what it is sent         closed after ``idle_seconds``, or as soon as the answers that wait
                                                     for such clients fill ``unsent_bytes``: the one with most goes
    too many   more than ``most``                    503 at the door, as other servers do, and closed

A server whose file descriptors are all taken accepts nobody, and its store
opens no file: so ``room`` leaves some, and a process takes as many as the
system lets it have (``raise_limit``).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)

_OWN = 64
"""File descriptors that are left to the store, the log and the listening sockets."""
_ENOUGH = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Real seconds, connections and bytes; see above."""

    idle_seconds: float = 300.0
    request_seconds: float = 60.0
    most: int = 50_000
    unsent_bytes: int = 256 << 20


class Connection(Protocol):
    def abort(self) -> None: ...


class Unsent:
    """Answers that wait for clients who do not read, by connection."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes: dict[Connection, int] = {}
        self.total = 0

    def count(self, connection: Connection, size: int) -> None:
        """``connection`` holds ``size`` bytes now. Aborts who holds most, until the rest is within bounds."""
        self.total += size - self._bytes.get(connection, 0)
        self._bytes[connection] = size
        while self.total > self._most:
            largest = max(self._bytes, key=self._bytes.__getitem__)
            log.warning("A client that does not read its answers is let go: %d bytes waited", self._bytes[largest])
            self.forget(largest)
            largest.abort()

    def forget(self, connection: Connection) -> None:
        self.total -= self._bytes.pop(connection, 0)


def raise_limit() -> None:
    """Let this process have as many file descriptors as the system allows it."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            log.warning("The limit of open files stays %d: the system does not let it be %d", soft, wanted)


def room(most: int) -> int:
    """``most`` connections, or as many as the process's file descriptors leave room for."""
    try:
        import resource
    except ImportError:
        return most
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, soft // 2 if soft < 2 * _OWN else soft - _OWN))

"""What is not let in while too much waits to become durable, or nothing can.

Two marks on the same count of bytes (runtime.commits). Senders, who fill it,
stop at the lower one; what works a backlog off (receives, deletes, changes of
visibility, purges) and all other operations go on up to the upper one, so a
store that is slower than its senders does not stop its consumers.

Decided before a request is decoded: of an operation that stands in a header by
one comparison, of the query protocol's by a look for its Action. What has no
rows to write (health, metrics, the clock's pages) is no operation and never
refused here.

While the store fails (runtime.outage) only operations that change nothing are
let in: the others could but be refused later, and cost a machine until then.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from typing import Protocol

from trunkline.kernel.errors import RequestThrottled, ServiceUnavailable
from trunkline.kernel.refusals import Refusals

log = logging.getLogger(__name__)

RESERVE = 8
"""The part of the bytes that senders leave to others is one in so many."""

_ACTION = re.compile(rb"(?:^|&)Action=(\w+)")
_SEEN = 4_096
"""Bytes in which the Action of a form is looked for. Every SDK sends it first."""


class Lane(Protocol):
    """Where changes wait to become durable: see runtime.commits."""

    @property
    def uncommitted(self) -> int: ...
    @property
    def failing(self) -> bool: ...
    def turn_away(self) -> ServiceUnavailable: ...


class NoLane:
    """Nothing waits, and nothing fails."""

    uncommitted = 0
    failing = False

    def turn_away(self) -> ServiceUnavailable:
        return ServiceUnavailable()


class Admission:
    """``most``: bytes; ``sending``: the actions (``sqs:SendMessage``) of senders; ``reading``: what changes nothing.

    ``refused`` counts who was kept out. ``lane`` and ``most_of`` are for whoever compares; see ``Gateway.handle``.
    """

    def __init__(
        self,
        lane: Lane | None = None,
        most: int = sys.maxsize,
        sending: frozenset[str] = frozenset(),
        monotonic: Callable[[], float] = lambda: 0.0,
        reading: frozenset[str] = frozenset(),
    ) -> None:
        self._reading = reading
        self.lane: Lane = lane or NoLane()
        self._most = most
        self._most_sent = most - most // RESERVE
        self._sending = sending
        self._names = frozenset(action.partition(":")[2].encode() for action in sending)
        self.refused = Refusals(
            f"Requests are refused: the store is slower than they come, and {self._most_sent} bytes of messages wait "
            "to become durable (max_uncommitted_bytes)",
            log,
            monotonic,
        )

    def reads(self, action: str) -> bool:
        """May it come in while nothing can be stored?"""
        return action in self._reading

    def most_of(self, action: str) -> int:
        """Bytes beyond which a request of ``action`` is not let in: what waits, and its own body."""
        return self._most_sent if action in self._sending else self._most

    def fits_unread(self, size: int, form: bytes = b"") -> bool:
        """May a request come in whose operation is not known yet?

        ``size``: bytes of its body, or of the query in its place; ``form``: as much of it as there is. Without an
        Action in it the operation may be any.
        """
        waiting = self.lane.uncommitted + size
        if waiting <= self._most_sent:
            return True
        found = _ACTION.search(form, 0, _SEEN)
        return found is not None and found[1] not in self._names and waiting <= self._most

    def refusal(self) -> RequestThrottled:
        """Count one more that is not let in, and the error for it."""
        self.refused.add()
        return RequestThrottled("too much waits to be stored")

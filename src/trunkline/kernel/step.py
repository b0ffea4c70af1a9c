"""What passes between a machine and the runtime.

A machine is the sole owner of one partition's state. It is synchronous and
does no I/O: ``handle(command, now)`` changes it and returns a Step. The
runtime commits ``step.writes``, and only then lets ``step.answers`` out; if
the commit fails it drops the machine and loads it anew, so nothing in a
machine is ever undone.

Rows of a partition are ``(key, value)``. The first byte of a key decides how
the runtime treats it:

    < 0x40   head rows: few and small; all loaded when the machine is built
    = 0x40   body rows (BODY): kept in the node's byte-bounded cache
    > 0x40   paged rows: loaded only when a Step says Need

A caller is an opaque *token*. A machine that cannot answer yet (a long poll,
rows not in memory) keeps the token as data and answers it in a later Step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.time import Millis

HEAD_END = b"\x40"
BODY = 0x40

Row = tuple[bytes, bytes]
Write = tuple[bytes, bytes | None]
"""A row to put, or with None a key to delete."""
Token = Any


@dataclass(slots=True, eq=False)
class Need:
    """Rows that a machine wants: keys in [start, end), ``limit`` rows or about 1 MiB at the most.

    With ``keys`` those of them that there are, in their order and up to about 1 MiB, and no range.
    With ``beside`` = (prefix, other), the rows with keys ``other + suffix``
    are loaded too, for the suffixes between the first and the last loaded
    ``prefix + suffix``: a message's state row stands beside its body row.
    Reads are ordered behind every write already enqueued for the partition.
    """

    start: bytes
    end: bytes
    limit: int
    beside: tuple[bytes, bytes] | None = None
    keys: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, keys: list[bytes]) -> Need:
        return cls(b"", b"", len(keys), None, keys)


@dataclass(slots=True)
class Loaded:
    """The runtime's answer to a Need. ``done``: no further rows in [start, end).

    ``looked``: how many of the Need's ``keys``, from the first, were looked for.
    """

    need: Need
    rows: list[Row]
    beside: list[Row]
    done: bool
    looked: int = 0


class Wake:
    """The time that the machine asked for has come (or a spurious wake)."""

    __slots__ = ()


@dataclass(slots=True)
class Cancel:
    """The caller behind ``token`` went away or waits no longer: it gets an empty answer now, if it still waits.

    An answer that is on its way already stands: what it hands out is handed out.
    """

    token: Token


@dataclass(slots=True)
class Close:
    """The partition is deleted, or the machine dropped: every waiting caller is refused with ``error``."""

    error: ServiceError


@dataclass(slots=True)
class Delivery:
    """A command for another machine of this node, carried out in the same unit.

    ``fresh``: the partition is new (just allotted): it is built without a read.
    A delivery that is not ``fresh`` goes to a companion of the sender (see
    Machine.companions), which the runtime has loaded before the turn.
    ``optional``: only of interest to a machine in memory (such as new
    settings, which an unloaded one will read from its catalogue anyway).
    """

    partition: int
    command: Any
    fresh: bool = False
    optional: bool = False


class Refill(Protocol):
    """An answer that names body rows. The runtime sets ``rows`` before it releases the answer."""

    bodies: list[bytes]
    rows: list[bytes | None]


class Step:
    """What follows from one command.

    writes      rows to put or delete, in order
    answers     (token, answer); an answer that is an Exception refuses
    deliveries  commands for other machines, in the same unit
    needs       rows to be loaded
    sweeps      key ranges [start, end) of this partition that are dead: erased later, in chunks
    dead        other partitions that are dead: their machines are dropped and all their rows are swept
    closed      this partition is dead: the machine is dropped and all its rows are swept
    """

    __slots__ = ("answers", "closed", "dead", "deliveries", "needs", "sweeps", "writes")

    def __init__(self) -> None:
        # By hand: a step is made for every command, and a dataclass would call seven factories.
        self.writes: list[Write] = []
        self.answers: list[tuple[Token, Any]] = []
        self.deliveries: list[Delivery] = []
        self.needs: list[Need] = []
        self.sweeps: list[tuple[bytes, bytes]] = []
        self.dead: list[int] = []
        self.closed = False


class Machine(Protocol):
    """The owner of one partition."""

    @property
    def wake_at(self) -> Millis:
        """When to send Wake while the machine is in memory; NEVER if not.

        What ``durable_wake_at`` is for is in it, unless that is under way already and only waits for rows.
        """
        ...

    @property
    def durable_wake_at(self) -> Millis:
        """When to send Wake even if the machine is unloaded or the server restarted meanwhile; NEVER if not.

        It stays where it is until what it is for is done.
        """
        ...

    @property
    def companions(self) -> tuple[int, ...]:
        """Partitions that the next step may deliver to: loaded before the turn."""
        ...

    @property
    def weight(self) -> int:
        """Roughly how many bytes of memory the machine holds."""
        ...

    def shed(self, everything: bool) -> list[list[Any] | dict[Any, Any]]:
        """Large containers that it needs no longer, to be emptied little by little; with ``everything`` all that it
        has, for it is used no longer itself."""
        ...

    @property
    def idle(self) -> bool:
        """True if no caller waits in it and no Need is outstanding: it may be unloaded."""
        ...

    def handle(self, command: Any, now: Millis) -> Step: ...

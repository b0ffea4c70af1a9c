"""Everything that can be asked of a queue, each with the type of its answer.

Commands reach a queue machine through the runtime with ``now``; answers leave
it in a Step. An answer that is a ServiceError refuses. ``token`` is opaque.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.step import Close as Close
from trunkline.kernel.step import Token
from trunkline.kernel.time import Millis
from trunkline.services.sqs.receipts import Receipt


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The attributes of a queue that its machine computes with. Lengths in ms."""

    name: str
    arn: str
    fifo: bool = False
    visibility_timeout: Millis = 30_000
    delay: Millis = 0
    retention: Millis = 345_600_000
    receive_wait: Millis = 0
    maximum_size: int = 1_048_576
    content_deduplication: bool = False
    deduplicate_per_group: bool = False  # DeduplicationScope = messageGroup
    throughput_per_group: bool = False  # FifoThroughputLimit = perMessageGroupId
    dead_letter_arn: str = ""
    max_receive_count: int = 0  # 0: no redrive policy


@dataclass(slots=True)
class Draft:
    """A validated message to send. ``delay`` None: the queue's. ``group``/``deduplication`` "" if absent."""

    id: bytes
    md5: bytes
    size: int
    tail: bytes
    delay: Millis | None = None
    group: str = ""
    deduplication: str = ""


@dataclass(slots=True)
class Send:
    """Store messages, in order. Answer: Sent."""

    token: Token
    drafts: list[Draft]

    @property
    def size(self) -> int:
        """Bytes that it holds while it waits for its turn."""
        return sum(len(draft.tail) for draft in self.drafts)


@dataclass(slots=True)
class Sent:
    """Per draft: the message id (of the original, for a duplicate) and the sequence number (FIFO; else 0)."""

    ids: list[bytes]
    sequences: list[int]


@dataclass(slots=True)
class Receive:
    """Hand out up to ``count`` messages. Answer: Received. Lengths in ms; None: the queue's."""

    token: Token
    count: int = 1
    visibility: Millis | None = None
    wait: Millis | None = None
    attempt: str = ""


@dataclass(slots=True)
class Taken:
    """One message handed out. ``receives`` includes those of dead letters' sources; ``sequence`` is 0 if not FIFO."""

    key: bytes
    handle: str
    receives: int
    first_received: Millis
    sequence: int = 0


@dataclass(slots=True)
class Received:
    """``bodies``: the keys of the message rows; the runtime sets ``rows`` (None: deleted meanwhile) before release."""

    taken: list[Taken]
    bodies: list[bytes] = field(default_factory=list)
    rows: list[bytes | None] = field(default_factory=list)


@dataclass(slots=True)
class Delete:
    """Delete the messages of ``receipts`` (of this partition). Answer: Verdicts."""

    token: Token
    receipts: list[Receipt]
    handles: list[str]


@dataclass(slots=True)
class ChangeVisibility:
    """Hide each message for ``timeouts[i]`` ms from now. Answer: Verdicts."""

    token: Token
    receipts: list[Receipt]
    handles: list[str]
    timeouts: list[Millis]


@dataclass(slots=True)
class Verdicts:
    """Per entry: None for success, else why not."""

    failures: list[ServiceError | None]


@dataclass(slots=True)
class Count:
    """Answer: Counts."""

    token: Token


@dataclass(slots=True)
class Counts:
    visible: int
    in_flight: int
    delayed: int


@dataclass(slots=True)
class Peek:
    """Look at messages without receiving them, in sequence order, after ``after`` (a sequence). Answer: Peeked."""

    token: Token
    limit: int
    after: int = 0


@dataclass(slots=True)
class Glimpse:
    """One message seen by Peek. ``state``: visible, in flight or delayed; ``until`` (ms) when that ends, or 0."""

    key: bytes
    state: str
    until: Millis
    receives: int
    first_received: Millis
    sequence: int


@dataclass(slots=True)
class Peeked:
    """``next``: the sequence to go on after, 0 at the end. ``bodies``/``rows`` as in Received."""

    seen: list[Glimpse]
    next: int
    bodies: list[bytes] = field(default_factory=list)
    rows: list[bytes | None] = field(default_factory=list)


@dataclass(slots=True)
class Purge:
    """Delete all messages at once. Answer: None. Refused (PurgeQueueInProgress) within ``wait`` ms of the last."""

    token: Token
    wait: Millis = 0


@dataclass(slots=True)
class Accept:
    """A delivery: whole message rows from another queue (dead letters, moved messages). No answer.

    ``keep_sent``: standard dead letters keep their sent time; FIFO ones and moved ones get a new one.
    """

    rows: list[bytes]
    keep_sent: bool = True


@dataclass(slots=True)
class Configure:
    """A delivery: the queue's settings changed. No answer."""

    settings: QueueSettings


@dataclass(slots=True)
class Open:
    """A delivery, the first one to a new partition: write the meta row. No answer."""

    settings: QueueSettings


@dataclass(slots=True)
class StartMove:
    """Start a message move task. ``destination`` "" = back to the sources. ``rate``: messages/s, 0 = as fast as goes.

    Answer: MoveTask. Refused if one is running.
    """

    token: Token
    destination: str
    rate: int
    id: bytes


@dataclass(slots=True)
class CancelMove:
    """Answer: int, the messages moved so far. Refused with ResourceNotFoundException "Task does not exist."."""

    token: Token
    id: bytes


@dataclass(slots=True)
class ListMoves:
    """Newest first. Answer: list[MoveTask]."""

    token: Token
    limit: int


@dataclass(slots=True)
class MoveTask:
    """``status``: RUNNING COMPLETED CANCELLING CANCELLED FAILED. ``rate`` 0 = unset; ``destination`` "" = unset."""

    id: bytes
    started: Millis
    status: str
    destination: str
    rate: int
    moved: int
    to_move: int
    failure: str = ""


Answer = Any

"""What SQS's operations need of others, as they see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from trunkline.kernel.call import Call
from trunkline.kernel.errors import ServiceError
from trunkline.kernel.measures import Traffic
from trunkline.kernel.step import Machine
from trunkline.services.sqs.commands import QueueSettings

Aside = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""(work, then): do ``work`` beside the event loop, and call ``then`` on it with the result or the exception."""


class Runtime(Protocol):
    """See runtime.partitions."""

    @property
    def short(self) -> bool: ...
    @property
    def floor(self) -> int: ...
    def hold(self, size: int) -> None: ...
    def tell(self, partition: int, command: Any) -> None: ...
    def allot(self) -> int: ...
    def after_commits(self, action: Callable[[], None]) -> None: ...
    def catalogue(self, service: str, region: str, account: str) -> Machine | None: ...
    def has_catalogue(self, service: str, region: str, account: str) -> bool: ...
    def load_catalogue(
        self, service: str, region: str, account: str, then: Callable[[Machine | ServiceError], None]
    ) -> None: ...


class Queue(Protocol):
    """A queue as its catalogue knows it."""

    @property
    def partition(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def arn(self) -> str: ...
    @property
    def settings(self) -> QueueSettings: ...
    @property
    def traffic(self) -> Traffic: ...


class Queues(Protocol):
    def find(self, url: str | None, call: Call) -> Queue:
        """The queue that a request is for. QueueDoesNotExist; MissingParameter if it names none."""
        ...

    def by_arn(self, arn: str, call: Call | None = None) -> Queue | None:
        """The queue of that ARN. AccessDenied if ``call`` is of an account that may not know."""
        ...

    def dead_letter_queues(self, arn: str) -> list[Queue]:
        """All dead-letter queues of the account and region that ``arn`` is of."""
        ...

    def is_dead_letter_queue(self, arn: str) -> bool:
        """Is the queue the dead-letter target of any queue?"""
        ...

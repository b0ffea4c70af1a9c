"""One call of an operation, as a service sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from trunkline.kernel.caller import Caller
from trunkline.kernel.errors import ServiceError


class Call(Protocol):
    """Who calls, through which door, and how to answer: once, now or later.

    ``endpoint``: scheme and authority that the caller used (``http://localhost:4566``).
    ``path``: the path that the request was sent to (``/`` or a queue's own).
    ``trace``: the X-Amzn-Trace-Id header, if any.
    ``size``: bytes that the request's body had.
    """

    caller: Caller
    operation: str
    request_id: str
    path: str
    trace: str | None
    size: int

    @property
    def endpoint(self) -> str: ...

    @property
    def concerns(self) -> dict[str, Any]:
        """What a line in the log is to say of it: see logs."""
        ...

    def answer(self, output: dict[str, Any]) -> None:
        """Success: the members of the operation's output shape (an empty dict if it has none)."""
        ...

    def fail(self, error: ServiceError) -> None: ...

    def when_gone(self, action: Callable[[], None]) -> None:
        """Call ``action`` if the client goes away before it is answered."""
        ...


Operation = Callable[[dict[str, Any], Call], None]
"""A method of a service: decoded input and call. It answers the call, now or later, or raises ServiceError."""

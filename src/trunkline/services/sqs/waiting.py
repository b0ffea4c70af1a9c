"""Receivers that wait: long polls as data, oldest first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from trunkline.kernel.step import Token
from trunkline.kernel.time import NEVER, Millis
from trunkline.services.sqs.commands import Receive


@dataclass(slots=True)
class Waiter:
    """``deadline``: when it is answered empty-handed, in service time."""

    command: Receive
    deadline: Millis


class Waiting:
    def __init__(self) -> None:
        # Ordered: a plain dict would be searched for its first entry past all those that were taken out before it.
        self._waiters: OrderedDict[int, Waiter] = OrderedDict()
        self._number = 0
        self._by_token: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def park(self, command: Receive, deadline: Millis) -> None:
        self._number += 1
        self._waiters[self._number] = Waiter(command, deadline)
        self._by_token[id(command.token)] = self._number

    def cancel(self, token: Token) -> None:
        """Forget the receiver, if it still waits."""
        number = self._by_token.pop(id(token), None)
        if number is not None:
            del self._waiters[number]

    def first(self) -> Waiter:
        return next(iter(self._waiters.values()))

    def overdue(self, now: Millis) -> list[Waiter]:
        """Take out those whose deadline has come."""
        late = [waiter for waiter in self._waiters.values() if waiter.deadline <= now]
        for waiter in late:
            self.cancel(waiter.command.token)
        return late

    def earliest(self) -> Millis:
        return min((waiter.deadline for waiter in self._waiters.values()), default=NEVER)

    def clear(self) -> Iterator[Waiter]:
        """Take out all."""
        waiters, self._waiters = self._waiters, OrderedDict()
        self._by_token.clear()
        yield from waiters.values()

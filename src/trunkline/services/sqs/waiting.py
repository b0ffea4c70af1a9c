"""Receivers that wait: long polls as data, oldest first.

No call looks at all who wait: a thousand consumers of an empty queue must not
make each send a thousand times as dear. Deadlines are in a heap, where those
of receivers that were served meanwhile stay until they come to the front, or
are the larger part of it.
"""

from __future__ import annotations

import heapq
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
        self._deadlines: list[tuple[Millis, int]] = []
        self._number = 0
        self._by_token: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def park(self, command: Receive, deadline: Millis) -> None:
        self._number += 1
        self._waiters[self._number] = Waiter(command, deadline)
        self._by_token[id(command.token)] = self._number
        heapq.heappush(self._deadlines, (deadline, self._number))
        if len(self._deadlines) > 64 and len(self._deadlines) > 4 * len(self._waiters):
            self._deadlines = [(waiter.deadline, number) for number, waiter in self._waiters.items()]
            heapq.heapify(self._deadlines)

    def cancel(self, token: Token) -> bool:
        """Forget the receiver; False if it does not wait (any more)."""
        number = self._by_token.pop(id(token), None)
        if number is None:
            return False
        del self._waiters[number]
        return True

    def first(self) -> Waiter:
        return next(iter(self._waiters.values()))

    def overdue(self, now: Millis) -> list[Waiter]:
        """Take out those whose deadline has come."""
        late = []
        while self.earliest() <= now:
            _, number = heapq.heappop(self._deadlines)
            late.append(self._waiters[number])
            self.cancel(late[-1].command.token)
        return late

    def earliest(self) -> Millis:
        """The first deadline; NEVER if nobody waits."""
        while self._deadlines:
            deadline, number = self._deadlines[0]
            if number in self._waiters:
                return deadline
            heapq.heappop(self._deadlines)
        return NEVER

    def clear(self) -> Iterator[Waiter]:
        """Take out all."""
        waiters, self._waiters = self._waiters, OrderedDict()
        self._by_token.clear()
        self._deadlines.clear()
        yield from waiters.values()

"""What machines no longer need, let go of little by little.

To free a hundred thousand messages' heads takes 50 ms, which would stop all others if a purge, or a queue that leaves
memory, did so at once. So a machine hands over its large containers (Machine.shed), and they are emptied here, some
entries on each turn of the event loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

AT_ONCE = 1_000
"""Entries: freed in less than a millisecond."""


class Remains:
    def __init__(self) -> None:
        self._containers: list[list[Any] | dict[Any, Any]] = []
        self._under_way = False

    def __len__(self) -> int:
        """How many containers are not empty yet."""
        return len(self._containers)

    def add(self, containers: list[list[Any] | dict[Any, Any]]) -> None:
        """Empty them. Nobody else may use them any more."""
        self._containers += containers
        if self._containers and not self._under_way:
            self._under_way = True
            asyncio.get_running_loop().call_soon(self._some)

    def _some(self) -> None:
        containers = self._containers
        for _ in range(AT_ONCE):
            if not containers:
                break
            last = containers[-1]
            if not last:
                containers.pop()
            elif isinstance(last, dict):
                last.popitem()
            else:
                last.pop()
        self._under_way = bool(containers)
        if containers:
            asyncio.get_running_loop().call_soon(self._some)

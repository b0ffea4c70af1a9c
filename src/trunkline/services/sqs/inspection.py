"""Looking at messages without receiving them: no count, no timeout, no handle changes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.step import Machine
from trunkline.services.sqs.catalogue import QueueCatalogue
from trunkline.services.sqs.commands import Peek, Peeked, Purge
from trunkline.services.sqs.errors import no_such_queue
from trunkline.services.sqs.messages import render
from trunkline.services.sqs.seams import Runtime

_ALL = frozenset({"All"})
_PAGE = 256
HANDLE = "SQS/BACKDOOR/ACCESS"
"""The receipt handle that inspection shows: no message can be deleted with it."""


@dataclass(frozen=True, slots=True)
class View:
    """What to show: always the visible messages; those in flight and delayed if asked."""

    invisible: bool = False
    delayed: bool = False
    limit: int = 10_000
    bytes: int = 16 << 20
    """Of bodies: an answer is put together in memory."""


class Inspection:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def messages(self, account: str, region: str, name: str, view: View) -> tuple[list[dict[str, Any]], bool]:
        """Messages as ReceiveMessage would show them, with IsVisible and IsDelayed, and are there more?

        As many as ``view`` allows, and one at least. QueueDoesNotExist.
        """
        catalogue = await self._catalogue(account, region)
        entry = catalogue.find(name)
        if entry is None:
            raise no_such_queue()
        found: list[dict[str, Any]] = []
        after = size = 0
        while True:
            page = await self._page(entry.partition, after)
            for glimpse, row in zip(page.seen, page.rows, strict=False):
                if row is None or (glimpse.state == "in flight" and not view.invisible):
                    continue
                if glimpse.state == "delayed" and not view.delayed:
                    continue
                sequence = glimpse.sequence if entry.settings.fifo else 0
                message = render(row, HANDLE, glimpse.receives, glimpse.first_received, sequence, lambda _: True, _ALL)
                message["Attributes"]["IsVisible"] = str(glimpse.state != "in flight").lower()
                message["Attributes"]["IsDelayed"] = str(glimpse.state == "delayed").lower()
                size += len(message["Body"].encode())
                if len(found) == view.limit or (found and size > view.bytes):
                    return found, True
                found.append(message)
            if not page.next:
                return found, False
            after = page.next

    async def purge(self, account: str, region: str, name: str) -> None:
        """Delete all messages of a queue, however short ago that was done before. QueueDoesNotExist."""
        catalogue = await self._catalogue(account, region)
        entry = catalogue.find(name)
        if entry is None:
            raise no_such_queue()
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._runtime.tell(entry.partition, Purge(_Token(answer)))
        await answer

    async def _page(self, partition: int, after: int) -> Peeked:
        answer: asyncio.Future[Peeked] = asyncio.get_running_loop().create_future()
        self._runtime.tell(partition, Peek(_Token(answer), _PAGE, after))
        return await answer

    async def _catalogue(self, account: str, region: str) -> QueueCatalogue:
        if not self._runtime.has_catalogue("sqs", region, account):
            raise no_such_queue()
        loaded: asyncio.Future[Machine | ServiceError] = asyncio.get_running_loop().create_future()
        self._runtime.load_catalogue("sqs", region, account, loaded.set_result)
        machine = await loaded
        if isinstance(machine, ServiceError):
            raise machine
        assert isinstance(machine, QueueCatalogue)
        return machine


class _Token:
    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def release(self, answer: Any) -> None:
        if self._future.done():
            return
        if isinstance(answer, Exception):
            self._future.set_exception(answer)
        else:
            self._future.set_result(answer)

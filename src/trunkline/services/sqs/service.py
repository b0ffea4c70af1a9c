"""Amazon SQS: all 23 operations, put together.

An operation is a plain function that runs when the catalogue it needs is in
memory. That is nearly always so. If not (``_NotLoaded``, raised before the
operation has done anything), it is loaded first and the operation runs again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from trunkline.kernel.call import Call, Operation
from trunkline.kernel.errors import InternalFailure, ServiceError
from trunkline.kernel.ids import Ids
from trunkline.kernel.step import Machine, Row
from trunkline.services.sqs import urls
from trunkline.services.sqs.catalogue import Entry, QueueCatalogue, arn_place
from trunkline.services.sqs.errors import denied, missing, no_such_queue
from trunkline.services.sqs.fifo import ELIGIBLE, FifoQueue
from trunkline.services.sqs.moving import Moving
from trunkline.services.sqs.queues import QueueOperations
from trunkline.services.sqs.receipts import Receipts
from trunkline.services.sqs.receiving import Receiving, Timer
from trunkline.services.sqs.seams import Aside, Queue, Runtime
from trunkline.services.sqs.sending import Sending
from trunkline.services.sqs.standard import StandardQueue

SENDING = frozenset({"sqs:SendMessage", "sqs:SendMessageBatch"})
"""The actions that fill a store."""
READING = frozenset(
    f"sqs:{name}"
    for name in (
        "GetQueueAttributes", "GetQueueUrl", "ListDeadLetterSourceQueues", "ListMessageMoveTasks", "ListQueues",
        "ListQueueTags",
    )
)  # fmt: skip
"""Those that change nothing. A receive is none of them: it hands out what is then in flight."""

_ARNS = ("SourceArn", "DestinationArn")
_BY_NAME = frozenset({"CreateQueue", "GetQueueUrl", "ListQueues"})
_BY_ARN = frozenset({"StartMessageMoveTask", "CancelMessageMoveTask", "ListMessageMoveTasks"})


class Options(Protocol):
    """The settings that concern SQS: see settings."""

    @property
    def purge_wait_ms(self) -> int: ...
    @property
    def delete_wait_ms(self) -> int: ...
    @property
    def maximum_message_size(self) -> int: ...
    @property
    def queue_url(self) -> str: ...
    @property
    def hostname(self) -> str: ...
    @property
    def window(self) -> int: ...
    @property
    def verified(self) -> bool: ...
    @property
    def max_waiting_receivers(self) -> int: ...


class SqsService:
    """``timer`` calls back after real seconds, and returns how to take that back. ``aside``: see seams.

    ``monotonic``: real seconds.
    """

    def __init__(
        self,
        runtime: Runtime,
        ids: Ids,
        receipts: Receipts,
        timer: Timer,
        aside: Aside,
        options: Options,
        monotonic: Callable[[], float],
    ) -> None:
        self._runtime = runtime
        self._receipts = receipts
        self._options = options
        self._closed = options.verified
        """Are accounts closed to one another? Until policies let others in, only if it is known who calls."""
        self.receiving = Receiving(
            self, runtime, receipts, timer, monotonic, options.purge_wait_ms, options.max_waiting_receivers
        )
        parts = (
            Sending(self, runtime, ids, aside, options.maximum_message_size),
            self.receiving,
            Moving(self, runtime, ids),
            QueueOperations(self, runtime, options.verified),
        )
        self._plain: dict[str, Operation] = {}
        for part in parts:
            self._plain |= part.operations()

    def operations(self) -> dict[str, Operation]:
        """Every operation by name."""
        return {name: self._ready(name, operation) for name, operation in self._plain.items()}

    def _ready(self, name: str, operation: Operation) -> Operation:
        """The operation, entered when its catalogue is in memory."""
        by_name = name in _BY_NAME
        unnamed = name in _BY_ARN or by_name
        creates = name == "CreateQueue"

        def run(params: dict[str, Any], call: Call) -> None:
            if unnamed or params.get("QueueUrl") is None:
                account, region = self._where(params, call, by_name)
                if self.place(account, region) is None and (creates or self._exists(account, region)):
                    self._after_load(account, region, operation, params, call)
                    return
            try:
                operation(params, call)
            except _NotLoaded as place:
                self._after_load(place.account, place.region, operation, params, call)
            except ServiceError as error:
                # It may be decided on what is not durable yet, such as a delete: nobody may see that before it is.
                self._runtime.after_commits(partial(call.fail, error))

        return run

    def _after_load(self, account: str, region: str, operation: Operation, params: dict[str, Any], call: Call) -> None:
        hold = self._runtime.hold
        hold(call.size)

        def then(found: Machine | ServiceError) -> None:
            hold(-call.size)
            try:
                if isinstance(found, ServiceError):
                    raise found
                operation(params, call)
            except ServiceError as error:
                call.fail(error)
            except Exception:
                call.fail(InternalFailure())
                raise

        self._runtime.load_catalogue("sqs", region, account, then)

    def _where(self, params: dict[str, Any], call: Call, by_name: bool) -> tuple[str, str]:
        caller = call.caller
        if by_name:
            owner = params.get("QueueOwnerAWSAccountId") or caller.account
            if self._closed and owner != caller.account:
                raise denied(call, f"arn:aws:sqs:{caller.region}:{owner}:{params.get('QueueName', '')}")
            return owner, caller.region
        url = params.get("QueueUrl")
        if url is None:
            for member in _ARNS:
                place = arn_place(params.get(member, ""))
                if place is not None:
                    return place[1], place[0]
            url = call.endpoint + call.path
        found = urls.parse(url)
        if found is None:
            return caller.account, caller.region
        return found.account or caller.account, found.region or caller.region

    # -- where queues are ----------------------------------------------------------

    def find(self, url: str | None, call: Call) -> Entry:
        """The queue that a request is for, by its QueueUrl or by the path that it was sent to."""
        if url is None:
            if call.path.strip("/") == "":
                raise missing("QueueUrl")
            url = call.endpoint + call.path
        place = urls.parse(url)
        if place is None:
            raise no_such_queue()
        caller = call.caller
        account, region = place.account or caller.account, place.region or caller.region
        if self._closed and account != caller.account:
            raise denied(call, f"arn:aws:sqs:{region}:{account}:{place.name}")
        catalogue = self._runtime.catalogue("sqs", region, account)
        if catalogue is None:
            if self._exists(account, region):
                raise _NotLoaded(account, region)
            raise no_such_queue()
        assert isinstance(catalogue, QueueCatalogue)
        entry = catalogue.find(place.name)
        if entry is None:
            raise no_such_queue()
        return entry

    def _exists(self, account: str, region: str) -> bool:
        return self._runtime.has_catalogue("sqs", region, account)

    def of(self, entry: Entry) -> QueueCatalogue:
        place = arn_place(entry.arn)
        catalogue = None if place is None else self.place(place[1], place[0])
        if catalogue is None:
            raise InternalFailure
        return catalogue

    def place(self, account: str, region: str) -> QueueCatalogue | None:
        """The catalogue of an account and region; None if no queue was ever created there."""
        machine = self._runtime.catalogue("sqs", region, account)
        return machine if isinstance(machine, QueueCatalogue) else None

    def by_arn(self, arn: str, call: Call | None = None) -> Entry | None:
        place = arn_place(arn)
        if self._closed and call is not None and place is not None and place[1] != call.caller.account:
            raise denied(call, arn)
        catalogue = None if place is None else self.place(place[1], place[0])
        return None if catalogue is None else catalogue.by_arn(arn)

    def is_dead_letter_queue(self, arn: str) -> bool:
        entry = self.by_arn(arn)
        return entry is not None and bool(self.of(entry).sources_of(arn))

    def dead_letter_queues(self, arn: str) -> list[Queue]:
        place = arn_place(arn)
        catalogue = None if place is None else self.place(place[1], place[0])
        return [] if catalogue is None else list(catalogue.dead_letter_queues())

    def url(self, catalogue: QueueCatalogue, name: str, call: Call) -> str:
        options = self._options
        return urls.write(options.queue_url, call.endpoint, options.hostname, catalogue.region, catalogue.account, name)

    # -- machines --------------------------------------------------------------------

    def factory(self, key: tuple[str, str, str], partition: int, rows: list[Row], catalogue: Machine | None) -> Machine:
        """The machine of a partition: a catalogue, or a queue that the catalogue lists."""
        _, region, account = key
        if catalogue is None:
            options = self._options
            return QueueCatalogue(
                partition, region, account, rows, options.delete_wait_ms, options.maximum_message_size
            )
        assert isinstance(catalogue, QueueCatalogue)
        entry = catalogue.by_partition(partition)
        if entry is None:
            raise no_such_queue()
        entry.traffic.loads += 1
        kind, window = (FifoQueue, ELIGIBLE) if entry.settings.fifo else (StandardQueue, self._options.window)
        floor = self._runtime.floor
        return kind(partition, entry.settings, rows, self._receipts, self._resolve, window, entry.traffic, floor)

    def _resolve(self, arn: str) -> int | None:
        """The partition of a queue that exists now."""
        entry = self.by_arn(arn)
        return None if entry is None else entry.partition


class _NotLoaded(Exception):
    """The catalogue of an account and region is not in memory yet."""

    def __init__(self, account: str, region: str) -> None:
        super().__init__(account, region)
        self.account = account
        self.region = region

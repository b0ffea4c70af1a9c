"""Long polls are counted over all queues, from the moment they may wait to their one answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trunkline.kernel.caller import Caller
from trunkline.kernel.errors import ServiceError, ServiceUnavailable
from trunkline.kernel.ids import RandomIds
from trunkline.kernel.time import RealClock, ServiceClock
from trunkline.runtime.partitions import Partitions
from trunkline.runtime.timekeeper import Timekeeper
from trunkline.services.sqs.receipts import Receipts
from trunkline.services.sqs.service import SqsService
from trunkline.settings import made
from trunkline.storage.faulty import FaultyStore
from trunkline.storage.memory import MemoryStore

CALLER = Caller("000000000000", "us-east-1", "000000000000", "arn:aws:iam::000000000000:root", "test")


class Call:
    """A caller that can go away; records its answers."""

    path = "/"
    endpoint = "http://localhost:4566"
    request_id = "r"
    trace: str | None = None
    size = 100
    caller = CALLER

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.answers: list[Any] = []
        self.gone: Callable[[], None] | None = None
        self.waited = False

    def answer(self, output: dict[str, Any]) -> None:
        self.answers.append(output)

    def fail(self, error: ServiceError) -> None:
        self.answers.append(error)

    def when_gone(self, action: Callable[[], None]) -> None:
        self.gone = action
        self.waited = True

    def go(self) -> None:
        """What the server does when the connection is lost: nothing, if the call was answered."""
        if self.gone is not None and not self.answers:
            action, self.gone = self.gone, None
            action()


class Desk:
    """SQS over the real runtime; the store, service time and the timers of long polls are the test's."""

    def __init__(self, most: int) -> None:
        self.store = FaultyStore(MemoryStore())
        self.clock = ServiceClock(RealClock())
        self.partitions = Partitions(self.store, self.clock, RealClock(), b"s" * 32)
        self.keeper = Timekeeper(self.clock, RealClock(), self.partitions, 10)
        self.timers: dict[int, Callable[[], None]] = {}
        self.sqs = SqsService(
            self.partitions,
            RandomIds(1),
            Receipts(b"secret"),
            self._timer,
            lambda work, then: then(work()),
            made({"memory": True, "max_waiting_receivers": most}),
            lambda: 0.0,
        )
        self.partitions.register("sqs", self.sqs.factory)
        self.operations = self.sqs.operations()
        self.polls: list[Call] = []

    def _timer(self, seconds: float, action: Callable[[], None]) -> Callable[[], None]:
        number = len(self.timers)
        self.timers[number] = action
        return lambda: self.timers.__setitem__(number, lambda: None)

    async def open(self) -> Desk:
        await self.partitions.start()
        self.partitions.begin()
        await self.keeper.freeze()
        return self

    def ask(self, operation: str, **parameters: Any) -> Call:
        call = Call(operation)
        try:
            self.operations[operation](parameters, call)
        except ServiceError as error:
            call.fail(error)
        return call

    async def create(self, name: str, **attributes: str) -> None:
        call = self.ask("CreateQueue", QueueName=name, Attributes=attributes)
        await self.partitions.settle()
        assert "QueueUrl" in call.answers[0], call.answers

    def poll(self, queue: str, **parameters: Any) -> Call:
        call = self.ask("ReceiveMessage", QueueUrl=queue, **{"WaitTimeSeconds": 20, **parameters})
        self.polls.append(call)
        return call

    @property
    def waiting(self) -> int:
        return self.sqs.receiving.waiting

    @property
    def unanswered(self) -> int:
        return sum(call.waited and not call.answers for call in self.polls)

    async def close(self) -> None:
        self.store.release()
        await self.partitions.settle()
        self.partitions.refuse_waiting(ServiceUnavailable())
        await self.partitions.settle()
        assert (self.waiting, self.unanswered) == (0, 0)
        assert all(len(call.answers) == 1 for call in self.polls), "one answer each"
        await self.partitions.stop()


def refused(call: Call) -> bool:
    return (
        bool(call.answers) and isinstance(call.answers[0], ServiceError) and call.answers[0].name == "RequestThrottled"
    )


@pytest.mark.slow
def test_fifty_thousand_receivers_wait_and_one_more_does_not(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        desk = await Desk(50_000).open()
        for number in range(10):
            await desk.create(f"q{number}")
        for number in range(50_000):
            desk.poll(f"q{number % 10}")
        assert desk.waiting == desk.unanswered == 50_000
        late = [desk.poll("q0"), desk.poll("q5")]
        assert all(refused(call) for call in late)
        assert late[0].answers[0].message.startswith("Rate exceeded")
        assert desk.sqs.receiving.refused.count == 2
        # Who takes what there is now holds nothing, and all other work goes on.
        assert not refused(desk.poll("q0", WaitTimeSeconds=0))
        desk.ask("SendMessage", QueueUrl="q3", MessageBody="hello")
        await desk.partitions.settle()
        assert desk.waiting == 49_999
        assert not refused(desk.poll("q0"))
        assert refused(desk.poll("q0"))
        desk.polls[0].go()
        assert desk.waiting == 49_999
        await desk.close()

    asyncio.run(scenario())
    [line] = caplog.messages
    assert "max_waiting_receivers" in line and "50000" in line


def test_a_queue_that_lets_its_receivers_wait_counts_them_without_being_asked() -> None:
    async def scenario() -> None:
        desk = await Desk(1).open()
        await desk.create("q", ReceiveMessageWaitTimeSeconds="5")
        call = Call("ReceiveMessage")
        desk.operations["ReceiveMessage"]({"QueueUrl": "q"}, call)
        desk.polls.append(call)
        assert desk.waiting == 1
        assert refused(desk.poll("q"))
        await desk.keeper.advance(5_000)
        assert desk.waiting == 0
        await desk.close()

    asyncio.run(scenario())


def test_hundreds_of_queues_whose_receivers_end_in_every_way_leave_nothing_counted() -> None:
    async def scenario() -> None:
        desk = await Desk(10_000).open()
        for number in range(400):
            desk.ask("CreateQueue", QueueName=f"q{number}")
        await desk.partitions.settle()
        for number in range(400):
            desk.poll(f"q{number}", WaitTimeSeconds=1 + number % 20)
        assert desk.waiting == 400
        for number in range(0, 100):
            desk.polls[number].go()
        for number in range(100, 200):
            desk.ask("SendMessage", QueueUrl=f"q{number}", MessageBody="x")
        for number in range(200, 240):
            desk.ask("DeleteQueue", QueueUrl=f"q{number}")
        await desk.partitions.settle()
        assert desk.waiting == desk.unanswered == 160
        await desk.keeper.advance(20_000)
        assert desk.waiting == desk.unanswered == 0
        await desk.close()

    asyncio.run(scenario())


ACT = st.one_of(
    st.tuples(st.just("poll"), st.integers(0, 2)),
    st.tuples(st.just("poll"), st.integers(0, 2)),
    st.tuples(st.just("send"), st.integers(0, 2)),
    st.tuples(st.just("delete queue"), st.integers(0, 2)),
    st.tuples(st.just("create queue"), st.integers(0, 2)),
    st.tuples(st.just("drop the machine of"), st.integers(0, 2)),
    st.tuples(st.just("vanish"), st.integers(0, 20)),
    st.tuples(st.just("timer"), st.integers(0, 20)),
    st.tuples(st.just("turns"), st.integers(1, 5)),
    st.tuples(st.sampled_from(["later", "fail", "hold", "release", "settle", "refuse all"]), st.just(0)),
)


@given(st.lists(ACT, max_size=40))
@example([("poll", 0), ("delete queue", 0), ("vanish", 0)])  # its queue is gone, and the answer to that on its way
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_becomes_of_receivers_those_that_wait_are_counted(history: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        desk = await Desk(4).open()
        names = ("a", "b", "c.fifo")
        for name in names:
            await desk.create(name, **({"FifoQueue": "true"} if name.endswith("fifo") else {}))
        held = False
        for act, number in history:
            name = names[number % 3]
            match act:
                case "poll":
                    desk.poll(name)
                case "send":
                    group = {"MessageGroupId": "g", "MessageDeduplicationId": str(len(desk.polls))}
                    desk.ask("SendMessage", QueueUrl=name, MessageBody="x", **(group if "fifo" in name else {}))
                case "delete queue":
                    desk.ask("DeleteQueue", QueueUrl=name)
                case "create queue":
                    attributes = {"FifoQueue": "true"} if name.endswith("fifo") else {}
                    desk.ask("CreateQueue", QueueName=name, Attributes=attributes)
                case "drop the machine of":
                    loaded = [partition for partition, _ in desk.partitions.machines()]
                    desk.partitions._drop(loaded[number : number + 1], ServiceUnavailable())
                case "vanish" if number < len(desk.polls):
                    desk.polls[number].go()
                case "timer":
                    desk.timers.get(number, lambda: None)()
                case "turns":
                    for _ in range(number):
                        await asyncio.sleep(0)
                case "later" if not held:
                    with suppress(ServiceUnavailable):  # it cannot be stored, after a "fail"
                        await desk.keeper.advance(7_000)
                case "fail":
                    desk.store.fail_before()
                case "hold":
                    desk.store.hold()
                    held = True
                case "release":
                    desk.store.release()
                    held = False
                case "settle" if not held:
                    await desk.partitions.settle()
                case "refuse all":
                    desk.partitions.refuse_waiting(ServiceUnavailable())
            assert desk.waiting == desk.unanswered <= 4
        await desk.close()
        assert desk.partitions.commits.uncommitted == 0

    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(scenario())
    finally:
        logging.disable(logging.NOTSET)

"""A store that is slower than its senders: what is refused, what is let in, and that the count is right."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import urlencode

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from trunkline.admission import Admission
from trunkline.gateway import Gateway
from trunkline.kernel.errors import ServiceUnavailable
from trunkline.kernel.ids import RandomIds
from trunkline.node import Node
from trunkline.services.sqs.service import READING, SENDING
from trunkline.settings import made
from trunkline.storage.faulty import FaultyStore
from trunkline.storage.memory import MemoryStore
from trunkline.wire.message import HttpRequest, HttpResponse

T = TypeVar("T")
MOST = 80_000


class Lane:
    uncommitted = 0
    failing = False

    def __init__(self) -> None:
        self.away = 0

    def turn_away(self) -> ServiceUnavailable:
        self.away += 1
        return ServiceUnavailable()


class Kept:
    """An exchange that keeps its answer."""

    def __init__(self) -> None:
        self.responses: list[HttpResponse] = []

    def respond(self, response: HttpResponse) -> None:
        self.responses.append(response)

    def when_gone(self, action: Callable[[], None]) -> None:
        return


class Door:
    """A gateway whose operations say which of them ran, before a lane that the test fills."""

    def __init__(self) -> None:
        self.lane = Lane()
        self.ran: list[str] = []
        names = ("SendMessage", "SendMessageBatch", "DeleteMessage", "ReceiveMessage", "ListQueues")
        self.admission = Admission(self.lane, MOST, SENDING, reading=READING)
        self.gateway = Gateway(
            {"sqs": {name: self._operation(name) for name in names}, "sts": {}},
            RandomIds(),
            own_pages=self._own_pages,
            admission=self.admission,
        )

    def _operation(self, name: str) -> Any:
        def run(parameters: dict[str, Any], call: Any) -> None:
            self.ran.append(name)
            call.answer({})

        return run

    def _own_pages(self, request: HttpRequest, respond: Callable[[HttpResponse], None]) -> bool:
        own = request.path.startswith("/_trunkline") or request.path == "/"
        if own:
            respond(HttpResponse(200, (), b"own"))
        return own

    def ask(self, request: HttpRequest) -> HttpResponse:
        exchange = Kept()
        self.gateway.handle(request, exchange)
        [response] = exchange.responses
        return response

    def json(self, operation: str, body: bytes = b"{}") -> HttpResponse:
        return self.ask(HttpRequest("POST", "/", "", {"x-amz-target": f"AmazonSQS.{operation}"}, body))

    def query(self, operation: str, **parameters: str) -> HttpResponse:
        form = urlencode({"Action": operation, **parameters}).encode()
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self.ask(HttpRequest("POST", "/", "", kind, form))


@pytest.fixture
def door() -> Door:
    return Door()


def test_senders_leave_an_eighth_of_the_room_to_all_others(door: Door) -> None:
    door.lane.uncommitted = MOST * 7 // 8 - 1
    for operation in ("SendMessage", "SendMessageBatch"):
        assert door.json(operation).status == 403
        assert door.query(operation, MessageBody="hello").status == 403
    assert door.ran == []
    for operation in ("DeleteMessage", "ReceiveMessage"):
        assert door.query(operation, QueueUrl="q", ReceiptHandle="r").status == 200
        assert door.json(operation, b'{"QueueUrl": "q", "ReceiptHandle": "r"}').status == 200
    assert door.ran == ["DeleteMessage"] * 2 + ["ReceiveMessage"] * 2
    assert door.admission.refused.count == 4
    door.lane.uncommitted = MOST - 1
    assert door.json("DeleteMessage").status == door.query("DeleteMessage").status == 403
    assert door.ask(HttpRequest("GET", "/_trunkline/health", "", {}, b"")).status == 200
    assert door.ask(HttpRequest("GET", "/", "", {"accept": "text/html"}, b"")).status == 200
    door.lane.uncommitted = 0
    assert door.query("ListQueues").status == door.json("ListQueues").status == 200


def test_while_nothing_can_be_stored_only_what_changes_nothing_is_let_in(door: Door) -> None:
    door.lane.failing = True
    for operation in ("SendMessage", "SendMessageBatch", "DeleteMessage", "ReceiveMessage"):
        assert b"ServiceUnavailable" in door.json(operation, b"this is not JSON").body
        assert b"<Code>ServiceUnavailable</Code>" in door.query(operation, QueueUrl="q").body
        assert door.json(operation).status == door.query(operation).status == 503
    assert door.ran == [] and door.lane.away == 16 and door.admission.refused.count == 0
    assert door.json("ListQueues").status == door.query("ListQueues").status == 200
    assert door.ask(HttpRequest("GET", "/_trunkline/health", "", {}, b"")).status == 200
    counted = door.gateway.answers["sqs", "SendMessage"]
    assert counted.errors == {"ServiceUnavailable": 4} and counted.succeeded == 0
    for headers in ({"x-amz-target": "AmazonSQS.SendMessage"}, {"content-type": "application/x-www-form-urlencoded"}):
        answer = door.gateway.refuse_early(HttpRequest("POST", "/", "", headers, b""), 100_000)
        assert answer is not None and answer.status == 503, "of a long body nothing needs to be read"


def test_the_refusal_is_made_before_the_body_is_parsed(door: Door) -> None:
    door.lane.uncommitted = MOST
    response = door.json("SendMessage", b"this is not JSON")
    assert json.loads(response.body)["__type"] == "com.amazonaws.sqs#RequestThrottled"
    assert dict(response.headers)["x-amzn-query-error"] == "RequestThrottled;Sender"
    response = door.query("SendMessage", **{"MessageAttribute.x.Name": "not a number"})
    assert b"<Code>RequestThrottled</Code><Message>Rate exceeded" in response.body
    long = b"QueueUrl=q&MessageBody=" + b"x" * 10_000 + b"&Action=DeleteMessage"
    door.lane.uncommitted = MOST - 10_100
    assert door.ask(HttpRequest("POST", "/", "", {}, long)).status == 403  # its Action is too far away to be looked for


def test_of_a_long_body_nothing_needs_to_be_read(door: Door) -> None:
    door.lane.uncommitted = 10_000
    send = HttpRequest("POST", "/", "", {"x-amz-target": "AmazonSQS.SendMessage"}, b"")
    form = HttpRequest("POST", "/", "", {"content-type": "application/x-www-form-urlencoded"}, b"")
    for request, kind in ((send, b"__type"), (form, b"<Code>")):
        assert door.gateway.refuse_early(request, MOST * 7 // 8 - 10_000) is None
        answer = door.gateway.refuse_early(request, MOST * 7 // 8 - 9_999)
        assert answer is not None and answer.status == 403 and kind in answer.body
    own = HttpRequest("POST", "/_trunkline/reset", "", {}, b"")
    unknown = HttpRequest("POST", "/", "", {"x-amz-target": "S3.Put"}, b"")
    assert door.gateway.refuse_early(own, MOST) is door.gateway.refuse_early(unknown, MOST) is None
    answer = door.gateway.throttled(own, "full")
    assert (answer.status, json.loads(answer.body)["message"]) == (503, "Rate exceeded: full; please retry.")


def test_a_spell_of_refusals_is_logged_once_and_the_next_one_tells_of_it(caplog: pytest.LogCaptureFixture) -> None:
    times = iter((0.0, 1.0, 20.0, 45.0, 80.0, 81.0))
    admission = Admission(Lane(), MOST, SENDING, lambda: next(times))
    for _ in range(6):
        admission.refusal()
    assert admission.refused.count == 6
    first, second = [record.getMessage() for record in caplog.records]
    assert "max_uncommitted_bytes" in first and "refused" not in first.split("(")[1]
    assert second.endswith("(the last such spell refused 4)")


# -- a whole server ---------------------------------------------------------------


class Slow:
    """A node on a thread of its own, over a store that the test holds."""

    def __init__(self, **settings: Any) -> None:
        self.store = FaultyStore(MemoryStore())
        self.node = Node(made({"memory": True, "port": 0, "grace": 2, **settings}), store=self.store)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.wait(self.node.start())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def do(self, action: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return action()

        return self.wait(run())

    def stop(self) -> None:
        self.do(self.store.release)
        self.wait(self.node.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def until(self, condition: Callable[[], bool]) -> None:
        async def run() -> None:
            async with asyncio.timeout(20):
                while not condition():
                    await asyncio.sleep(0.001)

        self.wait(run())

    def client(self, **retries: Any) -> Any:
        config = Config(retries=retries or {"max_attempts": 0}, max_pool_connections=100, read_timeout=30)
        return boto3.client(
            "sqs",
            endpoint_url=f"http://127.0.0.1:{self.node.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=config,
        )

    @property
    def uncommitted(self) -> int:
        return self.node.partitions.commits.uncommitted


@pytest.fixture
def slow() -> Iterator[Slow]:
    """At the most 64 KiB, of which senders may take 56 KiB."""
    made = Slow(max_body_bytes=32_768, max_uncommitted_bytes=65_536)
    yield made
    made.stop()


def in_threads(count: int, call: Callable[[int], Any]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for each in threads:
        each.start()
    return threads


def test_a_held_store_fills_up_to_the_bound_and_consumers_go_on_until_it_is_released(
    slow: Slow, caplog: pytest.LogCaptureFixture
) -> None:
    sqs = slow.client()
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="first")
    [first] = sqs.receive_message(QueueUrl=url)["Messages"]
    slow.until(lambda: slow.uncommitted == 0)
    slow.do(slow.store.hold)
    outcomes: list[str] = []

    def send(number: int) -> None:
        try:
            sqs.send_message(QueueUrl=url, MessageBody="x" * 10_000)
            outcomes.append("sent")
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
            outcomes.append(error.response["Error"]["Code"])

    threads = in_threads(12, send)
    slow.until(lambda: len(outcomes) == 7)
    assert outcomes == ["RequestThrottled"] * 7
    assert 5 * 10_000 < slow.uncommitted <= 57_344 + 5_000  # what rows and objects take beside the bodies
    deleted: list[Any] = []
    threads += in_threads(
        1, lambda _: deleted.append(sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"]))
    )
    slow.until(lambda: bool(slow.node.partitions.commits._gathering) or bool(deleted))
    slow.do(slow.store.release)
    for each in threads:
        each.join(20)
    assert outcomes.count("sent") == 5
    assert len(deleted) == 1
    slow.until(lambda: slow.uncommitted == 0)
    assert slow.node.gateway.admission.refused.count == 7
    assert len([line for line in caplog.messages if "max_uncommitted_bytes" in line]) == 1


@pytest.mark.parametrize("mode", ["standard", "legacy"])
def test_botocore_tries_again_what_was_throttled(slow: Slow, mode: str) -> None:
    patient = slow.client(mode=mode, max_attempts=8)
    url = patient.create_queue(QueueName="q")["QueueUrl"]
    slow.do(slow.store.hold)
    fillers = in_threads(5, lambda _: slow.client().send_message(QueueUrl=url, MessageBody="x" * 10_000))
    slow.until(lambda: slow.uncommitted > 50_000)
    answers: list[Any] = []
    [late] = in_threads(1, lambda _: answers.append(patient.send_message(QueueUrl=url, MessageBody="x" * 10_000)))
    slow.until(lambda: slow.node.gateway.admission.refused.count >= 1)
    slow.do(slow.store.release)
    late.join(20)
    assert answers[0]["ResponseMetadata"]["RetryAttempts"] >= 1
    for each in fillers:
        each.join()


@pytest.mark.parametrize("size", [20_000, 70_000])
def test_what_waits_for_its_queue_to_be_read_or_for_its_hashes_counts_as_well(size: int) -> None:
    """A send that is not in the lane yet holds memory all the same: of a queue that must be loaded, or a long one."""
    slow = Slow(max_body_bytes=100_000, max_uncommitted_bytes=200_000)
    try:
        sqs = slow.client()
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        slow.until(lambda: slow.uncommitted == 0)
        slow.do(slow.store.hold)
        partitions = slow.node.partitions
        [other] = in_threads(1, lambda _: sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "1"}))
        slow.until(lambda: not partitions.commits.idle)
        # Nothing can be read before that is durable, and the catalogue and the queue have to be.
        loaded = [partition for partition, _ in partitions.machines()]
        slow.do(lambda: partitions._drop(loaded, ServiceUnavailable()))
        outcomes: list[str] = []

        def send(_: int) -> None:
            try:
                sqs.send_message(QueueUrl=url, MessageBody="x" * size)
                outcomes.append("sent")
            except ClientError as error:
                outcomes.append(error.response["Error"]["Code"])

        fit = 175_000 // (size + 100)
        threads = in_threads(fit + 3, send)
        slow.until(lambda: len(outcomes) == 3)
        assert outcomes == ["RequestThrottled"] * 3
        assert fit * size < slow.uncommitted < fit * (size + 2_000)
        assert not partitions.commits._gathering or not any(unit for unit, _ in partitions.commits._gathering)
        slow.do(slow.store.release)
        for each in (*threads, other):
            each.join(20)
        assert outcomes.count("sent") == fit
        slow.until(lambda: slow.uncommitted == 0)
    finally:
        slow.stop()


def test_a_failing_store_leaves_nothing_counted(slow: Slow) -> None:
    sqs = slow.client()
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    slow.do(slow.store.hold)
    slow.do(lambda: slow.store.fail_before(1))
    failed: list[int] = []

    def send(_: int) -> None:
        try:
            sqs.send_message(QueueUrl=url, MessageBody="x" * 5_000)
        except ClientError as error:
            failed.append(error.response["ResponseMetadata"]["HTTPStatusCode"])

    threads = in_threads(6, send)
    slow.until(lambda: slow.uncommitted > 30_000)
    slow.do(slow.store.release)
    for each in threads:
        each.join(20)
    assert failed == [503] * 6
    slow.until(lambda: slow.uncommitted == 0)

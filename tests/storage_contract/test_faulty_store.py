"""The faults of FaultyStore, and a whole node (Partitions and queues) over them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from trunkline.node import Node
from trunkline.runtime import outage as outages
from trunkline.settings import Settings
from trunkline.storage.faulty import FaultyStore
from trunkline.storage.memory import MemoryStore
from trunkline.storage.store import Part, StoreError, StoreFull, StoreLost


def unit(key: bytes, value: bytes | None) -> list[Part]:
    return [Part(1, 0, [(key, value)])]


def test_the_nth_commit_from_now_fails_and_leaves_nothing() -> None:
    async def run() -> None:
        store = FaultyStore(MemoryStore())
        await store.commit([unit(b"0", b"v")])
        store.fail_before(2, StoreFull("told to be full"))
        await store.commit([unit(b"1", b"v")])
        with pytest.raises(StoreFull):
            await store.commit([unit(b"2", b"v")])
        await store.commit([unit(b"3", b"v")])
        assert await store.load(1, 0, [b"0", b"1", b"2", b"3"]) == [b"v", b"v", None, b"v"]
        assert store.commits == 4

    asyncio.run(run())


def test_the_answer_of_the_nth_commit_is_lost_after_it_was_applied() -> None:
    async def run() -> None:
        store = FaultyStore(MemoryStore())
        store.fail_after(2)
        await store.commit([unit(b"1", b"v")])
        with pytest.raises(StoreError):
            await store.commit([unit(b"2", b"v")])
        await store.commit([unit(b"3", b"v")])
        assert await store.load(1, 0, [b"1", b"2", b"3"]) == [b"v", b"v", b"v"]

    asyncio.run(run())


def test_reads_are_refused_while_told_so_and_writes_go_on() -> None:
    async def run() -> None:
        store = FaultyStore(MemoryStore())
        store.refuse_reads = True
        await store.commit([unit(b"k", b"v")])
        with pytest.raises(StoreError):
            await store.load(1, 0, [b"k"])
        with pytest.raises(StoreError):
            await store.scan(1, 0, b"", b"\xff", 1)
        store.refuse_reads = False
        assert await store.load(1, 0, [b"k"]) == [b"v"]

    asyncio.run(run())


def test_every_call_takes_the_delay_longer() -> None:
    async def run() -> None:
        store = FaultyStore(MemoryStore(), delay_ms=20)
        for call in (
            store.open(),
            store.lease(2),
            store.lease_all([2]),
            store.commit([unit(b"k", b"v")]),
            store.load(1, 0, [b"k"]),
            store.scan(1, 0, b"", b"\xff", 1),
            store.erase(1, b"", b"", 1),
        ):
            began = time.monotonic()
            await call
            assert time.monotonic() - began >= 0.019

    asyncio.run(run())


def test_until_it_is_mended_nothing_can_be_made_durable() -> None:
    async def run() -> None:
        store = FaultyStore(MemoryStore())
        await store.commit([unit(b"before", b"v")])
        store.fail(StoreFull("told to be full"))
        assert store.doubt is None
        store.look()
        assert isinstance(store.doubt, StoreFull)
        for call in (store.commit([unit(b"k", b"v")]), store.erase(1, b"", b"", 1), store.probe(), store.lease(1)):
            with pytest.raises(StoreFull):
                await call
        assert await store.load(1, 0, [b"before", b"k"]) == [b"v", None]
        store.mend()
        assert isinstance(store.doubt, StoreFull)
        await store.probe()
        assert store.doubt is None and store.probes == 2
        await store.commit([unit(b"k", b"v")])

    asyncio.run(run())


@pytest.mark.parametrize("how", ["delayed", "held"])
def test_a_crash_drops_what_was_not_awaited(how: str) -> None:
    async def run() -> None:
        disk = MemoryStore()
        store = FaultyStore(disk)
        await store.commit([unit(b"awaited", b"v")])
        if how == "held":
            store.hold()
        else:
            store.delay_ms = 50
        doubtful = asyncio.ensure_future(store.commit([unit(b"doubtful", b"v")]))
        await asyncio.sleep(0)
        store.crash()
        with pytest.raises(StoreLost):
            await doubtful
        with pytest.raises(StoreLost):
            await store.commit([unit(b"later", b"v")])
        await store.close()
        assert await disk.load(1, 0, [b"awaited", b"doubtful", b"later"]) == [b"v", None, None]

    asyncio.run(run())


def test_a_held_commit_is_applied_when_released() -> None:
    async def run() -> None:
        store = FaultyStore(MemoryStore())
        store.hold()
        commit = asyncio.ensure_future(store.commit([unit(b"k", b"v")]))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not commit.done()
        assert await store.load(1, 0, [b"k"]) == [None]
        store.release()
        await commit
        assert await store.load(1, 0, [b"k"]) == [b"v"]

    asyncio.run(run())


# -- a node over them ------------------------------------------------------------------


class Client:
    """SQS over the JSON protocol, on a connection for each call."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def __call__(self, action: str, **parameters: Any) -> tuple[int, dict[str, Any]]:
        body = json.dumps(parameters).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.node.port)
        writer.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-amz-json-1.0\r\nConnection: close\r\n"
            b"X-Amz-Target: AmazonSQS.%s\r\nContent-Length: %d\r\n\r\n" % (action.encode(), len(body)) + body
        )
        head, _, answer = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), json.loads(answer or b"{}")

    async def bodies(self, url: str) -> set[str]:
        found: set[str] = set()
        while True:
            status, answer = await self("ReceiveMessage", QueueUrl=url, MaxNumberOfMessages=10)
            assert status == 200
            if not answer.get("Messages"):
                return found
            found |= {message["Body"] for message in answer["Messages"]}


def on_node(scenario: Callable[[Client, FaultyStore, str], Awaitable[None]]) -> None:
    async def run() -> None:
        store = FaultyStore(MemoryStore())
        node = Node(Settings(port=0, memory=True), store=store)
        await node.start()
        client = Client(node)
        status, answer = await client("CreateQueue", QueueName="q")
        assert status == 200
        await scenario(client, store, answer["QueueUrl"])
        await asyncio.wait_for(node.stop(), 30)

    asyncio.run(run())


@pytest.mark.parametrize("applied", [False, True])
def test_a_failed_send_is_refused_and_the_queue_shows_what_is_on_the_disk(applied: bool) -> None:
    async def scenario(client: Client, store: FaultyStore, url: str) -> None:
        assert (await client("SendMessage", QueueUrl=url, MessageBody="first"))[0] == 200
        (store.fail_after if applied else store.fail_before)()
        status, refusal = await client("SendMessage", QueueUrl=url, MessageBody="doubtful")
        assert status == 503
        assert "ServiceUnavailable" in refusal["__type"]
        assert (await client("SendMessage", QueueUrl=url, MessageBody="last"))[0] == 200
        assert await client.bodies(url) == {"first", "last"} | ({"doubtful"} if applied else set())

    on_node(scenario)


@pytest.mark.parametrize("applied", [False, True])
def test_a_failed_delete_is_refused_and_the_message_is_there_or_not_as_on_the_disk(applied: bool) -> None:
    async def scenario(client: Client, store: FaultyStore, url: str) -> None:
        await client("SendMessage", QueueUrl=url, MessageBody="m")
        _, answer = await client("ReceiveMessage", QueueUrl=url, VisibilityTimeout=600)
        [message] = answer["Messages"]
        (store.fail_after if applied else store.fail_before)()
        status, _ = await client("DeleteMessage", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        assert status == 503
        names = ["ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessages"]
        _, counts = await client("GetQueueAttributes", QueueUrl=url, AttributeNames=names)
        assert counts["Attributes"] == {names[0]: "0" if applied else "1", names[1]: "0"}
        assert (await client("DeleteMessage", QueueUrl=url, ReceiptHandle=message["ReceiptHandle"]))[0] == 200

    on_node(scenario)


@pytest.mark.parametrize("applied", [False, True])
def test_everybody_in_a_failed_batch_and_behind_it_is_refused(applied: bool) -> None:
    async def scenario(client: Client, store: FaultyStore, url: str) -> None:
        store.hold()
        (store.fail_after if applied else store.fail_before)()
        first = asyncio.ensure_future(client("SendMessage", QueueUrl=url, MessageBody="batch"))
        before = store.commits
        while store.commits == before:
            await asyncio.sleep(0.001)
        behind = [
            asyncio.ensure_future(client("SendMessage", QueueUrl=url, MessageBody=f"behind {n}")) for n in range(5)
        ]
        while client.node.partitions.commits.unsettled < 1 + len(behind):
            await asyncio.sleep(0.001)
        store.release()
        assert {status for status, _ in await asyncio.gather(first, *behind)} == {503}
        assert await client.bodies(url) == ({"batch"} if applied else set())

    on_node(scenario)


@pytest.mark.parametrize("applied", [False, True])
def test_a_queue_whose_creation_failed_can_be_created_again(applied: bool) -> None:
    async def scenario(client: Client, store: FaultyStore, url: str) -> None:
        (store.fail_after if applied else store.fail_before)()
        assert (await client("CreateQueue", QueueName="other"))[0] == 503
        _, listed = await client("ListQueues")
        assert len(listed["QueueUrls"]) == (2 if applied else 1)
        status, answer = await client("CreateQueue", QueueName="other")
        assert status == 200
        assert (await client("SendMessage", QueueUrl=answer["QueueUrl"], MessageBody="m"))[0] == 200
        assert await client.bodies(answer["QueueUrl"]) == {"m"}

    on_node(scenario)


def test_a_node_says_that_nothing_can_be_stored_and_goes_on_when_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "PROBE_SECONDS", 0.01)

    async def health(node: Node) -> tuple[int, dict[str, Any]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        head, _, answer = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split()[1]), json.loads(answer)

    async def scenario(client: Client, store: FaultyStore, url: str) -> None:
        node = client.node
        assert (await client("SendMessage", QueueUrl=url, MessageBody="before"))[0] == 200
        assert (await health(node))[1]["storage"] == {"state": "ok"}
        store.told_short = True
        status, found = await health(node)
        assert status == 200 and found["storage"]["state"] == "short" and found["services"]["sqs"] == "running"
        store.told_short = False
        error = StoreFull("/data: No space left")
        error.advice = "Make room."
        store.fail(error)
        status, refusal = await client("SendMessage", QueueUrl=url, MessageBody="refused")
        assert status == 503 and refusal["message"]
        while not node.partitions.outage.failing:
            await asyncio.sleep(0.001)
        status, found = await health(node)
        assert status == 503 and found["services"]["sqs"] == "error"
        assert found["storage"]["kind"] == "full" and found["storage"]["reason"] == "/data: No space left. Make room."
        commits = store.commits
        for action in ("SendMessage", "ReceiveMessage", "PurgeQueue", "DeleteQueue"):
            status, refusal = await client(action, QueueUrl=url, MessageBody="refused")
            assert status == 503 and "the disk is full" in refusal["message"]
        assert (await client("ListQueues"))[1]["QueueUrls"] == [url]
        assert (await client("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"]))[0] == 200
        assert store.commits == commits, "nobody tries but the probes"
        store.mend()
        await node.partitions.outage.over()
        assert (await health(node))[0] == 200
        assert await client.bodies(url) == {"before"}

    on_node(scenario)


def test_a_long_poll_on_a_queue_whose_commit_failed_is_refused() -> None:
    async def scenario(client: Client, store: FaultyStore, url: str) -> None:
        poll = asyncio.ensure_future(client("ReceiveMessage", QueueUrl=url, WaitTimeSeconds=20))
        while all(machine.idle for _, machine in client.node.partitions.machines()):
            await asyncio.sleep(0.001)
        store.fail_before()
        assert (await client("SendMessage", QueueUrl=url, MessageBody="m"))[0] == 503
        assert (await asyncio.wait_for(poll, 10))[0] == 503

    on_node(scenario)


def test_a_store_that_cannot_be_read_refuses_and_is_asked_again() -> None:
    async def scenario(client: Client, store: FaultyStore, url: str) -> None:
        await client("SendMessage", QueueUrl=url, MessageBody="m")
        store.fail_before()
        assert (await client("SendMessage", QueueUrl=url, MessageBody="lost"))[0] == 503
        store.refuse_reads = True  # now the queue has to be loaded anew, and cannot be
        assert (await client("ReceiveMessage", QueueUrl=url))[0] == 503
        store.refuse_reads = False
        assert await client.bodies(url) == {"m"}

    on_node(scenario)


def test_what_was_acknowledged_before_a_crash_is_there_after_it_and_the_rest_is_not() -> None:
    async def run() -> None:
        disk = MemoryStore()
        store = FaultyStore(disk)
        node = Node(Settings(port=0, memory=True, grace=5.0), store=store)
        await node.start()
        client = Client(node)
        _, answer = await client("CreateQueue", QueueName="q")
        url = answer["QueueUrl"]
        assert (await client("SendMessage", QueueUrl=url, MessageBody="acknowledged"))[0] == 200
        store.hold()
        doubtful = asyncio.ensure_future(client("SendMessage", QueueUrl=url, MessageBody="doubtful"))
        before = store.commits
        while store.commits == before:
            await asyncio.sleep(0.001)
        store.crash()
        assert (await doubtful)[0] == 503
        assert node.lost is not None
        assert isinstance(await asyncio.wait_for(node.lost, 10), StoreLost)
        await node.stop()
        again = Node(Settings(port=0, memory=True), store=disk)
        await again.start()
        assert await Client(again).bodies(url.replace(str(node.port), str(again.port))) == {"acknowledged"}
        await again.stop()

    asyncio.run(run())

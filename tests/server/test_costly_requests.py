"""Requests made to cost much: each is answered in a blink, for while one is read nobody else is served.

What is measured is the processor time that the event loop's thread spends on a
request of 8 MiB, the longest that is taken. Merely to read a string so long
takes 10 to 40 ms; what goes with the number of its values, or with the square
of its length, takes a second and more.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trunkline.http.access import AccessLog
from trunkline.node import Node
from trunkline.settings import made
from trunkline.wire.message import HttpRequest, HttpResponse

LONG = (8 << 20) - 1_000
BLINK = 0.12
TRIES = 3
"""The best counts: caches and other processes make noise."""


class Caught:
    """An exchange that keeps its answer."""

    def __init__(self) -> None:
        self.response: HttpResponse | None = None

    def respond(self, response: HttpResponse) -> None:
        self.response = response

    def when_gone(self, action: Callable[[], None]) -> None:
        return


class Inside:
    """A node on an event loop of its own, asked without a socket."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.node = Node(made({"memory": True, "port": 0}))
        self.loop.run_until_complete(self.node.start())
        self.handle = AccessLog(self.node.gateway.handle, time.monotonic)

    def ask(self, request: HttpRequest) -> tuple[HttpResponse, float]:
        """The answer, and the longest step that the event loop took for it, in seconds of this thread."""
        return self.loop.run_until_complete(self._ask(request))

    async def _ask(self, request: HttpRequest) -> tuple[HttpResponse, float]:
        caught = Caught()
        begun = time.thread_time()
        self.handle(request, caught)
        longest = time.thread_time() - begun
        async with asyncio.timeout(30):
            while caught.response is None:
                begun = time.thread_time()
                await asyncio.sleep(0)
                longest = max(longest, time.thread_time() - begun)
        return caught.response, longest

    def stop(self) -> None:
        self.loop.run_until_complete(self.node.stop())
        self.loop.close()


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    node = Inside()
    for name, attributes in (("q", {}), ("q.fifo", {"FifoQueue": "true"})):
        assert node.ask(by_json("CreateQueue", {"QueueName": name, "Attributes": attributes}))[0].status == 200
    yield node
    node.stop()


def by_json(operation: str, body: Any) -> HttpRequest:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpRequest("POST", "/", "", {"host": "h", "x-amz-target": f"AmazonSQS.{operation}"}, data)


def by_form(body: bytes) -> HttpRequest:
    headers = {"host": "h", "content-type": "application/x-www-form-urlencoded"}
    return HttpRequest("POST", "/", "", headers, body)


def many(before: bytes, element: bytes, after: bytes) -> bytes:
    return before + element * ((LONG - len(before) - len(after)) // len(element)) + after


def numbered(name: str, value: str) -> bytes:
    """A form of very many names."""
    return "&".join(f"{name.format(number + 1)}={value}" for number in range(LONG // (len(name) + 8))).encode()


def message(**attribute: str) -> dict[str, Any]:
    return {"QueueUrl": "q", "MessageBody": "x", "MessageAttributes": {"a": attribute}}


def setting(name: str, text: bytes) -> dict[str, Any]:
    return {"QueueUrl": "q", "Attributes": {name: text.decode()}}


REQUESTS: dict[str, Callable[[], HttpRequest]] = {
    "objects that nobody asked for": lambda: by_json("ListQueues", many(b'{"a":[', b"{},", b"{}]}")),
    "members that nobody asked for": lambda: by_json(
        "ListQueues", b"{" + b",".join(b'"%d":1' % n for n in range(700_000))
    ),
    "values before what is no JSON": lambda: by_json("ListQueues", many(b'{"a":[', b"[],", b"?")),
    "entries": lambda: by_json("SendMessageBatch", many(b'{"QueueUrl":"q","Entries":[', b"{},", b"{}]}")),
    "attribute names": lambda: by_json(
        "ReceiveMessage", many(b'{"QueueUrl":"q","MessageAttributeNames":[', b'"a",', b'"a"]}')
    ),
    "tags": lambda: by_json(
        "TagQueue", b'{"QueueUrl":"q","Tags":{' + b",".join(b'"%d":""' % n for n in range(500_000)) + b"}}"
    ),
    "a policy": lambda: by_json("SetQueueAttributes", setting("Policy", many(b'{"Statement":[', b"{},", b"{}]}"))),
    "a redrive policy": lambda: by_json(
        "SetQueueAttributes", setting("RedrivePolicy", many(b'{"a":[', b"{},", b"{}]}"))
    ),
    "a number": lambda: by_json("SendMessage", message(DataType="Number", StringValue="1" * 30_000 + "x")),
    "a number that is one": lambda: by_json("SendMessage", message(DataType="Number", StringValue="0" * 200_000 + "1")),
    "a queue's URL": lambda: by_json("PurgeQueue", {"QueueUrl": "http://sqs.aa" + "-a" * (LONG // 2 - 100)}),
    "a queue's URL of labels": lambda: by_json("PurgeQueue", {"QueueUrl": "http://" + ".sqs.aa-a" * (LONG // 9 - 100)}),
    "a receipt handle": lambda: by_json("DeleteMessage", {"QueueUrl": "q", "ReceiptHandle": "A" * (LONG - 100)}),
    "a task handle": lambda: by_json(
        "CancelMessageMoveTask", {"TaskHandle": b64encode(b"[" + b"{}," * 1_900_000 + b"1]").decode()}
    ),
    "a token": lambda: by_json("ListQueues", {"NextToken": "A" * (LONG - 100)}),
    "a message of JSON": lambda: by_json("SendMessage", {"QueueUrl": "q", "MessageBody": '{"a":[1]},' * 100_000}),
    "ampersands": lambda: by_form(many(b"", b"&", b"")),
    "names": lambda: by_form(b"Action=ListQueues&" + numbered("a{}", "1")),
    "names of many parts": lambda: by_form(b"Action=ListQueues&" + numbered("a{}.b.c.d.e.f.g.h", "1")),
    "dots": lambda: by_form(many(b"Action=ListQueues&a", b".", b"=1")),
    "escapes": lambda: by_form(many(b"Action=ListQueues&a=", b"%41", b"")),
    "escapes that are none": lambda: by_form(many(b"Action=ListQueues&a=", b"%4", b"")),
    "percent signs": lambda: by_form(many(b"Action=ListQueues&a=", b"%", b"")),
    "escapes in many names": lambda: by_form(
        b"Action=ListQueues&" + numbered("%41%41%41%41%41%41%41%41{}", "%42%42%42%42")
    ),
    "a message of Cyrillic": lambda: by_form(b"Action=SendMessage&QueueUrl=q&MessageBody=" + b"%D0%B6" * (1 << 19)),
    "entries of a form": lambda: by_form(
        b"Action=SendMessageBatch&QueueUrl=q&" + numbered("SendMessageBatchRequestEntry.{}.Id", "a")
    ),
    "numbers that collide": lambda: by_form(
        b"Action=SendMessageBatch&QueueUrl=q&"
        + b"&".join(b"SendMessageBatchRequestEntry.%d.Id=a" % (number << 13) for number in range(1, 4_000))
    ),
    "an action to be escaped": lambda: by_form(many(b"Action=", b"%26", b"")),
    "an action to be escaped that was not": lambda: by_form(many(b"Action=", b"<", b"")),
    "a page's JSON": lambda: HttpRequest(
        "POST", "/_trunkline/clock/advance", "", {"host": "h"}, many(b'{"a":[', b"{},", b"1]}")
    ),
    "a page's form": lambda: HttpRequest("POST", "/_trunkline/reset", "", {"host": "h"}, many(b"a=", b"%41", b"")),
    "a target": lambda: HttpRequest(
        "POST", "/", "", {"host": "h", "x-amz-target": "AmazonSQS." + "a" * 60_000 + "!"}, b""
    ),
    "a scope": lambda: HttpRequest(
        "POST", "/", "", {"host": "h", "authorization": "Credential=" + "/" * 60_000}, b"Action=X"
    ),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_no_request_holds_up_the_event_loop(inside: Inside, what: str) -> None:
    seconds = []
    for _ in range(TRIES):
        gc.collect()
        response, longest = inside.ask(REQUESTS[what]())
        assert response.status < 500
        assert len(response.body) < 100_000, "the answer repeats what was sent"
        seconds.append(longest)
        if longest < BLINK:
            break
    assert min(seconds) < BLINK


def test_messages_to_be_escaped_are_shown_in_a_blink(inside: Inside) -> None:
    full = '<&>"' * (1 << 18)
    assert inside.ask(by_json("CreateQueue", {"QueueName": "full"}))[0].status == 200
    assert inside.ask(by_json("SendMessage", {"QueueUrl": "full", "MessageBody": full}))[0].status == 200
    seconds = []
    for _ in range(TRIES):
        response, longest = inside.ask(by_form(b"Action=ReceiveMessage&QueueUrl=full&VisibilityTimeout=0"))
        assert b"&lt;&amp;&gt;&quot;" * (1 << 18) in response.body
        seconds.append(longest)
    assert min(seconds) < BLINK

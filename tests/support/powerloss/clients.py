"""Load on a real server, with a mark in the log before each request and after each success.

Each client has a connection and a chance of its own. What it does is said in
its marks, in the words that ``audit`` reads:

    {"do": n, "what": "send", "queue": …, "bodies": […]}     it is about to ask; n is unique
    {"did": n, …}                                            it was answered with success

A body is ``<client>-<number>-<length>|`` and as many letters, so that whoever
finds one sees whether it is whole, and no two are the same.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from typing import Any

from powerloss.records import Marks

ACCOUNT = "000000000000"
STANDARD, FIFO, SOURCE, DEAD, BIN = "standard", "groups.fifo", "source", "dead", "bin"
QUEUES: dict[str, dict[str, str]] = {
    STANDARD: {"VisibilityTimeout": "3600"},
    FIFO: {"FifoQueue": "true", "VisibilityTimeout": "3600"},
    DEAD: {},
    SOURCE: {
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{DEAD}",
                                     "maxReceiveCount": 1})
    },
    BIN: {},
}  # fmt: skip
LENGTHS = (10, 100, 300, 300, 1_000, 3_000, 20_000)
TIMEOUTS = (1_000, 40_000)


class Refused(Exception):
    """An answer that is no success; the outcome is unknown."""


def body(client: str, number: int, length: int) -> str:
    head = f"{client}-{number}-{length}|"
    return head + (head * (length // len(head) + 1))[:length]


def is_whole(text: str) -> bool:
    client, number, length = text.partition("|")[0].rsplit("-", 2)
    return text == body(client, int(number), int(length))


def name_of(text: str) -> str:
    return text.partition("|")[0]


def call(port: int, operation: str, **params: Any) -> dict[str, Any]:
    """One request on a connection of its own. Refused."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        return _ask(connection, operation, params)
    finally:
        connection.close()


def _ask(connection: http.client.HTTPConnection, operation: str, params: dict[str, Any]) -> dict[str, Any]:
    headers = {
        "X-Amz-Target": f"AmazonSQS.{operation}",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, "
        "SignedHeaders=host, Signature=0",
    }
    connection.request("POST", "/", json.dumps(params), headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise Refused(f"{operation}: {answer.status} {text.decode(errors='replace')}")
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


class Load:
    """Clients of the server at ``port``. ``start`` and ``join``; they end by themselves when it is gone."""

    def __init__(self, marks: Marks, seed: int) -> None:
        self._marks = marks
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self._clients: list[_Client] = []
        self._lives = itertools.count()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def prepare(self, port: int) -> None:
        """Make the queues."""
        client = _Client("maker", port, self._marks, self._numbers, random.Random(0))
        for name, attributes in QUEUES.items():
            client.create(name, attributes)

    def start(self, port: int, clients: int) -> None:
        life = next(self._lives)
        self._over = threading.Event()
        works = list(_WORKS)
        self._threads = []
        for number in range(clients):
            chance = random.Random(self._chance.random())
            client = _Client(f"{life}x{number}", port, self._marks, self._numbers, chance)
            work = works[number % len(works)]
            self._threads.append(threading.Thread(target=self._run, args=(client, work)))
        for thread in self._threads:
            thread.start()

    def _run(self, client: _Client, work: Any) -> None:
        while not self._over.is_set():
            try:
                work(client)
            except Refused:
                client.chance.random()
                time.sleep(0.01)  # real time: a server with a disk that fails is not to be run into the ground
            except (OSError, http.client.HTTPException):
                return  # killed, or stopped

    def stop(self) -> None:
        self._over.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"


class _Client:
    def __init__(
        self, name: str, port: int, marks: Marks, numbers: itertools.count[int], chance: random.Random
    ) -> None:
        self.name = name
        self.chance = chance
        self._port = port
        self._marks = marks
        self._numbers = numbers
        self._bodies = itertools.count()
        self._group = itertools.count()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    # -- asking --------------------------------------------------------------------

    def _ask(self, operation: str, **params: Any) -> dict[str, Any]:
        return _ask(self._connection, operation, params)

    def _do(self, what: str, operation: str, said: dict[str, Any], **params: Any) -> tuple[int, dict[str, Any]]:
        number = next(self._numbers)
        self._marks.put(do=number, what=what, at=time.time(), **said)
        return number, self._ask(operation, **params)

    def _did(self, number: int, **more: Any) -> None:
        self._marks.put(did=number, at=time.time(), **more)

    def _url(self, queue: str) -> str:
        return f"http://127.0.0.1:{self._port}/{ACCOUNT}/{queue}"

    def _new(self, count: int) -> list[str]:
        return [body(self.name, next(self._bodies), self.chance.choice(LENGTHS)) for _ in range(count)]

    # -- what can be asked ---------------------------------------------------------

    def create(self, queue: str, attributes: dict[str, str]) -> None:
        number, _ = self._do("create", "CreateQueue", {"queue": queue}, QueueName=queue, Attributes=attributes)
        self._did(number)

    def remove(self, queue: str) -> None:
        number, _ = self._do("remove", "DeleteQueue", {"queue": queue}, QueueUrl=self._url(queue))
        self._did(number)

    def send(self, queue: str, count: int, **more: Any) -> None:
        bodies = self._new(count)
        names = [name_of(each) for each in bodies]
        said = {"queue": queue, "bodies": names, "group": more.get("MessageGroupId")}
        extra = [more | ({"MessageDeduplicationId": name} if queue == FIFO else {}) for name in names]
        if count == 1:
            number, answer = self._do(
                "send", "SendMessage", said, QueueUrl=self._url(queue), MessageBody=bodies[0], **extra[0]
            )
            ids = [answer["MessageId"]]
        else:
            entries = [{"Id": str(at), "MessageBody": each, **extra[at]} for at, each in enumerate(bodies)]
            number, answer = self._do("send", "SendMessageBatch", said, QueueUrl=self._url(queue), Entries=entries)
            found = {each["Id"]: each["MessageId"] for each in answer["Successful"]}
            if len(found) < count:
                raise Refused(f"{len(found)} of {count} entries")
            ids = [found[str(at)] for at in range(count)]
        self._did(number, ids=ids)

    def receive(self, queue: str, count: int, timeout: int | None = None) -> list[dict[str, Any]]:
        more = {} if timeout is None else {"VisibilityTimeout": timeout}
        number, answer = self._do(
            "receive", "ReceiveMessage", {"queue": queue}, QueueUrl=self._url(queue), MaxNumberOfMessages=count,
            AttributeNames=["All"], **more,
        )  # fmt: skip
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        for each in messages:
            assert is_whole(each["Body"]), f"a body is not what was sent: {each['Body'][:100]}"
        counts = {name_of(m["Body"]): int(m["Attributes"]["ApproximateReceiveCount"]) for m in messages}
        self._did(number, counts=counts)
        return messages

    def delete(self, queue: str, messages: list[dict[str, Any]]) -> None:
        said = {"queue": queue, "bodies": [name_of(each["Body"]) for each in messages]}
        if len(messages) == 1:
            number, _ = self._do(
                "delete", "DeleteMessage", said, QueueUrl=self._url(queue), ReceiptHandle=messages[0]["ReceiptHandle"]
            )
        else:
            entries = [{"Id": str(at), "ReceiptHandle": each["ReceiptHandle"]} for at, each in enumerate(messages)]
            number, answer = self._do("delete", "DeleteMessageBatch", said, QueueUrl=self._url(queue), Entries=entries)
            if len(answer["Successful"]) < len(messages):
                raise Refused("not all were deleted")
        self._did(number)

    def hide(self, queue: str, message: dict[str, Any]) -> None:
        timeout = self.chance.randint(*TIMEOUTS)
        said = {"queue": queue, "bodies": [name_of(message["Body"])], "timeout": timeout}
        number, _ = self._do(
            "hide", "ChangeMessageVisibility", said, QueueUrl=self._url(queue),
            ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=timeout,
        )  # fmt: skip
        self._did(number)

    def purge(self, queue: str) -> None:
        number, _ = self._do("purge", "PurgeQueue", {"queue": queue}, QueueUrl=self._url(queue))
        self._did(number)

    def move_back(self, queue: str) -> None:
        arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue}"
        number, _ = self._do("move", "StartMessageMoveTask", {"queue": queue}, SourceArn=arn)
        self._did(number)

    # -- what they do --------------------------------------------------------------

    def standard(self) -> None:
        chance = self.chance
        self.send(STANDARD, chance.choice((1, 1, 2, 10)), **({"DelaySeconds": 900} if chance.random() < 0.1 else {}))
        if chance.random() < 0.6:
            messages = self.receive(STANDARD, chance.choice((1, 10)))
            if messages and chance.random() < 0.3:
                self.hide(STANDARD, messages.pop())
            if messages and chance.random() < 0.8:
                self.delete(STANDARD, messages)

    def fifo(self) -> None:
        chance = self.chance
        self.send(FIFO, chance.choice((1, 1, 10)), MessageGroupId=f"{self.name}-{chance.randint(0, 3)}")
        if chance.random() < 0.5:
            messages = self.receive(FIFO, chance.choice((1, 10)))
            if messages:
                self.delete(FIFO, messages)

    def letters(self) -> None:
        chance = self.chance
        self.send(SOURCE, chance.choice((1, 5)))
        for _ in range(2):
            self.receive(SOURCE, 10, timeout=0)
        if chance.random() < 0.05:
            self.move_back(DEAD)

    def bin(self) -> None:
        for _ in range(self.chance.randint(1, 10)):
            self.send(BIN, self.chance.choice((1, 10)))
        self.purge(BIN)

    def queues(self) -> None:
        queue = f"{self.name}-{next(self._group)}"
        self.create(queue, {"DelaySeconds": "1"})
        self.send(queue, 2)
        if self.chance.random() < 0.7:
            self.remove(queue)
        time.sleep(0.02)


_WORKS = (_Client.standard, _Client.fifo, _Client.letters, _Client.bin, _Client.standard, _Client.queues)

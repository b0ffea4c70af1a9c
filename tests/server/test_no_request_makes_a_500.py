"""Whatever a client sends to whatever operation: an answer that can be read, below 500, on a connection that lives.

The inputs are made from the service model, of values that fit and values that
never do, and go to a node inside this process over one connection each.
"""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.testing import InMemory
from trunkline.wire.shapes import ServiceModel

MODEL = ServiceModel.load("sqs")
ARN = "arn:aws:sqs:us-east-1:000000000000:"
POLICY = json.dumps({"deadLetterTargetArn": ARN + "dead", "maxReceiveCount": 1})
DEEP = "@deep@"
"""Stands for an array within an array within an array, without end."""

ODD = st.sampled_from(
    ["", " ", "\0", "\ud800", "a\nb\r\n", "x" * 300, "null", "None", "-1", "0", "1", "1e3", "²", "9" * 40, "é",
     "\uffff", "\U0010ffff", "{", "[]", '{"a":', "true", "../..", "%00", "a,b", "http://", "://", "arn:aws:sqs:::",
     "=", "&", ";"]
)  # fmt: skip
GOOD = st.sampled_from(
    ["q", "q.fifo", "dead", "new", "http://localhost/000000000000/q", "/000000000000/q.fifo", ARN + "dead", ARN + "q",
     "All", "QueueArn", "VisibilityTimeout", "RedrivePolicy", "RedriveAllowPolicy", "Policy", "DelaySeconds", POLICY,
     "MessageRetentionPeriod", "DeduplicationScope", "FifoThroughputLimit", "KmsMasterKeyId", "queue", "messageGroup",
     "FifoQueue", "ContentBasedDeduplication", "AWSTraceHeader", "String", "Number", "Binary", "String.x", "Number.1",
     "000000000000", "SendMessage", "*", "30", "60", "1", "a", "b", "g", "SQS/BACKDOOR/ACCESS", "AAAA", "e30="]
)  # fmt: skip
RIGHT: dict[str, list[Any]] = {
    "QueueUrl": ["q", "q.fifo", "dead", "/000000000000/q", "http://localhost/000000000000/q.fifo"],
    "QueueName": ["q", "q.fifo", "new", "new.fifo"],
    "QueueOwnerAWSAccountId": ["000000000000"],
    "SourceArn": [ARN + "dead"],
    "DestinationArn": [ARN + "q", ARN + "dead"],
    "MaxNumberOfMessages": [1, 10],
    "MaxResults": [1, 10],
    "VisibilityTimeout": [0, 1, 43_200],
    "DelaySeconds": [0, 1, 900],
    "MaxNumberOfMessagesPerSecond": [1, 500],
    "MessageBody": ["x", "y"],
    "MessageGroupId": ["g"],
    "MessageDeduplicationId": ["d", "e"],
    "ReceiptHandle": ["$handle"],
    "DataType": ["String", "Number", "Binary", "String.x"],
    "Id": ["a", "b", "c"],
    "Actions": [["SendMessage"], ["*"]],
    "AWSAccountIds": [["000000000000"]],
    "Label": ["l"],
    "AttributeNames": [["All"], ["QueueArn"]],
}
"""What a member of the name may well be: so that most inputs have one mistake and not many."""
SETTINGS: dict[str, list[str]] = {
    "DelaySeconds": ["0", "900"],
    "VisibilityTimeout": ["0", "43200"],
    "MessageRetentionPeriod": ["60", "1209600"],
    "MaximumMessageSize": ["1024", "1048576"],
    "ReceiveMessageWaitTimeSeconds": ["0", "20"],
    "RedrivePolicy": [POLICY, "", "{}", POLICY[:-1], json.dumps({"deadLetterTargetArn": 1, "maxReceiveCount": {}})],
    "RedriveAllowPolicy": ['{"redrivePermission":"denyAll"}', '{"redrivePermission":1}', '{"sourceQueueArns":{}}', ""],
    "Policy": ["", "{}", "[]", '{"Statement":[]}', '{"Version":"2012-10-17","Statement":{}}', '{"Statement":[[]]}'],
    "ContentBasedDeduplication": ["true", "false"],
    "DeduplicationScope": ["queue", "messageGroup"],
    "FifoThroughputLimit": ["perQueue", "perMessageGroupId"],
    "KmsMasterKeyId": ["", "alias/aws/sqs"],
    "SqsManagedSseEnabled": ["true", "false"],
}
NUMBERS = st.sampled_from([0, 1, 10, 11, -1, 43_200, 43_201, 2**31 - 1, 2**31, -(2**31), 2**63, 10**25, 10**300, 0.5])
WRONG: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, [], {}, [[]], {"": None}, [None], 1.5, 1e308, 10**25, "x", DEEP, {"a": {"b": {"c": []}}}]
)


def values(reference: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """What fits a shape, and now and then what does not."""
    shape = MODEL.shape(reference)
    kind = shape["type"]
    fits: st.SearchStrategy[Any]
    if depth > 5:
        return WRONG
    if kind == "structure":
        members = {name: member_values(name, member, depth + 1) for name, member in shape.get("members", {}).items()}
        required = set(shape.get("required", ()))
        given = {name: member for name, member in members.items() if name in required}
        fits = st.fixed_dictionaries(given, optional={k: v for k, v in members.items() if k not in required})
    elif kind == "list":
        fits = st.lists(values(shape["member"], depth + 1), max_size=3)
    elif kind == "map" and MODEL.shape(shape["key"]).get("enum"):
        known = {name: ODD if not found else st.sampled_from(found) | ODD for name, found in SETTINGS.items()}
        fits = st.sampled_from(sorted(known)).flatmap(lambda name: st.fixed_dictionaries({name: known[name]}))
    elif kind == "map":
        fits = st.dictionaries(GOOD | ODD, values(shape["value"], depth + 1), max_size=4)
    elif kind in ("integer", "long"):
        fits = NUMBERS
    elif kind == "boolean":
        fits = st.booleans()
    else:
        fits = GOOD | GOOD | ODD
    return fits if depth == 0 else mostly(fits, WRONG)


def member_values(name: str, reference: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    right = RIGHT.get(name)
    return mostly(st.sampled_from(right), values(reference, depth)) if right else values(reference, depth)


def mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The other once in eight times."""
    return st.integers(0, 7).flatmap(lambda number: usual if number else other)


def pairs(prefix: str, shape: dict[str, Any], value: Any) -> Iterator[tuple[str, str]]:
    """A value as a form has it; what no form can hold as some text."""
    kind = shape["type"]
    if kind == "structure" and isinstance(value, dict):
        for name, item in value.items():
            if name in shape["members"]:
                member = MODEL.shape(shape["members"][name])
                inner = MODEL.shape(member["member"]).get("locationName") if member["type"] == "list" else None
                wire = member.get("queryName") or inner or member.get("locationName", name)
                yield from pairs(f"{prefix}{'.' if prefix else ''}{wire}", member, item)
    elif kind == "list" and isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from pairs(f"{prefix}.{number}", MODEL.shape(shape["member"]), item)
    elif kind == "map" and isinstance(value, dict):
        for number, (key, item) in enumerate(value.items(), 1):
            yield f"{prefix}.{number}.{shape['key'].get('locationName', 'key')}", key
            wire = shape["value"].get("locationName", "value")
            yield from pairs(f"{prefix}.{number}.{wire}", MODEL.shape(shape["value"]), item)
    else:
        yield prefix or "x", value if isinstance(value, str) else json.dumps(value)


class Watch(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "trunkline.services.sqs.notices":
            return  # what is not enforced yet: meant for users
        self.seen.append(self.format(record))


class Desk:
    """A node, and one connection to it that must last."""

    def __init__(self, node: InMemory) -> None:
        self.connection = http.client.HTTPConnection(node.url.removeprefix("http://"), timeout=30)
        self.watch = Watch()

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        self.connection.request(method, path, body, headers or {})
        local = self.connection.sock.getsockname()
        response = self.connection.getresponse()
        found = response.read()
        assert self.connection.sock is not None and self.connection.sock.getsockname() == local, "it was closed"
        return response.status, {name.lower(): value for name, value in response.getheaders()}, found

    def check(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Nothing of ours failed, and the answer is what its content type says."""
        status, names, answer = self.ask(method, path, body, headers)
        assert status < 500, answer
        kind = names.get("content-type", "")
        if method != "HEAD":
            if "json" in kind:
                json.loads(answer)
            elif "xml" in kind:
                ElementTree.fromstring(answer)
            else:
                assert kind.startswith("text/plain") or answer[:1] == b"\xa2", "neither text nor a map in CBOR"
        assert self.watch.seen == []

    def handle(self) -> str:
        """A receipt handle of the queue that holds."""
        self.call("SendMessage", QueueUrl="q", MessageBody="x")
        self.call("SendMessage", QueueUrl="q.fifo", MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d")
        answer = self.call("ReceiveMessage", QueueUrl="q", WaitTimeSeconds=0)
        found: str = answer["Messages"][0]["ReceiptHandle"] if "Messages" in answer else ""
        return found

    def call(self, operation: str, **members: Any) -> Any:
        body = json.dumps(members).encode()
        return json.loads(self.ask("POST", "/", body, {"X-Amz-Target": f"AmazonSQS.{operation}"})[2])

    def make_queues(self) -> None:
        self.call("CreateQueue", QueueName="dead")
        self.call("CreateQueue", QueueName="q", Attributes={"RedrivePolicy": POLICY})
        self.call("CreateQueue", QueueName="q.fifo", Attributes={"FifoQueue": "true"})


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with InMemory() as node:
        found = Desk(node)
        logging.getLogger("trunkline").addHandler(found.watch)
        logging.getLogger("asyncio").addHandler(found.watch)
        try:
            yield found
        finally:
            logging.getLogger("trunkline").removeHandler(found.watch)
            logging.getLogger("asyncio").removeHandler(found.watch)
            found.connection.close()


fuzz = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("operation", sorted(MODEL.operations))
def test_no_input_of_an_operation_makes_a_500(desk: Desk, operation: str) -> None:
    reference = MODEL.operations[operation]["input"]
    shape = MODEL.shape(reference)
    desk.watch.seen.clear()
    desk.make_queues()

    @fuzz
    @given(values(reference), st.sampled_from([0, -1, 21, 2**31, "x", []]))
    def run(given: dict[str, Any], wait: Any) -> None:
        if operation == "ReceiveMessage":
            given = {**given, "WaitTimeSeconds": wait}  # what would wait 20 seconds says no more
        if "$handle" in str(given):
            given = json.loads(json.dumps(given).replace("$handle", desk.handle()))
        body = json.dumps(given).replace(f'"{DEEP}"', "[" * 3_000 + "]" * 3_000).encode()
        desk.check("POST", "/", body, {"X-Amz-Target": f"AmazonSQS.{operation}"})
        form = "&".join(
            f"{quote_from_bytes(name.encode('utf-8', 'surrogatepass'))}="
            + quote_from_bytes(value.encode("utf-8", "surrogatepass"))
            for name, value in [("Action", operation), *pairs("", shape, given)]
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        desk.check("POST", "/000000000000/q", form.encode(), headers)
        if len(form) < 8_000:
            desk.check("GET", f"/?{form}", headers={"Accept": "application/json"})
        if operation == "DeleteQueue":
            desk.make_queues()

    run()


PATHS = st.sampled_from(
    ["/", "//", "/000000000000/q", "/queue/q", "/_", "/_trunkline", "/_trunkline/health", "/_trunkline/clock",
     "/_trunkline/clock/advance", "/_trunkline/clock/set", "/_trunkline/reset", "/_aws/sqs/messages", "/health",
     "/_aws/sqs/messages/us-east-1/000000000000/q", "/_aws/sqs/messages/000000000000/q", "/_ministack/sqs/messages",
     "/_localstack/init/%C3%A9", "/_localstack/health/", "/%00", "/%", "/a/b/c/d", "*"]
)  # fmt: skip
QUERIES = st.sampled_from(
    ["", "?", "?a", "?Action=", "?Action=ListQueues", "?Action=GetCallerIdentity", "?%FF=1", "?Action=%FF", "?a=1&a=2",
     "?QueueUrl=q", "?QueueUrl=%00", "?QueueUrl=q&ShowInvisible=true", "?account=%00", "?seconds=nan", "?seconds=1_0",
     "?to=2%C2%B2", "?to=-9999999999999999999999", "?X-Amz-Credential=a/b/c/sqs/aws4_request", "?&&=&="]
)  # fmt: skip
BODIES = st.sampled_from(
    [b"", b"{}", b"[]", b"null", b"1", b'"', b"\xff", b"{" * 5_000, b'{"a":' * 5_000, b"a=b", b"Action=ListQueues",
     b'{"seconds": -1}', b'{"to": true}', b'{"account": 1}', b'{"service": {}}', b'{"account": "\\ud800"}', b"\0"]
) | st.binary(max_size=40)  # fmt: skip
SCOPE = "AWS4-HMAC-SHA256 Credential=test/20260101/{}/{}/aws4_request, SignedHeaders=host, Signature=0"
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "X-Amz-Target": st.sampled_from(["", "AmazonSQS.ListQueues", "AmazonSQS.", ".", "AWSEvents.ListRules", "\xe9"]),
        "Authorization": st.sampled_from(
            [SCOPE.format("us-east-1", "sqs"), SCOPE.format("us-east-1", "s3"), SCOPE.format("\xe9", "sqs"), "",
             "Basic", SCOPE.format("us-east-1", "sns"), SCOPE.format("us-east-1", "sts"), "Credential=/////", SCOPE]
        ),
        "Accept": st.sampled_from(["application/json", "text/html", "*/*", ""]),
        "Content-Type": st.sampled_from(["application/x-amz-json-1.0", "application/x-www-form-urlencoded", "\xe9"]),
        "Origin": st.sampled_from(["http://evil", "null", ""]),
        "Smithy-Protocol": st.just("rpc-v2-cbor"),
    },
)  # fmt: skip


@settings(fuzz, max_examples=600)
@given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]), PATHS, QUERIES, BODIES, HEADERS)
def test_no_address_and_no_header_makes_a_500(
    desk: Desk, method: str, path: str, query: str, body: bytes, headers: dict[str, str]
) -> None:
    desk.watch.seen.clear()
    desk.check(method, path + query, body, headers)

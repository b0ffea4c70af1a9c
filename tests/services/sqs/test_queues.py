"""Operations on queues, through the whole service but without a store: commands are carried out at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from trunkline.kernel.call import Operation
from trunkline.kernel.caller import Caller
from trunkline.kernel.errors import ServiceError
from trunkline.kernel.ids import RandomIds
from trunkline.kernel.step import Machine
from trunkline.services.sqs.catalogue import QueueCatalogue
from trunkline.services.sqs.commands import Count, Counts
from trunkline.services.sqs.receipts import Receipts
from trunkline.services.sqs.service import SqsService

ACCOUNT = "000000000000"
HERE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:"
URL = f"http://localhost:4566/{ACCOUNT}/"
CALLER = Caller(ACCOUNT, "us-east-1", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")


@dataclass
class Options:
    purge_wait_ms: int = 0
    delete_wait_ms: int = 0
    maximum_message_size: int = 1_048_576
    queue_url: str = "dynamic"
    hostname: str = ""
    window: int = 10_000
    verified: bool = False
    max_waiting_receivers: int = 50_000


class Runtime:
    """Carries out what catalogues are told; queues only count. ``now``: service time."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000
        self.catalogues: dict[tuple[str, str], QueueCatalogue] = {}
        self.stored: set[tuple[str, str]] = set()
        self.loads: list[tuple[str, str]] = []
        self.allotted = 0
        self.short = False
        self.committing: list[Callable[[], None]] | None = None
        self.counts = Counts(0, 0, 0)
        self.fault: ServiceError | None = None
        self.held = 0

    def hold(self, size: int) -> None:
        self.held += size

    def tell(self, partition: int, command: Any) -> None:
        if isinstance(command, Count):
            command.token.release(self.fault or self.counts)
            return
        [catalogue] = [each for each in self.catalogues.values() if each.partition == partition]
        for token, answer in catalogue.handle(command, self.now).answers:
            token.release(self.fault or answer)

    def after_commits(self, action: Callable[[], None]) -> None:
        if self.committing is None:
            action()
        else:
            self.committing.append(action)

    def allot(self) -> int:
        self.allotted += 1
        return 1_000 + self.allotted

    def catalogue(self, service: str, region: str, account: str) -> Machine | None:
        assert service == "sqs"
        return self.catalogues.get((region, account))

    def has_catalogue(self, service: str, region: str, account: str) -> bool:
        return (region, account) in self.catalogues or (region, account) in self.stored

    def load_catalogue(
        self, service: str, region: str, account: str, then: Callable[[Machine | ServiceError], None]
    ) -> None:
        self.loads.append((region, account))
        if self.fault is not None:
            then(self.fault)
            return
        made = QueueCatalogue(len(self.loads), region, account, [])
        self.catalogues[region, account] = made
        then(made)


@dataclass
class Call:
    """Records the one answer."""

    operation: str
    caller: Caller = CALLER
    path: str = "/"
    endpoint: str = "http://localhost:4566"
    request_id: str = "r"
    trace: str | None = None
    size: int = 100
    answers: list[dict[str, Any] | ServiceError] = field(default_factory=list)

    def answer(self, output: dict[str, Any]) -> None:
        self.answers.append(output)

    def fail(self, error: ServiceError) -> None:
        self.answers.append(error)

    def when_gone(self, action: Callable[[], None]) -> None:
        raise AssertionError("no operation on queues waits")


def at_once(work: Callable[[], Any], then: Callable[[Any], None]) -> None:
    then(work())


class Client:
    def __init__(self, options: Options | None = None) -> None:
        self.runtime = Runtime()
        service = SqsService(
            self.runtime,
            RandomIds(1),
            Receipts(b"secret"),
            lambda seconds, action: action,
            at_once,
            options or Options(),
            lambda: 0.0,
        )
        self.operations: dict[str, Operation] = service.operations()

    def call(self, operation: str, call: Call | None = None, **params: Any) -> dict[str, Any]:
        """The output; a refusal is raised, whichever way it came."""
        call = call or Call(operation)
        self.operations[operation](params, call)
        [answer] = call.answers
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    def refusal(self, operation: str, call: Call | None = None, **params: Any) -> tuple[str, str]:
        with pytest.raises(ServiceError) as caught:
            self.call(operation, call, **params)
        return caught.value.name, caught.value.message

    def create(self, name: str, **attributes: str) -> str:
        url = self.call("CreateQueue", QueueName=name, Attributes=attributes)["QueueUrl"]
        assert isinstance(url, str)
        return url

    def attributes(self, name: str, *names: str) -> Any:
        return self.call("GetQueueAttributes", QueueUrl=name, AttributeNames=list(names)).get("Attributes")


@pytest.fixture
def client() -> Client:
    return Client()


NO_QUEUE = ("QueueDoesNotExist", "The specified queue does not exist.")
NO_SOURCE = (
    "ResourceNotFoundException",
    "The resource that you specified for the SourceArn parameter doesn't exist.",
)


def test_all_operations_of_sqs_are_there(client: Client) -> None:
    assert len(client.operations) == 23


def test_a_catalogue_is_loaded_once_and_before_the_operation(client: Client) -> None:
    assert client.create("q") == URL + "q"
    assert client.create("r") == URL + "r"
    assert client.runtime.loads == [("us-east-1", ACCOUNT)]


def test_a_catalogue_that_cannot_be_loaded_fails_the_call(client: Client) -> None:
    client.runtime.stored.add(("us-east-1", ACCOUNT))
    client.runtime.fault = ServiceError("ServiceUnavailable", "later")
    assert client.refusal("ListQueues") == ("ServiceUnavailable", "later")


@pytest.mark.parametrize(
    ("operation", "params", "answer"),
    [
        ("ListQueues", {}, {}),
        ("GetQueueUrl", {"QueueName": "q"}, NO_QUEUE),
        ("GetQueueUrl", {"QueueName": "q", "QueueOwnerAWSAccountId": "\ud800"}, NO_QUEUE),
        ("SendMessage", {"QueueUrl": "http://x/222222222222/q", "MessageBody": "m"}, NO_QUEUE),
        ("DeleteQueue", {"QueueUrl": "http://x/queue/a\0b/000000000000/q"}, NO_QUEUE),
        ("ListMessageMoveTasks", {"SourceArn": "arn:aws:sqs:a\0b:c:q"}, NO_SOURCE),
    ],
)
def test_asking_for_what_is_not_there_makes_nothing(
    client: Client, operation: str, params: dict[str, str], answer: Any
) -> None:
    if answer == {}:
        assert client.call(operation, **params) == {}
    else:
        assert client.refusal(operation, **params) == answer
    assert client.runtime.loads == []
    assert client.runtime.allotted == 0


def test_on_a_full_disk_no_queue_is_made_and_what_is_there_can_be_used(client: Client) -> None:
    url = client.create("q")
    client.runtime.short = True
    name, text = client.refusal("CreateQueue", QueueName="r")
    assert name == "ServiceUnavailable" and "nearly full" in text
    assert client.create("q") == url
    assert client.call("ListQueues") == {"QueueUrls": [url]}
    for operation, params in (("SendMessage", {"MessageBody": "m"}), ("SendMessageBatch", {"Entries": []})):
        assert client.refusal(operation, QueueUrl="q", **params)[0] == "ServiceUnavailable"


def test_creating_a_queue_again_with_what_means_nothing_to_it_finds_it(client: Client) -> None:
    for name, period in (("q", "300"), ("r", "600")):
        url = client.create(name, KmsDataKeyReusePeriodSeconds=period, SqsManagedSseEnabled="true")
        assert client.create(name, KmsDataKeyReusePeriodSeconds=period, SqsManagedSseEnabled="true") == url


def test_what_is_not_enforced_is_said_once_for_each_queue(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    policy = json.dumps({"Statement": []})
    client.create("q", KmsMasterKeyId="k", VisibilityTimeout="5")
    client.create("plain", SqsManagedSseEnabled="false")
    for _ in range(2):
        client.call("SetQueueAttributes", QueueUrl="q", Attributes={"Policy": policy})
    client.call("AddPermission", QueueUrl="plain", Label="l", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
    client.call("SetQueueAttributes", QueueUrl="q", Attributes={"Policy": ""})
    said = [record.getMessage().split(",")[0] for record in caplog.records]
    assert said == [f"{HERE}q has KmsMasterKeyId", f"{HERE}q has Policy", f"{HERE}plain has Policy"]


def test_a_refusal_waits_for_what_it_may_have_been_decided_on(client: Client) -> None:
    client.create("q")
    client.call("DeleteQueue", QueueUrl="q")
    client.runtime.committing = []
    call = Call("SendMessage")
    client.operations["SendMessage"]({"QueueUrl": "q", "MessageBody": "m"}, call)
    assert call.answers == []
    [then] = client.runtime.committing
    then()
    [refusal] = call.answers
    assert isinstance(refusal, ServiceError) and refusal.name == "QueueDoesNotExist"


def test_a_change_that_cannot_be_stored_fails_the_call(client: Client) -> None:
    client.create("q")
    client.runtime.fault = ServiceError("ServiceUnavailable", "later")
    for operation, params in (
        ("SetQueueAttributes", {"Attributes": {"DelaySeconds": "1"}}),
        ("DeleteQueue", {}),
        ("GetQueueAttributes", {"AttributeNames": ["All"]}),
        ("ListQueueTags", {}),
    ):
        client.runtime.fault, fault = None, client.runtime.fault
        client.create("q")
        client.runtime.fault = fault
        assert client.refusal(operation, QueueUrl="q", **params) == ("ServiceUnavailable", "later")


@pytest.mark.parametrize("name", ["q" * 80, "a-b_C9"])
def test_names_have_up_to_80_plain_characters(client: Client, name: str) -> None:
    assert client.create(name) == URL + name


@pytest.mark.parametrize("name", ["q" * 81, "a b", "a.b", "é", "a/b"])
def test_other_names_are_refused(client: Client, name: str) -> None:
    text = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
    assert client.refusal("CreateQueue", QueueName=name) == ("InvalidParameterValue", text)


def test_a_name_must_be_given(client: Client) -> None:
    assert client.refusal("CreateQueue", QueueName="") == ("InvalidParameterValue", "Queue name cannot be empty")
    missing = ("MissingParameter", "The request must contain the parameter QueueName.")
    assert client.refusal("CreateQueue") == missing
    assert client.refusal("GetQueueUrl") == missing
    assert client.refusal("GetQueueUrl", QueueName="") == (
        "InvalidParameterValue",
        "Value for parameter QueueName is invalid. Reason: Must specify a queue name.",
    )


def test_a_fifo_queue_has_the_suffix_in_its_name(client: Client) -> None:
    name, _ = client.refusal("CreateQueue", QueueName="q", Attributes={"FifoQueue": "true"})
    assert name == "InvalidParameterValue"


def test_a_standard_queue_does_not_know_the_attribute_fifo_queue(client: Client) -> None:
    found = client.refusal("CreateQueue", QueueName="q", Attributes={"FifoQueue": "false"})
    assert found == ("InvalidAttributeName", "Unknown Attribute FifoQueue.")


def test_asking_again_for_a_queue_spends_no_partition(client: Client) -> None:
    for _ in range(3):
        client.create("q")
    assert client.runtime.allotted == 1


@pytest.mark.parametrize(
    "url",
    [
        "q",
        URL + "q",
        URL + "q/",
        "https://elsewhere.example/000000000000/q",
        "http://localhost:9324/queue/q",
        "http://localhost:4566/queue/us-east-1/000000000000/q",
        "http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/q",
    ],
)
def test_a_queue_is_found_by_every_form_of_its_url(client: Client, url: str) -> None:
    client.create("q")
    assert client.attributes(url, "QueueArn") == {"QueueArn": HERE + "q"}


def test_a_queue_is_found_by_the_path_of_the_request_unless_a_url_is_given(client: Client) -> None:
    for name in ("path", "url"):
        client.create(name)
    for params, name in (({}, "path"), ({"QueueUrl": URL + "url"}, "url")):
        call = Call("GetQueueAttributes", path=f"/{ACCOUNT}/path")
        found = client.call("GetQueueAttributes", call, AttributeNames=["QueueArn"], **params)
        assert found == {"Attributes": {"QueueArn": HERE + name}}


def test_a_path_is_of_the_region_that_the_host_names(client: Client) -> None:
    elsewhere = replace(CALLER, region="eu-west-1")
    client.call("CreateQueue", Call("CreateQueue", caller=elsewhere), QueueName="q")
    call = Call("x", path=f"/{ACCOUNT}/q", endpoint="http://sqs.eu-west-1.localhost.localstack.cloud:4566")
    found = client.call("GetQueueAttributes", call, AttributeNames=["QueueArn"])
    assert found["Attributes"]["QueueArn"] == f"arn:aws:sqs:eu-west-1:{ACCOUNT}:q"


def test_a_request_must_say_which_queue(client: Client) -> None:
    missing = ("MissingParameter", "The request must contain the parameter QueueUrl.")
    assert client.refusal("DeleteQueue") == missing
    for url in ("nobody", URL + "nobody", "http://localhost:4566/", ""):
        assert client.refusal("DeleteQueue", QueueUrl=url) == NO_QUEUE


def test_accounts_and_regions_are_worlds_apart(client: Client) -> None:
    client.create("q")
    for caller in (replace(CALLER, region="eu-west-1"), replace(CALLER, account="111111111111")):
        assert client.call("ListQueues", Call("ListQueues", caller=caller)) == {}
        assert client.refusal("GetQueueUrl", Call("GetQueueUrl", caller=caller), QueueName="q") == NO_QUEUE


def test_another_accounts_queue_is_found_by_its_owner(client: Client) -> None:
    client.create("q")
    call = Call("GetQueueUrl", caller=replace(CALLER, account="111111111111"))
    found = client.call("GetQueueUrl", call, QueueName="q", QueueOwnerAWSAccountId=ACCOUNT)
    assert found == {"QueueUrl": URL + "q"}


def test_a_deleted_queue_is_gone(client: Client) -> None:
    client.create("q")
    assert client.call("DeleteQueue", QueueUrl="q") == {}
    assert client.refusal("DeleteQueue", QueueUrl="q") == NO_QUEUE
    assert client.refusal("GetQueueUrl", QueueName="q") == NO_QUEUE
    assert client.call("ListQueues") == {}


def test_queue_urls_are_listed_by_prefix(client: Client) -> None:
    for name in ("b", "a1", "a2", "A"):
        client.create(name)
    assert client.call("ListQueues") == {"QueueUrls": [URL + name for name in ("A", "a1", "a2", "b")]}
    assert client.call("ListQueues", QueueNamePrefix="a") == {"QueueUrls": [URL + "a1", URL + "a2"]}
    assert client.call("ListQueues", QueueNamePrefix="x") == {}


def test_pages_together_are_the_whole_list(client: Client) -> None:
    names = [f"q{number:02}" for number in range(7)]
    for name in names:
        client.create(name)
    page = client.call("ListQueues", QueueNamePrefix="q", MaxResults=3)
    pages = [page["QueueUrls"]]
    while "NextToken" in page:
        page = client.call("ListQueues", QueueNamePrefix="q", MaxResults=3, NextToken=page["NextToken"])
        pages.append(page["QueueUrls"])
    assert [len(each) for each in pages] == [3, 3, 1]
    assert [url for urls in pages for url in urls] == [URL + name for name in names]


def test_a_page_is_only_followed_by_another_if_its_size_was_asked_for(client: Client) -> None:
    for number in range(1_001):
        client.create(f"q{number}")
    assert client.call("ListQueues").keys() == {"QueueUrls"}
    assert len(client.call("ListQueues")["QueueUrls"]) == 1_000
    assert "NextToken" in client.call("ListQueues", MaxResults=1_000)


@pytest.mark.parametrize("most", [0, -1, 1_001])
def test_pages_have_from_1_to_1000_entries(client: Client, most: int) -> None:
    text = f"Value {most} for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and 1000"
    assert client.refusal("ListQueues", MaxResults=most) == ("InvalidParameterValue", text)


@pytest.mark.parametrize("token", ["!", "cTE", "cTE=!", "é", "/w=="])
def test_a_token_that_is_none_of_ours_is_refused(client: Client, token: str) -> None:
    found = client.refusal("ListQueues", NextToken=token, MaxResults=1)
    assert found == ("InvalidParameterValue", "Value for parameter NextToken is invalid.")


def test_a_new_standard_queue_shows_exactly_these_attributes(client: Client) -> None:
    client.create("q")
    client.runtime.counts = Counts(3, 2, 1)
    assert client.attributes("q", "All") == {
        "ApproximateNumberOfMessages": "3",
        "ApproximateNumberOfMessagesNotVisible": "2",
        "ApproximateNumberOfMessagesDelayed": "1",
        "CreatedTimestamp": "1700000000",
        "DelaySeconds": "0",
        "LastModifiedTimestamp": "1700000000",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "QueueArn": HERE + "q",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
        "VisibilityTimeout": "30",
    }


def test_only_the_attributes_asked_for_are_shown(client: Client) -> None:
    client.create("q", DelaySeconds="5")
    assert client.attributes("q") is None
    assert client.attributes("q", "Policy") is None
    assert client.attributes("q", "DelaySeconds", "Policy") == {"DelaySeconds": "5"}
    assert client.attributes("q", "DelaySeconds", "ApproximateNumberOfMessages") == {
        "DelaySeconds": "5",
        "ApproximateNumberOfMessages": "0",
    }
    found = client.refusal("GetQueueAttributes", QueueUrl="q", AttributeNames=["All", "Foobar"])
    assert found == ("InvalidAttributeName", "Unknown Attribute Foobar.")


def test_attributes_are_set_and_the_time_of_it_shown(client: Client) -> None:
    client.create("q")
    client.runtime.now += 2_000
    assert client.call("SetQueueAttributes", QueueUrl="q", Attributes={"VisibilityTimeout": "0"}) == {}
    assert client.attributes("q", "VisibilityTimeout", "LastModifiedTimestamp", "CreatedTimestamp") == {
        "VisibilityTimeout": "0",
        "LastModifiedTimestamp": "1700000002",
        "CreatedTimestamp": "1700000000",
    }


def test_dead_letter_sources_are_listed_in_pages(client: Client) -> None:
    client.create("dead")
    assert client.call("ListDeadLetterSourceQueues", QueueUrl="dead") == {"queueUrls": []}
    policy = f'{{"deadLetterTargetArn":"{HERE}dead","maxReceiveCount":"2"}}'
    for name in ("b", "a", "c"):
        client.create(name, RedrivePolicy=policy)
    assert client.attributes("a", "RedrivePolicy") == {"RedrivePolicy": policy}
    first = client.call("ListDeadLetterSourceQueues", QueueUrl="dead", MaxResults=2)
    assert first["queueUrls"] == [URL + "a", URL + "b"]
    rest = client.call("ListDeadLetterSourceQueues", QueueUrl="dead", MaxResults=2, NextToken=first["NextToken"])
    assert rest == {"queueUrls": [URL + "c"]}


def test_tags_come_and_go(client: Client) -> None:
    client.call("CreateQueue", QueueName="q", tags={"a": "1"})
    assert client.call("TagQueue", QueueUrl="q", Tags={"b": ""}) == {}
    assert client.call("ListQueueTags", QueueUrl="q") == {"Tags": {"a": "1", "b": ""}}
    assert client.call("UntagQueue", QueueUrl="q", TagKeys=["a", "b", "c"]) == {}
    assert client.call("ListQueueTags", QueueUrl="q") == {}


def test_permissions_come_and_go(client: Client) -> None:
    client.create("q")
    granted = {"QueueUrl": "q", "Label": "l", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage"]}
    assert client.call("AddPermission", **granted) == {}
    assert client.refusal("AddPermission", **granted)[1].endswith("Already exists.")
    assert '"Action":"SQS:SendMessage"' in client.attributes("q", "Policy")["Policy"]
    assert client.call("RemovePermission", QueueUrl="q", Label="l") == {}
    assert client.attributes("q", "Policy") is None


def test_a_public_host_name_is_in_every_url() -> None:
    client = Client(Options(hostname="queues.example:80"))
    assert client.create("q") == f"http://queues.example:80/{ACCOUNT}/q"
    assert client.call("ListQueues") == {"QueueUrls": [f"http://queues.example:80/{ACCOUNT}/q"]}

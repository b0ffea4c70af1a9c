"""Permissions, policies and the other attributes' refusals, as aws/sqs.md sections 2, 3, 4 and 10 have them."""

from __future__ import annotations

import json
from typing import Any

import pytest


def refusal(server: Any, operation: str, **body: Any) -> tuple[int, str, str]:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}"}
    status, text = server.http("POST", "/", body, headers)
    assert status >= 400, text
    answer = json.loads(text)
    return status, answer["__type"].rpartition("#")[2], answer["message"]


def allow(server: Any, queue: str, **more: Any) -> tuple[int, str, str]:
    body = {"QueueUrl": queue, "Label": "l", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage"], **more}
    return refusal(server, "AddPermission", **body)


def set_(server: Any, queue: str, name: str, value: str) -> tuple[int, str, str]:
    return refusal(server, "SetQueueAttributes", QueueUrl=queue, Attributes={name: value})


def policy_of(sqs: Any, queue: str) -> dict[str, Any] | None:
    shown = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"]).get("Attributes", {})
    found: dict[str, Any] | None = json.loads(shown["Policy"]) if "Policy" in shown else None
    return found


def arn_of(sqs: Any, queue: str) -> str:
    arn: str = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return arn


# -- permissions -------------------------------------------------------------------


def test_several_accounts_and_actions_become_lists(sqs: Any, queue: str) -> None:
    accounts = ["111111111111", "222222222222"]
    sqs.add_permission(QueueUrl=queue, Label="l", AWSAccountIds=accounts, Actions=["SendMessage", "*"])
    policy = policy_of(sqs, queue)
    assert policy is not None
    [statement] = policy["Statement"]
    assert statement["Action"] == ["SQS:SendMessage", "SQS:*"]
    assert statement["Principal"] == {"AWS": [f"arn:aws:iam::{account}:root" for account in accounts]}


def test_a_label_stands_once_and_is_removed_once(sqs: Any, shared: Any, queue: str) -> None:
    sqs.add_permission(QueueUrl=queue, Label="l", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
    invalid = "InvalidParameterValueException"
    assert allow(shared, queue) == (400, invalid, "Value l for parameter Label is invalid. Reason: Already exists.")
    sqs.remove_permission(QueueUrl=queue, Label="l")
    assert policy_of(sqs, queue) is None
    assert refusal(shared, "RemovePermission", QueueUrl=queue, Label="l") == (
        400,
        invalid,
        "Value l for parameter Label is invalid. Reason: can't find label.",
    )


def test_eight_actions_are_over_the_limit(shared: Any, queue: str) -> None:
    expected = (403, "OverLimit", "8 Actions were found, maximum allowed is 7.")
    assert allow(shared, queue, Actions=["SendMessage"] * 8) == expected


def test_actions_of_the_owner_and_unknown_ones_are_refused(shared: Any, queue: str) -> None:
    invalid = "InvalidParameterValueException"
    assert allow(shared, queue, Actions=["DeleteQueue"]) == (
        400,
        invalid,
        "Value SQS:DeleteQueue for parameter ActionName is invalid. Reason: Only the queue owner is allowed to "
        "invoke this action.",
    )
    assert allow(shared, queue, Actions=["Foo"]) == (
        400,
        invalid,
        "Value SQS:Foo for parameter ActionName is invalid. Reason: Please refer to the appropriate WSDL for a list "
        "of valid actions. ",
    )


def test_a_permission_changes_the_time_of_modification(frozen: Any) -> None:
    sqs = frozen.client()
    url = sqs.create_queue(QueueName="q")["QueueUrl"]

    def modified() -> int:
        names = ["LastModifiedTimestamp", "CreatedTimestamp"]
        shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return int(shown["LastModifiedTimestamp"]) - int(shown["CreatedTimestamp"])

    assert modified() == 0
    frozen.clock("advance", seconds=10)
    sqs.add_permission(QueueUrl=url, Label="l", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
    assert modified() == 10
    frozen.clock("advance", seconds=10)
    sqs.tag_queue(QueueUrl=url, Tags={"a": "b"})
    assert modified() == 10
    sqs.remove_permission(QueueUrl=url, Label="l")
    assert modified() == 20


# -- limits of policies ------------------------------------------------------------


def policy(statements: int = 1, principals: int = 1, conditions: int = 0, padding: int = 0) -> str:
    """A policy with so many of each."""
    found: list[dict[str, Any]] = []
    for number in range(statements):
        found.append({"Sid": str(number), "Effect": "Deny", "Action": "SQS:*", "Resource": "*"})
    found[0]["Principal"] = {"AWS": [f"arn:aws:iam::{number:012}:root" for number in range(principals)]}
    if conditions:
        found[0]["Condition"] = {"StringEquals": {f"aws:k{number}": "x" for number in range(conditions)}}
    return json.dumps({"Statement": found}) + " " * padding


def test_a_policy_may_hold_just_as_much_as_the_limits_say(sqs: Any, queue: str) -> None:
    full = policy(statements=20, principals=50, conditions=10)
    full += " " * (8_192 - len(full))
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": full})
    assert policy_of(sqs, queue) == json.loads(full)


@pytest.mark.parametrize(
    "text",
    [
        policy(statements=21),
        policy(principals=51),
        policy(conditions=11),
        policy(padding=8_193),
        "x",
        "[]",
        '"{}"',
        '{"Statement": 1}',
    ],
    ids=["statements", "principals", "conditions", "bytes", "no json", "a list", "a text", "no statement"],
)
def test_a_policy_beyond_a_limit_or_of_another_form_is_refused(sqs: Any, shared: Any, queue: str, text: str) -> None:
    expected = (400, "InvalidAttributeValue", "Invalid value for the parameter Policy.")
    assert set_(shared, queue, "Policy", text) == expected
    assert refusal(shared, "CreateQueue", QueueName="not-made", Attributes={"Policy": text}) == expected
    assert policy_of(sqs, queue) is None


def test_permissions_keep_within_the_limits_of_a_policy(sqs: Any, shared: Any, queue: str) -> None:
    accounts = [f"{number:012}" for number in range(51)]
    assert allow(shared, queue, AWSAccountIds=accounts)[:2] == (403, "OverLimit")
    for number in range(20):
        sqs.add_permission(QueueUrl=queue, Label=f"l{number}", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
    assert allow(shared, queue)[:2] == (403, "OverLimit")
    sqs.remove_permission(QueueUrl=queue, Label="l0")
    sqs.add_permission(QueueUrl=queue, Label="l", AWSAccountIds=["111111111111"], Actions=["SendMessage"])
    found = policy_of(sqs, queue)
    assert found is not None and len(found["Statement"]) == 20


def test_a_permission_does_not_make_a_policy_longer_than_it_may_be(sqs: Any, shared: Any, queue: str) -> None:
    long = json.dumps({"Statement": [{"Sid": "s" * 8_000, "Effect": "Deny", "Action": "SQS:*", "Resource": "*"}]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": long})
    assert allow(shared, queue)[:2] == (403, "OverLimit")
    assert policy_of(sqs, queue) == json.loads(long)


# -- attributes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("VisibilityTimeout", 0, 43_200),
        ("MessageRetentionPeriod", 60, 1_209_600),
        ("DelaySeconds", 0, 900),
        ("MaximumMessageSize", 1_024, 1_048_576),
        ("ReceiveMessageWaitTimeSeconds", 0, 20),
        ("KmsDataKeyReusePeriodSeconds", 60, 86_400),
    ],
)
def test_a_number_must_be_whole_and_in_its_range(
    sqs: Any, shared: Any, queue: str, name: str, least: int, most: int
) -> None:
    for value in ("", f" {least}", str(least - 1), str(most + 1), f"{least}.5", "true", "x"):
        assert set_(shared, queue, name, value) == (
            400,
            "InvalidAttributeValue",
            f"Invalid value for the parameter {name}.",
        )
    if name == "KmsDataKeyReusePeriodSeconds":  # shown only where there is a key
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"KmsMasterKeyId": "alias/some"})
    for number in (least, most):
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={name: str(number)})
        shown = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"]
        assert shown == {name: str(number)}


def test_an_unknown_attribute_is_named_by_every_operation(shared: Any, queue: str) -> None:
    expected = (400, "InvalidAttributeName", "Unknown Attribute Foobar.")
    assert set_(shared, queue, "Foobar", "1") == expected
    assert refusal(shared, "GetQueueAttributes", QueueUrl=queue, AttributeNames=["Foobar"]) == expected
    assert refusal(shared, "CreateQueue", QueueName="not-made", Attributes={"Foobar": "1"}) == expected


def test_attributes_of_fifo_queues_are_refused_on_a_standard_one(shared: Any, queue: str) -> None:
    for name in ("FifoQueue", "ContentBasedDeduplication"):
        for value in ("true", "false"):
            assert set_(shared, queue, name, value) == (400, "InvalidAttributeName", f"Unknown Attribute {name}.")
    for name, value in (("DeduplicationScope", "queue"), ("FifoThroughputLimit", "perQueue")):
        assert set_(shared, queue, name, value) == (
            400,
            "InvalidAttributeName",
            f"You can specify the {name} only when FifoQueue is set to true.",
        )


def test_no_names_and_unset_names_show_no_attributes(sqs: Any, queue: str) -> None:
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue)
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy", "KmsMasterKeyId"])


def test_one_kind_of_encryption_turns_the_other_off(sqs: Any, shared: Any, queue: str) -> None:
    def shown() -> dict[str, str]:
        every = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        return {name: value for name, value in every.items() if "Kms" in name or "Sse" in name}

    def put(**attributes: str) -> None:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=attributes)

    assert shown() == {"SqsManagedSseEnabled": "true"}
    put(KmsMasterKeyId="testKeyId")
    with_key = {"SqsManagedSseEnabled": "false", "KmsMasterKeyId": "testKeyId"}
    assert shown() == {**with_key, "KmsDataKeyReusePeriodSeconds": "300"}
    put(KmsMasterKeyId="")
    assert shown() == {"SqsManagedSseEnabled": "false"}
    put(KmsDataKeyReusePeriodSeconds="300")
    assert shown() == {"SqsManagedSseEnabled": "false"}
    put(KmsMasterKeyId="testKeyId", KmsDataKeyReusePeriodSeconds="600")
    put(SqsManagedSseEnabled="true")
    assert shown() == {"SqsManagedSseEnabled": "true"}
    both = {"KmsMasterKeyId": "testKeyId", "SqsManagedSseEnabled": "true"}
    assert refusal(shared, "SetQueueAttributes", QueueUrl=queue, Attributes=both) == (
        400,
        "InvalidAttributeName",
        "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.",
    )


def test_null_in_a_map_is_left_out(sqs: Any, shared: Any, queue: str) -> None:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SetQueueAttributes"}
    attributes = {"DelaySeconds": None, "VisibilityTimeout": 20}
    assert shared.http("POST", "/", {"QueueUrl": queue, "Attributes": attributes}, headers)[0] == 200
    names = ["DelaySeconds", "VisibilityTimeout"]
    assert sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"] == {
        "DelaySeconds": "0",
        "VisibilityTimeout": "20",
    }


def test_creating_again_is_compared_with_what_the_queue_has_now(sqs: Any, shared: Any, queue: str) -> None:
    name = queue.rsplit("/", 1)[1]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"DelaySeconds": "5"})
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    assert sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "5"}, tags={"a": "b"})["QueueUrl"] == queue
    assert refusal(shared, "CreateQueue", QueueName=name, Attributes={"DelaySeconds": "0"}) == (
        400,
        "QueueNameExists",
        "A queue already exists with the same name and a different value for attribute DelaySeconds",
    )


@pytest.mark.parametrize(
    ("operation", "name", "text"),
    [
        ("CreateQueue", "", "Queue name cannot be empty"),
        (
            "GetQueueUrl",
            "",
            "Value for parameter QueueName is invalid. Reason: Must specify a queue name.",
        ),
        (
            "CreateQueue",
            "a.b",
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ),
    ],
)
def test_a_bad_name_is_refused(shared: Any, operation: str, name: str, text: str) -> None:
    assert refusal(shared, operation, QueueName=name) == (400, "InvalidParameterValueException", text)


# -- redrive policies --------------------------------------------------------------


def test_a_redrive_policy_quotes_what_was_sent(sqs: Any, shared: Any, queue: str) -> None:
    arn = arn_of(sqs, queue)
    for policy_text, reason in (
        ({"deadLetterTargetArn": arn}, "Redrive policy does not contain mandatory attribute: maxReceiveCount."),
        ({"maxReceiveCount": 1}, "Redrive policy does not contain mandatory attribute: deadLetterTargetArn."),
        (
            {"deadLetterTargetArn": arn, "maxReceiveCount": -36},
            "Invalid value for maxReceiveCount: -36, valid values are from 1 to 1000 both inclusive.",
        ),
        (
            {"deadLetterTargetArn": "arn:aws:sns:us-east-1:000000000000:q", "maxReceiveCount": 1},
            "Only SQS queues are valid resources for deadLetterTargetArn.",
        ),
        (
            {"deadLetterTargetArn": arn + ".fifo", "maxReceiveCount": 1},
            "Dead-letter queue must be same type of queue as the source..",
        ),
        ({"deadLetterTargetArn": arn + "-not", "maxReceiveCount": 1}, "Dead letter target does not exist."),
        (
            {"deadLetterTargetArn": arn, "maxReceiveCount": 1, "more": 1},
            "Only following attributes are supported: [maxReceiveCount, deadLetterTargetArn].",
        ),
    ):
        text = json.dumps(policy_text)
        assert set_(shared, queue, "RedrivePolicy", text) == (
            400,
            "InvalidParameterValueException",
            f"Value {text} for parameter RedrivePolicy is invalid. Reason: {reason}",
        )
    assert set_(shared, queue, "RedrivePolicy", "x") == (
        400,
        "InvalidAttributeValue",
        "Invalid value for the parameter RedrivePolicy. Reason: Redrive policy is not a valid JSON map.",
    )


@pytest.mark.parametrize("name", ["Policy", "RedrivePolicy", "RedriveAllowPolicy"])
def test_an_empty_text_takes_a_policy_away(sqs: Any, queue: str, name: str) -> None:
    values = {
        "Policy": policy(),
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": arn_of(sqs, queue), "maxReceiveCount": "5"}),
        "RedriveAllowPolicy": '{"redrivePermission": "denyAll"}',
    }
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={name: values[name]})
    shown = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"]
    assert shown == {name: values[name]}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={name: ""})
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])


# -- tags and lists ----------------------------------------------------------------


def test_tags_may_be_empty_and_their_number_is_limited(sqs: Any, shared: Any, queue: str) -> None:
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=queue)
    sqs.tag_queue(QueueUrl=queue, Tags={"empty": "", "k" * 128: "v" * 256})
    assert sqs.list_queue_tags(QueueUrl=queue)["Tags"] == {"empty": "", "k" * 128: "v" * 256}
    sqs.untag_queue(QueueUrl=queue, TagKeys=["empty", "k" * 128, "unknown"])
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=queue)
    name = queue.rsplit("/", 1)[1]
    assert refusal(shared, "TagQueue", QueueUrl=queue, Tags={str(number): "x" for number in range(51)}) == (
        400,
        "InvalidParameterValueException",
        f"Too many tags added for queue {name}.",
    )


@pytest.mark.parametrize("most", [0, 1001])
def test_a_page_has_1_to_1000_queues(shared: Any, queue: str, most: int) -> None:
    expected = (
        400,
        "InvalidParameterValueException",
        f"Value {most} for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and 1000",
    )
    assert refusal(shared, "ListQueues", MaxResults=most) == expected
    assert refusal(shared, "ListDeadLetterSourceQueues", QueueUrl=queue, MaxResults=most) == expected


def test_a_prefix_minds_the_case(sqs: Any, queue: str) -> None:
    name = queue.rsplit("/", 1)[1]
    assert sqs.list_queues(QueueNamePrefix=name)["QueueUrls"] == [queue]
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=name.upper())

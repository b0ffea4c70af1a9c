"""Run by test_old_clients in a process of its own, with botocore 1.29.0: every function it_… is a scenario.

    python old_client.py URL

Prints a JSON object: for each scenario the error it ended in, or nothing.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import traceback
from typing import Any

import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = sys.argv[1]
CALLED: set[str] = set()


def client(account: str = "test") -> Any:
    made = boto3.session.Session().client(
        "sqs",
        endpoint_url=ENDPOINT,
        region_name="us-east-1",
        aws_access_key_id=account,
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}, read_timeout=30),
    )
    made.meta.events.register("before-call.sqs", note)
    return made


def note(model: Any, params: dict[str, Any], **_: Any) -> None:
    assert params["body"]["Action"] == model.name, "this client does not speak the query protocol"
    CALLED.add(model.name)


sqs = client()


def queue(name: str, attributes: dict[str, str] | None = None, **more: Any) -> str:
    url: str = sqs.create_queue(QueueName=f"old-{name}", Attributes=attributes or {}, **more)["QueueUrl"]
    return url


def receive(url: str, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sqs.receive_message(QueueUrl=url, **more).get("Messages", [])
    return found


def arn(url: str) -> str:
    found: str = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return found


def equal(found: Any, wanted: Any) -> None:
    assert found == wanted, f"{found!r} is not {wanted!r}"


def refused(code: str, call: Any, **parameters: Any) -> str:
    try:
        call(**parameters)
    except ClientError as error:
        equal(error.response["Error"]["Code"], code)
        equal(error.response["Error"]["Type"], "Sender")
        equal(error.response["ResponseMetadata"]["HTTPStatusCode"], 400)
        return str(error.response["Error"]["Message"])
    raise AssertionError(f"{call.__name__} was not refused with {code}")


def md5_of_attributes(attributes: dict[str, dict[str, Any]]) -> str:
    """The digest as SQS's developer guide describes it."""
    digest = hashlib.md5()
    for name, value in sorted(attributes.items()):
        binary = value["DataType"].startswith("Binary")
        data = value["BinaryValue"] if binary else value["StringValue"].encode()
        for part in (name.encode(), value["DataType"].encode()):
            digest.update(struct.pack("!I", len(part)) + part)
        digest.update(bytes([2 if binary else 1]) + struct.pack("!I", len(data)) + data)
    return digest.hexdigest()


def it_makes_finds_and_deletes_a_queue() -> None:
    url = queue("life", {"DelaySeconds": "3", "VisibilityTimeout": "7"}, tags={"made": "at once"})
    equal(url, f"{ENDPOINT}/000000000000/old-life")
    equal(sqs.get_queue_url(QueueName="old-life")["QueueUrl"], url)
    equal(sqs.get_queue_url(QueueName="old-life", QueueOwnerAWSAccountId="000000000000")["QueueUrl"], url)
    equal(sqs.list_queue_tags(QueueUrl=url)["Tags"], {"made": "at once"})
    equal(queue("life", {"DelaySeconds": "3"}), url)
    refused("QueueAlreadyExists", sqs.create_queue, QueueName="old-life", Attributes={"DelaySeconds": "4"})
    sqs.delete_queue(QueueUrl=url)
    refused("AWS.SimpleQueueService.NonExistentQueue", sqs.get_queue_url, QueueName="old-life")


def it_lists_queues_page_by_page() -> None:
    urls = sorted(queue(f"page-{number}") for number in range(5))
    equal(sorted(sqs.list_queues(QueueNamePrefix="old-page-")["QueueUrls"]), urls)
    first = sqs.list_queues(QueueNamePrefix="old-page-", MaxResults=2)
    equal(len(first["QueueUrls"]), 2)
    assert first["NextToken"]
    pages = list(
        sqs.get_paginator("list_queues").paginate(QueueNamePrefix="old-page-", PaginationConfig={"PageSize": 2})
    )
    equal([len(page["QueueUrls"]) for page in pages], [2, 2, 1])
    equal(sorted(url for page in pages for url in page["QueueUrls"]), urls)
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix="old-none-")


def it_sets_and_gets_attributes() -> None:
    url = queue("attributes")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [], "Id": "<&>\"' é"})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "11", "Policy": policy})
    every = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    equal(every["VisibilityTimeout"], "11")
    equal(every["Policy"], policy)
    equal(every["QueueArn"], "arn:aws:sqs:us-east-1:000000000000:old-attributes")
    equal(every["ApproximateNumberOfMessages"], "0")
    some = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["DelaySeconds", "VisibilityTimeout"])["Attributes"]
    equal(some, {"DelaySeconds": "0", "VisibilityTimeout": "11"})
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=url)
    text = refused("InvalidAttributeName", sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["Foobar"])
    equal(text, "Unknown Attribute Foobar.")
    wrong = {"VisibilityTimeout": "-1"}
    refused("InvalidAttributeValue", sqs.set_queue_attributes, QueueUrl=url, Attributes=wrong)


def it_tags_and_untags() -> None:
    url = queue("tags")
    assert "Tags" not in sqs.list_queue_tags(QueueUrl=url)
    sqs.tag_queue(QueueUrl=url, Tags={"a": "1", "b": "", "c": "é x"})
    equal(sqs.list_queue_tags(QueueUrl=url)["Tags"], {"a": "1", "b": "", "c": "é x"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["a", "c", "none"])
    equal(sqs.list_queue_tags(QueueUrl=url)["Tags"], {"b": ""})


def it_adds_and_removes_permissions() -> None:
    url = queue("permissions")
    accounts, actions = ["111111111111", "222222222222"], ["SendMessage", "ReceiveMessage"]
    sqs.add_permission(QueueUrl=url, Label="friends", AWSAccountIds=accounts, Actions=actions)
    policy = json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"])
    (statement,) = policy["Statement"]
    equal(statement["Sid"], "friends")
    equal(statement["Action"], ["SQS:SendMessage", "SQS:ReceiveMessage"])
    equal(statement["Principal"], {"AWS": [f"arn:aws:iam::{each}:root" for each in accounts]})
    sqs.remove_permission(QueueUrl=url, Label="friends")
    refused("InvalidParameterValue", sqs.remove_permission, QueueUrl=url, Label="friends")


def it_sends_receives_and_deletes_a_message() -> None:
    url = queue("messages")
    body = "<&>\"'\r\n\ttab é 😀 ]]> "
    attributes: dict[str, dict[str, Any]] = {
        "text": {"DataType": "String", "StringValue": "a <b> & é\r"},
        "number": {"DataType": "Number.int", "StringValue": "-12.50"},
        "bytes": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff<&>"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "some-trace-id"}}
    sent = sqs.send_message(
        QueueUrl=url, MessageBody=body, MessageAttributes=attributes, MessageSystemAttributes=trace, DelaySeconds=0
    )
    equal(sent["MD5OfMessageBody"], hashlib.md5(body.encode()).hexdigest())
    equal(sent["MD5OfMessageAttributes"], md5_of_attributes(attributes))
    equal(sent["MD5OfMessageSystemAttributes"], md5_of_attributes(trace))
    (got,) = receive(url, AttributeNames=["All"], MessageAttributeNames=["All"])
    equal(got["MessageId"], sent["MessageId"])
    equal(got["Body"], body)
    equal(got["MD5OfBody"], sent["MD5OfMessageBody"])
    equal(got["MessageAttributes"], attributes)
    equal(got["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"])
    equal(got["Attributes"]["AWSTraceHeader"], "some-trace-id")
    equal(got["Attributes"]["ApproximateReceiveCount"], "1")
    equal(receive(url), [])
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=got["ReceiptHandle"], VisibilityTimeout=0)
    (again,) = receive(url, MessageAttributeNames=["num*", "number"], VisibilityTimeout=30)
    equal(again["MessageAttributes"], {"number": attributes["number"]})
    equal(again["MD5OfMessageAttributes"], md5_of_attributes({"number": attributes["number"]}))
    assert "Attributes" not in again
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessagesNotVisible"])
    equal(counts["Attributes"], {"ApproximateNumberOfMessagesNotVisible": "0"})


def it_is_told_which_entries_of_a_batch_failed() -> None:
    url = queue("batches")
    value = {"a": {"DataType": "String", "StringValue": "v"}}
    entries = [
        {"Id": "good", "MessageBody": "one", "MessageAttributes": value},
        {"Id": "bad", "MessageBody": "\ufffe"},
        {"Id": "late", "MessageBody": "two", "DelaySeconds": 901},
        {"Id": "fine", "MessageBody": "three"},
    ]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    equal([each["Id"] for each in answer["Successful"]], ["good", "fine"])
    equal(answer["Successful"][0]["MD5OfMessageBody"], hashlib.md5(b"one").hexdigest())
    equal(answer["Successful"][0]["MD5OfMessageAttributes"], md5_of_attributes(value))
    equal(
        [(each["Id"], each["Code"], each["SenderFault"]) for each in answer["Failed"]],
        [("bad", "InvalidMessageContents", True), ("late", "InvalidParameterValue", True)],
    )
    got = receive(url, MaxNumberOfMessages=10)
    equal(sorted(each["Body"] for each in got), ["one", "three"])
    change = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"], "VisibilityTimeout": 60} for n, m in enumerate(got)]
    change.append({"Id": "x", "ReceiptHandle": "garbage", "VisibilityTimeout": 60})
    answer = sqs.change_message_visibility_batch(QueueUrl=url, Entries=change)
    equal([each["Id"] for each in answer["Successful"]], ["0", "1"])
    equal([(each["Id"], each["Code"]) for each in answer["Failed"]], [("x", "ReceiptHandleIsInvalid")])
    delete = [{"Id": each["Id"], "ReceiptHandle": each["ReceiptHandle"]} for each in change]
    answer = sqs.delete_message_batch(QueueUrl=url, Entries=delete)
    equal([each["Id"] for each in answer["Successful"]], ["0", "1"])
    equal([(each["Id"], each["Code"]) for each in answer["Failed"]], [("x", "ReceiptHandleIsInvalid")])
    twice = [{"Id": "a", "MessageBody": "x"}] * 2
    refused("AWS.SimpleQueueService.BatchEntryIdsNotDistinct", sqs.send_message_batch, QueueUrl=url, Entries=twice)
    many = [{"Id": str(n), "MessageBody": "x"} for n in range(11)]
    refused("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", sqs.send_message_batch, QueueUrl=url, Entries=many)
    text = refused("AWS.SimpleQueueService.EmptyBatchRequest", sqs.delete_message_batch, QueueUrl=url, Entries=[])
    equal(text, "There should be at least one DeleteMessageBatchRequestEntry in the request.")
    wrong = [{"Id": "a b", "MessageBody": "x"}]
    refused("AWS.SimpleQueueService.InvalidBatchEntryId", sqs.send_message_batch, QueueUrl=url, Entries=wrong)


def it_purges() -> None:
    url = queue("purge")
    for delay in (0, 0, 900):
        sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=delay)
    equal(len(receive(url)), 1)
    sqs.purge_queue(QueueUrl=url)
    equal(receive(url), [])
    everything = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    equal({everything[name] for name in everything if name.startswith("ApproximateNumberOf")}, {"0"})


def it_moves_a_message_to_the_dead_letter_queue_and_lists_its_sources() -> None:
    dead = queue("dead")
    redrive = json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 1})
    sources = sorted(queue(f"source-{n}", {"RedrivePolicy": redrive, "VisibilityTimeout": "0"}) for n in range(3))
    sqs.send_message(QueueUrl=sources[0], MessageBody="doomed")
    equal([each["Body"] for each in receive(sources[0])], ["doomed"])
    equal(receive(sources[0]), [])
    (got,) = receive(dead, AttributeNames=["All"], WaitTimeSeconds=5)
    equal(got["Body"], "doomed")
    equal(got["Attributes"]["DeadLetterQueueSourceArn"], arn(sources[0]))
    equal(sorted(sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"]), sources)
    paginator = sqs.get_paginator("list_dead_letter_source_queues")
    pages = list(paginator.paginate(QueueUrl=dead, PaginationConfig={"PageSize": 2}))
    equal([len(page["queueUrls"]) for page in pages], [2, 1])
    equal(sqs.list_dead_letter_source_queues(QueueUrl=sources[0]).get("queueUrls", []), [])


def it_uses_a_fifo_queue() -> None:
    url = queue("order.fifo", {"FifoQueue": "true"})
    one = {"QueueUrl": url, "MessageGroupId": "g", "MessageDeduplicationId": "d1"}
    first = sqs.send_message(MessageBody="1", **one)
    again = sqs.send_message(MessageBody="1", **one)
    equal(again["MessageId"], first["MessageId"])
    equal(again["SequenceNumber"], first["SequenceNumber"])
    entries = [
        {"Id": n, "MessageBody": n, "MessageGroupId": "g", "MessageDeduplicationId": f"d{n}"} for n in ("2", "3")
    ]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert int(answer["Successful"][1]["SequenceNumber"]) > int(first["SequenceNumber"])
    got = receive(url, MaxNumberOfMessages=10, AttributeNames=["All"], ReceiveRequestAttemptId="attempt")
    equal([each["Body"] for each in got], ["1", "2", "3"])
    equal(got[0]["Attributes"]["MessageGroupId"], "g")
    equal(got[0]["Attributes"]["MessageDeduplicationId"], "d1")
    equal(got[0]["Attributes"]["SequenceNumber"], first["SequenceNumber"])
    again_got = receive(url, MaxNumberOfMessages=10, ReceiveRequestAttemptId="attempt")
    equal([each["MessageId"] for each in again_got], [each["MessageId"] for each in got])
    text = refused("InvalidParameterValue", sqs.send_message, QueueUrl=url, MessageBody="x", MessageGroupId="g")
    assert "ContentBasedDeduplication" in text
    text = refused("MissingParameter", sqs.send_message, QueueUrl=url, MessageBody="x", MessageDeduplicationId="d")
    equal(text, "The request must contain the parameter MessageGroupId.")


def it_reads_the_legacy_error_codes() -> None:
    nowhere = f"{ENDPOINT}/000000000000/old-nowhere"
    text = refused("AWS.SimpleQueueService.NonExistentQueue", sqs.receive_message, QueueUrl=nowhere)
    equal(text, "The specified queue does not exist for this wsdl version.")
    try:
        sqs.get_queue_url(QueueName="old-nowhere")
        raise AssertionError("a queue was found that is not there")
    except sqs.exceptions.QueueDoesNotExist:
        pass
    url = queue("errors")
    refused("ReceiptHandleIsInvalid", sqs.delete_message, QueueUrl=url, ReceiptHandle="garbage")
    refused("MissingParameter", sqs.send_message, QueueUrl=url, MessageBody="")
    refused("InvalidMessageContents", sqs.send_message, QueueUrl=url, MessageBody="\uffff")
    refused("InvalidParameterValue", sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=11)
    refused("InvalidParameterValue", sqs.create_queue, QueueName="old queue")


def it_sees_the_queues_of_its_own_account_only() -> None:
    other = client("123456789012")
    url = other.create_queue(QueueName="old-other")["QueueUrl"]
    equal(url, f"{ENDPOINT}/123456789012/old-other")
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix="old-other")


def main() -> None:
    equal(botocore.__version__, "1.29.0")
    outcomes = {}
    for name, scenario in sorted(globals().items()):
        if name.startswith("it_"):
            try:
                scenario()
                outcomes[name] = ""
            except Exception:
                outcomes[name] = traceback.format_exc()
    known = set(sqs.meta.service_model.operation_names)
    outcomes["operations never called"] = ", ".join(sorted(known - CALLED))
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()

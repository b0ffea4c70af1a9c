"""What each protocol says of the same thing: codes, statuses, forms (aws/sqs.md sections 1 and 13)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import pytest

NS = "{http://queue.amazonaws.com/doc/2012-11-05/}"


def query(server: Any, path: str = "/", **parameters: str) -> tuple[int, ElementTree.Element]:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text = server.http("POST", path, urlencode(parameters).encode(), headers)
    return status, ElementTree.fromstring(text)


def refusal(server: Any, **parameters: str) -> tuple[int, str | None, str | None]:
    status, answer = query(server, **parameters)
    assert answer.tag == NS + "ErrorResponse"
    assert answer.findtext(f"{NS}RequestId")
    error = answer.find(f"{NS}Error")
    assert error is not None
    assert [child.tag for child in error] == [NS + name for name in ("Type", "Code", "Message", "Detail")]
    return status, error.findtext(f"{NS}Code"), error.findtext(f"{NS}Message")


def post(server: Any, operation: str, body: Any, **headers: str) -> tuple[int, Any, dict[str, Any]]:
    """A JSON request: status, response headers, body."""
    request = urllib.request.Request(
        server.url,
        body if isinstance(body, bytes) else json.dumps(body).encode(),
        {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{operation}", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.headers, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.loads(error.read())


BATCH = "SendMessageBatchRequestEntry"


@pytest.mark.parametrize(
    ("operation", "more", "status", "code", "type_"),
    [
        ("SendMessage", {"QueueUrl": "nowhere", "MessageBody": "x"}, 400, "AWS.SimpleQueueService.NonExistentQueue",
         "com.amazonaws.sqs#QueueDoesNotExist"),
        ("SendMessage", {"MessageBody": "x", "DelaySeconds": 1000}, 400, "InvalidParameterValue",
         "com.amazon.coral.service#InvalidParameterValueException"),
        ("SendMessage", {}, 400, "MissingParameter", "com.amazon.coral.service#MissingRequiredParameterException"),
        ("SendMessage", {"MessageBody": "\x00"}, 400, "InvalidMessageContents",
         "com.amazonaws.sqs#InvalidMessageContents"),
        ("SetQueueAttributes", {"Attributes": {"Foobar": "1"}}, 400, "InvalidAttributeName",
         "com.amazonaws.sqs#InvalidAttributeName"),
        ("SetQueueAttributes", {"Attributes": {"DelaySeconds": "x"}}, 400, "InvalidAttributeValue",
         "com.amazonaws.sqs#InvalidAttributeValue"),
        ("SendMessageBatch", {"Entries": []}, 400, "AWS.SimpleQueueService.EmptyBatchRequest",
         "com.amazonaws.sqs#EmptyBatchRequest"),
        ("StartMessageMoveTask", {"SourceArn": "arn:aws:sqs:us-east-1:000000000000:nowhere"}, 404,
         "ResourceNotFoundException", "com.amazonaws.sqs#ResourceNotFoundException"),
        ("AddPermission", {"Label": "l", "AWSAccountIds": ["111111111111"], "Actions": ["SendMessage"] * 8}, 403,
         "OverLimit", "com.amazonaws.sqs#OverLimit"),
    ],
)  # fmt: skip
def test_a_json_error_has_its_type_and_the_query_code_in_a_header(
    shared: Any, queue: str, operation: str, more: dict[str, Any], status: int, code: str, type_: str
) -> None:
    found, headers, body = post(shared, operation, {"QueueUrl": queue, **more})
    assert found == status
    assert body["__type"] == type_
    assert headers["x-amzn-query-error"] == f"{code};Sender"
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"Action": "SendMessage", "MessageBody": "x", "DelaySeconds": "1000"}, "InvalidParameterValue"),
        ({"Action": "SendMessage"}, "MissingParameter"),
        ({"Action": "SendMessage", "MessageBody": "\x01"}, "InvalidMessageContents"),
        ({"Action": "GetQueueAttributes", "AttributeName.1": "Foobar"}, "InvalidAttributeName"),
        (
            {
                "Action": "SendMessageBatch",
                f"{BATCH}.1.Id": "a",
                f"{BATCH}.1.MessageBody": "x",
                f"{BATCH}.2.Id": "a",
                f"{BATCH}.2.MessageBody": "x",
            },
            "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
        ),
        (
            {"Action": "SendMessageBatch", f"{BATCH}.1.Id": "a b", f"{BATCH}.1.MessageBody": "x"},
            "AWS.SimpleQueueService.InvalidBatchEntryId",
        ),
    ],
)
def test_query_codes_carry_no_suffix(shared: Any, queue: str, parameters: dict[str, str], code: str) -> None:
    assert refusal(shared, QueueUrl=queue, **parameters)[:2] == (400, code)


def test_a_queue_that_differs_has_another_name_for_it_in_each_protocol(shared: Any, queue: str) -> None:
    name = queue.rsplit("/", 1)[1]
    text = "A queue already exists with the same name and a different value for attribute DelaySeconds"
    assert refusal(
        shared, Action="CreateQueue", QueueName=name, **{"Attribute.1.Name": "DelaySeconds", "Attribute.1.Value": "1"}
    ) == (400, "QueueAlreadyExists", text)
    status, headers, body = post(shared, "CreateQueue", {"QueueName": name, "Attributes": {"DelaySeconds": "1"}})
    assert (status, body["__type"], body["message"]) == (400, "com.amazonaws.sqs#QueueNameExists", text)
    assert headers["x-amzn-query-error"] == "QueueAlreadyExists;Sender"


def test_operations_without_output_have_no_result(shared: Any, queue: str) -> None:
    status, answer = query(shared, Action="PurgeQueue", QueueUrl=queue)
    assert status == 200
    assert [child.tag for child in answer] == [NS + "ResponseMetadata"]


def test_the_queue_url_goes_before_the_path(shared: Any, sqs: Any, queue: str) -> None:
    sqs.create_queue(QueueName="the-path")
    assert query(shared, "/000000000000/the-path", Action="SendMessage", QueueUrl=queue, MessageBody="x")[0] == 200
    assert "Messages" not in sqs.receive_message(QueueUrl="the-path")
    assert sqs.receive_message(QueueUrl=queue)["Messages"]


def test_another_queues_url_can_be_asked_for_through_a_queues_path(shared: Any, sqs: Any, queue: str) -> None:
    sqs.create_queue(QueueName="asked-for")
    path = queue.removeprefix(shared.url)
    status, answer = query(shared, path, Action="GetQueueUrl", QueueName="asked-for")
    assert status == 200
    assert (answer.findtext(f"{NS}GetQueueUrlResult/{NS}QueueUrl") or "").endswith("/000000000000/asked-for")
    for action in ("CreateQueue", "ListQueues"):
        status, answer = query(shared, path, Action=action, QueueName="x")
        assert status == 400
        assert answer.findtext(f"{NS}Error/{NS}Code") == "InvalidAction"
        assert answer.findtext(f"{NS}Error/{NS}Message") == f"The action {action} is not valid for this endpoint."


def test_json_may_be_posted_to_a_queues_path(shared: Any, sqs: Any, queue: str) -> None:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"}
    path = queue.removeprefix(shared.url)
    assert shared.http("POST", path, {"QueueUrl": queue, "MessageBody": "x"}, headers)[0] == 200
    assert sqs.receive_message(QueueUrl=queue)["Messages"]


def test_a_get_that_accepts_json_gets_errors_in_the_old_json_too(shared: Any) -> None:
    path = f"/000000000000/nowhere?Action=SendMessage&MessageBody={quote('ä')}"
    status, text = shared.http("GET", path, None, {"Accept": "application/json"})
    assert status == 400
    error = json.loads(text)["Error"]
    assert error["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
    assert error["Message"] == "The specified queue does not exist for this wsdl version."


def test_lists_and_maps_are_flat_in_the_query_protocol(shared: Any, sqs: Any, queue: str) -> None:
    status, _ = query(
        shared,
        Action="TagQueue",
        QueueUrl=queue,
        **{"Tag.1.Key": "a", "Tag.1.Value": "1", "Tag.2.Key": "b", "Tag.2.Value": ""},
    )
    assert status == 200
    _, tags = query(shared, Action="ListQueueTags", QueueUrl=queue)
    found = {
        tag.findtext(f"{NS}Key"): tag.findtext(f"{NS}Value") for tag in tags.findall(f"{NS}ListQueueTagsResult/{NS}Tag")
    }
    assert found == {"a": "1", "b": ""}
    assert query(shared, Action="UntagQueue", QueueUrl=queue, **{"TagKey.1": "a"})[0] == 200
    assert sqs.list_queue_tags(QueueUrl=queue)["Tags"] == {"b": ""}
    status, _ = query(
        shared,
        Action="AddPermission",
        QueueUrl=queue,
        Label="l",
        **{"AWSAccountId.1": "111111111111", "ActionName.1": "SendMessage"},
    )
    assert status == 200
    shown = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])["Attributes"]
    assert "SQS:SendMessage" in shown["Policy"]
    _, sent = query(
        shared,
        Action="SendMessageBatch",
        QueueUrl=queue,
        **{f"{BATCH}.1.Id": "a", f"{BATCH}.1.MessageBody": "x", f"{BATCH}.2.Id": "b"},
    )
    result = sent.find(f"{NS}SendMessageBatchResult")
    assert result is not None
    assert [each.findtext(f"{NS}Id") for each in result.findall(f"{NS}SendMessageBatchResultEntry")] == ["a"]
    [failure] = result.findall(f"{NS}BatchResultErrorEntry")
    assert failure.findtext(f"{NS}Code") == "MissingParameter"
    assert failure.findtext(f"{NS}SenderFault") == "true"


def test_dead_letter_sources_are_called_queue_url(shared: Any, sqs: Any, queue: str) -> None:
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": policy})
    _, answer = query(shared, Action="ListDeadLetterSourceQueues", QueueUrl=queue)
    result = answer.find(f"{NS}ListDeadLetterSourceQueuesResult")
    assert result is not None
    assert [(each.tag, each.text) for each in result] == [(NS + "QueueUrl", queue)]


def test_an_empty_answer_is_an_empty_object_in_json(shared: Any, queue: str) -> None:
    assert post(shared, "ReceiveMessage", {"QueueUrl": queue})[2] == {}
    assert post(shared, "ListQueueTags", {"QueueUrl": queue})[2] == {}
    assert post(shared, "ListQueues", {"QueueNamePrefix": "there is none"})[2] == {}


@pytest.mark.parametrize(
    ("operation", "body", "text"),
    [
        ("SendMessage", {"MessageBody": {}}, "Start of structure or map found where not expected."),
        ("SendMessage", {"MessageBody": []}, "Start of list found where not expected"),
        (
            "SetQueueAttributes",
            {"Attributes": {"DelaySeconds": []}},
            "Unrecognized collection type class java.lang.String",
        ),
        ("ReceiveMessage", {"MaxNumberOfMessages": "x"}, "STRING_VALUE can not be converted to an Integer"),
    ],
)
def test_a_value_of_another_type_is_refused_as_its_parser_says(
    shared: Any, queue: str, operation: str, body: dict[str, Any], text: str
) -> None:
    status, _, answer = post(shared, operation, {"QueueUrl": queue, **body})
    assert status == 400
    assert answer["__type"].rpartition("#")[2] == "SerializationException"
    assert answer.get("message", answer.get("Message")) == text


def test_numbers_and_truths_are_taken_for_texts(shared: Any, sqs: Any, queue: str) -> None:
    assert post(shared, "SendMessage", {"QueueUrl": queue, "MessageBody": True})[0] == 200
    assert post(shared, "SendMessage", {"QueueUrl": queue, "MessageBody": 20})[0] == 200
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert sorted(message["Body"] for message in found) == ["20", "true"]

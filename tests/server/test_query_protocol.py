"""The older query protocol, as raw requests: what old SDKs and curl send."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree

NS = "{http://queue.amazonaws.com/doc/2012-11-05/}"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def query(server: Any, path: str = "/", **parameters: str) -> tuple[int, ElementTree.Element]:
    body = urlencode({"Version": "2012-11-05", **parameters}).encode()
    status, text = server.http("POST", path, body, FORM)
    return status, ElementTree.fromstring(text)


def test_a_queue_lives_its_life_over_the_query_protocol(shared: Any) -> None:
    status, made = query(
        shared,
        Action="CreateQueue",
        QueueName="by-query",
        **{"Attribute.1.Name": "DelaySeconds", "Attribute.1.Value": "0"},
    )
    assert status == 200
    assert made.tag == NS + "CreateQueueResponse"
    url = made.findtext(f"{NS}CreateQueueResult/{NS}QueueUrl")
    assert url is not None and url.endswith("/000000000000/by-query")
    assert made.findtext(f"{NS}ResponseMetadata/{NS}RequestId")
    path = "/000000000000/by-query"
    status, sent = query(
        shared,
        path,
        Action="SendMessage",
        MessageBody="<&>\r",
        **{
            "MessageAttribute.1.Name": "Hello",
            "MessageAttribute.1.Value.DataType": "String",
            "MessageAttribute.1.Value.StringValue": "World",
        },
    )
    assert sent.findtext(f"{NS}SendMessageResult/{NS}MD5OfMessageAttributes") == "7db7fb1ba7f41366a8ea5eb18220b26d"
    status, got = query(
        shared, path, Action="ReceiveMessage", **{"AttributeName.1": "All", "MessageAttributeName.1": "All"}
    )
    message = got.find(f"{NS}ReceiveMessageResult/{NS}Message")
    assert message is not None
    assert message.findtext(f"{NS}Body") == "<&>\r"
    assert message.findtext(f"{NS}MessageAttribute/{NS}Value/{NS}StringValue") == "World"
    names = {each.findtext(f"{NS}Name") for each in message.findall(f"{NS}Attribute")}
    assert {"SenderId", "SentTimestamp", "ApproximateReceiveCount"} <= names
    handle = message.findtext(f"{NS}ReceiptHandle") or ""
    assert query(shared, Action="DeleteMessage", QueueUrl=url, ReceiptHandle=handle)[0] == 200


def test_an_empty_receive_has_an_empty_result(shared: Any) -> None:
    query(shared, Action="CreateQueue", QueueName="empty")
    status, text = shared.http("GET", "/000000000000/empty?Action=ReceiveMessage")
    assert status == 200
    assert "<ReceiveMessageResult/>" in text


def test_errors_carry_the_legacy_codes(shared: Any) -> None:
    status, error = query(shared, "/000000000000/nowhere", Action="SendMessage", MessageBody="x")
    assert status == 400
    assert error.tag == NS + "ErrorResponse"
    assert error.findtext(f"{NS}Error/{NS}Code") == "AWS.SimpleQueueService.NonExistentQueue"
    assert error.findtext(f"{NS}Error/{NS}Message") == "The specified queue does not exist for this wsdl version."
    assert error.findtext(f"{NS}Error/{NS}Type") == "Sender"
    assert error.find(f"{NS}Error/{NS}Detail") is not None


def test_an_unknown_action_is_refused_by_name(shared: Any) -> None:
    status, error = query(shared, Action="FooBar")
    assert status == 400
    assert error.findtext(f"{NS}Error/{NS}Code") == "InvalidAction"
    assert error.findtext(f"{NS}Error/{NS}Message") == "The action FooBar is not valid for this endpoint."


def test_a_queue_path_without_an_action_is_an_unknown_operation(shared: Any) -> None:
    query(shared, Action="CreateQueue", QueueName="plain")
    status, text = shared.http("GET", "/000000000000/plain", None, {"Accept": "application/json"})
    assert status == 404
    assert "<UnknownOperationException/>" in text


def test_a_get_that_accepts_json_is_answered_in_the_old_json(shared: Any) -> None:
    query(shared, Action="CreateQueue", QueueName="old-json")
    path = "/000000000000/old-json?Action=GetQueueAttributes&AttributeName.1=QueueArn"
    status, text = shared.http("GET", path, None, {"Accept": "application/json"})
    assert status == 200
    assert json.loads(text)["GetQueueAttributesResponse"]["GetQueueAttributesResult"]["Attributes"] == [
        {"Name": "QueueArn", "Value": "arn:aws:sqs:us-east-1:000000000000:old-json"}
    ]


def test_every_form_of_a_queue_url_finds_the_queue(shared: Any) -> None:
    sqs = shared.client()
    sqs.create_queue(QueueName="forms")
    for url in (
        "forms",
        f"{shared.url}/000000000000/forms",
        f"{shared.url}/000000000000/forms/",
        "http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/forms",
        "http://us-east-1.queue.localhost.localstack.cloud:4566/000000000000/forms",
        "http://queue.localhost.localstack.cloud:4566/000000000000/forms",
        "http://localhost:4566/queue/us-east-1/000000000000/forms",
        "http://localhost:9324/queue/forms",
        "https://sqs.us-east-1.amazonaws.com/000000000000/forms",
        "https://us-east-1.queue.amazonaws.com/000000000000/forms",
        "http://other-container:4566/000000000000/forms",
    ):
        status, answer = shared.http(
            "POST",
            "/",
            {"QueueUrl": url, "MessageBody": "x"},
            {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"},
        )
        assert status == 200, (url, answer)

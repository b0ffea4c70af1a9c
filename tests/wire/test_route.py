"""Where a request goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.kernel.errors import ServiceError
from trunkline.wire.message import HttpRequest
from trunkline.wire.route import NotServed, Target, Unroutable, route

SCOPE = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=abc"


def _request(path: str = "/", query: str = "", body: bytes = b"", **headers: str) -> HttpRequest:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpRequest("POST" if body else "GET", path, query, names, body)


def test_a_target_header_means_json_on_any_path() -> None:
    for path in ("/", "/000000000000/queue"):
        assert route(_request(path, x_amz_target="AmazonSQS.SendMessage")) == Target("sqs", "SendMessage", "json")


@pytest.mark.parametrize("header", ["AmazonSQS.Fly", "AmazonSQS.", "AmazonSQS", "", "DynamoDB_20120810.ListTables"])
def test_a_target_that_is_not_served_is_refused_in_json(header: str) -> None:
    for _ in range(2):
        with pytest.raises(Unroutable) as refused:
            route(_request(x_amz_target=header))
        assert (refused.value.name, refused.value.protocol) == ("UnknownOperation", "json")


def test_an_action_is_found_in_the_form_and_in_the_query_string() -> None:
    wanted = Target("sqs", "ListQueues", "query")
    assert route(_request(query="Action=ListQueues")) == wanted
    assert route(_request(body=b"Action=ListQueues&Version=2012-11-05")) == wanted


def test_the_service_of_an_action_is_in_the_signature() -> None:
    found = route(_request(query="Action=GetCallerIdentity", authorization=SCOPE.format("sts")))
    assert found == Target("sts", "GetCallerIdentity", "query")


def test_an_action_for_a_service_that_is_not_served_is_refused_and_the_services_are_named() -> None:
    with pytest.raises(Unroutable, match=r"does not serve sns\. It serves: sqs, sts"):
        route(_request(query="Action=Publish", authorization=SCOPE.format("sns")))


def test_an_unknown_action_is_refused_by_name() -> None:
    with pytest.raises(Unroutable) as refused:
        route(_request(query="Action=FooBar"))
    assert refused.value.name == "InvalidAction"
    assert refused.value.message == "The action FooBar is not valid for this endpoint."
    assert refused.value.protocol == "query"


@pytest.mark.parametrize("action", ["CreateQueue", "ListQueues"])
def test_a_queues_own_path_takes_no_action_of_the_account(action: str) -> None:
    with pytest.raises(Unroutable, match=f"The action {action} is not valid for this endpoint"):
        route(_request("/000000000000/queue", f"Action={action}"))


def test_no_action_at_all_is_an_unknown_operation() -> None:
    for request in (_request("/000000000000/queue"), _request(body=b"MessageBody=x"), _request(query="Action=")):
        with pytest.raises(Unroutable) as refused:
            route(request)
        assert refused.value.name == "UnknownOperation"


@given(st.text(), st.text(), st.binary(), st.text() | st.none())
def test_any_request_goes_somewhere_or_is_refused(path: str, query: str, body: bytes, target: str | None) -> None:
    headers = {} if target is None else {"x-amz-target": target}
    try:
        found = route(HttpRequest("POST", path, query, headers, body))
    except ServiceError:
        return
    assert found.service in ("sqs", "sts")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_an_operation_is_called_with_get_and_post_only(method: str) -> None:
    for headers, query, protocol in (
        ({"x-amz-target": "AmazonSQS.SendMessage"}, "", "json"),
        ({}, "Action=SendMessage", "query"),
    ):
        with pytest.raises(Unroutable, match=f"SendMessage is called with GET or POST, not {method}") as refused:
            route(HttpRequest(method, "/", query, headers, b""))
        assert (refused.value.name, refused.value.protocol) == ("MethodNotAllowed", protocol)


@pytest.mark.parametrize(
    ("service", "query", "protocol"),
    [
        ("sns", "Action=Publish", "query"),
        ("ec2", "Action=DescribeInstances", "ec2"),
        ("s3", "list-type=2", "s3"),
        ("s3", "Action=Publish", "s3"),
        ("route53", "", "rest-xml"),
        ("cloudfront", "", "rest-xml"),
        ("lambda", "", "rest-json"),
        ("lambda", "a=%FF", "rest-json"),
    ],
)
def test_a_service_that_is_not_served_is_refused_in_its_own_protocol(service: str, query: str, protocol: str) -> None:
    with pytest.raises(NotServed, match=f"does not serve {service}") as refused:
        route(_request(query=query, authorization=SCOPE.format(service)))
    assert refused.value.protocol == protocol


def test_a_target_that_is_not_served_is_named_as_it_was_signed() -> None:
    with pytest.raises(NotServed, match="does not serve dynamodb"):
        route(_request(x_amz_target="DynamoDB_20120810.ListTables", authorization=SCOPE.format("dynamodb")))
    with pytest.raises(NotServed, match="does not serve DynamoDB_20120810"):
        route(_request(x_amz_target="DynamoDB_20120810.ListTables", authorization=SCOPE.format("sqs")))

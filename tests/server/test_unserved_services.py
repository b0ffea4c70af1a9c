"""Real clients of services that are not here learn so, whatever protocol they speak."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

CALLS = [
    ("sns", "list_topics", {}, "InvalidAction"),
    ("iam", "list_users", {}, "InvalidAction"),
    ("ec2", "describe_instances", {}, "InvalidAction"),
    ("cloudformation", "list_stacks", {}, "InvalidAction"),
    ("ses", "list_identities", {}, "InvalidAction"),
    ("rds", "describe_db_instances", {}, "InvalidAction"),
    ("s3", "list_buckets", {}, "InvalidAction"),
    ("s3", "create_bucket", {"Bucket": "b"}, "InvalidAction"),
    ("s3", "put_object", {"Bucket": "b", "Key": "k", "Body": b"\xff%ff=&"}, "InvalidAction"),
    ("route53", "list_hosted_zones", {}, "InvalidAction"),
    ("cloudfront", "list_distributions", {}, "InvalidAction"),
    ("events", "list_rules", {}, "UnknownOperationException"),
    ("kms", "list_keys", {}, "UnknownOperationException"),
    ("dynamodb", "list_tables", {}, "UnknownOperationException"),
    ("logs", "describe_log_groups", {}, "UnknownOperationException"),
    ("cloudwatch", "list_metrics", {}, None),
    ("lambda", "list_functions", {}, "UnknownOperationException"),
    ("lambda", "delete_function", {"FunctionName": "f"}, "UnknownOperationException"),
    ("scheduler", "list_schedules", {}, "UnknownOperationException"),
]


@pytest.mark.parametrize(("service", "operation", "parameters", "code"), CALLS)
def test_a_client_of_another_service_reads_that_it_is_not_served(
    shared: Any, service: str, operation: str, parameters: dict[str, Any], code: str | None
) -> None:
    client = boto3.client(
        service,
        endpoint_url=shared.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
    )
    with pytest.raises(ClientError) as refused:
        getattr(client, operation)(**parameters)
    error = refused.value.response["Error"]
    assert error["Code"] == code or code is None
    assert "Trunkline does not serve" in error["Message"]
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def ask(server: Any, method: str, path: str, **headers: str) -> tuple[int, Any, str]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.url + path, None, names, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def test_a_browser_at_the_root_reads_what_runs_here(shared: Any) -> None:
    status, _, text = ask(shared, "GET", "/", Accept="text/html,application/xhtml+xml")
    assert status == 200
    assert "Trunkline" in text and "/_trunkline/health" in text
    assert json.loads(ask(shared, "GET", "/_trunkline/health")[2])["version"] in text
    for path, headers in (
        ("/", {}),
        ("/", {"Accept": "application/json"}),
        ("/000000000000/q", {"Accept": "text/html"}),
        ("/", {"Accept": "text/html", "Authorization": "Basic x"}),
    ):
        status, _, text = ask(shared, "GET", path, **headers)
        assert (status, text) == (404, "<UnknownOperationException/>")


def test_a_preflight_is_refused_with_the_reason(shared: Any) -> None:
    for path in ("/", "/000000000000/q", "/?Action=ListQueues"):
        status, headers, text = ask(shared, "OPTIONS", path, Origin="http://page", Access_Control_Request_Method="POST")
        assert status == 403
        assert "CORS" in text and "--allow-origin" in text
        assert not any(name.lower().startswith("access-control") for name in headers)
        status, headers, text = ask(shared, "OPTIONS", path)
        assert (status, headers["Allow"]) == (405, "GET, POST")
        assert "allow_origin" in text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_an_action_with_another_method_is_not_done(shared: Any, method: str) -> None:
    shared.client().create_queue(QueueName="kept")
    status, headers, text = ask(shared, method, "/000000000000/kept?Action=DeleteQueue")
    assert (status, headers["Allow"]) == (405, "GET, POST")
    assert f"not {method}" in text and "<Code>MethodNotAllowed</Code>" in text
    for _ in range(2):
        status, headers, text = ask(shared, method, "/", X_Amz_Target="AmazonSQS.ListQueues")
        assert (status, headers["Allow"]) == (405, "GET, POST")
        assert json.loads(text)["__type"].endswith("MethodNotAllowed")
    assert ask(shared, "HEAD", "/000000000000/kept?Action=DeleteQueue")[0] == 405
    shared.client().get_queue_url(QueueName="kept")


def test_a_get_that_accepts_json_gets_errors_of_routing_in_the_old_json_too(shared: Any) -> None:
    for accept in ("application/json", "Application/JSON; charset=utf-8"):
        status, headers, text = ask(shared, "GET", "/?Action=FooBar", Accept=accept)
        assert (status, headers["Content-Type"]) == (400, "application/json")
        assert json.loads(text)["Error"]["Code"] == "InvalidAction"
    status, headers, _ = ask(shared, "GET", "/?a=%FF", Accept="application/json")
    assert (status, headers["Content-Type"]) == (400, "application/json")
    status, headers, text = ask(shared, "GET", "/", Accept="application/json", X_Amz_Target="AmazonSQS.ListQueues")
    assert (status, headers["Content-Type"]) == (200, "application/x-amz-json-1.0")

"""What users of other servers rely on (aws/conventions.md), as far as it concerns SQS."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

ACCEPT = {"Accept": "application/json"}


def page(server: Any, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
    status, text = server.http(method, path, body)
    return status, json.loads(text)


def bodies(server: Any, path: str) -> list[str]:
    status, text = server.http("GET", path, None, ACCEPT)
    assert status == 200, text
    found = (json.loads(text)["ReceiveMessageResponse"]["ReceiveMessageResult"] or {}).get("Message", [])
    return [message["Body"] for message in (found if isinstance(found, list) else [found])]


# -- health and the pages beside it ------------------------------------------------


def test_health_answers_head_and_keeps_the_members_that_scripts_read(shared: Any) -> None:
    request = urllib.request.Request(shared.url + "/_localstack/health", method="HEAD")
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.status == 200
        assert response.read() == b""
    _, found = page(shared, "/_localstack/health")
    assert found["services"]["sqs"] == "running"
    assert found["edition"] == "community"
    assert found["version"]


def test_every_stage_of_init_is_completed_but_the_shutdown(shared: Any) -> None:
    completed = {"BOOT": True, "START": True, "READY": True, "SHUTDOWN": False}
    assert page(shared, "/_localstack/init") == (200, {"completed": completed, "scripts": []})
    for stage, done in completed.items():
        for name in (stage, stage.lower(), stage.title()):
            assert page(shared, f"/_localstack/init/{name}") == (200, {"completed": done, "scripts": []})
    assert page(shared, "/_localstack/init/nothing")[0] == 404


def test_info_plugins_config_and_diagnose_are_there(shared: Any) -> None:
    _, info = page(shared, "/_localstack/info")
    assert info["version"]
    assert page(shared, "/_localstack/plugins") == (200, {})
    _, config = page(shared, "/_localstack/config")
    assert config["memory"] is True
    assert config["region"] == "us-east-1"
    status, diagnosis = page(shared, "/_localstack/diagnose")
    assert status == 200
    assert diagnosis["config"] == config
    assert diagnosis["health"]["services"]["sqs"] == "running"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/_localstack/health", {"action": "restart"}, "SIGTERM"),
        ("/_localstack/health", {"action": "kill"}, "SIGTERM"),
        ("/_localstack/config", {"variable": "DEBUG", "value": "1"}, "fixed at the start"),
        ("/_localstack/state/save", None, "--memory"),
        ("/_localstack/state/load", None, "when the server starts"),
        ("/_localstack/state/load/sqs", None, "when the server starts"),
    ],
)
def test_what_is_not_done_here_is_refused_with_the_reason(shared: Any, path: str, body: Any, said: str) -> None:
    status, answer = page(shared, path, "POST", body)
    assert status == 501
    assert said in answer["message"]


def test_a_reset_that_asks_for_init_scripts_empties_and_says_that_there_are_none(frozen: Any) -> None:
    frozen.client().create_queue(QueueName="q")
    status, answer = page(frozen, "/_ministack/reset?init=1", "POST")
    assert (status, answer["reset"]) == (200, 1)
    assert "no init scripts" in answer["init"]
    assert page(frozen, "/_ministack/reset", "POST") == (200, {"reset": 0})


def test_another_action_of_health_is_a_mistake(shared: Any) -> None:
    status, answer = page(shared, "/_localstack/health", "POST", {"action": "dance"})
    assert status == 400
    assert "dance" in answer["message"]


def test_state_is_saved_when_it_is_on_the_disk(durable: Any) -> None:
    for path in ("/_localstack/state/save", "/_localstack/state/save/sqs"):
        assert page(durable, path, "POST")[0] == 200
    assert page(durable, "/_localstack/state/save/s3", "POST")[0] == 404


def test_the_data_directory_of_a_server_is_a_text_in_its_config(durable: Any, tmp_path: Path) -> None:
    assert page(durable, "/_localstack/config")[1]["data"] == str(tmp_path / "data")


def test_the_config_tells_what_is_in_force_and_not_what_was_said(shared: Any, start: Any) -> None:
    _, config = page(shared, "/_localstack/config")
    assert (config["port"], config["data"], config["durability"]) == (shared.port, None, "none")
    assert (config["purge_wait"], config["delete_wait"]) == (0, 0)
    strict = start("--memory", "--strict", "--purge-wait", "1.5")
    _, config = page(strict, "/_localstack/config")
    assert (config["purge_wait"], config["delete_wait"]) == (1.5, 60)


# -- inspection --------------------------------------------------------------------


def test_inspection_serves_as_the_endpoint_of_an_sdk(shared: Any, sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    backdoor = boto3.session.Session().client(
        "sqs",
        endpoint_url=f"{shared.url}/_aws/sqs/messages",
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}),
    )
    for _ in range(2):
        [message] = backdoor.receive_message(QueueUrl=queue)["Messages"]
        assert message["Body"] == "x"
        assert message["ReceiptHandle"] == "SQS/BACKDOOR/ACCESS"
        assert message["Attributes"]["IsVisible"] == "true"
        assert message["Attributes"]["ApproximateReceiveCount"] == "0"
    with pytest.raises(ClientError) as caught:
        backdoor.send_message(QueueUrl=queue, MessageBody="y")
    assert caught.value.response["Error"]["Message"] == "This endpoint only accepts ReceiveMessage calls"
    assert len(bodies(shared, f"/_aws/sqs/messages?QueueUrl={queue}")) == 1


def test_the_backdoors_handle_deletes_nothing(sqs: Any, queue: str) -> None:
    with pytest.raises(ClientError) as caught:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle="SQS/BACKDOOR/ACCESS")
    assert caught.value.response["Error"]["Code"] == "ReceiptHandleIsInvalid"


def test_a_delete_of_the_messages_purges_the_queue(shared: Any, sqs: Any, queue: str) -> None:
    for path in (
        f"/_aws/sqs/messages?QueueUrl={queue}",
        f"/_aws/sqs/messages/us-east-1/000000000000/{queue.rsplit('/', 1)[1]}",
    ):
        sqs.send_message(QueueUrl=queue, MessageBody="x")
        assert page(shared, path, "DELETE") == (200, {"purged": queue.rsplit("/", 1)[1]})
        assert "Messages" not in sqs.receive_message(QueueUrl=queue)
    assert shared.http("DELETE", "/_aws/sqs/messages?QueueUrl=nowhere")[0] == 400
    assert shared.http("DELETE", "/_aws/sqs/messages")[0] == 400


def test_another_method_is_refused_and_changes_nothing(shared: Any, sqs: Any, queue: str) -> None:
    status, answer = page(shared, f"/_aws/sqs/messages?QueueUrl={queue}", "PUT")
    assert status == 405
    assert "DELETE" in answer["message"]


def test_ministacks_page_names_the_account(shared: Any) -> None:
    sqs = shared.client(account="444444444444")
    sqs.create_queue(QueueName="of-an-account")
    sqs.send_message(QueueUrl="of-an-account", MessageBody="x")
    path = "/_ministack/sqs/messages?account=444444444444&QueueUrl=of-an-account"
    assert bodies(shared, path) == ["x"]
    assert page(shared, path, "DELETE")[0] == 200
    assert bodies(shared, path) == []
    assert shared.http("GET", "/_ministack/sqs/messages?QueueUrl=of-an-account")[0] == 400


def test_inspections_json_calls_attributes_as_localstack_does(shared: Any, sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    for path in ("/_aws/sqs/messages", "/_ministack/sqs/messages"):
        _, answer = page_as_json(shared, f"{path}?QueueUrl={queue}")
        [message] = answer["ReceiveMessageResponse"]["ReceiveMessageResult"]["Message"]
        assert {"Name": "IsVisible", "Value": "true"} in message["Attribute"]
        assert "Attributes" not in message
    # AWS's own old JSON has the plural (recorded).
    path = f"{queue.removeprefix(shared.url)}?Action=GetQueueAttributes&AttributeName=QueueArn"
    _, answer = page_as_json(shared, path)
    assert answer["GetQueueAttributesResponse"]["GetQueueAttributesResult"]["Attributes"]


def page_as_json(server: Any, path: str) -> tuple[int, Any]:
    status, text = server.http("GET", path, None, {"Accept": "Application/JSON"})
    return status, json.loads(text)


def test_an_inspection_of_a_long_queue_is_cut_and_says_so(shared: Any, sqs: Any, queue: str) -> None:
    size = 1 << 20
    for number in range(20):
        sqs.send_message(QueueUrl=queue, MessageBody=str(number % 10) * size)
    for accept in ("application/json", "text/xml"):
        request = urllib.request.Request(f"{shared.url}/_aws/sqs/messages?QueueUrl={queue}", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read()
            assert response.headers["X-Trunkline-More"] == "true"
            assert 16 * size < len(text) < 17 * size
    sqs.purge_queue(QueueUrl=queue)
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    with urllib.request.urlopen(f"{shared.url}/_aws/sqs/messages?QueueUrl={queue}", timeout=30) as response:
        assert "X-Trunkline-More" not in response.headers


@pytest.mark.parametrize("body", [b"{", b"[1]", b'{"QueueUrl": {}}', b'{"QueueUrl": ["a"]}', b'{"a":' * 3_000])
def test_what_an_sdk_sends_wrong_to_an_inspection_is_refused_as_sqs_does(shared: Any, body: bytes) -> None:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.ReceiveMessage"}
    status, text = shared.http("POST", "/_aws/sqs/messages", body, headers)
    assert status == 400
    assert json.loads(text)["__type"].endswith("SerializationException")


def test_what_a_person_sends_wrong_to_an_inspection_is_explained(shared: Any) -> None:
    status, answer = page(shared, "/_aws/sqs/messages", "POST", b"garbage")
    assert status == 400
    assert "neither a JSON object nor a form" in answer["message"]


def test_an_sdk_that_follows_a_queues_url_under_the_inspection_sees_its_messages(
    shared: Any, sqs: Any, queue: str
) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    path = f"/_aws/sqs/messages{queue.removeprefix(shared.url)}"
    assert bodies(shared, path) == ["x"]
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.ReceiveMessage"}
    status, text = shared.http("POST", path, {"QueueUrl": queue}, headers)
    assert status == 200
    assert [message["Body"] for message in json.loads(text)["Messages"]] == ["x"]


# -- queue URLs, accounts, regions -------------------------------------------------


def test_curl_sends_and_receives_on_a_queues_path_unsigned(shared: Any, queue: str) -> None:
    path = queue.removeprefix(shared.url)
    assert shared.http("GET", f"{path}?Action=SendMessage&MessageBody=by%20hand", None, ACCEPT)[0] == 200
    status, text = shared.http("GET", f"{path}?Action=ReceiveMessage", None, ACCEPT)
    assert status == 200
    assert "by hand" in text


@pytest.mark.parametrize("path", ["/000000000000/{}/", "/queue/{}", "/queue/us-east-1/000000000000/{}"])
def test_every_path_of_a_queue_takes_requests(shared: Any, queue: str, path: str) -> None:
    where = path.format(queue.rsplit("/", 1)[1])
    assert shared.http("GET", f"{where}?Action=SendMessage&MessageBody=x")[0] == 200


@pytest.mark.parametrize(
    ("strategy", "url"),
    [
        ("off", "http://127.0.0.1:{port}/000000000000/q"),
        ("dynamic", "http://127.0.0.1:{port}/000000000000/q"),
        ("path", "http://127.0.0.1:{port}/queue/us-east-1/000000000000/q"),
        ("standard", "http://sqs.us-east-1.localhost.localstack.cloud:{port}/000000000000/q"),
        ("domain", "http://queue.localhost.localstack.cloud:{port}/000000000000/q"),
    ],
)
def test_queue_urls_have_the_form_that_was_chosen(start: Any, strategy: str, url: str) -> None:
    server = start("--memory", "--queue-url", strategy)
    made = server.client().create_queue(QueueName="q")["QueueUrl"]
    assert made == url.format(port=server.port)


def test_a_queue_url_mirrors_the_host_that_the_caller_used(shared: Any) -> None:
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Target": "AmazonSQS.CreateQueue",
        "Host": "queues.example:1234",
    }
    _, text = shared.http("POST", "/", {"QueueName": "mirrored"}, headers)
    assert json.loads(text) == {"QueueUrl": "http://queues.example:1234/000000000000/mirrored"}


def test_an_access_key_of_12_digits_is_the_account(shared: Any) -> None:
    for key, account in (("123456789012", "123456789012"), ("test", "000000000000"), ("12345", "000000000000")):
        url = shared.client(account=key).create_queue(QueueName="whose")["QueueUrl"]
        assert url == f"{shared.url}/{account}/whose"


def test_any_region_is_a_world_of_its_own(shared: Any) -> None:
    there = shared.client(region="mars-north-1")
    url = there.create_queue(QueueName="far")["QueueUrl"]
    arn = there.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert arn == "arn:aws:sqs:mars-north-1:000000000000:far"
    with pytest.raises(ClientError):
        shared.client().get_queue_url(QueueName="far")


@pytest.mark.parametrize("region", ["us:east:1", "a%00b", "us east 1", "a" * 65])
def test_a_scope_whose_region_no_arn_could_hold_is_refused(shared: Any, region: str) -> None:
    scope = f"k%2F20260101%2F{region.replace(' ', '%20')}%2Fsqs%2Faws4_request"
    for action in ("ListQueues", "CreateQueue&QueueName=q"):
        status, text = shared.http("GET", f"/?Action={action}&X-Amz-Credential={scope}")
        assert status == 403
        assert "<Code>SignatureDoesNotMatch</Code>" in text
        assert "Credential should be scoped to a valid region." in text

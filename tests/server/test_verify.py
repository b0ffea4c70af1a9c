"""A server that verifies signatures, and real clients: boto3, the AWS CLI, an old botocore, curl, raw requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from servers import Server
from tools import installed, tool

from trunkline.signatures import LARGE

OURS, THEIRS = "111122223333", "444455556666"
FILE = f"""
[ours]
aws_access_key_id = AKIAOURS
aws_secret_access_key = our/secret+
aws_account_id = {OURS}

[theirs]
aws_access_key_id = AKIATHEIRS
aws_secret_access_key = their/secret+
aws_account_id = {THEIRS}

[session]
aws_access_key_id = ASIAOURS
aws_secret_access_key = passing
aws_session_token = a/token+of==ours
aws_account_id = {OURS}

[over]
aws_access_key_id = ASIAOVER
aws_secret_access_key = passed
aws_session_token = a-token
aws_account_id = {OURS}
expiration = 2020-01-01T00:00:00Z
"""
SECRETS = {
    "AKIAOURS": ("our/secret+", None),
    "AKIATHEIRS": ("their/secret+", None),
    "ASIAOURS": ("passing", "a/token+of==ours"),
    "ASIAOVER": ("passed", "a-token"),
}
_SESSION = boto3.session.Session()
OLD = Path(os.environ.get("TRUNKLINE_OLD_CLIENTS") or Path(__file__).parents[2] / ".cache" / "old-clients")


def credentials(folder: Path, text: str = FILE) -> Path:
    file = folder / "credentials"
    file.touch(0o600)
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = credentials(tmp_path_factory.mktemp("verify"))
    server = Server("--memory", "--auth", "verify", "--credentials", str(file)).start()
    yield server
    server.stop()


def client(
    server: Server, key: str = "AKIAOURS", secret: str | None = None, service: str = "sqs", **config: Any
) -> Any:
    known, token = SECRETS.get(key, ("", None))
    return _SESSION.client(
        service,
        endpoint_url=server.url,
        region_name="eu-west-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret or known,
        aws_session_token=token,
        config=Config(retries={"max_attempts": 0}, **config),
    )


def refusal(call: Callable[[], Any]) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as error:
        call()
    response = error.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


def signed(
    server: Server, method: str, path: str, body: bytes = b"", key: str = "AKIAOURS", **headers: str
) -> tuple[int, str]:
    """A request of our own, signed by botocore for SQS."""
    secret, token = SECRETS[key]
    request: Any = AWSRequest(method, server.url + path, headers=headers, data=body)
    SigV4Auth(Credentials(key, secret, token), "sqs", "eu-west-1").add_auth(request)
    return server.http(method, path, body or None, dict(request.headers.items()))


# -- SDKs ----------------------------------------------------------------------


@pytest.mark.parametrize("key", ["AKIAOURS", "ASIAOURS"])
def test_boto3_works_with_a_known_key_and_is_its_account(closed: Server, key: str) -> None:
    sqs = client(closed, key)
    url = sqs.create_queue(QueueName=f"q-{key}")["QueueUrl"]
    assert url == f"{closed.url}/{OURS}/q-{key}"
    sqs.send_message(QueueUrl=url, MessageBody="grüße  \t &=%")
    [message] = sqs.receive_message(QueueUrl=url, AttributeNames=["SenderId"])["Messages"]
    assert (message["Body"], message["Attributes"]["SenderId"]) == ("grüße  \t &=%", OURS)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    who = client(closed, key, service="sts").get_caller_identity()
    assert (who["Account"], who["Arn"]) == (OURS, f"arn:aws:iam::{OURS}:root")


MISMATCH = "The request signature we calculated does not match the signature you provided. Check your AWS Secret"


@pytest.mark.parametrize("service", ["sqs", "sts"])
def test_boto3_is_told_in_aws_words_why_it_is_not_let_in(closed: Server, service: str) -> None:
    def ask(*words: Any, **options: Any) -> tuple[str, str, int]:
        one = client(closed, *words, service=service, **options)
        return refusal(one.list_queues if service == "sqs" else one.get_caller_identity)

    code, text, status = ask("AKIAOURS", "wrong")
    assert (code, status) == ("SignatureDoesNotMatch", 403) and text.startswith(MISMATCH)
    invalid = "The security token included in the request is invalid."
    assert ask("AKIANOBODY", "x") == ("InvalidClientTokenId", invalid, 403)
    assert ask("ASIAOVER") == ("ExpiredToken", "The security token included in the request is expired", 403)
    if service == "sqs":
        denied = f"Access to the resource {closed.url}/ is denied."
        assert ask(signature_version=UNSIGNED) == ("AccessDenied", denied, 403)
    else:
        missing = "Request is missing Authentication Token"
        assert ask(signature_version=UNSIGNED) == ("MissingAuthenticationToken", missing, 403)


def test_large_bodies_are_verified_too(closed: Server) -> None:
    sqs = client(closed)
    url = sqs.create_queue(QueueName="large")["QueueUrl"]
    body = "x" * (2 * LARGE)
    sqs.send_message(QueueUrl=url, MessageBody=body)
    code, _, status = refusal(lambda: client(closed, secret="no").send_message(QueueUrl=url, MessageBody=body))
    assert (code, status) == ("SignatureDoesNotMatch", 403)
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [message["Body"] for message in messages] == [body]


def test_service_time_does_not_age_a_signature(closed: Server) -> None:
    status, answer = signed(closed, "POST", "/_trunkline/clock/advance", b'{"seconds": 86400}')
    assert status == 200, answer
    assert client(closed).list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_the_aws_cli_works_with_a_known_key_and_is_told_in_aws_words(closed: Server) -> None:
    def aws(secret: str, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environment |= {"AWS_ACCESS_KEY_ID": "AKIAOURS", "AWS_SECRET_ACCESS_KEY": secret, "AWS_PAGER": ""}
        environment |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        command = [sys.executable, "-m", "awscli", "--endpoint-url", closed.url, "--region", "eu-west-1", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)

    done = aws("our/secret+", "sqs", "create-queue", "--queue-name", "by-cli")
    assert json.loads(done.stdout)["QueueUrl"] == f"{closed.url}/{OURS}/by-cli", done.stderr
    done = aws("wrong", "sqs", "list-queues")
    assert done.returncode == 254 or done.returncode == 255
    assert "(SignatureDoesNotMatch) when calling the ListQueues operation: The request signature" in done.stderr


OLD_CLIENT = """
import boto3, json, sys, urllib.request
from botocore.config import Config
from botocore.exceptions import ClientError
def client(key, secret, token=None):
    return boto3.client("sqs", endpoint_url=sys.argv[1], region_name="eu-west-1", aws_access_key_id=key,
        aws_secret_access_key=secret, aws_session_token=token, config=Config(retries={"max_attempts": 0}))
sqs = client("AKIAOURS", "our/secret+")
url = sqs.create_queue(QueueName="old")["QueueUrl"]
sqs.send_message(QueueUrl=url, MessageBody="a b+c&d=e%f/~*")
found = [url, sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"]]
for each in (("AKIAOURS", "wrong"), ("AKIANOBODY", "x"), ("ASIAOURS", "passing", "another")):
    try:
        client(*each).list_queues()
    except ClientError as error:
        found.append([error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]])
for each in (sqs, client("ASIAOURS", "passing", "a/token+of==ours")):
    link = each.generate_presigned_url("get_queue_attributes", Params={"QueueUrl": url, "AttributeNames": ["QueueArn"]},
        ExpiresIn=60, HttpMethod="GET")
    found.append(urllib.request.urlopen(link).read().decode())
print(json.dumps(found))
"""


def test_an_old_botocore_works_with_the_query_protocol_presigned_too(closed: Server) -> None:
    installed(OLD / "botocore", by="make test")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {"PYTHONPATH": str(OLD)}
    command = [sys.executable, "-c", OLD_CLIENT, closed.url]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    url, body, wrong, nobody, another, presigned, session = json.loads(done.stdout)
    assert (url, body) == (f"{closed.url}/{OURS}/old", "a b+c&d=e%f/~*")
    assert (wrong, nobody) == (["SignatureDoesNotMatch", 403], ["InvalidClientTokenId", 403])
    assert another == ["InvalidClientTokenId", 403]
    for text in (presigned, session):
        assert f"<Value>arn:aws:sqs:eu-west-1:{OURS}:old</Value>" in text


# -- raw requests --------------------------------------------------------------


def raw(server: Server, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, str]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.url + path, body, names, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def test_an_unsigned_request_does_nothing_in_any_form(closed: Server) -> None:
    sqs = client(closed)
    url = sqs.create_queue(QueueName="kept")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="kept")
    path = f"/{OURS}/kept"
    form = "application/x-www-form-urlencoded"
    status, headers, text = raw(
        closed, "POST", "/", json.dumps({"QueueUrl": url}).encode(), X_Amz_Target="AmazonSQS.PurgeQueue"
    )
    assert status == 403 and headers["x-amzn-query-error"] == "AccessDenied;Sender"
    assert json.loads(text)["__type"] == "com.amazon.coral.service#AccessDeniedException"
    for method, where, body in (
        ("GET", f"{path}?Action=PurgeQueue", None),
        ("POST", path, b"Action=PurgeQueue"),
        ("POST", "/", f"Action=DeleteQueue&QueueUrl={url}".encode()),
        ("POST", f"{path}?Action=DeleteQueue", None),
    ):
        status, headers, text = raw(closed, method, where, body, Content_Type=form)
        assert status == 403 and "<Code>AccessDenied</Code>" in text
        assert "<ErrorResponse" in text and "<Type>Sender</Type>" in text and "is denied.</Message>" in text
    status, headers, text = raw(closed, "GET", f"{path}?Action=PurgeQueue", Accept="application/json")
    assert status == 403 and json.loads(text)["Error"]["Code"] == "AccessDenied"
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "kept"


@pytest.mark.parametrize(
    ("change", "code", "type_", "status"),
    [
        (("SHA256", "SHA1"), "IncompleteSignature", "IncompleteSignatureException", 400),
        (("aws4_request", "aws5_request"), "SignatureDoesNotMatch", "InvalidSignatureException", 403),
        (("AKIAOURS", "AKIANOBODY"), "InvalidClientTokenId", "UnrecognizedClientException", 403),
        (("AWS4-HMAC-SHA256 ", "Bearer "), "MissingAuthenticationToken", "MissingAuthenticationTokenException", 403),
        (("Signature=", "Signature=0"), "SignatureDoesNotMatch", "InvalidSignatureException", 403),
    ],
)
def test_each_failure_has_aws_code_type_and_status_in_both_protocols(
    closed: Server, change: tuple[str, str], code: str, type_: str, status: int
) -> None:
    for headers, body in (
        ({"X-Amz-Target": "AmazonSQS.ListQueues", "Content-Type": "application/x-amz-json-1.0"}, b"{}"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"Action=ListQueues"),
    ):
        request: Any = AWSRequest("POST", closed.url + "/", headers=headers, data=body)
        SigV4Auth(Credentials("AKIAOURS", "our/secret+"), "sqs", "eu-west-1").add_auth(request)
        sent = dict(request.headers.items())
        sent["Authorization"] = sent["Authorization"].replace(*change)
        found, _, text = raw(closed, "POST", "/", body, **sent)
        assert found == status
        if body == b"{}":
            assert json.loads(text)["__type"] == f"com.amazon.coral.service#{type_}"
        else:
            assert f"<Code>{code}</Code>" in text


def test_repeated_and_spaced_headers_are_read_as_they_were_signed(closed: Server) -> None:
    import http.client

    request: Any = AWSRequest("POST", closed.url + "/", headers={"X-Amz-Target": "AmazonSQS.ListQueues"}, data=b"{}")
    request.headers["X-Twice"] = "a  b "
    request.headers.add_header("X-Twice", "\t c")
    SigV4Auth(Credentials("AKIAOURS", "our/secret+"), "sqs", "eu-west-1").add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", closed.port, timeout=30)
    connection.putrequest("POST", "/", skip_accept_encoding=True)
    for name, value in request.headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", "2")
    connection.endheaders(b"{}")
    response = connection.getresponse()
    assert response.status == 200, response.read()
    connection.close()


# -- what a key may not --------------------------------------------------------


def test_accounts_are_closed_to_one_another(closed: Server) -> None:
    ours, theirs = client(closed), client(closed, "AKIATHEIRS")
    url = ours.create_queue(QueueName="closed", Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    arn = f"arn:aws:sqs:eu-west-1:{OURS}:closed"
    ours.create_queue(QueueName="source", Attributes={"RedrivePolicy": json.dumps(
        {"deadLetterTargetArn": arn, "maxReceiveCount": 1})})  # fmt: skip
    ours.send_message(QueueUrl=url, MessageBody="ours")
    handle = ours.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"]
    task = ours.start_message_move_task(SourceArn=arn, MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    entry = {"Id": "a", "MessageBody": "x"}
    for action, call in {
        "receivemessage": lambda: theirs.receive_message(QueueUrl=url),
        "sendmessage": lambda: theirs.send_message_batch(QueueUrl=url, Entries=[entry]),
        "deletemessage": lambda: theirs.delete_message(QueueUrl=url, ReceiptHandle=handle),
        "purgequeue": lambda: theirs.purge_queue(QueueUrl=url),
        "deletequeue": lambda: theirs.delete_queue(QueueUrl=f"https://elsewhere/{OURS}/closed/"),
        "getqueueattributes": lambda: theirs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]),
        "getqueueurl": lambda: theirs.get_queue_url(QueueName="closed", QueueOwnerAWSAccountId=OURS),
        "startmessagemovetask": lambda: theirs.start_message_move_task(SourceArn=arn),
        "listmessagemovetasks": lambda: theirs.list_message_move_tasks(SourceArn=arn),
        "cancelmessagemovetask": lambda: theirs.cancel_message_move_task(TaskHandle=task),
        "listqueuetags": lambda: theirs.list_queue_tags(QueueUrl=f"{closed.url}/{OURS}/none"),
    }.items():
        code, text, status = refusal(call)
        assert (code, status) == ("AccessDenied", 403), action
        assert text.startswith(
            f"User: arn:aws:iam::{THEIRS}:root is not authorized to perform: sqs:{action} on resource:"
        )
        assert f"no resource-based policy allows the sqs:{action} action" in text
    status, text = signed(closed, "GET", f"/{OURS}/closed?Action=PurgeQueue", key="AKIATHEIRS")
    assert status == 403 and "<Code>AccessDenied</Code>" in text
    assert "QueueUrls" not in theirs.list_queues()
    assert theirs.create_queue(QueueName="closed")["QueueUrl"] == f"{closed.url}/{THEIRS}/closed"
    assert ours.get_queue_url(QueueName="closed")["QueueUrl"] == url


def test_what_is_not_enforced_is_refused_at_the_call(closed: Server) -> None:
    sqs = client(closed)
    url = sqs.create_queue(QueueName="plain", Attributes={"SqsManagedSseEnabled": "false"})["QueueUrl"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    for name, value in (("Policy", policy), ("KmsMasterKeyId", "alias/k"), ("SqsManagedSseEnabled", "true")):
        for call in (
            lambda a: sqs.create_queue(QueueName="refused", Attributes=a),
            lambda a: sqs.set_queue_attributes(QueueUrl=url, Attributes=a),
        ):
            code, text, status = refusal(lambda call=call, a={name: value}: call(a))  # type: ignore[misc]
            assert (code, status) == ("AWS.SimpleQueueService.UnsupportedOperation", 400)
            assert text.startswith(f"{name} is not supported with auth verify, for it would not be enforced.")
    code, text, _ = refusal(
        lambda: sqs.add_permission(QueueUrl=url, Label="l", AWSAccountIds=[THEIRS], Actions=["SendMessage"])
    )
    assert code.endswith("UnsupportedOperation") and text.startswith("Policy is not supported")
    fifo = {"FifoQueue": "true", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    assert refusal(lambda: sqs.create_queue(QueueName="q.fifo", Attributes=fifo))[1].startswith("FifoThroughputLimit")
    assert refusal(lambda: sqs.get_queue_url(QueueName="refused"))[0].endswith("NonExistentQueue")
    assert sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": "", "KmsMasterKeyId": ""})


# -- own pages -----------------------------------------------------------------

CLOSED_PAGES = [
    ("GET", "/_trunkline/clock"),
    ("POST", "/_trunkline/clock/freeze"),
    ("POST", "/_trunkline/clock/advance?seconds=1"),
    ("POST", "/_trunkline/reset"),
    ("POST", "/_localstack/state/reset"),
    ("POST", "/_ministack/reset"),
    ("GET", "/_trunkline/unenforced"),
    ("GET", "/_localstack/config"),
    ("GET", "/_localstack/diagnose"),
    ("GET", "/_localstack/info"),
    ("GET", "/metrics"),
    ("GET", "/_aws/sqs/messages?QueueUrl=q"),
    ("DELETE", f"/_aws/sqs/messages/eu-west-1/{OURS}/q"),
    ("POST", "/_ministack/sqs/messages?QueueUrl=q"),
    ("GET", "/_trunkline/no-such-page"),
    ("PUT", "/_trunkline/clock"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED_PAGES)
def test_own_pages_want_a_signed_request_and_say_how(closed: Server, method: str, path: str) -> None:
    status, _, text = raw(closed, method, path)
    assert status == 403
    assert "curl --aws-sigv4 aws:amz:us-east-1:sqs --user KEY:SECRET" in json.loads(text)["message"]
    assert raw(closed, method, path, Authorization="Basic QUtJQU9VUlM6b3VyL3NlY3JldCs=")[0] == 403


@pytest.mark.parametrize("path", ["/health", "/_trunkline/health", "/_localstack/health"])
def test_health_is_open_and_tells_nothing_more(closed: Server, path: str) -> None:
    status, _, text = raw(closed, "GET", path)
    assert status == 200
    assert '"sqs": "running"' in text and "version" not in text and "credentials" not in text


def test_the_front_page_is_open_and_does_not_say_which_version_runs(closed: Server) -> None:
    status, _, text = raw(closed, "GET", "/", Accept="text/html")
    assert status == 200 and text.startswith("Trunkline is up.")


def test_a_signed_request_of_a_known_key_may_look_and_drive(closed: Server) -> None:
    sqs = client(closed)
    url = sqs.create_queue(QueueName="seen")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="look")
    for path in (
        f"/_aws/sqs/messages?QueueUrl={quote(url, safe='')}",
        f"/_aws/sqs/messages/eu-west-1/{OURS}/seen?ShowInvisible=true",
    ):
        status, text = signed(closed, "GET", path)
        assert status == 200 and "<Body>look</Body>" in text
    inspecting = _SESSION.client(
        "sqs", endpoint_url=f"{closed.url}/_aws/sqs/messages", region_name="eu-west-1",
        aws_access_key_id="AKIAOURS", aws_secret_access_key="our/secret+",
    )  # fmt: skip
    assert inspecting.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "look"
    assert signed(closed, "GET", "/_trunkline/clock")[0] == 200
    assert signed(closed, "GET", "/metrics")[0] == 200
    assert "AKIAOURS" not in signed(closed, "GET", "/_localstack/config")[1]
    assert signed(closed, "POST", "/_trunkline/clock/advance", b'{"seconds": 1}')[0] == 200
    status, text = signed(closed, "POST", "/_trunkline/reset", b"x" * (LARGE + 1))
    assert status == 413 and "takes no body" in text


def test_looking_and_resetting_are_for_the_keys_own_account(closed: Server) -> None:
    client(closed).create_queue(QueueName="stays")
    client(closed, "AKIATHEIRS").create_queue(QueueName="goes")
    for path in (
        f"/_aws/sqs/messages/eu-west-1/{OURS}/stays",
        f"/_ministack/sqs/messages?QueueUrl=stays&account={OURS}",
        f"/_aws/sqs/messages?QueueUrl=http%3A%2F%2Fh%2F{OURS}%2Fstays",
    ):
        for method in ("GET", "DELETE"):
            status, text = signed(closed, method, path, key="AKIATHEIRS")
            assert status == 403 and "AccessDenied" in text
    for body in (b"", b"{}", json.dumps({"account": OURS}).encode()):
        status, text = signed(closed, "POST", "/_trunkline/reset", body, key="AKIATHEIRS")
        assert status == 403 and f"account={THEIRS}" in json.loads(text)["message"]
    status, text = signed(closed, "POST", "/_trunkline/reset", json.dumps({"account": THEIRS}).encode(), "AKIATHEIRS")
    assert status == 200
    assert client(closed).get_queue_url(QueueName="stays")
    assert refusal(lambda: client(closed, "AKIATHEIRS").get_queue_url(QueueName="goes"))[0].endswith("NonExistentQueue")


def test_curl_signs_what_the_documentation_says(closed: Server) -> None:
    def curl(user: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [tool("curl"), "-sS", "--aws-sigv4", "aws:amz:us-east-1:sqs", "--user", user, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    user = "AKIAOURS:our/secret+"
    shown = curl(user, f"{closed.url}/_trunkline/clock")
    assert json.loads(shown.stdout)["frozen"] is False, shown.stdout + shown.stderr
    moved = curl(user, "-X", "POST", f"{closed.url}/_trunkline/clock/advance", "-d", '{"seconds": 2}')
    assert json.loads(moved.stdout)["reached"] is True, moved.stdout + moved.stderr
    listed = curl(user, f"{closed.url}/?Action=ListQueues")
    assert "<ListQueuesResponse" in listed.stdout, listed.stdout
    client(closed).create_queue(QueueName="looked-at")
    looked = curl(user, f"{closed.url}/_aws/sqs/messages/eu-west-1/{OURS}/looked-at")
    assert "<ReceiveMessageResponse" in looked.stdout, looked.stdout
    assert json.loads(curl("AKIAOURS:x", f"{closed.url}/_trunkline/clock").stdout)["code"] == "SignatureDoesNotMatch"


# -- starting, and reading the file again -----------------------------------------


def test_the_banner_says_who_is_known(closed: Server) -> None:
    assert "  auth        verify (4 keys of 2 accounts in " in closed.banner
    assert "FifoThroughputLimit (refused)" in closed.banner


@pytest.mark.parametrize(("text", "mode"), [("nonsense", 0o600), (FILE, 0o666), (None, 0)])
def test_credentials_that_cannot_be_used_keep_the_server_from_starting(
    tmp_path: Path, text: str | None, mode: int
) -> None:
    file = tmp_path / "credentials"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    words = ["serve", "--port", "0", "--memory", "--auth", "verify", "--credentials", str(file)]
    done = subprocess.run([sys.executable, "-m", "trunkline", *words], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("trunkline: ") and str(file) in done.stderr and "Traceback" not in done.stderr


def test_sighup_puts_the_file_as_it_is_in_force(tmp_path: Path) -> None:
    file = credentials(tmp_path)
    command = [sys.executable, "-m", "trunkline", "serve", "--port", "0", "--memory", "--auth", "verify"]
    process = subprocess.Popen(
        [*command, "--credentials", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        server = Server()
        for line in process.stdout:
            if "listening" in line:
                server.port = int(line.rpartition(":")[2])
            if line == "Ready.\n":
                break

        def hang_up(text: str, says: str) -> None:
            file.write_text(text)
            process.send_signal(signal.SIGHUP)
            assert process.stderr is not None
            assert says in process.stderr.readline()

        new = FILE.replace("our/secret+", "changed").replace("AKIATHEIRS", "AKIANEW")
        assert client(server).list_queues() and client(server, "AKIATHEIRS").list_queues()
        hang_up("nonsense", "the credentials could not be read again; what was read before stays in force")
        assert client(server).list_queues()
        hang_up(new, "the credentials were read again")
        assert refusal(client(server).list_queues)[0] == "SignatureDoesNotMatch"
        assert client(server, secret="changed").list_queues()
        assert refusal(client(server, "AKIATHEIRS").list_queues)[0] == "InvalidClientTokenId"
        assert client(server, "AKIANEW", "their/secret+").list_queues()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
        process.stdout.close()
        process.stderr.close()

"""TLS of a real server in a process of its own: its certificate, its doors, SIGHUP, and real clients."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError
from certificates import PASSPHRASE, Issued, issue
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client.parser import text_string_to_metric_families
from servers import Server

from trunkline.http.tls import REFUSED
from trunkline.testing import InMemory

NAMES = ("localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue(called="authority", authority=True)


class Logged(Server):
    """A server whose standard error is a file."""

    def __init__(self, log: Path, *options: str, **environment: str) -> None:
        super().__init__(*options)
        self.environment = environment
        self._log = log

    def start(self) -> Server:
        with self._log.open("a") as self.stderr:
            return super().start()

    @property
    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def await_line(self, *words: str) -> str:
        """The line of the log, as soon as it is there, that has all of ``words``."""
        end = time.monotonic() + 30
        while True:
            for line in self.lines:
                if all(word in line for word in words):
                    return line
            assert time.monotonic() < end, self.lines
            time.sleep(0.02)


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Callable[..., Logged]]:
    servers: list[Logged] = []

    def begin(*options: str, **environment: str) -> Logged:
        servers.append(Logged(tmp_path / "log", *options, **environment))
        servers[-1].start()
        return servers[-1]

    yield begin
    for server in servers:
        server.stop()
        assert "Traceback" not in server._log.read_text()


def trust(server: Server, file: Path | str) -> Server:
    server.trusted = str(file)
    return server


def made_by(server: Server) -> str:
    """The path in the line of the banner that says how to trust it."""
    found = re.search(r"AWS_CA_BUNDLE=(\S+)", server.banner)
    assert found is not None, server.banner
    return found[1]


def shown(port: int) -> bytes:
    """The certificate that a server shows, in DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw, context.wrap_socket(raw) as secure:
        return secure.getpeercert(binary_form=True) or b""


def der(file: Path | str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(file).read_text())


def lives(client: Any, name: str) -> str:
    """A queue lives its life; its URL."""
    url: str = client.create_queue(QueueName=name)["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="x" * 1_000_000)
    [message] = client.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    assert message["Body"] == "x" * 1_000_000
    client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return url


# -- the certificate that the server makes for itself -------------------------------------


def test_a_certificate_made_by_the_server_serves_clients_that_are_given_it_and_stays(
    tmp_path: Path, logged: Any
) -> None:
    data = tmp_path / "data"
    server = logged("--data", str(data), "--tls-self-signed")
    file = made_by(server)
    assert file == str(data / "trunkline.crt")
    assert f"https://127.0.0.1:{server.port}" in server.banner and "http://" not in server.banner
    assert stat.S_IMODE((data / "trunkline.key").stat().st_mode) == 0o600
    trust(server, file)
    assert lives(server.client(), "q") == f"https://127.0.0.1:{server.port}/000000000000/q"
    first = shown(server.port)
    assert first == der(file)
    with pytest.raises(SSLError):
        boto3.client(
            "sqs", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="test",
            aws_secret_access_key="test", config=Config(retries={"max_attempts": 0}),
        ).list_queues()  # fmt: skip
    assert server.stop() == 0
    server.start()
    assert shown(server.port) == first
    assert server.client().list_queues()["QueueUrls"] == [f"{server.url}/000000000000/q"]
    assert [line for line in server.lines if "AWS_CA_BUNDLE" not in line] == []


def test_of_a_server_in_memory_it_is_there_as_long_as_the_server(logged: Any) -> None:
    server = logged("--memory", "--tls-self-signed")
    file = Path(made_by(server))
    trust(server, file)
    assert server.http("GET", "/_trunkline/health")[0] == 200
    server.process.send_signal(signal.SIGHUP)
    server.await_line("On SIGHUP the certificate and its key were read again")
    assert shown(server.port) == der(file), "what clients trust is not made anew for nothing"
    assert server.stop() == 0
    assert not file.parent.exists()


def test_one_that_is_deleted_is_made_anew_on_sighup(tmp_path: Path, logged: Any) -> None:
    server = logged("--data", str(tmp_path / "data"), "--tls-self-signed")
    first = shown(server.port)
    Path(made_by(server)).unlink()
    server.process.send_signal(signal.SIGHUP)
    server.await_line("certificate and its key were read again")
    assert shown(server.port) == der(made_by(server)) != first


def test_the_aws_command_line_trusts_it_by_aws_ca_bundle(logged: Any) -> None:
    server = logged("--memory", "--tls-self-signed")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    environment |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_PAGER": ""}
    command = [
        sys.executable, "-m", "awscli", "--endpoint-url", f"https://localhost:{server.port}", "sqs", "create-queue",
        "--queue-name", "q",
    ]  # fmt: skip
    bundle = {"AWS_CA_BUNDLE": made_by(server)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment | bundle, timeout=120, check=False)
    assert json.loads(done.stdout)["QueueUrl"] == f"https://localhost:{server.port}/000000000000/q", done.stderr
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr


def test_a_node_inside_a_test_says_where_its_certificate_is() -> None:
    with InMemory(tls_self_signed=True) as node:
        assert node.url.startswith("https://127.0.0.1:")
        file = node.certificate
        assert file is not None
        sqs = boto3.client(
            "sqs", endpoint_url=node.url, region_name="us-east-1", aws_access_key_id="test",
            aws_secret_access_key="test", verify=str(file),
        )  # fmt: skip
        assert lives(sqs, "q") == f"{node.url}/000000000000/q"
    assert not file.exists()
    with InMemory() as node:
        assert node.certificate is None


# -- a certificate that is given ------------------------------------------------------------


def test_a_chain_is_shown_to_clients_who_trust_its_root_alone(tmp_path: Path, authority: Issued, logged: Any) -> None:
    middle = issue(called="middle", authority=True, issuer=authority)
    own = issue(*NAMES, issuer=middle)
    certificate, key = own.written(tmp_path)
    certificate.write_bytes(own.pem + middle.pem)
    (tmp_path / "root.pem").write_bytes(authority.pem)
    server = trust(logged("--memory", "--tls-cert", str(certificate), "--tls-key", str(key)), tmp_path / "root.pem")
    lives(server.client(), "q")
    assert f"{certificate} (until 20" in server.banner and "AWS_CA_BUNDLE" not in server.banner


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sighup_puts_a_new_certificate_in_force_and_open_connections_go_on(
    tmp_path: Path, logged: Any, version: ssl.TLSVersion
) -> None:
    first, second = issue(*NAMES), issue(*NAMES)
    certificate, key = first.written(tmp_path)
    server = logged("--memory", "--tls-cert", str(certificate), "--tls-key", str(key))

    def connected(to: Issued) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cadata=to.pem.decode())
        context.minimum_version = context.maximum_version = version
        return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)

    def asks(connection: http.client.HTTPSConnection) -> None:
        connection.request("GET", "/health")
        assert b'"sqs": "running"' in connection.getresponse().read()

    old = connected(first)
    asks(old)
    for nonsense in (b"nonsense", second.pem, issue(*NAMES, begins=-2, ends=-1).pem):
        certificate.write_bytes(nonsense)
        server.process.send_signal(signal.SIGHUP)
        server.await_line(
            "ERROR", "On SIGHUP the certificate and its key could not be read again; what was read before"
        )
        asks(connected(first))
        Path(tmp_path / "log").write_text("")
    expired = issue(*NAMES, begins=-2, ends=-1)
    expired.written(tmp_path)
    server.process.send_signal(signal.SIGHUP)
    server.await_line("ERROR", "could not be read again", "ended on")
    asks(connected(first))
    second.written(tmp_path)
    server.process.send_signal(signal.SIGHUP)
    server.await_line("WARNING", "On SIGHUP the certificate and its key were read again")
    asks(connected(second))
    with pytest.raises(ssl.SSLCertVerificationError):
        asks(connected(first))
    asks(old)
    old.close()


def ended(*options: str, **environment: str) -> tuple[int, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TRUNKLINE_", "LOCALSTACK_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "trunkline", "serve", "--port", "0", *options],
        capture_output=True, text=True, timeout=60, env=clean | environment, check=False,
    )  # fmt: skip
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("trunkline: ")
    return done.returncode, line


def test_a_pair_that_cannot_be_used_keeps_the_server_from_starting_with_one_clear_line(tmp_path: Path) -> None:
    own = issue(*NAMES)
    certificate, key = own.written(tmp_path)
    data = ("--data", str(tmp_path / "data"))
    code, line = ended(*data, "--tls-cert", str(certificate))
    assert code == 1 and f"{certificate} holds no private key" in line
    code, line = ended(*data, TRUNKLINE_TLS_CERT=str(tmp_path / "none"))
    assert code == 1 and "cannot be read: No such file" in line
    encrypted = tmp_path / "encrypted.key"
    encrypted.touch(mode=0o600)
    encrypted.write_bytes(own.key_pem(secret=PASSPHRASE))
    code, line = ended(*data, "--tls-cert", str(certificate), "--tls-key", str(encrypted))
    assert code == 1 and "encrypted with a passphrase" in line
    _, other = issue(*NAMES).written(tmp_path, "other")
    code, line = ended(*data, "--tls-cert", str(certificate), "--tls-key", str(other))
    assert code == 1 and "of different pairs" in line
    code, line = ended(*data, "--tls-key", str(key))
    assert code == 2 and "no certificate is given" in line
    code, line = ended(*data, "--tls-mixed")
    assert code == 2 and "--tls-self-signed" in line
    assert not (tmp_path / "data").exists()


def test_one_that_has_ended_is_shown_and_told_of_loudly(tmp_path: Path, logged: Any) -> None:
    certificate, key = issue(*NAMES, begins=-2, ends=-1).written(tmp_path)
    server = logged("--memory", "--tls-cert", str(certificate), "--tls-key", str(key))
    assert f"{certificate} (ENDED ON " in server.banner
    assert "clients that check it refuse it" in server.await_line("ERROR", str(certificate))
    assert shown(server.port) == der(certificate)


def test_one_that_ends_soon_is_warned_about(tmp_path: Path, logged: Any) -> None:
    certificate, key = issue(*NAMES, begins=-300, ends=20).written(tmp_path)
    server = logged("--memory", "--tls-cert", str(certificate), "--tls-key", str(key))
    server.await_line("WARNING", str(certificate), "in 20.0 days: put a new one there and send SIGHUP")


# -- doors -------------------------------------------------------------------------------------


def ask_in_clear(server: Server, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_own_pages_stand_behind_the_same_door(logged: Any, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text("[a]\naws_access_key_id = K\naws_secret_access_key = S\naws_account_id = 111122223333\n")
    server = logged("--memory", "--tls-self-signed", "--auth", "verify", "--credentials", str(credentials))
    trust(server, made_by(server))
    for path in ("/_trunkline/health", "/_trunkline/clock", "/_aws/sqs/messages", "/metrics", "/"):
        status, text = ask_in_clear(server, path)
        assert (status, "https://" in text) == (400, True)
    assert ask_in_clear(server, "/_trunkline/clock/freeze", "POST")[0] == 400
    assert server.http("GET", "/_trunkline/health")[0] == 200
    assert server.http("GET", "/_trunkline/clock")[0] == 403, "over TLS it still wants a signature"


def test_own_pages_work_over_tls(logged: Any) -> None:
    server = logged("--memory", "--tls-self-signed")
    trust(server, made_by(server))
    server.clock("freeze")
    url = server.client().create_queue(QueueName="q")["QueueUrl"]
    server.client().send_message(QueueUrl=url, MessageBody="looked at", DelaySeconds=30)
    server.clock("advance", seconds=30)
    assert "looked at" in server.http("GET", f"/_aws/sqs/messages?QueueUrl={url}")[1]
    front = server.http("GET", "/", headers={"Accept": "text/html"})[1]
    assert f"--endpoint-url https://127.0.0.1:{server.port}" in front


def test_a_client_that_is_told_http_learns_what_to_say(logged: Any) -> None:
    server = logged("--memory", "--tls-self-signed")
    sqs = boto3.client(
        "sqs", endpoint_url=f"http://127.0.0.1:{server.port}", region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test", config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip
    for _ in range(3):
        with pytest.raises(ClientError, match="to begin with https://"):
            sqs.send_message(QueueUrl="q", MessageBody="x" * 500_000)
    server.stop()
    [line] = server.lines
    assert "WARNING" in line and "https://" in line


def test_a_client_that_is_told_https_where_there_is_none_learns_it_at_once(logged: Any) -> None:
    server = logged("--memory")
    sqs = boto3.client(
        "sqs", endpoint_url=f"https://127.0.0.1:{server.port}", region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test", config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip
    for _ in range(3):
        with pytest.raises(SSLError, match=r"(?i)handshake.failure"):
            sqs.list_queues()
    server.stop()
    [line] = server.lines
    assert "WARNING" in line and "--tls-self-signed" in line


def test_with_localstacks_variables_one_port_speaks_both(logged: Any, tmp_path: Path) -> None:
    server = logged("--memory", USE_SSL="1")
    trust(server, made_by(server))
    assert "http:// too" in server.banner
    assert lives(server.client(), "q").startswith("https://")
    status, answer = ask_in_clear(server, "/000000000000/q?Action=GetQueueUrl&QueueName=q")
    assert status == 200 and f"<QueueUrl>http://127.0.0.1:{server.port}/" in answer
    own = issue(*NAMES)
    both = tmp_path / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(own.pem + own.key_pem())
    server = logged("--memory", USE_SSL="1", CUSTOM_SSL_CERT_PATH=str(both))
    assert shown(server.port) == own.certificate.public_bytes(Encoding.DER)
    assert ask_in_clear(server, "/health")[0] == 200


# -- who does not get in, and what is counted ------------------------------------------------


def test_failed_handshakes_and_the_end_of_the_certificate_are_in_the_metrics(tmp_path: Path, logged: Any) -> None:
    own = issue(*NAMES)
    certificate, key = own.written(tmp_path)
    server = trust(logged("--memory", "--tls-cert", str(certificate), "--tls-key", str(key)), certificate)
    assert ask_in_clear(server, "/")[0] == 400
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{server.url}/health", timeout=30, context=ssl.create_default_context())
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as one:
        one.sendall(b"\x00\x00")
        assert one.recv(100) == REFUSED

    def scraped() -> dict[str, float]:
        families = text_string_to_metric_families(server.http("GET", "/metrics")[1])
        return {
            sample.labels.get("reason", sample.name): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith("trunkline_tls_")
        }

    wanted = {"plain_http": 1.0, "untrusted": 1.0, "not_tls": 1.0, "no_tls_here": 0.0}
    end = time.monotonic() + 30
    while (seen := scraped()).get("untrusted") != 1:
        assert time.monotonic() < end, seen
    ends = own.certificate.not_valid_after_utc.timestamp()
    assert seen == {**wanted, "trunkline_tls_certificate_expiry_timestamp_seconds": ends}


def test_garbage_half_handshakes_and_resets_leave_nothing_and_hurt_nobody(logged: Any) -> None:
    server = logged("--memory", "--tls-self-signed", "--request-seconds", "1")
    trust(server, made_by(server))
    process = Path(f"/proc/{server.process.pid}/fd")
    sqs = server.client()
    lives(sqs, "before")
    descriptors = len(list(process.iterdir()))
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    clients = []
    for number in range(120):
        one = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        one.sendall((hello, b"\x16" + os.urandom(200), os.urandom(50), b"")[number % 4])
        clients.append(one)
    lives(sqs, "meanwhile")
    for one in clients[::2]:
        one.close()
    end = time.monotonic() + 30
    while len(list(process.iterdir())) > descriptors:
        assert time.monotonic() < end, "handshakes that do not end are given up after request_seconds"
        time.sleep(0.02)
    lives(sqs, "afterwards")
    for one in clients:
        one.close()
    assert server.stop() == 0
    assert all(" ERROR " not in line for line in server.lines)

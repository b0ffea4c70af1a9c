"""The public in-memory node and its pytest plugin."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from trunkline.credentials import BadCredentials
from trunkline.settings import BadSetting
from trunkline.testing import InMemory

pytest_plugins = ["pytester"]


def client(node: InMemory, secret: str = "test") -> Any:
    return boto3.client(
        "sqs", endpoint_url=node.url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 0}),
    )  # fmt: skip


def test_a_node_in_memory_serves_real_clients_and_moves_its_clock() -> None:
    with InMemory() as node:
        sqs = client(node)
        url = sqs.create_queue(QueueName="q", Attributes={"VisibilityTimeout": "30"})["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="hello")
        before = node.freeze()
        assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1
        assert "Messages" not in sqs.receive_message(QueueUrl=url)
        assert node.advance(seconds=30) == pytest.approx(before + 30)
        assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "hello"
        assert node.resume() >= before + 30


def test_a_reset_empties_one_account_or_all() -> None:
    with InMemory() as node:
        sqs = client(node)
        sqs.create_queue(QueueName="a")
        sqs.create_queue(QueueName="b")
        assert node.reset("111111111111") == 0
        assert node.reset() == 2
        assert "QueueUrls" not in sqs.list_queues()


def test_settings_are_passed_on_by_name() -> None:
    with InMemory(strict=True) as node:
        sqs = client(node)
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        sqs.purge_queue(QueueUrl=url)
        with pytest.raises(sqs.exceptions.PurgeQueueInProgress):
            sqs.purge_queue(QueueUrl=url)


def test_time_does_not_go_backward() -> None:
    with InMemory() as node, pytest.raises(ValueError, match="backward"):
        node.advance(seconds=-1)


def test_a_stopped_node_lets_its_port_go_and_says_that_it_is_stopped() -> None:
    node = InMemory().start()
    port = int(node.url.rpartition(":")[2])
    with pytest.raises(RuntimeError):
        node.start()
    node.stop()
    node.stop()
    with pytest.raises(RuntimeError):
        node.freeze()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))


def test_a_port_that_is_taken_is_an_error_and_leaves_no_thread_behind() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = InMemory(port=taken.getsockname()[1])
        with pytest.raises(OSError):
            node.start()
    with InMemory():  # and another one starts
        pass


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"prot": 1}, "prot is not a setting; did you mean port?"),
        ({"durability": "maybe"}, "durability is 'maybe'; it takes one of fsync, os"),
        ({"strict": "perhaps"}, "strict is 'perhaps'"),
        ({"window": 1}, "window is '1'"),
        ({"host": "0.0.0.0"}, "insecure"),
        ({"data": "/somewhere"}, "data names a directory"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(BadSetting) as error:
        InMemory(**settings)
    assert says in str(error.value)


def test_settings_may_be_text_or_what_they_are(tmp_path: Path) -> None:
    with InMemory(memory=False, data=tmp_path / "data", window="5", grace=1, host="localhost") as node:
        client(node).create_queue(QueueName="q")
        assert node.url.startswith("http://localhost:")
    assert (tmp_path / "data").is_dir()


def test_a_node_may_verify_who_calls(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    with pytest.raises(BadCredentials, match="cannot be read"):
        InMemory(auth="verify", credentials=file).start()
    file.touch(0o600)
    file.write_text("[test]\naws_access_key_id = test\naws_secret_access_key = known\n")
    with InMemory(auth="verify", credentials=file) as node:
        client(node, "known").create_queue(QueueName="q")
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            client(node).create_queue(QueueName="q")
        assert node.reset() == 1


def test_what_needs_a_running_node_says_that_it_is_not_running() -> None:
    node = InMemory()
    uses = [lambda: node.url, lambda: node.now, node.freeze, node.resume, node.reset, lambda: node.advance(1)]
    for _ in ("before it is started", "after it has stopped"):
        for use in uses:
            with pytest.raises(RuntimeError, match="this node is not running"):
                use()
        node.start()
        assert node.now > 0
        node.stop()


@pytest.mark.parametrize("account", ["1", "x" * 12, "\u00b2" * 12])
def test_a_reset_of_what_is_no_account_is_refused(account: str) -> None:
    with InMemory() as node, pytest.raises(ValueError, match="an account has 12 digits"):
        node.reset(account)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e12])
def test_time_does_not_go_where_no_clock_goes(seconds: float) -> None:
    with InMemory() as node, pytest.raises(ValueError, match="100 years"):
        node.advance(seconds)


def test_the_fixture_gives_each_test_a_clock_at_real_time(pytester: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(
        """
        import time, pytest

        def leave(node): pass
        def freeze(node): node.freeze()
        def go_ahead(node): node.advance(86_400)
        def go_ahead_and_freeze(node): node.freeze(), node.advance(86_400)
        def freeze_and_resume(node): node.freeze(), node.advance(5), node.resume()

        def stop(node): node.stop()

        urls = []

        all_kinds = [leave, leave, freeze, go_ahead, go_ahead_and_freeze, freeze_and_resume, stop, leave]

        @pytest.mark.parametrize("do", all_kinds)
        def test_it(trunkline, do):
            before, first, after = time.time(), trunkline.now, time.time()
            assert before - 0.001 <= first <= after
            while trunkline.now == first:
                pass
            urls.append(trunkline.url)
            do(trunkline)

        def test_a_node_whose_time_was_not_moved_stays():
            assert urls[0] == urls[1] == urls[2]
        """
    )
    pytester.runpytest_subprocess("-p", "trunkline.testing").assert_outcomes(passed=9)


def test_the_fixture_gives_each_test_an_empty_node(pytester: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it is named here, whether it is installed or not
    pytester.makepyfile(
        """
        import boto3, pytest

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(trunkline, turn):
            sqs = boto3.client("sqs", endpoint_url=trunkline.url, region_name="us-east-1",
                               aws_access_key_id="test", aws_secret_access_key="test")
            assert "QueueUrls" not in sqs.list_queues()
            sqs.create_queue(QueueName="q")
            frozen = trunkline.freeze()
            assert trunkline.advance(60) == pytest.approx(frozen + 60)
        """
    )
    pytester.runpytest_subprocess("-p", "trunkline.testing").assert_outcomes(passed=2)

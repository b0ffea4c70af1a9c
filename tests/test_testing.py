"""The public in-memory node and its pytest plugin."""

from __future__ import annotations

import socket
from typing import Any

import boto3
import pytest
from botocore.config import Config

from trunkline.testing import InMemory

pytest_plugins = ["pytester"]


def client(node: InMemory) -> Any:
    return boto3.client(
        "sqs", endpoint_url=node.url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test",
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

"""docs/guide/clients.md: its programs run as they stand there; only the server's address is another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from foreign import INSTALLED
from servers import Server
from tools import installed, tool

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "clients.md"
HERE = Path(__file__).parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def memory() -> Iterator[Server]:
    running = Server("--memory").start()
    yield running
    running.stop()


def program(language: str, server: Server) -> str:
    [code] = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert "localhost:4566" in code
    return str(code).replace("localhost:4566", server.url.removeprefix("http://"))


def environment(**more: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | more


def run(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def left(server: Server, queue: str) -> int:
    """Messages in the queue, whether visible or not."""
    sqs = server.client()
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return sum(int(found[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible", "Delayed"))


def test_the_javascript_of_the_guide_runs(memory: Server) -> None:
    installed(HERE / "js" / "node_modules" / "@aws-sdk", by="tests/consumers/install.sh js")
    command = [tool("node"), "--input-type=module"]
    assert run(command, input=program("javascript", memory), cwd=HERE / "js") == "hello Ada\n"
    assert left(memory, "greetings") == 0


def test_the_java_of_the_guide_runs(memory: Server, tmp_path: Path) -> None:
    libraries = installed(INSTALLED / "java" / ".installed", by="tests/consumers/install.sh java").parent
    source = tmp_path / "Greet.java"
    source.write_text(program("java", memory))
    assert run([tool("java"), "-cp", f"{libraries}/*", str(source)]) == "hello Ada\n"
    assert left(memory, "greetings") == 0


def test_the_go_of_the_guide_runs(memory: Server, tmp_path: Path) -> None:
    installed(INSTALLED / "go" / ".installed", by="tests/consumers/install.sh go")
    source = tmp_path / "main.go"
    source.write_text(program("go", memory))
    assert run([tool("go"), "run", str(source)], cwd=HERE / "go") == "hello Ada\n"
    assert left(memory, "greetings") == 0


def test_the_celery_of_the_guide_runs(memory: Server, tmp_path: Path) -> None:
    packages = installed(INSTALLED / "celery" / ".installed", by="tests/consumers/install.sh celery").parent
    (tmp_path / "tasks.py").write_text(program("python", memory))
    settings = {"env": environment(PYTHONPATH=str(packages)), "cwd": tmp_path}
    log = tmp_path / "log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "celery", "--app", "tasks", "worker", "--pool", "solo"]
        worker = subprocess.Popen(command, stdout=output, stderr=output, **settings)
    try:
        subprocess.run([sys.executable, "tasks.py"], check=True, timeout=60, **settings)
        end = time.monotonic() + 60
        while "hello Ada" not in log.read_text():
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        while left(memory, "celery"):
            assert time.monotonic() < end, "the job is not deleted"
            time.sleep(0.02)
    finally:
        worker.terminate()
        worker.wait(30)

"""The Java SDK v2, its batch manager, and Jakarta Messaging over it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from foreign import INSTALLED, failures, outcomes, pointed
from servers import Server
from tools import installed, tool

PROGRAMS = Path(__file__).with_name("java")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs a program by its name."""
    javac = tool("javac")
    libraries = installed(INSTALLED / "java" / ".installed", by="tests/consumers/install.sh java").parent
    classes = tmp_path_factory.mktemp("classes")
    sources = [str(source) for source in PROGRAMS.glob("*.java")]
    subprocess.run([javac, "-nowarn", "-cp", f"{libraries}/*", "-d", str(classes), *sources], check=True, timeout=120)
    # The quick compiler alone, since the program lives for seconds.
    return [tool("java"), "-XX:TieredStopAtLevel=1", "-cp", f"{classes}:{libraries}/*"]


def test_the_java_sdk_and_its_batch_manager_are_served(java: list[str], server: Server) -> None:
    assert failures(outcomes([*java, "Sdk", server.url], **pointed(server.url))) == ""


def test_jakarta_messaging_over_sqs_is_served(java: list[str], server: Server) -> None:
    assert failures(outcomes([*java, "Jms", server.url])) == ""

"""The command line in this process: everything that ends before a server runs."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path
from typing import Any

import pytest

import trunkline
from trunkline import cli, node
from trunkline.banner import banner
from trunkline.cli import main
from trunkline.settings import FIELDS, Settings, flag, shown_default


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGE_PORT", "GATEWAY_LISTEN", "DATA_DIR", "LS_LOG", "DEBUG", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that servers would have run with."""
    found: list[Settings] = []

    def run(settings: Settings) -> int:
        found.append(settings)
        return 0

    monkeypatch.setattr(node, "run", run)
    return found


def exit_code(*arguments: str) -> int | str | None:
    """Of a call that argparse ends."""
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"trunkline {trunkline.__version__}\n"


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("serve", "--help") == 0
    shown = capsys.readouterr().out
    for name in FIELDS:
        assert flag(name) in shown


def test_help_shows_defaults_and_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("serve", "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in (
        "Default: 4566.",
        "Takes one of fsync, os.",
        "Default: 0, or 60 with strict.",
        "Default: the caller's.",
    ):
        assert part in shown
    for name in FIELDS:
        assert shown_default(name) in shown


def test_an_interrupt_during_the_start_is_exit_code_130_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*given: Any) -> int:
        for each in given:
            if asyncio.iscoroutine(each):
                each.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(node, "_loop_runner", lambda: interrupted)
    assert main(["serve", "--memory"]) == 130
    monkeypatch.setattr(cli, "load", interrupted)
    assert main(["serve", "--memory"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EADDRINUSE, "Address already in use"), "--port 0 takes a free one."),
        (OSError(errno.EACCES, "Permission denied"), "from 1024 on"),
        (OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"), "does not have that address"),
        (OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol"), "--host 127.0.0.1."),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "--host takes an address of this machine"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files."),
    ],
)
def test_who_cannot_listen_says_why_and_what_fits(
    error: OSError, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(node, "bind", refused)
    assert main(["serve", "--memory", "--host", "::1", "--port", "80"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"trunkline: cannot listen on [::1]:80: {error.strerror}.") and line.endswith(".")
    assert says in line and ("--port 0" in line) is (error.errno == errno.EADDRINUSE)


def test_flags_become_settings(ran: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_PORT", "1")
    monkeypatch.setenv("TRUNKLINE_REGION", "eu-west-1")
    assert main(["serve", "--port", "2", "--memory", "--queue-url=path"]) == 0
    [settings] = ran
    assert (settings.port, settings.region, settings.memory, settings.queue_url) == (2, "eu-west-1", True, "path")


def test_a_flag_can_also_say_no(ran: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_MEMORY", "1")
    assert main(["serve", "--memory", "false"]) == 0
    assert main(["serve"]) == 0
    assert [settings.memory for settings in ran] == [False, True]


def test_a_bad_value_is_one_line_and_exit_code_2(ran: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "http"]) == 2
    assert capsys.readouterr().err == "trunkline: --port is 'http'; it takes a whole number from 0 to 65535\n"
    assert ran == []


@pytest.mark.parametrize("given", [["--prot", "1"], ["--prot=1"], ["--por", "1"]])
def test_an_unknown_flag_is_refused_with_the_nearest(
    given: list[str], ran: list[Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("serve", *given) == 2
    shown = capsys.readouterr().err
    assert "did you mean --port?" in shown and shown.startswith("usage: trunkline serve ")
    assert ran == []


def test_an_unknown_name_in_the_environment_is_warned_about_and_the_server_runs(
    ran: list[Settings], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_DURABILTY", "os")
    assert main(["serve"]) == 0
    shown = capsys.readouterr().err
    assert shown.startswith("trunkline: warning: ") and "did you mean TRUNKLINE_DURABILITY?" in shown
    assert len(ran) == 1


def test_a_configuration_file_is_read(ran: list[Settings], tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("window = 77\n")
    assert main(["serve", "--config", str(tmp_path / "c.toml")]) == 0
    assert ran[0].window == 77


def test_the_banner_shows_address_data_durability_and_auth(tmp_path: Path) -> None:
    shown = banner(Settings(data=tmp_path, durability="os", strict=True), ["127.0.0.1", "::1"], 1234)
    for part in (
        "http://127.0.0.1:1234, http://[::1]:1234",
        str(tmp_path),
        "durability  os",
        "auth        open, strict",
    ):
        assert part in shown
    shown = banner(Settings(memory=True), ["127.0.0.1"], 1)
    assert "in memory" in shown and "durability  none" in shown

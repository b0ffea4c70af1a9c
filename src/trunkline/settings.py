"""Every option, declared once: its default, environment names, help and how text becomes its value.

The command line, the configuration file and docs/reference/settings.md are
made from this one table. A flag wins over the environment, the environment
over the file, the file over the default. An environment variable that is empty is as good as none.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline.kernel.arn import is_account, is_region

PREFIX = "TRUNKLINE_"


class BadSetting(ValueError):
    """Which setting, which value, and what to do."""


def _whole(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return number

    convert.__doc__ = f"a whole number from {least} to {most}"
    return convert


def _seconds(text: str) -> float:
    """a number of seconds, 0 or more"""
    number = float(text)
    if not 0 <= number < 1e9:
        raise ValueError
    return number


def _choice(*words: str) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    convert.__doc__ = "one of " + ", ".join(words)
    return convert


def _truth(text: str) -> bool:
    """1 or 0, true or false, yes or no"""
    low = text.lower()
    if low in ("1", "true", "yes", "on"):
        return True
    if low in ("0", "false", "no", "off", ""):
        return False
    raise ValueError


def _text(text: str) -> str:
    """a text"""
    return text


def _account(text: str) -> str:
    """12 digits"""
    if not is_account(text):
        raise ValueError
    return text


def _region(text: str) -> str:
    """a region such as us-east-1"""
    if not is_region(text):
        raise ValueError
    return text


def _path(text: str) -> Path:
    """a path"""
    if not text or "\0" in text:
        raise ValueError
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~ of somebody who has no home
        raise ValueError from None


def _size(text: str) -> int:
    """bytes: 1048576, or 262144 for the limit before August 2025"""
    number = int(text)
    if number not in (262_144, 1_048_576):
        raise ValueError
    return number


def default_data() -> Path:
    """Where data goes if nobody says otherwise: the user's data directory."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    try:
        return Path(base).expanduser() / "trunkline"
    except RuntimeError:
        return Path("trunkline-data")  # no home, as in many a container: here, where the banner shows it


def option(
    default: Any, convert: Callable[[str], Any], help: str, also: tuple[str, ...] = (), shown: str | None = None
) -> Any:
    """``also``: further environment names, of other servers; ``shown``: the default as documents say it."""
    details = {"convert": convert, "help": help, "also": also, "shown": shown}
    if callable(default):
        return field(default_factory=default, metadata=details)
    return field(default=default, metadata=details)


@dataclass(frozen=True)
class Settings:
    """All options with their values. Attribute names are the configuration file's keys."""

    host: str = option("127.0.0.1", _text, "Address to listen on.")
    port: int = option(
        4566, _whole(0, 65535), "Port to listen on; 0 takes a free one and prints it.", ("EDGE_PORT", "GATEWAY_PORT")
    )
    data: Path = option(
        default_data,
        _path,
        "Directory that holds the data.",
        ("DATA_DIR",),
        "$XDG_DATA_HOME/trunkline or ~/.local/share/trunkline",
    )
    memory: bool = option(False, _truth, "Keep everything in memory; nothing survives the process.")
    durability: str = option(
        "fsync",
        _choice("fsync", "os"),
        "When a success is answered: when the change is on the disk (fsync), or when the operating system has it "
        "(os: survives a kill of the server, not a power cut).",
    )
    region: str = option("us-east-1", _region, "Region of requests that name none.", ("AWS_DEFAULT_REGION",))
    account: str = option(
        "000000000000", _account, "Account of requests whose access key is not an account.", ("TEST_AWS_ACCOUNT_ID",)
    )
    auth: str = option("open", _choice("open"), "Who may call: open lets everybody in.")
    strict: bool = option(
        False,
        _truth,
        "Restore AWS's slowness: 60 seconds between purges, and before a deleted queue's name may be used again.",
    )
    purge_wait: float = option(0.0, _seconds, "Seconds between two PurgeQueue calls on a queue; 60 on AWS.")
    delete_wait: float = option(0.0, _seconds, "Seconds until a deleted queue's name is free again; 60 on AWS.")
    maximum_message_size: int = option(
        1_048_576, _size, "Largest message in bytes: the service's limit, and a new queue's MaximumMessageSize."
    )
    queue_url: str = option(
        "dynamic",
        _choice("dynamic", "off", "path", "standard", "domain"),
        "Form of queue URLs: dynamic mirrors the caller's Host; off, path, standard and domain as LocalStack's "
        "SQS_ENDPOINT_STRATEGY.",
        ("SQS_ENDPOINT_STRATEGY",),
    )
    hostname: str = option(
        "",
        _text,
        "Host (and port) in queue URLs instead of the caller's.",
        ("LOCALSTACK_HOST", "HOSTNAME_EXTERNAL"),
        "the caller's",
    )
    clock_from: str = option(
        "loopback",
        _choice("loopback", "anywhere"),
        "Who may drive the clock and reset: callers on this machine, or all.",
    )
    advance_timeout: float = option(10.0, _seconds, "Real seconds that one advance of the clock may take.")
    cache_bytes: int = option(64 << 20, _whole(0, 1 << 40), "Memory for message bodies.")
    machine_bytes: int = option(
        256 << 20, _whole(1 << 20, 1 << 40), "Memory for queues' state, beyond which idle ones leave it."
    )
    window: int = option(10_000, _whole(3, 1_000_000), "Messages of a queue whose state is held in memory.")
    max_body_bytes: int = option(8 << 20, _whole(1 << 10, 1 << 30), "Largest request body.")
    grace: float = option(8.0, _seconds, "Seconds that a stop waits for requests in flight.")
    log_level: str = option("warning", _choice("debug", "info", "warning", "error"), "What is logged.", ("LS_LOG",))

    @property
    def purge_wait_ms(self) -> int:
        return 60_000 if self.strict else int(self.purge_wait * 1000)

    @property
    def delete_wait_ms(self) -> int:
        return 60_000 if self.strict else int(self.delete_wait * 1000)


FIELDS = {each.name: each for each in dataclasses.fields(Settings)}


def environment_name(name: str) -> str:
    return PREFIX + name.upper()


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def load(flags: Mapping[str, Any], environment: Mapping[str, str], warn: Callable[[str], None]) -> Settings:
    """The settings from flags (name -> text or True), environment and file. BadSetting names what is wrong."""
    values: dict[str, Any] = {}
    file = flags.get("config") or environment.get(PREFIX + "CONFIG")
    if file:
        values |= _from_file(Path(str(file)).expanduser(), warn)
    values |= _from_environment(environment, warn)
    for name, text in flags.items():
        if name in FIELDS and text is not None:
            values[name] = _convert(name, text, flag(name))
    return Settings(**values)


def _from_environment(environment: Mapping[str, str], warn: Callable[[str], None]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    environment = {name: text for name, text in environment.items() if text}
    listen = environment.get("GATEWAY_LISTEN")
    if listen:
        host, _, port = listen.split(",")[0].rpartition(":")
        if host:
            values["host"] = host.removeprefix("[").removesuffix("]")
        values["port"] = _convert("port", port, "GATEWAY_LISTEN")
    for wait, name in (("SQS_DELAY_PURGE_RETRY", "purge_wait"), ("SQS_DELAY_RECENTLY_DELETED", "delete_wait")):
        if wait in environment:
            values[name] = 60.0 if _convert("strict", environment[wait], wait) else 0.0
    if environment.get("DEBUG", "").lower() in ("1", "true"):
        values["log_level"] = "debug"
    for name, each in FIELDS.items():
        for alias in reversed((environment_name(name), *each.metadata["also"])):
            if alias in environment:
                values[name] = _convert(name, environment[alias], alias)
    known = {environment_name(name) for name in FIELDS} | {PREFIX + "CONFIG"}
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            warn(f"the environment variable {name} is not a setting{nearest(name, known)}")
    return values


def _from_file(file: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    try:
        read = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSetting(f"the configuration file {file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"the configuration file {file} is not TOML: {error}") from None
    values: dict[str, Any] = {}
    for name, value in read.items():
        if name in FIELDS:
            values[name] = _convert(name, value, f"{name} in {file}")
        else:
            warn(f"{name} in {file} is not a setting{nearest(name, FIELDS)}")
    return values


def _convert(name: str, value: Any, where: str) -> Any:
    convert = FIELDS[name].metadata["convert"]
    try:
        if not isinstance(value, str | int | float):
            raise ValueError  # a table or a list of the file
        return convert(str(value))
    except ValueError:
        raise BadSetting(f"{where} is {str(value)!r}; it takes {convert.__doc__}") from None


def nearest(name: str, known: Iterable[str]) -> str:
    """How a message about an unknown name ends."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""

"""Every option, declared once: its default, environment names, help and how text becomes its value.

The command line, the configuration file and docs/reference/settings.md are
made from this one table. A flag wins over the environment, the environment
over the file, the file over the default. An environment variable that is empty is as good as none.

The names that other servers give to such options are understood too, with and
without the prefix ``LOCALSTACK_``; of several for one setting our own wins.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trunkline.kernel.arn import is_account, is_region

PREFIX = "TRUNKLINE_"
ALSO_PREFIX = "LOCALSTACK_"
"""Other servers' names are understood with this before them as well."""

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


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


def _some_seconds(text: str) -> float:
    """a number of seconds, 0.1 or more"""
    number = float(text)
    if not 0.1 <= number < 1e9:
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


def _host(text: str) -> str:
    """an address or a host name, without scheme and port"""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if not _is_address(bare) and (bare != text or _NAME.fullmatch(text) is None):
        raise ValueError
    return bare


def _public_host(text: str) -> str:
    """a host name or an address with or without :port, without scheme and path; IPv6 in brackets"""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "1"
    if text and (not port.isdecimal() or not 0 < int(port) < 65_536 or (":" in host and host[:1] != "[")):
        raise ValueError
    if text:
        _host(host)
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_LEVELS = {
    "debug": "debug", "info": "info", "warning": "warning", "error": "error",
    "warn": "warning", "trace": "debug", "trace-internal": "debug",
}  # fmt: skip


def _level(text: str) -> str:
    """one of debug, info, warning, error (or warn, trace), in any case"""
    try:
        return _LEVELS[text.lower()]
    except KeyError:
        raise ValueError from None


def _account(text: str) -> str:
    """12 digits"""
    if not is_account(text):
        raise ValueError
    return text


def _region(text: str) -> str:
    """a region's name, such as eu-west-1"""
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


def _optional_path(text: str) -> Path | None:
    """a path"""
    return _path(text)


_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@,\s]+")


def _origins(text: str) -> tuple[str, ...]:
    """origins such as https://console.example:8443, separated by commas, or * for all"""
    found = tuple(each.strip().lower() for each in text.split(",") if each.strip())
    if any(each != "*" and _ORIGIN.fullmatch(each) is None for each in found):
        raise ValueError
    return found


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
    """``also``: further environment names, of other servers; ``shown``: the default as people are told it."""
    details = {"convert": convert, "help": help, "also": also, "shown": shown}
    if callable(default):
        return field(default_factory=default, metadata=details)
    return field(default=default, metadata=details)


_AWS_WAIT_MS = 60_000


@dataclass(frozen=True)
class Settings:
    """All options with their values. Attribute names are the configuration file's keys."""

    host: str = option(
        "127.0.0.1",
        _host,
        "Address to listen on, or a name for several; beyond loopback only with auth verify, or insecure.",
    )
    port: int = option(
        4566, _whole(0, 65535), "Port to listen on; 0 takes a free one and prints it.", ("EDGE_PORT", "GATEWAY_PORT")
    )
    data: Path = option(
        default_data,
        _path,
        "Directory that holds the data; made if it is not there, for this user alone.",
        ("DATA_DIR", "STATE_DIR"),
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
        "000000000000",
        _account,
        "Account of requests whose access key is not an account.",
        ("TEST_AWS_ACCOUNT_ID", "MINISTACK_ACCOUNT_ID", "FLOCI_DEFAULT_ACCOUNT_ID"),
    )
    auth: str = option(
        "open",
        _choice("open", "verify"),
        "Who may call: open lets everybody in; verify those whose signature is right by the credentials.",
    )
    credentials: Path | None = option(
        None,
        _optional_path,
        "File of the access keys that verify knows, in the form of AWS's shared credentials file with aws_account_id; "
        "read again on SIGHUP.",
        shown="none",
    )
    insecure: bool = option(
        False, _truth, "Listen beyond loopback though auth is open, so that whoever reaches the port may do everything."
    )
    tls_cert: Path | None = option(
        None,
        _optional_path,
        "File with the certificate (PEM), its issuers' behind it; with it the port speaks TLS. Read again on SIGHUP.",
        ("CUSTOM_SSL_CERT_PATH",),
        "none",
    )
    tls_key: Path | None = option(
        None, _optional_path, "File with the certificate's key (PEM, no passphrase).", shown="the file of tls_cert"
    )
    tls_self_signed: bool = option(
        False,
        _truth,
        "Speak TLS with a certificate that the server makes for itself, and keeps in the data directory.",
    )
    tls_mixed: bool = option(False, _truth, "With TLS, serve HTTP in clear at the same port too.")
    allow_origin: tuple[str, ...] = option(
        (),
        _origins,
        "Origins whose web pages may call; those of others are refused.",
        ("EXTRA_CORS_ALLOWED_ORIGINS",),
        "none",
    )
    strict: bool = option(
        False,
        _truth,
        "Restore AWS's slowness: 60 seconds between purges, and before a deleted queue's name may be used again, "
        "unless purge_wait or delete_wait say otherwise.",
    )
    purge_wait: float | None = option(
        None, _seconds, "Seconds between two PurgeQueue calls on a queue; 60 on AWS.", shown="0, or 60 with strict"
    )
    delete_wait: float | None = option(
        None, _seconds, "Seconds until a deleted queue's name is free again; 60 on AWS.", shown="0, or 60 with strict"
    )
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
        _public_host,
        "Host (and port) in queue URLs instead of the caller's.",
        ("LOCALSTACK_HOST", "HOSTNAME_EXTERNAL", "MINISTACK_HOST", "FLOCI_HOSTNAME"),
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
    max_connections: int = option(
        50_000,
        _whole(1, 1_000_000),
        "Connections at a time; more are answered with 503 and closed. Never more than the file descriptors that the "
        "system allows the process.",
    )
    max_unsent_bytes: int = option(
        256 << 20,
        _whole(1 << 20, 1 << 40),
        "Memory for answers that wait for clients that do not read; beyond it the one with the most is disconnected.",
    )
    idle_seconds: float = option(
        300.0, _some_seconds, "Seconds after which a connection with nothing under way is closed."
    )
    request_seconds: float = option(
        60.0, _some_seconds, "Seconds in which a request, head and body, must have come once it has begun."
    )
    max_reading_bytes: int = option(
        256 << 20,
        _whole(2 << 10, 1 << 40),
        "Memory for bodies that have come in part, over all connections; beyond it RequestThrottled. At least twice "
        "max_body_bytes.",
    )
    max_uncommitted_bytes: int = option(
        64 << 20,
        _whole(2 << 10, 1 << 40),
        "Bytes of changes that are taken and not yet durable; beyond it RequestThrottled. At least twice "
        "max_body_bytes.",
    )
    max_waiting_receivers: int = option(
        50_000, _whole(1, 10_000_000), "Long polls that wait at a time, of all queues; beyond it RequestThrottled."
    )
    grace: float = option(8.0, _seconds, "Seconds that a stop waits for requests in flight.")
    metrics_queues: int = option(
        10_000,
        _whole(0, 1_000_000),
        "Queues that /metrics shows one by one, by account, region and name; 0 shows none.",
    )
    metrics_token: Path | None = option(
        None,
        _path,
        "File with a token that /metrics wants (Authorization: Bearer); with auth verify a signed request will do too.",
    )
    log_level: str = option("warning", _level, "What is logged.", ("LS_LOG",))
    log_format: str = option("text", _choice("text", "json"), "Lines of the log: text, or a JSON object each.")

    @property
    def verified(self) -> bool:
        """Is it known who calls? If so, accounts are closed to one another and what is not enforced is refused."""
        return self.auth == "verify"

    @property
    def tls(self) -> bool:
        return self.tls_self_signed or self.tls_cert is not None

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    @property
    def purge_wait_ms(self) -> int:
        return self._wait_ms(self.purge_wait)

    @property
    def delete_wait_ms(self) -> int:
        return self._wait_ms(self.delete_wait)

    def _wait_ms(self, said: float | None) -> int:
        if said is not None:
            return int(said * 1000)
        return _AWS_WAIT_MS if self.strict else 0


FIELDS = {each.name: each for each in dataclasses.fields(Settings)}

LISTEN = "GATEWAY_LISTEN"
LISTEN_FORM = "host:port, host or :port (of several, separated by commas, the first counts)"

TRANSLATED: tuple[tuple[str, str, Mapping[bool, Any]], ...] = (
    ("SQS_DELAY_PURGE_RETRY", "purge_wait", {True: _AWS_WAIT_MS / 1000, False: 0.0}),
    ("SQS_DELAY_RECENTLY_DELETED", "delete_wait", {True: _AWS_WAIT_MS / 1000, False: 0.0}),
    ("PERSIST_STATE", "memory", {True: False, False: True}),
    ("PERSISTENCE", "memory", {True: False, False: True}),
    ("USE_SSL", "tls_self_signed", {True: True, False: False}),
)
"""Other servers' variables that are true or false, and which setting becomes what by it; the last one wins."""

MIXED = ("USE_SSL", "CUSTOM_SSL_CERT_PATH")
"""LocalStack's variables for TLS, which means there that one port speaks TLS and HTTP in clear."""

MEANINGLESS = (
    "SERVICES", "EAGER_SERVICE_LOADING", "ALLOW_NONSTANDARD_REGIONS", "ENFORCE_IAM", "IAM_SOFT_MODE",
    "SQS_ENABLE_MESSAGE_RETENTION_PERIOD", "SQS_DISABLE_CLOUDWATCH_METRICS", "SQS_CLOUDWATCH_METRICS_REPORT_INTERVAL",
    "SNS_CERT_URL_HOST", "SNAPSHOT_SAVE_STRATEGY", "LAMBDA_EXECUTOR", "LAMBDA_KEEPALIVE_MS", "LAMBDA_DOCKER_NETWORK",
    "DOCKER_NETWORK", "LAMBDA_DOCKER_FLAGS", "LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT",
)  # fmt: skip
"""Other servers' variables that change nothing here: who sets one is told so."""


def environment_name(name: str) -> str:
    return PREFIX + name.upper()


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def shown_default(name: str) -> str:
    """What a setting is if nobody says anything, as documents and help say it; "" for nothing."""
    each = FIELDS[name]
    return str(each.metadata["shown"] or (str(each.default).lower() if each.default is not None else ""))


def on_loopback(host: str) -> bool:
    """Can only this machine reach a server that listens on ``host``? A name other than localhost is not trusted."""
    if host.lower() == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


@dataclass(frozen=True, slots=True)
class _Said:
    """A value that somebody gave: ``where``, as a message names it, and by which of the ways."""

    value: Any
    where: str
    way: str


def load(flags: Mapping[str, Any], environment: Mapping[str, str], warn: Callable[[str], None]) -> Settings:
    """The settings from flags (name -> text or True), environment and file. BadSetting names what is wrong."""
    said: dict[str, _Said] = {}
    file = flags.get("config") or environment.get(PREFIX + "CONFIG")
    if file:
        said |= _from_file(Path(str(file)).expanduser(), warn)
    said |= _from_environment(environment, warn)
    for name, text in flags.items():
        if name in FIELDS and text is not None:
            said[name] = _Said(_convert(name, text, flag(name)), flag(name), "flag")
    return _together(said, warn)


def made(values: Mapping[str, Any]) -> Settings:
    """The settings from a program: values by name, as text or as what they are. BadSetting as for ``load``."""
    said: dict[str, _Said] = {}
    for name, value in values.items():
        if name not in FIELDS:
            raise BadSetting(f"{name} is not a setting{nearest(name, FIELDS)}")
        if value is not None or FIELDS[name].default is not None:
            plain = str(value) if isinstance(value, Path) else value
            said[name] = _Said(_convert(name, plain, name), name, "program")
    return _together(said, lambda _: None)


def _together(said: Mapping[str, _Said], warn: Callable[[str], None]) -> Settings:
    """The settings, if the values that were given go together."""
    said = _as_localstack_speaks_tls(said)
    settings = Settings(**{name: each.value for name, each in said.items()})
    _check_tls(settings, said)
    if settings.verified and settings.credentials is None:
        raise BadSetting(
            f"{said['auth'].where} is verify, but no credentials are given, so nobody could call: add "
            f"{flag('credentials')} FILE ({environment_name('credentials')}), a file with a section for each caller: "
            "aws_access_key_id, aws_secret_access_key and aws_account_id."
        )
    if settings.credentials is not None and not settings.verified:
        raise BadSetting(
            f"{said['credentials'].where} names {settings.credentials}, but auth is open, so nobody would be asked for "
            f"them: add {flag('auth')} verify ({environment_name('auth')}=verify), or leave the credentials out."
        )
    if not on_loopback(settings.host) and not settings.verified:
        where = said["host"].where
        if not settings.insecure:
            raise BadSetting(
                f"{where} is {settings.host!r}, where other machines may call, and auth is open, so everybody who can "
                f"call may do everything. Let in only those who have a key: {flag('auth')} verify "
                f"{flag('credentials')} FILE ({environment_name('auth')}, {environment_name('credentials')}). Or, if "
                f"it is to be open, as in a container, add {flag('insecure')} ({environment_name('insecure')}=1, or "
                "insecure = true in the file). Or listen on 127.0.0.1."
            )
        warn(f"{where} is {settings.host!r} and auth is open: whoever can reach this server may use it")
    for name in ("max_reading_bytes", "max_uncommitted_bytes"):
        if getattr(settings, name) < 2 * settings.max_body_bytes:
            bound = said[name].where if name in said else said["max_body_bytes"].where
            raise BadSetting(
                f"{bound}: {name} is {getattr(settings, name)} and max_body_bytes {settings.max_body_bytes}; the first "
                f"must be at least twice the second, or the longest request could never be taken"
            )
    if settings.memory and "data" in said:
        memory, data = said["memory"], said["data"]
        if memory.way == data.way and memory.way in ("flag", "program"):
            raise BadSetting(f"{memory.where} keeps nothing, and {data.where} names a directory: leave one of them out")
        warn(f"{memory.where} keeps everything in memory: {data.where}, the directory {settings.data}, is not used")
    return settings


def _as_localstack_speaks_tls(said: Mapping[str, _Said]) -> dict[str, _Said]:
    """What LocalStack's variables mean together: a certificate that is given wins over USE_SSL, which would make one;
    and a port that speaks TLS for their sake speaks HTTP in clear too."""
    found = dict(said)

    def by_localstack(name: str) -> bool:
        return name in found and found[name].where.removeprefix(ALSO_PREFIX) in MIXED

    if "tls_cert" in found and by_localstack("tls_self_signed"):
        del found["tls_self_signed"]
    for name in ("tls_cert", "tls_self_signed"):
        if by_localstack(name) and found[name].value and "tls_mixed" not in found:
            found["tls_mixed"] = _Said(True, found[name].where, "environment")
    return found


def _check_tls(settings: Settings, said: Mapping[str, _Said]) -> None:
    """BadSetting if the settings of TLS do not go together."""
    ways = (
        f"{flag('tls_cert')} FILE ({environment_name('tls_cert')}) or {flag('tls_self_signed')} "
        f"({environment_name('tls_self_signed')}=1)"
    )
    if settings.tls_cert is not None and settings.tls_self_signed:
        raise BadSetting(
            f"{said['tls_cert'].where} names a certificate, and {said['tls_self_signed'].where} wants the server to "
            "make one: leave one of them out"
        )
    if settings.tls_key is not None and settings.tls_cert is None:
        raise BadSetting(
            f"{said['tls_key'].where} names the key {settings.tls_key}, but no certificate is given: add "
            f"{flag('tls_cert')} FILE ({environment_name('tls_cert')})"
        )
    if settings.tls_mixed and not settings.tls:
        raise BadSetting(f"{said['tls_mixed'].where} is for a port that speaks TLS, and this one does not: add {ways}")


def _from_environment(environment: Mapping[str, str], warn: Callable[[str], None]) -> dict[str, _Said]:
    said: dict[str, _Said] = {}
    environment = {name: text for name, text in environment.items() if text}

    def say(name: str, value: Any, variable: str) -> None:
        said[name] = _Said(value, variable, "environment")

    for variable in _forms(LISTEN, environment):
        first, *others = environment[variable].split(",")
        for name, text in _listen(first.strip(), variable).items():
            say(name, _convert(name, text, variable, LISTEN_FORM), variable)
        if others:
            warn(f"{variable} names several addresses; only the first, {first.strip()}, is listened on")
    for alias, name, values in TRANSLATED:
        for variable in _forms(alias, environment):
            say(name, values[_convert("memory", environment[variable], variable)], variable)
    for variable in _forms("DEBUG", environment):
        # Programs of all kinds read this one: what is not plainly ours is not complained about.
        if environment[variable].lower() in ("1", "true"):
            say("log_level", "debug", variable)
    for name, each in FIELDS.items():
        for alias in reversed((environment_name(name), *each.metadata["also"])):
            for variable in _forms(alias, environment):
                say(name, _convert(name, environment[variable], variable), variable)
    known = {environment_name(name) for name in FIELDS} | {PREFIX + "CONFIG"}
    for variable in environment:
        if variable.startswith(PREFIX) and variable not in known:
            # Without the prefix, or it would make any two names alike.
            near = nearest(variable.removeprefix(PREFIX), (each.removeprefix(PREFIX) for each in known), PREFIX)
            warn(f"the environment variable {variable} is not a setting{near}")
    idle = [variable for alias in MEANINGLESS for variable in _forms(alias, environment)]
    if idle:
        warn(f"known, but without a meaning here, and passed over: {', '.join(idle)}")
    return said


def _forms(name: str, environment: Mapping[str, str]) -> list[str]:
    """The variables that are set for ``name``, the one that wins last."""
    forms = (name,) if name.startswith((PREFIX, ALSO_PREFIX)) else (ALSO_PREFIX + name, name)
    return [form for form in forms if form in environment]


def _listen(text: str, where: str) -> dict[str, str]:
    """Host and port of GATEWAY_LISTEN, as far as they are given."""
    if text.isdecimal():
        return {"port": text}
    if _is_address(text) or text.endswith("]") or ":" not in text:
        return {"host": text}
    host, _, port = text.rpartition(":")
    return {"host": host, "port": port} if host else {"port": port}


def _from_file(file: Path, warn: Callable[[str], None]) -> dict[str, _Said]:
    try:
        read = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSetting(f"the configuration file {file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"the configuration file {file} is not TOML: {error}") from None
    said: dict[str, _Said] = {}
    for name, value in read.items():
        where = f"{name} in {file}"
        if name in FIELDS:
            said[name] = _Said(_convert(name, value, where), where, "file")
        else:
            hint = ": settings stand at the top level, in no table" if isinstance(value, dict) else ""
            warn(f"{where} is not a setting{hint or nearest(name, FIELDS)}")
    return said


_PLAIN: Mapping[str, tuple[type, ...]] = {"bool": (bool, int), "int": (int,), "float": (int, float)}
"""What a value may be that is not given as text, by the type that its setting is declared with."""


def _convert(name: str, value: Any, where: str, form: str | None = None) -> Any:
    """``form``: what the value takes, where that is more than the setting does."""
    convert = FIELDS[name].metadata["convert"]
    plain = _PLAIN.get(str(FIELDS[name].type).partition(" ")[0], ())
    form = form or convert.__doc__
    if not isinstance(value, (str, *plain)):  # a number where a text belongs; a table or a list of the file
        text = str(value).lower() if isinstance(value, bool) else str(value)
        raise BadSetting(f"{where} is {text}; it takes {form}" + ("" if plain else ", as text in quotes"))
    try:
        return convert(str(value))
    except ValueError:
        raise BadSetting(f"{where} is {str(value)!r}; it takes {form}") from None


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """How a message about an unknown name ends; ``prefix`` is put before what it suggests."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""

"""Where settings come from, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trunkline.settings import FIELDS, BadSetting, Settings, environment_name, flag, load, made

REFERENCE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"


def loaded(
    flags: dict[str, Any] | None = None, environment: dict[str, str] | None = None, file: Path | None = None
) -> tuple[Settings, list[str]]:
    """The settings and what was warned of."""
    warnings: list[str] = []
    given = dict(flags or {}, **({"config": str(file)} if file else {}))
    return load(given, environment or {}, warnings.append), warnings


def refused(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(BadSetting) as error:
        loaded(*args, **kwargs)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trunkline.toml"


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(file: Path) -> None:
    file.write_text("port = 1\nregion = 'file'\nwindow = 100\n")
    environment = {"TRUNKLINE_PORT": "2", "TRUNKLINE_REGION": "environment"}
    settings, warnings = loaded({"port": "3", "region": None}, environment, file)
    assert (settings.port, settings.region, settings.window) == (3, "environment", 100)
    assert settings.account == "000000000000"
    assert warnings == []


# For each setting, a value that is not its default, as text.
OTHER = {
    "host": "::1", "port": "1", "data": "/elsewhere", "memory": "true", "durability": "os", "region": "eu-west-1",
    "account": "123456789012", "strict": "yes", "purge_wait": "1.5", "delete_wait": "2",
    "auth": "verify", "credentials": "/c", "insecure": "1", "allow_origin": "https://a:1, *",
    "maximum_message_size": "262144", "queue_url": "path", "hostname": "h:1", "clock_from": "anywhere",
    "advance_timeout": "1", "cache_bytes": "0", "machine_bytes": "1048576", "window": "3", "max_body_bytes": "1024",
    "max_connections": "100", "max_unsent_bytes": "2097152", "idle_seconds": "30.0", "request_seconds": "20.0",
    "max_reading_bytes": "99999999", "max_uncommitted_bytes": "99999999", "max_waiting_receivers": "9",
    "tls_cert": "/pair.pem", "tls_key": "/key.pem", "tls_self_signed": "1", "tls_mixed": "yes",
    "grace": "0", "log_level": "debug", "metrics_queues": "0", "log_format": "json", "metrics_token": "/token",
}  # fmt: skip


BESIDE = {
    "auth": {"credentials": "/c"}, "credentials": {"auth": "verify"},
    "tls_key": {"tls_cert": "/pair.pem"}, "tls_mixed": {"tls_self_signed": "1"},
}  # fmt: skip
"""What a setting wants beside it."""


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_can_be_given_in_every_way(name: str, file: Path) -> None:
    text = OTHER.get(name)
    if text is None:
        pytest.fail(f"give {name} a value in OTHER")
    beside = BESIDE.get(name, {})
    by_flag = getattr(loaded({name: text, **beside})[0], name)
    assert by_flag != getattr(Settings(), name)
    for also in (environment_name(name), *FIELDS[name].metadata["also"]):
        assert getattr(loaded(beside, {also: text})[0], name) == by_flag
    file.write_text(f"{name} = '{text}'\n")
    settings, warnings = loaded(beside, file=file)
    assert (getattr(settings, name), warnings) == (by_flag, [])
    environment = {"TRUNKLINE_CONFIG": str(file)}
    assert getattr(loaded(beside, environment)[0], name) == by_flag


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_has_help_and_is_in_the_reference(name: str) -> None:
    text = FIELDS[name].metadata["help"]
    assert len(text) > 10 and text.endswith(".")
    [line] = [line for line in REFERENCE.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    assert f"`{flag(name)}`" in line and f"`{environment_name(name)}`" in line and text in line


def test_the_reference_has_no_setting_that_is_not_there() -> None:
    lines = [line for line in REFERENCE.read_text().splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == list(FIELDS)


def test_our_own_environment_name_wins_over_other_servers() -> None:
    environment = {"EDGE_PORT": "1", "TRUNKLINE_PORT": "2", "GATEWAY_PORT": "3", "GATEWAY_LISTEN": "localhost:4"}
    ports = []
    for name in ("TRUNKLINE_PORT", "EDGE_PORT", "GATEWAY_PORT", "GATEWAY_LISTEN"):
        settings, _ = loaded(environment=environment)
        ports.append(settings.port)
        assert settings.host == ("localhost" if "GATEWAY_LISTEN" in environment else "127.0.0.1")
        del environment[name]
    assert ports == [2, 1, 3, 4]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:1", "0.0.0.0", 1),
        (":2", "127.0.0.1", 2),
        ("3", "127.0.0.1", 3),
        ("[::]:4,h:5", "::", 4),
        ("0.0.0.0", "0.0.0.0", 4566),
        ("my-host", "my-host", 4566),
        ("::1", "::1", 4566),
        ("[::1]", "::1", 4566),
    ],
)
@pytest.mark.parametrize("variable", ["GATEWAY_LISTEN", "LOCALSTACK_GATEWAY_LISTEN"])
def test_gateway_listen_is_understood(variable: str, text: str, host: str, port: int) -> None:
    settings, _ = loaded(environment={variable: text, "TRUNKLINE_INSECURE": "1"})
    assert (settings.host, settings.port) == (host, port)


@pytest.mark.parametrize("text", ["http://h:1", "h:port", "h:65536", "a b:1", "[::1:1", ","])
def test_a_gateway_listen_that_cannot_be_understood_is_refused_with_its_forms(text: str) -> None:
    said = refused(environment={"GATEWAY_LISTEN": text})
    assert said.startswith("GATEWAY_LISTEN is ") and "it takes host:port, host or :port" in said


def test_of_several_addresses_the_first_is_listened_on_and_the_others_are_warned_about() -> None:
    settings, [warning] = loaded(environment={"GATEWAY_LISTEN": "127.0.0.1:1, 127.0.0.1:2"})
    assert settings.port == 1
    assert "GATEWAY_LISTEN" in warning and "only the first, 127.0.0.1:1," in warning


@pytest.mark.parametrize("name", ["EDGE_PORT", "LS_LOG", "SQS_DELAY_PURGE_RETRY", "DEBUG", "PERSISTENCE"])
def test_other_servers_names_are_understood_with_their_prefix_but_win_without(name: str) -> None:
    one, other = {"EDGE_PORT": ("1", "2"), "LS_LOG": ("error", "info")}.get(name, ("1", "0"))
    bare = loaded(environment={name: one})[0]
    assert loaded(environment={f"LOCALSTACK_{name}": one})[0] == bare
    if name != "DEBUG":  # its 0 says nothing
        assert loaded(environment={f"LOCALSTACK_{name}": other, name: one})[0] == bare
        assert loaded(environment={f"LOCALSTACK_{name}": other})[0] != bare


@pytest.mark.parametrize(("text", "memory"), [("1", False), ("0", True), ("false", True)])
@pytest.mark.parametrize("name", ["PERSISTENCE", "PERSIST_STATE"])
def test_who_wants_no_persistence_gets_a_server_in_memory(name: str, text: str, memory: bool) -> None:
    assert loaded(environment={name: text})[0].memory is memory
    assert loaded(environment={name: text, "TRUNKLINE_MEMORY": str(not memory)})[0].memory is not memory


def test_a_known_name_that_means_nothing_here_is_named_once() -> None:
    environment = {"SERVICES": "sqs", "LOCALSTACK_ENFORCE_IAM": "1", "USE_SSL": "", "UNRELATED": "1"}
    settings, [warning] = loaded(environment=environment)
    assert settings == Settings()
    assert warning.endswith(": SERVICES, LOCALSTACK_ENFORCE_IAM")


@pytest.mark.parametrize(
    ("text", "level"),
    [("WARN", "warning"), ("trace", "debug"), ("Trace-Internal", "debug"), ("INFO", "info"), ("Error", "error")],
)
def test_a_log_level_is_understood_in_any_case_and_by_other_servers_words(text: str, level: str) -> None:
    assert loaded(environment={"LS_LOG": text})[0].log_level == level


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_word_that_the_server_is_open(host: str) -> None:
    settings, warnings = loaded({"host": host})
    assert (settings.host, warnings) == (host.strip("[]"), [])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0", "192.0.2.1", "my-host", "localhost.example.org"])
@pytest.mark.parametrize("auth", [{}, {"auth": "open"}])
def test_beyond_loopback_an_open_server_wants_the_word_insecure(host: str, auth: dict[str, str], file: Path) -> None:
    for text in (refused({"host": host, **auth}), refused({"host": host, "insecure": "false", **auth})):
        assert text.startswith(f"--host is {host!r}") and "--insecure (TRUNKLINE_INSECURE=1" in text
        assert "--auth verify --credentials FILE" in text and "127.0.0.1" in text
    file.write_text("insecure = true\n")
    for settings, warnings in (
        loaded({"host": host, "insecure": "true", **auth}),
        loaded({"host": host, **auth}, {"TRUNKLINE_INSECURE": "1"}),
        loaded({"host": host, **auth}, file=file),
    ):
        assert settings.host == host
        [warning] = warnings
        assert host in warning and "auth is open" in warning


def test_beyond_loopback_a_server_that_verifies_needs_no_word() -> None:
    settings, warnings = loaded({"host": "0.0.0.0", "auth": "verify", "credentials": "/c"})
    assert (settings.host, settings.verified, warnings) == ("0.0.0.0", True, [])


def test_verify_and_credentials_belong_together() -> None:
    text = refused({"auth": "verify"})
    assert text.startswith("--auth is verify") and "--credentials FILE (TRUNKLINE_CREDENTIALS)" in text
    text = refused(environment={"TRUNKLINE_CREDENTIALS": "/c"})
    assert text.startswith("TRUNKLINE_CREDENTIALS names /c") and "--auth verify (TRUNKLINE_AUTH=verify)" in text
    assert refused({"auth": "open", "credentials": "/c"}).startswith("--credentials names /c")


@pytest.mark.parametrize("text", ["example.org", "https://", "https://a/b", "https://user@a", "null", "https://a b"])
def test_an_origin_is_a_scheme_and_a_host(text: str) -> None:
    assert "it takes origins such as https://console.example:8443" in refused({"allow_origin": f"http://ok, {text}"})


def test_tls_is_spoken_with_a_certificate_that_is_given_or_one_that_is_made() -> None:
    assert [loaded()[0].tls, loaded()[0].scheme] == [False, "http"]
    for flags in ({"tls_cert": "/c"}, {"tls_self_signed": "true"}):
        settings = loaded(flags)[0]
        assert [settings.tls, settings.scheme, settings.tls_mixed] == [True, "https", False]


def test_settings_of_tls_that_do_not_go_together_are_refused() -> None:
    text = refused({"tls_cert": "/c", "tls_self_signed": "true"})
    assert "--tls-cert" in text and "--tls-self-signed" in text and "leave one of them out" in text
    text = refused(environment={"TRUNKLINE_TLS_KEY": "/k"})
    assert text.startswith("TRUNKLINE_TLS_KEY names the key /k") and "--tls-cert FILE (TRUNKLINE_TLS_CERT)" in text
    text = refused({"tls_mixed": "true"})
    assert text.startswith("--tls-mixed is for a port that speaks TLS") and "--tls-self-signed" in text


@pytest.mark.parametrize("prefix", ["", "LOCALSTACK_"])
def test_localstacks_variables_for_tls_mean_what_they_mean_there(prefix: str) -> None:
    settings, warnings = loaded(environment={f"{prefix}USE_SSL": "1"})
    assert (settings.tls_self_signed, settings.tls_cert, settings.tls_mixed, warnings) == (True, None, True, [])
    assert loaded(environment={f"{prefix}USE_SSL": "0"})[0] == Settings()
    own = {f"{prefix}CUSTOM_SSL_CERT_PATH": "/pair.pem"}
    for environment in (own, own | {f"{prefix}USE_SSL": "1"}, own | {f"{prefix}USE_SSL": "0"}):
        settings = loaded(environment=environment)[0]
        assert (settings.tls_self_signed, settings.tls_cert, settings.tls_mixed) == (False, Path("/pair.pem"), True)
    assert loaded({"tls_mixed": "false"}, own)[0].tls_mixed is False


def test_a_certificate_given_by_our_own_name_keeps_http_in_clear_out_whatever_localstacks_variables_say() -> None:
    environment = {"USE_SSL": "1", "CUSTOM_SSL_CERT_PATH": "/other.pem", "TRUNKLINE_TLS_CERT": "/pair.pem"}
    settings = loaded(environment=environment)[0]
    assert (settings.tls_cert, settings.tls_self_signed, settings.tls_mixed) == (Path("/pair.pem"), False, False)
    assert loaded({"tls_self_signed": "true"}, {"USE_SSL": "1"})[0].tls_mixed is False


def test_a_container_that_listens_everywhere_is_told_what_to_add() -> None:
    text = refused(environment={"GATEWAY_LISTEN": "0.0.0.0:4566"})
    assert text.startswith("GATEWAY_LISTEN is '0.0.0.0'") and "TRUNKLINE_INSECURE=1" in text


def test_memory_and_a_data_directory_are_refused_together_as_flags() -> None:
    text = refused({"memory": "true", "data": "/x"})
    assert "--memory" in text and "--data" in text and "leave one of them out" in text
    assert loaded({"memory": "false", "data": "/x"})[1] == []


def test_a_data_directory_that_memory_leaves_unused_is_warned_about(file: Path) -> None:
    file.write_text("data = '/from/file'\n")
    settings, [warning] = loaded({"memory": "true"}, file=file)
    assert settings.memory
    assert "--memory" in warning and f"data in {file}" in warning and "/from/file, is not used" in warning
    _, [warning] = loaded(environment={"PERSISTENCE": "0", "DATA_DIR": "/x"})
    assert "PERSISTENCE" in warning and "DATA_DIR" in warning


def test_an_empty_environment_variable_is_as_good_as_none(file: Path) -> None:
    names = [each for name in FIELDS for each in (environment_name(name), *FIELDS[name].metadata["also"])]
    environment = dict.fromkeys([*names, "TRUNKLINE_CONFIG", "GATEWAY_LISTEN", "SQS_DELAY_PURGE_RETRY"], "")
    assert loaded(environment=environment) == (Settings(), [])
    file.write_text("memory = true\n")
    assert loaded(environment=environment, file=file)[0].memory


def test_an_unknown_name_in_the_environment_is_warned_about_with_the_nearest() -> None:
    _, [warning] = loaded(environment={"TRUNKLINE_PROT": "1", "UNRELATED": "1"})
    assert "TRUNKLINE_PROT" in warning and "did you mean TRUNKLINE_PORT?" in warning
    for far in ("TRUNKLINE_QQQQQQQQQQQQQ", "TRUNKLINE_ZZZ", "TRUNKLINE_LINE"):
        _, [warning] = loaded(environment={far: "1"})
        assert far in warning and "did you mean" not in warning


def test_an_unknown_name_in_the_file_is_warned_about_with_the_nearest(file: Path) -> None:
    file.write_text("durabilty = 'os'\n[table]\na = 1\n")
    settings, warnings = loaded(file=file)
    assert settings == Settings()
    assert len(warnings) == 2
    assert f"durabilty in {file}" in warnings[0] and "did you mean durability?" in warnings[0]


BAD = [
    ("port", "65536", "a whole number from 0 to 65535"),
    ("port", "http", "a whole number from 0 to 65535"),
    ("port", "-1", "a whole number from 0 to 65535"),
    ("durability", "maybe", "one of fsync, os"),
    ("account", "12", "12 digits"),
    ("account", "\u00b2" * 12, "12 digits"),
    ("memory", "perhaps", "1 or 0, true or false, yes or no"),
    ("grace", "nan", "a number of seconds, 0 or more"),
    ("grace", "-1", "a number of seconds, 0 or more"),
    ("maximum_message_size", "5", "1048576, or 262144"),
    ("data", "~nobody-of-this-name/x", "a path"),
    ("host", "", "an address or a host name"),
    ("host", " ", "an address or a host name"),
    ("host", "http://h", "without scheme and port"),
    ("host", "127.0.0.1:4566", "without scheme and port"),
    ("host", "[h]", "an address or a host name"),
    ("host", "a..b", "an address or a host name"),
    ("host", "-h", "an address or a host name"),
    ("hostname", "http://h", "without scheme and path"),
    ("hostname", "h/x", "without scheme and path"),
    ("hostname", "a b", "a host name"),
    ("hostname", "h:port", "a host name"),
    ("hostname", "h:0", "a host name"),
    ("hostname", "::1", "IPv6 in brackets"),
    ("region", "", "a region's name"),
    ("region", "eu west", "a region's name"),
    ("region", "a/b", "a region's name"),
    ("log_level", "loud", "one of debug, info, warning, error"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_bad_value_gives_one_line_with_setting_value_and_what_is_allowed(
    name: str, value: str, allowed: str, file: Path
) -> None:
    file.write_text(f"{name} = '{value}'\n", encoding="utf-8")
    for where, text in (
        (flag(name), refused({name: value})),
        (environment_name(name), refused(environment={environment_name(name): value}) if value else None),
        (f"{name} in {file}", refused(file=file)),
    ):
        if text is None:
            continue  # an empty variable is as good as none
        assert text.startswith(f"{where} is {value!r}; it takes ") and allowed in text


@pytest.mark.parametrize("value", ["[1]", "{a = 1}", "1979-05-27"])
def test_a_value_of_the_file_that_is_no_plain_one_is_refused(value: str, file: Path) -> None:
    file.write_text(f"hostname = {value}\n")
    assert "hostname in" in refused(file=file)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("data = 5", "data in {file} is 5; it takes a path, as text in quotes"),
        ("host = 127", "as text in quotes"),
        ("account = 123456789012", "12 digits, as text in quotes"),
        ("hostname = true", "hostname in {file} is true; it takes"),
        ("port = 1.5", "port in {file} is 1.5; it takes a whole number from 0 to 65535"),
        ("window = 1.0", "a whole number"),
        ("port = true", "a whole number"),
        ("memory = 0.5", "1 or 0"),
        ("memory = 2", "1 or 0"),
        ("grace = false", "a number of seconds"),
    ],
)
def test_a_value_of_the_file_must_be_of_its_settings_type(line: str, says: str, file: Path) -> None:
    file.write_text(line + "\n")
    assert says.format(file=file) in refused(file=file)


def test_settings_in_a_table_of_the_file_are_warned_about(file: Path) -> None:
    file.write_text("[trunkline]\nport = 1\n")
    settings, [warning] = loaded(file=file)
    assert settings == Settings()
    assert "top level" in warning


@pytest.mark.parametrize("hostname", ["", "h", "h.example.org:80", "192.0.2.1", "192.0.2.1:80", "[::1]", "[::1]:80"])
def test_a_hostname_is_a_name_or_an_address_with_or_without_a_port(hostname: str) -> None:
    assert loaded({"hostname": hostname})[0].hostname == hostname


@pytest.mark.parametrize(("content", "says"), [(b"port = \n", "not TOML"), (b"region = '\xff'\n", "not TOML")])
def test_a_file_that_is_no_toml_is_refused(content: bytes, says: str, file: Path) -> None:
    file.write_bytes(content)
    text = refused(file=file)
    assert str(file) in text and says in text


def test_a_file_that_is_not_there_is_refused(file: Path) -> None:
    text = refused(file=file)
    assert str(file) in text and "No such file" in text


def test_plain_toml_values_need_no_quotes(file: Path) -> None:
    file.write_text("port = 1\nmemory = true\nstrict = false\ngrace = 1.5\n")
    settings, _ = loaded(file=file)
    assert (settings.port, settings.memory, settings.strict, settings.grace) == (1, True, False, 1.5)


def test_strict_restores_the_waits_of_aws() -> None:
    settings, _ = loaded({"strict": "true"})
    assert (settings.purge_wait_ms, settings.delete_wait_ms) == (60_000, 60_000)
    settings, _ = loaded(environment={"SQS_DELAY_PURGE_RETRY": "1", "SQS_DELAY_RECENTLY_DELETED": "0"})
    assert (settings.purge_wait_ms, settings.delete_wait_ms) == (60_000, 0)


def test_a_wait_that_was_given_wins_over_strict() -> None:
    settings, _ = loaded({"strict": "true", "purge_wait": "1.5"})
    assert (settings.purge_wait_ms, settings.delete_wait_ms) == (1_500, 60_000)
    settings, _ = loaded({"strict": "true"}, {"SQS_DELAY_RECENTLY_DELETED": "0"})
    assert (settings.purge_wait_ms, settings.delete_wait_ms) == (60_000, 0)
    assert Settings(strict=True, delete_wait=0.0).delete_wait_ms == 0


def test_a_program_gives_settings_as_text_or_as_what_they_are(tmp_path: Path) -> None:
    settings = made({"port": 0, "memory": False, "data": tmp_path, "grace": 1, "window": "3", "purge_wait": None})
    assert (settings.port, settings.memory, settings.data) == (0, False, tmp_path)
    assert (settings.grace, settings.window, settings.purge_wait) == (1.0, 3, None)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"prot": 1}, "prot is not a setting; did you mean port?"),
        ({"port": 65_536}, "port is '65536'; it takes a whole number from 0 to 65535"),
        ({"port": None}, "port is None; it takes"),
        ({"host": "0.0.0.0"}, "insecure"),
        ({"memory": True, "data": "/x"}, "memory keeps nothing, and data names a directory"),
    ],
)
def test_a_program_is_refused_what_cannot_work(values: dict[str, Any], says: str) -> None:
    with pytest.raises(BadSetting) as error:
        made(values)
    assert says in str(error.value)


def test_without_a_home_there_is_still_a_place_for_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert Settings().data == Path("trunkline-data")


@pytest.mark.parametrize("name", ["max_reading_bytes", "max_uncommitted_bytes"])
def test_a_bound_that_the_longest_request_could_never_meet_is_refused(name: str) -> None:
    text = refused({name: "16777215"})
    assert flag(name) in text and "16777215" in text and "max_body_bytes 8388608" in text
    loaded({name: "16777216"})
    text = refused({"max_body_bytes": str(200 << 20), "max_reading_bytes": str(1 << 30)})
    assert "--max-body-bytes" in text and "max_uncommitted_bytes" in text

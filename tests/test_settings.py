"""Where settings come from, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trunkline.settings import FIELDS, BadSetting, Settings, environment_name, flag, load

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
    "account": "123456789012", "auth": "open", "strict": "yes", "purge_wait": "1.5", "delete_wait": "2",
    "maximum_message_size": "262144", "queue_url": "path", "hostname": "h:1", "clock_from": "anywhere",
    "advance_timeout": "1", "cache_bytes": "0", "machine_bytes": "1048576", "window": "3", "max_body_bytes": "1024",
    "grace": "0", "log_level": "debug",
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_can_be_given_in_every_way(name: str, file: Path) -> None:
    text = OTHER.get(name)
    if text is None:
        pytest.fail(f"give {name} a value in OTHER")
    by_flag = getattr(loaded({name: text})[0], name)
    assert by_flag != getattr(Settings(), name) or name == "auth"  # auth has one value yet
    for also in (environment_name(name), *FIELDS[name].metadata["also"]):
        assert getattr(loaded(environment={also: text})[0], name) == by_flag
    file.write_text(f"{name} = '{text}'\n")
    settings, warnings = loaded(file=file)
    assert (getattr(settings, name), warnings) == (by_flag, [])
    environment = {"TRUNKLINE_CONFIG": str(file)}
    assert getattr(loaded(environment=environment)[0], name) == by_flag


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
    assert loaded(environment={"EDGE_PORT": "1", "TRUNKLINE_PORT": "2", "GATEWAY_LISTEN": "h:3"})[0].port == 2


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("0.0.0.0:1", "0.0.0.0", 1), (":2", "127.0.0.1", 2), ("3", "127.0.0.1", 3), ("[::]:4,h:5", "::", 4)],
)
def test_gateway_listen_is_understood(text: str, host: str, port: int) -> None:
    settings, _ = loaded(environment={"GATEWAY_LISTEN": text})
    assert (settings.host, settings.port) == (host, port)


def test_an_empty_environment_variable_is_as_good_as_none(file: Path) -> None:
    names = [each for name in FIELDS for each in (environment_name(name), *FIELDS[name].metadata["also"])]
    environment = dict.fromkeys([*names, "TRUNKLINE_CONFIG", "GATEWAY_LISTEN", "SQS_DELAY_PURGE_RETRY"], "")
    assert loaded(environment=environment) == (Settings(), [])
    file.write_text("memory = true\n")
    assert loaded(environment=environment, file=file)[0].memory


def test_an_unknown_name_in_the_environment_is_warned_about_with_the_nearest() -> None:
    _, [warning] = loaded(environment={"TRUNKLINE_PROT": "1", "UNRELATED": "1"})
    assert "TRUNKLINE_PROT" in warning and "did you mean TRUNKLINE_PORT?" in warning
    _, [warning] = loaded(environment={"TRUNKLINE_QQQQQQQQQQQQQ": "1"})
    assert "did you mean" not in warning


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
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_bad_value_gives_one_line_with_setting_value_and_what_is_allowed(
    name: str, value: str, allowed: str, file: Path
) -> None:
    file.write_text(f"{name} = '{value}'\n", encoding="utf-8")
    for where, text in (
        (flag(name), refused({name: value})),
        (environment_name(name), refused(environment={environment_name(name): value})),
        (f"{name} in {file}", refused(file=file)),
    ):
        assert text.startswith(f"{where} is {value!r}; it takes ") and allowed in text


@pytest.mark.parametrize("value", ["[1]", "{a = 1}", "1979-05-27"])
def test_a_value_of_the_file_that_is_no_plain_one_is_refused(value: str, file: Path) -> None:
    file.write_text(f"hostname = {value}\n")
    assert "hostname in" in refused(file=file)


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


def test_without_a_home_there_is_still_a_place_for_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert Settings().data == Path("trunkline-data")

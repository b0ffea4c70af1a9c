"""The credentials file: what is read, and what is refused with which words."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from trunkline.credentials import BadCredentials, Credentials, Key, read

WHOLE = """
# who may call
[billing]
aws_access_key_id     = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = wJalr/XUtnFEMI=K7M%(x)s;#
aws_account_id        = 111122223333
region = eu-west-1

[nightly]
AWS_ACCESS_KEY_ID=ASIAIOSFODNN7EXAMPLE
aws_secret_access_key=s
aws_session_token=to/ken==
expiration=2027-01-01T00:00:00Z
; the account is the default one
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.touch(0o600)
    return path


def refused(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(BadCredentials) as error:
        read(file, "000000000000")
    said = str(error.value)
    assert "\n" not in said and str(file) in said
    return said


def section(*more: str, key: str = "AK") -> str:
    return "\n".join((f"[{key.lower()}]", f"aws_access_key_id = {key}", "aws_secret_access_key = hidden", *more, ""))


def test_a_file_is_read_as_clients_read_it(file: Path) -> None:
    file.write_text(WHOLE)
    assert read(file, "000000000000") == {
        "AKIAIOSFODNN7EXAMPLE": Key("AKIAIOSFODNN7EXAMPLE", "111122223333", "wJalr/XUtnFEMI=K7M%(x)s;#"),
        "ASIAIOSFODNN7EXAMPLE": Key("ASIAIOSFODNN7EXAMPLE", "000000000000", "s", "to/ken==", 1_798_761_600.0),
    }


def test_botocore_reads_the_same_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.session

    file.write_text(WHOLE)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for profile, key in (("billing", "AKIAIOSFODNN7EXAMPLE"), ("nightly", "ASIAIOSFODNN7EXAMPLE")):
        theirs = botocore.session.Session(profile=profile).get_credentials()
        ours = read(file, "000000000000")[key]
        assert (theirs.access_key, theirs.secret_key, theirs.token or "") == (ours.id, ours.secret, ours.token)


@pytest.mark.parametrize(
    ("key", "account"),
    [("123456789012", "123456789012"), ("LSIAQNZGKIQY56JQ7WML", "029608264753"), ("test", "999999999999")],
)
def test_a_key_that_says_no_account_has_the_one_that_its_id_tells(file: Path, key: str, account: str) -> None:
    file.write_text(section(key=key))
    assert read(file, "999999999999")[key].account == account


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no section with keys"),
        ("aws_access_key_id = a", "line 1: this stands in no section"),
        ("[a]\nnonsense", "line 2 is neither"),
        ("[a]\naws_access_key_id = k", "[a] has no aws_secret_access_key"),
        ("[a]\naws_access_key_id =\naws_secret_access_key = s", "[a] has no aws_access_key_id"),
        (section("aws_acount_id = 111122223333"), "aws_acount_id is not understood; did you mean aws_account_id?"),
        (section("role_arn = x"), "role_arn is not understood; there are aws_access_key_id"),
        (section("aws_account_id = 1"), "aws_account_id is '1'; an account has 12 digits"),
        (section("expiration = tomorrow"), "expiration is 'tomorrow'; it takes an ISO 8601 time"),
        (section() + section(), "line 4: there is a section [ak] already"),
        (section("aws_access_key_id = x"), "line 4: [ak] says aws_access_key_id twice"),
        (section() + section().replace("[ak]", "[b]"), "[b]: the aws_access_key_id AK is another section's already"),
        (section(key="a/b"), "no spaces, commas, slashes"),
        (section(key="a b"), "no spaces, commas, slashes"),
        (section(key="é"), "no spaces, commas, slashes"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place_and_never_with_a_secret(
    file: Path, text: str, says: str
) -> None:
    said = refused(file, text)
    assert says in said and "hidden" not in said


def test_a_secret_is_not_shown_where_a_key_is(file: Path) -> None:
    file.write_text(section("aws_session_token = covert"))
    shown = repr(read(file, "000000000000"))
    assert "AK" in shown and "hidden" not in shown and "covert" not in shown


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert f"others can write the credentials file {file} (mode {mode:04o})" in refused(file, section())


@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True), (0o444, True)]
)
def test_a_file_that_others_can_read_is_warned_about(
    file: Path, mode: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(section())
    file.chmod(mode)
    assert read(file, "000000000000")
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * warned
    assert all(f"chmod 600 {file}" in record.message for record in caplog.records)


def test_what_is_no_text_or_no_file_is_refused(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadCredentials, match="is not UTF-8"):
        read(file, "000000000000")
    for path, says in (
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "none", "cannot be read: No such file or directory"),
        (Path(os.devnull), "is not a file"),
    ):
        with pytest.raises(BadCredentials, match=says):
            read(path, "000000000000")


def test_what_is_read_again_is_in_force_and_what_cannot_be_read_changes_nothing(file: Path) -> None:
    file.write_text(section())
    credentials = Credentials(file, "000000000000")
    assert str(credentials) == f"1 key of 1 account in {file}"
    file.write_text(section() + section("aws_account_id = 111122223333", key="BK"))
    credentials.read_again()
    assert set(credentials.keys) == {"AK", "BK"}
    assert str(credentials) == f"2 keys of 2 accounts in {file}"
    file.write_text("nonsense")
    with pytest.raises(BadCredentials):
        credentials.read_again()
    file.unlink()
    with pytest.raises(BadCredentials):
        credentials.read_again()
    assert set(credentials.keys) == {"AK", "BK"}

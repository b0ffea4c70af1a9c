"""The credentials file: who may call, by the keys that they sign with.

It is written as AWS's own shared credentials file is, so that clients can read the same file, with a section as their
profile (AWS_SHARED_CREDENTIALS_FILE):

    [billing]
    aws_access_key_id     = AKIAIOSFODNN7EXAMPLE
    aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
    aws_account_id        = 111122223333

    [nightly]
    aws_access_key_id     = ASIAIOSFODNN7EXAMPLE
    aws_secret_access_key = 2nXjE5…
    aws_session_token     = IQoJb3JpZ2luX2VjE…
    expiration            = 2027-01-01T00:00:00Z

``aws_account_id`` may be left out where the access key id tells the account (12 digits, or as in LocalStack's keys) or
the default account is meant. What is not understood is refused: a mistyped line must not open or close a door unseen.

Others than the file's owner may not be able to write it (they could let themselves in); that they can read it is warned
about only, for containers mount their secrets so.
"""

from __future__ import annotations

import configparser
import difflib
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from trunkline.kernel.arn import is_account
from trunkline.wire.sigv4 import account_of

log = logging.getLogger(__name__)

_KEY, _SECRET, _TOKEN = "aws_access_key_id", "aws_secret_access_key", "aws_session_token"
_ACCOUNT, _EXPIRATION = "aws_account_id", "expiration"
_NAMES = (_KEY, _SECRET, _TOKEN, _ACCOUNT, _EXPIRATION)
_OF_CLIENTS = ("region", "output")
"""What clients read in the same file, and a server has no use for."""
_MOST_BYTES = 16 << 20


class BadCredentials(ValueError):
    """Which file, which section, and what to do. It never holds a secret."""


@dataclass(frozen=True, slots=True)
class Key:
    """An access key and what belongs to it. ``expires``: seconds since the epoch, or None for never."""

    id: str
    account: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires: float | None = None


class Credentials:
    """The keys of a file, by their ids. ``read_again`` puts the file as it is now in force."""

    def __init__(self, file: Path, default_account: str) -> None:
        """BadCredentials if the file cannot be read or says what cannot be."""
        self._file = file
        self._default = default_account
        self.keys: Mapping[str, Key] = {}
        self.read_again()

    def read_again(self) -> None:
        """BadCredentials, and then nothing changes."""
        self.keys = read(self._file, self._default)

    def __str__(self) -> str:
        accounts = len({key.account for key in self.keys.values()})
        keys = "1 key" if len(self.keys) == 1 else f"{len(self.keys)} keys"
        return f"{keys} of {'1 account' if accounts == 1 else f'{accounts} accounts'} in {self._file}"


def read(file: Path, default_account: str) -> dict[str, Key]:
    """The keys of ``file`` by their ids; ``default_account`` for those that tell none. BadCredentials."""
    try:
        with file.open("rb") as opened:
            _check_rights(file, os.fstat(opened.fileno()))
            data = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise BadCredentials(f"the credentials file {file} cannot be read: {error.strerror or error}") from None
    if len(data) > _MOST_BYTES:
        raise BadCredentials(f"the credentials file {file} is longer than {_MOST_BYTES} bytes")
    parser = configparser.RawConfigParser(
        delimiters=("=",), comment_prefixes=("#", ";"), default_section="\n", empty_lines_in_values=False
    )
    try:
        parser.read_string(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadCredentials(f"the credentials file {file} is not UTF-8") from None
    except configparser.DuplicateSectionError as error:
        raise BadCredentials(f"{file}, line {error.lineno}: there is a section [{error.section}] already") from None
    except configparser.DuplicateOptionError as error:
        raise BadCredentials(f"{file}, line {error.lineno}: [{error.section}] says {error.option} twice") from None
    except configparser.MissingSectionHeaderError as error:
        raise BadCredentials(
            f"{file}, line {error.lineno}: this stands in no section; a [name] goes before the keys of each caller"
        ) from None
    except configparser.ParsingError as error:
        lines = ", ".join(str(number) for number, _ in error.errors)
        raise BadCredentials(f"{file}: a line is to be [name] or name = value; line {lines} is neither") from None
    found: dict[str, Key] = {}
    for section in parser.sections():
        key = _key(f"{file}, [{section}]", dict(parser.items(section)), default_account)
        if key.id in found:
            raise BadCredentials(f"{file}, [{section}]: the {_KEY} {key.id} is another section's already")
        found[key.id] = key
    if not found:
        raise BadCredentials(f"the credentials file {file} has no section with keys, so nobody could call")
    return found


def _check_rights(file: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadCredentials(f"{file} is not a file, so no credentials file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o022:
        raise BadCredentials(
            f"others can write the credentials file {file} (mode {mode:04o}) and so let themselves in: chmod 600 {file}"
        )
    if mode & 0o044:
        log.warning(
            "Others can read the credentials file %s (mode %04o): chmod 600 %s keeps them out", file, mode, file
        )


def _key(where: str, said: Mapping[str, str], default_account: str) -> Key:
    for name in said:
        if name not in _NAMES and name not in _OF_CLIENTS:
            near = difflib.get_close_matches(name, _NAMES, 1)
            meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(_NAMES)}"
            raise BadCredentials(f"{where}: {name} is not understood{meant}")
    for name in (_KEY, _SECRET):
        if not said.get(name):
            raise BadCredentials(f"{where} has no {name}")
    key = said[_KEY]
    if "/" in key or "," in key or not key.isascii() or not key.isprintable() or " " in key:
        raise BadCredentials(f"{where}: an {_KEY} has no spaces, commas, slashes or signs beyond ASCII")
    account = said.get(_ACCOUNT) or account_of(key, default_account)
    if not is_account(account):
        raise BadCredentials(f"{where}: {_ACCOUNT} is {account!r}; an account has 12 digits")
    return Key(key, account, said[_SECRET], said.get(_TOKEN, ""), _instant(where, said.get(_EXPIRATION)))


def _instant(where: str, text: str | None) -> float | None:
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise BadCredentials(
            f"{where}: {_EXPIRATION} is {text!r}; it takes an ISO 8601 time, such as 2027-01-01T00:00:00Z"
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()

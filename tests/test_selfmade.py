"""The certificate that the server makes for itself."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
import time
from pathlib import Path

import pytest

from trunkline.certificates import DAY, BadCertificate, load
from trunkline.selfmade import CERTIFICATE, DAYS, KEY, SelfMade, names
from trunkline.settings import made

NAMES = ("localhost", "*.localhost.localstack.cloud", "127.0.0.1", "::1")


class Maker(SelfMade):
    """One whose clock the test moves."""

    def __init__(self, directory: Path, names: tuple[str, ...] = NAMES) -> None:
        self.now = time.time()
        super().__init__(directory, names, lambda: self.now)


def content(directory: Path) -> tuple[bytes, bytes]:
    return (directory / CERTIFICATE).read_bytes(), (directory / KEY).read_bytes()


def test_it_is_made_for_its_names_and_its_key_is_for_nobody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    maker = Maker(tmp_path)
    pair = maker.load()
    assert pair.names == ("localhost", "*.localhost.localstack.cloud", "127.0.0.1", "::1")
    assert pair.ends - maker.now == pytest.approx((DAYS - 1) * DAY, abs=2)
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / CERTIFICATE).stat().st_mode) == 0o644
    assert sorted(each.name for each in tmp_path.iterdir()) == [CERTIFICATE, KEY]
    assert caplog.records == []


def test_it_stays_until_its_end_is_near(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Maker(tmp_path).load()
    before = content(tmp_path)
    later = Maker(tmp_path)
    later.now += (DAYS - 32) * DAY
    later.load()
    assert content(tmp_path) == before
    assert caplog.records == []
    later.now += 2 * DAY
    pair = later.load()
    assert content(tmp_path) != before
    assert pair.ends - later.now > 800 * DAY
    [record] = caplog.records
    assert "made anew" in record.message and "its end is near" in record.message


def test_it_is_made_anew_for_a_name_that_it_has_not_and_keeps_one_that_is_no_longer_wanted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Maker(tmp_path).load()
    before = content(tmp_path)
    Maker(tmp_path, NAMES[:1]).load()
    assert content(tmp_path) == before
    pair = Maker(tmp_path, ("localhost", "new.example")).load()
    assert pair.names == ("localhost", "new.example")
    assert "it is not for new.example" in caplog.text


@pytest.mark.parametrize("harm", ["no key", "no certificate", "nonsense", "other pair", "writable", "another clock"])
def test_one_that_cannot_be_used_is_made_anew_with_the_reason(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    maker = Maker(tmp_path)
    maker.load()
    before = content(tmp_path)
    if harm == "no key":
        (tmp_path / KEY).unlink()
    elif harm == "no certificate":
        (tmp_path / CERTIFICATE).unlink()
    elif harm == "nonsense":
        (tmp_path / CERTIFICATE).write_bytes(b"nonsense")
    elif harm == "other pair":
        (tmp_path / "elsewhere").mkdir()
        Maker(tmp_path / "elsewhere").load()
        (tmp_path / KEY).write_bytes((tmp_path / "elsewhere" / KEY).read_bytes())
    elif harm == "writable":
        (tmp_path / KEY).chmod(0o666)
    else:
        maker.now -= 10 * DAY
    maker.load()
    assert content(tmp_path) != before
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600
    [record] = caplog.records
    assert "is made anew" in record.message


def test_what_a_killed_server_left_half_written_is_in_nobodys_way(tmp_path: Path) -> None:
    for name in (CERTIFICATE, KEY):
        (tmp_path / f".{name}.partial").write_bytes(b"half")
    Maker(tmp_path).load()
    assert sorted(each.name for each in tmp_path.iterdir()) == [CERTIFICATE, KEY]


def test_where_none_can_be_written_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadCertificate, match=r"no certificate can be made: .*No such file"):
        Maker(tmp_path / "absent").load()
    (tmp_path / CERTIFICATE).mkdir()
    with pytest.raises(BadCertificate, match="no certificate can be made"):
        Maker(tmp_path).load()
    assert sorted(each.name for each in tmp_path.iterdir()) == [CERTIFICATE, KEY]


def shaken(directory: Path, name: str, strict: bool = False) -> str:
    """The version of TLS that a client who trusts the certificate and calls the server ``name`` comes to speak."""
    pair = load(directory / CERTIFICATE, directory / KEY)
    client = ssl.create_default_context(cafile=str(directory / CERTIFICATE))
    if strict:
        client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()
    with ours, theirs:
        failed: list[Exception] = []

        def serve() -> None:
            try:
                pair.context.wrap_socket(ours, server_side=True).close()
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with client.wrap_socket(theirs, server_hostname=name) as secure:
                return secure.version() or ""
        finally:
            theirs.close()
            thread.join(10)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "sqs.localhost.localstack.cloud"])
def test_clients_who_are_given_it_trust_it_also_strict_ones(tmp_path: Path, name: str, strict: bool) -> None:
    Maker(tmp_path).load()
    assert shaken(tmp_path, name, strict) == "TLSv1.3"


def test_it_is_no_authority_and_not_for_other_names(tmp_path: Path) -> None:
    Maker(tmp_path).load()
    for name in ("example.org", "127.0.0.2"):
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            shaken(tmp_path, name)
    context = ssl.create_default_context(cafile=str(tmp_path / CERTIFICATE))
    assert context.get_ca_certs() == [], "with its key another could be made, for any name"


LOCAL = {"localhost", "*.localhost", "127.0.0.1", "::1", "localhost.localstack.cloud"}


@pytest.mark.parametrize(
    ("settings", "more"),
    [
        ({}, {"*.queue.localhost.localstack.cloud", "sqs.us-east-1.localhost.localstack.cloud"}),
        ({"region": "eu-west-1"}, {"sqs.eu-west-1.localhost.localstack.cloud"}),
        (
            {"hostname": "queues.example:443"},
            {"queues.example", "queue.queues.example", "sqs.us-east-1.queues.example"},
        ),
        ({"hostname": "Queues.Example."}, {"queues.example", "us-east-1.queue.queues.example"}),
        ({"hostname": "[2001:db8::1]:1"}, {"2001:db8::1"}),
        ({"hostname": "192.0.2.1"}, {"192.0.2.1"}),
        ({"host": "127.0.0.2"}, {"127.0.0.2"}),
        ({"host": "my-host", "insecure": "1"}, {"my-host"}),
        ({"host": "0.0.0.0", "insecure": "1"}, set()),
        ({"host": "::", "insecure": "1"}, set()),
    ],
)
def test_its_names_are_those_by_which_clients_call(settings: dict[str, str], more: set[str]) -> None:
    found = names(made(settings))
    assert len(set(found)) == len(found)
    assert more | LOCAL <= set(found)
    assert not {"0.0.0.0", "::"} & set(found)

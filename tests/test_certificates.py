"""Certificates as the server reads, refuses and watches them."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from certificates import PASSPHRASE, Issued, issue
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from trunkline.certificates import DAY, BadCertificate, Certificates, Pair, load

NAMES = ("localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue(called="authority", authority=True)


@pytest.fixture(scope="module")
def own(authority: Issued) -> Issued:
    return issue(*NAMES, issuer=authority, ends=100)


def refused(file: Path, key: Path | None) -> str:
    with pytest.raises(BadCertificate) as error:
        load(file, key)
    text = str(error.value)
    assert "\n" not in text and "PRIVATE KEY-----\n" not in text
    return text


def file(path: Path, *parts: bytes, mode: int = 0o600) -> Path:
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_bytes(b"".join(parts))
    return path


def test_a_chain_and_its_key_may_stand_in_two_files_or_in_one(
    tmp_path: Path, own: Issued, authority: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    key = file(tmp_path / "key", own.key_pem())
    chain = file(tmp_path / "chain", own.pem, authority.pem, mode=0o644)
    one = file(tmp_path / "one", b"A comment\n", own.key_pem(), own.pem, authority.pem)
    other = file(tmp_path / "other", own.pem, authority.pem, own.key_pem())
    for certificate, key_file in ((chain, key), (one, None), (other, None), (one, one)):
        pair = load(certificate, key_file)
        assert pair.names == NAMES
        assert pair.ends == own.certificate.not_valid_after_utc.timestamp()
        assert pair.begins == own.certificate.not_valid_before_utc.timestamp()
    assert caplog.records == []


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize("bits", [0, 2048])
def test_keys_are_read_in_every_form(tmp_path: Path, form: PrivateFormat, bits: int) -> None:
    made = issue(*NAMES, rsa_bits=bits)
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    key = file(tmp_path / "key", b"" if bits else parameters, made.key_pem(form))
    assert load(file(tmp_path / "pem", made.pem), key).names == NAMES


def test_the_end_is_that_of_the_first_certificate_of_the_chain_that_ends(tmp_path: Path) -> None:
    authority = issue(called="authority", authority=True, ends=10)
    own = issue(*NAMES, issuer=authority, ends=50)
    pair = load(file(tmp_path / "one", own.pem, authority.pem, own.key_pem()), None)
    assert pair.ends == authority.certificate.not_valid_after_utc.timestamp()


def test_what_cannot_be_used_is_refused_with_the_file_and_what_to_do(
    tmp_path: Path, own: Issued, authority: Issued
) -> None:
    pem, key = file(tmp_path / "pem", own.pem), file(tmp_path / "key", own.key_pem())

    def other(*parts: bytes) -> Path:
        return file(tmp_path / "other", *parts)

    assert f"certificate {tmp_path / 'none'} cannot be read: No such file" in refused(tmp_path / "none", key)
    assert f"key {tmp_path / 'none'} cannot be read" in refused(pem, tmp_path / "none")
    assert "is not a file" in refused(tmp_path, key)
    text = refused(pem, None)
    assert f"{pem} holds no private key" in text and "tls_key is to name the file that does" in text
    assert "holds no private key" in refused(pem, other(own.pem)) and "tls_key" not in refused(pem, other(own.pem))
    assert "holds no certificate" in refused(key, key)
    assert "is no PEM file" in refused(other(own.certificate.public_bytes(Encoding.DER)), key)
    assert "is no PEM file" in refused(other(b""), key)
    assert "longer than" in refused(other(own.pem, bytes(2 << 20)), key)
    assert "are of different pairs" in refused(pem, other(issue().key_pem()))
    assert "before those of its issuers" in refused(other(authority.pem, own.pem), key)
    assert "certificate 2 in" in refused(other(own.pem, own.pem.replace(b"M", b"!", 1)), key)
    damaged = b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgE=\n-----END PRIVATE KEY-----\n"
    assert "damaged, or of an unknown kind" in refused(pem, other(damaged))
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        text = refused(pem, other(own.key_pem(form, PASSPHRASE)))
        assert "encrypted with a passphrase" in text and "openssl pkey" in text
    weak = issue(*NAMES, rsa_bits=1024)
    assert "OpenSSL says" in refused(other(weak.pem, weak.key_pem()), None)


def test_a_key_that_others_can_write_is_refused_and_one_that_they_can_read_is_warned_about(
    tmp_path: Path, own: Issued, caplog: pytest.LogCaptureFixture
) -> None:
    pem = file(tmp_path / "pem", own.pem, mode=0o666)  # whoever can write it can at the worst make it useless
    key = file(tmp_path / "key", own.key_pem(), mode=0o620)
    assert f"others can write the key {key} (mode 0620): chmod 600 {key}" in refused(pem, key)
    key.chmod(0o640)
    load(pem, key)
    [record] = caplog.records
    assert f"Others can read the key {key} (mode 0640)" in record.message


def test_ciphers_have_forward_secrecy_and_authenticate(tmp_path: Path, own: Issued) -> None:
    context = load(file(tmp_path / "one", own.pem, own.key_pem()), None).context
    assert context.minimum_version.name == "TLSv1_2"
    for cipher in context.get_ciphers():
        assert cipher["protocol"] == "TLSv1.3" or cipher["name"].startswith("ECDHE-"), cipher
        assert cipher["aead"], cipher


class Source:
    """A pair of files whose certificate the test replaces, and a clock that it moves."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "one"
        self.now = time.time()
        self.loads = 0

    def put(self, begins: float, ends: float) -> None:
        made = issue(*NAMES, begins=begins, ends=ends)
        file(self.file, made.pem, made.key_pem())

    def load(self) -> Pair:
        self.loads += 1
        return load(self.file, None)

    def wall(self) -> float:
        return self.now


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def test_one_that_is_good_for_long_is_not_told_of(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    source.put(-1, 31)
    certificates = Certificates(source.load, source.wall)
    assert caplog.records == []
    assert str(certificates).startswith(f"{source.file} (until 20")


@pytest.mark.parametrize(("begins", "ends", "warned"), [(-300, 29, True), (-1, 6, False), (-5, 2, True)])
def test_one_whose_end_is_near_for_its_age_is_warned_about(
    source: Source, begins: float, ends: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    source.put(begins, ends)
    Certificates(source.load, source.wall)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * warned
    if warned:
        assert str(source.file) in caplog.text and "days: put a new one there and send SIGHUP" in caplog.text


@pytest.mark.parametrize(("begins", "ends", "said"), [(-10, -1, "ended on"), (1, 10, "is not valid before")])
def test_one_whose_time_is_over_or_has_not_come_is_shown_and_told_of_at_a_start_and_refused_afterwards(
    source: Source, begins: float, ends: float, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    source.put(begins, ends)
    certificates = Certificates(source.load, source.wall)
    [record] = caplog.records
    assert record.levelno == logging.ERROR and said in record.message
    assert said.upper() in str(certificates)
    source.put(-1, 100)
    certificates.read_again()
    good = certificates.pair
    source.put(begins, ends)
    with pytest.raises(BadCertificate, match=said):
        certificates.read_again()
    assert certificates.pair is good


def test_a_pair_that_cannot_be_read_again_leaves_the_old_one_in_force(source: Source) -> None:
    source.put(-1, 100)
    certificates = Certificates(source.load, source.wall)
    old = certificates.context()
    source.file.write_bytes(b"nonsense")
    with pytest.raises(BadCertificate):
        certificates.read_again()
    assert certificates.context() is old
    source.put(-1, 100)
    certificates.read_again()
    assert certificates.context() is not old


def test_while_the_server_runs_it_is_looked_at_again(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    source.put(-1, 100)
    certificates = Certificates(source.load, source.wall)
    certificates.check()
    assert caplog.records == []
    source.now += 80 * DAY
    certificates.check()
    source.now += 30 * DAY
    certificates.check()
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert source.loads == 1, "a file is read when its owner says so"


def test_one_that_renews_itself_is_renewed_in_time(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    source.put(-1, 100)
    certificates = Certificates(source.load, source.wall, renews=True)
    source.now += 60 * DAY
    certificates.check()
    assert source.loads == 1
    source.now += 20 * DAY
    source.put(-1, 200)
    certificates.check()
    assert certificates.pair.ends - source.now > 100 * DAY
    assert caplog.records == []
    source.now += 100 * DAY
    source.file.unlink()
    certificates.check()
    [record] = caplog.records
    assert "could not be renewed" in record.message


def test_it_is_looked_at_every_day_until_it_is_stopped(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.put(-1, 100)
    certificates = Certificates(source.load, source.wall)
    looks: list[Any] = []
    monkeypatch.setattr(certificates, "check", lambda: looks.append(1))

    async def scenario() -> None:
        certificates.watch()
        for count in (1, 2):
            timer = certificates._timer
            assert timer is not None
            assert timer.when() - asyncio.get_running_loop().time() == pytest.approx(DAY, rel=0.01)
            timer._run()
            assert len(looks) == count
        last = certificates._timer
        certificates.stop()
        assert last is not None and last.cancelled()

    asyncio.run(scenario())


def test_a_server_without_tls_does_not_import_the_library() -> None:
    text = "import sys, trunkline.node, trunkline.selfmade; print('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, check=True).stdout == b"False\n"

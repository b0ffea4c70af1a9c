"""A certificate that the server makes for itself, for machines on which nobody has one.

It is signed with its own key, and so trusted by those clients alone that are given it (AWS_CA_BUNDLE). It is nobody's
authority: with its key no other certificate can be made, so who trusts it trusts this server and its names, not
whatever whoever reads the key would like to be.

It lies beside the data, and stays over restarts until its end is near, or it is to have a name that it has not, or one
of its two files cannot be used. It is for the names of this machine by which clients call, and for those that queue
URLs have:

    localhost, *.localhost, 127.0.0.1, ::1
    localhost.localstack.cloud, *.localhost.localstack.cloud, *.queue.…, sqs.REGION.…   (stands for 127.0.0.1)
    the settings host and hostname, and of a name also queue.NAME, REGION.queue.NAME, sqs.REGION.NAME
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trunkline.certificates import DAY, BadCertificate, Pair, load
from trunkline.settings import Settings

log = logging.getLogger(__name__)

CERTIFICATE, KEY = "trunkline.crt", "trunkline.key"
"""The files in the data directory."""
DAYS = 820
"""How long it lives: Apple's clients take none of more than 825 days."""
_BEGUN_BEFORE = DAY
"""It is valid from a little ago, for clients whose clock is behind."""
_LOCAL = "localhost.localstack.cloud"


def names(settings: Settings) -> tuple[str, ...]:
    """The DNS names and addresses that clients may call the server by."""
    found = ["localhost", "*.localhost", "127.0.0.1", "::1", _LOCAL, f"*.{_LOCAL}", f"*.queue.{_LOCAL}"]
    found.append(f"sqs.{settings.region}.{_LOCAL}")
    for host in (settings.host, _without_port(settings.hostname)):
        name = host.lower().rstrip(".")
        address = _address(name)
        if address is not None:
            if not address.is_unspecified:
                found.append(str(address))
        elif name:
            region = settings.region
            found += [name, f"queue.{name}", f"{region}.queue.{name}", f"sqs.{region}.{name}"]
    return tuple(dict.fromkeys(each for each in found if len(each) <= 253))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return None


class SelfMade:
    """The pair in ``directory``, which must be there. ``wall``: seconds since the epoch."""

    def __init__(self, directory: Path, names: Iterable[str], wall: Callable[[], float]) -> None:
        self._file = directory / CERTIFICATE
        self._key_file = directory / KEY
        self._names = tuple(names)
        self._wall = wall

    def load(self) -> Pair:
        """What lies there, or a new one if there is none that will do. BadCertificate if it cannot be written."""
        if self._file.exists() or self._key_file.exists():
            try:
                pair = load(self._file, self._key_file)
                wrong = self._why_not(pair)
                if not wrong:
                    return pair
            except BadCertificate as error:
                wrong = str(error)
            log.warning(
                "The certificate %s is made anew, and clients are to be given the new one: %s", self._file, wrong
            )
        try:
            self._make()
        except OSError as error:
            raise BadCertificate(
                f"no certificate can be made: {error.filename or self._file}: {error.strerror or error}"
            ) from None
        return load(self._file, self._key_file)

    def _why_not(self, pair: Pair) -> str:
        now = self._wall()
        if pair.wrong(now) or pair.ends_soon(now):
            return "its end is near, or past" if now >= pair.begins else "it is not valid yet"
        lacking = [name for name in self._names if name not in pair.names]
        return f"it is not for {', '.join(lacking)}" if lacking else ""

    def _make(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(key, self._names, self._wall())
        # A certificate beside another one's key, if this is cut short between, will not do: it is made anew.
        _put(self._key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        _put(self._file, certificate, 0o644)


def _sign(key: object, names: Iterable[str], now: float) -> bytes:
    """A certificate for ``names``, signed with its own ``key``, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    assert isinstance(key, EllipticCurvePrivateKey)
    begins = datetime.fromtimestamp(now - _BEGUN_BEFORE, UTC)
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Trunkline, made by itself")])
    alternatives: list[x509.GeneralName] = []
    for name in names:
        address = _address(name)
        alternatives.append(x509.DNSName(name) if address is None else x509.IPAddress(address))
    public = key.public_key()
    use = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign",
         "encipher_only", "decipher_only"),
        False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **use), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def _put(file: Path, data: bytes, mode: int) -> None:
    """Give ``file`` this content, whole or not at all, with ``mode`` from the first byte on."""
    beside = file.with_name(f".{file.name}.partial")
    beside.unlink(missing_ok=True)  # of a server that was killed; the directory is this one's alone
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as opened:
            os.fchmod(descriptor, mode)
            opened.write(data)
            opened.flush()
            os.fsync(descriptor)
        beside.replace(file)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise

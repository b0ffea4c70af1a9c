"""Certificates for tests: of an authority, of a server, ended, not begun, with keys of any kind."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(
        self, form: PrivateFormat = PrivateFormat.PKCS8, secret: KeySerializationEncryption | None = None
    ) -> bytes:
        """TraditionalOpenSSL is what openssl made before; ``secret`` encrypts."""
        found: bytes = self.key.private_bytes(Encoding.PEM, form, secret or NoEncryption())
        return found

    def written(self, directory: Path, name: str = "server") -> tuple[Path, Path]:
        """The files of the certificate and of its key, which is this user's alone."""
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        certificate.write_bytes(self.pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key_pem())
        return certificate, key


PASSPHRASE = BestAvailableEncryption(b"open sesame")


def issue(
    *names: str, begins: float = -1, ends: float = 365, issuer: Issued | None = None, called: str = "server",
    rsa_bits: int = 0, authority: bool = False, now: datetime | None = None,
) -> Issued:  # fmt: skip
    """``begins``, ``ends``: days from ``now``. Without ``issuer`` it is signed with its own key."""
    key: Any = rsa.generate_private_key(65_537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)])
    instant = now or datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(instant + timedelta(days=begins))
        .not_valid_after(instant + timedelta(days=ends))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name(each) for each in names]), critical=False)
    return Issued(builder.sign(issuer.key if issuer else key, SHA256()), key)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)

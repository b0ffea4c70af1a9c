"""The certificate that the server shows: read of PEM files, checked, put in force, watched until it ends.

A pair is a certificate, with those of its issuers behind it, and its key. It is read when the server starts, and again
on SIGHUP; connections that are open go on with the pair with which they began. What cannot be used is refused with the
file and what to do. One whose time is over, or has not come, is told of and shown all the same at a start, for those
clients that check it refuse it anyhow, and a server that does not start serves nobody; on SIGHUP it is refused, for
there the pair that is in force is better.

``cryptography`` reads what OpenSSL through the standard library does not tell: dates, names, and what is wrong with a
file. It is imported with the first pair, so a server without TLS has neither its memory nor its start time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

log = logging.getLogger(__name__)

DAY = 86_400.0
WARNED_BEFORE = 30 * DAY
"""Seconds before its end in which a certificate is warned about; of one that lives short, a third of its life."""
_LOOKED_AT_EVERY = DAY
_MOST_BYTES = 1 << 20
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, those with forward secrecy and authenticated encryption; TLS 1.3 has no others."""


class BadCertificate(ValueError):
    """Which file, and what to do. It holds nothing of a key."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key, ready to be shown. ``names``: DNS names and addresses that it is for.

    ``begins``, ``ends``: seconds since the epoch, of all certificates in ``file`` together.
    """

    file: Path
    context: ssl.SSLContext
    names: tuple[str, ...]
    begins: float
    ends: float

    def ends_soon(self, now: float) -> bool:
        return self.ends - now < min(WARNED_BEFORE, (self.ends - self.begins) / 3)

    def wrong(self, now: float) -> str:
        """What is wrong with it at ``now``, as a clause; "" if nothing is."""
        if now >= self.ends:
            return f"ended on {_date(self.ends)}"
        if now < self.begins:
            return f"is not valid before {_date(self.begins)}"
        return ""


class Certificates:
    """The pair in force. ``load`` reads it, or BadCertificate; ``wall``: seconds since the epoch.

    ``renews``: ``load`` itself makes a new one in time, so that it is to be called again while the server runs.
    """

    def __init__(self, load: Callable[[], Pair], wall: Callable[[], float], renews: bool = False) -> None:
        self._load = load
        self._wall = wall
        self._renews = renews
        self._timer: asyncio.TimerHandle | None = None
        self.pair = load()
        self._warn()

    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        return self.pair.context

    def read_again(self) -> None:
        """BadCertificate, and then nothing changes."""
        pair = self._load()
        wrong = pair.wrong(self._wall())
        if wrong:
            raise BadCertificate(f"the certificate {pair.file} {wrong}")
        self.pair = pair
        self._warn()

    def watch(self) -> None:
        """Look once a day, on the running event loop, whether the end comes near, until ``stop``."""
        self._timer = asyncio.get_running_loop().call_later(_LOOKED_AT_EVERY, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self.watch()
        self.check()

    def check(self) -> None:
        """Renew the pair in force, or warn, if its end is near. Never raises."""
        if not self._renews or not self.pair.ends_soon(self._wall()):
            self._warn()
            return
        try:
            self.read_again()
        except (OSError, ValueError) as error:
            log.error("The certificate %s could not be renewed: %s", self.pair.file, error)

    def _warn(self) -> None:
        pair, now = self.pair, self._wall()
        wrong = pair.wrong(now)
        if wrong:
            log.error(
                "The certificate %s %s: clients that check it refuse it. Put a new one there and send SIGHUP",
                pair.file, wrong,
            )  # fmt: skip
        elif pair.ends_soon(now):
            log.warning(
                "The certificate %s ends on %s, in %.1f days: put a new one there and send SIGHUP",
                pair.file, _date(pair.ends), (pair.ends - now) / DAY,
            )  # fmt: skip

    def __str__(self) -> str:
        wrong = self.pair.wrong(self._wall())
        return f"{self.pair.file} ({wrong.upper() if wrong else f'until {_date(self.pair.ends)}'})"


def load(file: Path, key_file: Path | None) -> Pair:
    """The pair in ``file`` (and ``key_file``; None: the key is in ``file`` too). BadCertificate."""
    text, mode = _read(file, "certificate")
    chain = _chain(file, text)
    if key_file is not None:
        text, mode = _read(key_file, "key")
    _check_key(file, chain, key_file or file, text)
    _check_rights(key_file or file, mode)
    return Pair(
        file,
        _context(file, key_file),
        _names(chain[0]),
        max(each.not_valid_before_utc.timestamp() for each in chain),
        min(each.not_valid_after_utc.timestamp() for each in chain),
    )


def _read(file: Path, what: str) -> tuple[bytes, int]:
    """The content of a PEM file, and its mode."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise BadCertificate(f"{file} is not a file, so it holds no {what}")
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            text = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise BadCertificate(f"the {what} {file} cannot be read: {error.strerror or error}") from None
    if len(text) > _MOST_BYTES:
        raise BadCertificate(f"the {what} {file} is longer than {_MOST_BYTES} bytes")
    if b"-----BEGIN " not in text:
        raise BadCertificate(
            f"{file} is no PEM file, which has lines of text between -----BEGIN …----- and -----END …-----. DER and "
            f"PKCS #12 files can be made into one: openssl x509 or openssl pkey -inform DER, openssl pkcs12 -nodes"
        )
    return text, mode


def _check_rights(file: Path, mode: int) -> None:
    if mode & 0o022:
        raise BadCertificate(f"others can write the key {file} (mode {mode:04o}): chmod 600 {file}")
    if mode & 0o044:
        log.warning("Others can read the key %s (mode %04o): chmod 600 %s keeps them out", file, mode, file)


def _chain(file: Path, text: bytes) -> list[Certificate]:
    """The certificates in ``text``, in their order."""
    from cryptography import x509

    found = []
    for number, block in enumerate(_CERTIFICATE.findall(text), 1):
        try:
            found.append(x509.load_pem_x509_certificate(block))
        except ValueError:
            raise BadCertificate(f"certificate {number} in {file} cannot be read: it is damaged") from None
    if not found:
        raise BadCertificate(f"{file} holds no certificate (-----BEGIN CERTIFICATE-----)")
    return found


def _check_key(file: Path, chain: list[Certificate], key_file: Path, text: bytes) -> None:
    """BadCertificate unless ``text``, of ``key_file``, has the key of the first certificate of ``file``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    block = _KEY.search(text)
    if block is None:
        where = "it, or tls_key is to name the file that does" if key_file == file else "it"
        raise BadCertificate(f"{key_file} holds no private key (-----BEGIN PRIVATE KEY-----): {where} is to hold one")
    if b"ENCRYPTED" in block[0]:
        raise BadCertificate(
            f"the key in {key_file} is encrypted with a passphrase, which nobody is there to type. Without it: "
            f"(umask 077; openssl pkey -in {key_file} -out PLAIN.key)"
        )
    try:
        key = load_pem_private_key(block[0], None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadCertificate(f"the key in {key_file} cannot be read: it is damaged, or of an unknown kind") from None

    def public(of: object) -> bytes:
        return of.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]

    mine = public(key)
    if public(chain[0]) == mine:
        return
    if any(public(each) == mine for each in chain[1:]):
        raise BadCertificate(
            f"the first certificate in {file} is not the server's own, whose key this is: it is to stand before those "
            "of its issuers"
        )
    raise BadCertificate(f"the key in {key_file} is not that of the certificate {file}: they are of different pairs")


def _names(certificate: Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *(str(address) for address in addresses))


def _context(file: Path, key_file: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # A passphrase, so that nobody is ever asked for one on the terminal.
        context.load_cert_chain(file, key_file, password="")
    except ssl.SSLError as error:
        said = (error.reason or str(error)).replace("_", " ").lower()
        raise BadCertificate(f"the certificate {file} cannot be used: OpenSSL says {said}") from None
    except OSError as error:
        raise BadCertificate(f"the certificate {file} cannot be read: {error.strerror or error}") from None
    return context


def _date(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M UTC")

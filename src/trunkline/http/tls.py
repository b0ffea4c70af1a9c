"""TLS between the socket and a connection: the connection's bytes go through OpenSSL, in memory.

    socket -> Channel.data_received -> OpenSSL -> connection.data_received
    socket <- raw transport's write <- OpenSSL <- Channel.write

A ``Channel`` is the protocol of the socket and the transport of the connection, which notices nothing but that its
``scheme`` is https. asyncio and uvloop have such a layer too (``ssl=``). It tells nobody of a handshake that fails, nor
that one is under way, so that such connections are neither counted nor refused; it takes a client that has said all for
one that has gone; and what comes in clear text it resets. Here

- a connection counts, and ages, from the moment it is accepted; the handshake must end within ``handshake_seconds``;
- the first byte tells what the client speaks. HTTP in clear is answered in clear, with 400 and what to do, or is served
  (``mixed``); nothing else but TLS is answered;
- a handshake that fails is told to the client by OpenSSL's alert, counted by its reason, logged without a traceback;
- close_notify ends what the client says, as the end of a stream does in clear: its answers still go out. What is closed
  is closed with close_notify; nobody waits for the client's;
- bytes are encrypted when they are written, so that what waits for a slow client is the raw transport's buffer, and
  bounded as in clear.

Encrypting happens on the event loop: some microseconds for a message, and a fraction of a millisecond for a handshake
with an elliptic key. The layer has no timers but the one of the handshake.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from trunkline.kernel.refusals import Refusals

log = logging.getLogger(__name__)

HANDSHAKE = 0x16
"""The type of the record that a client begins with (RFC 8446, 5.1)."""
_RECORD = 16_384
"""Bytes of the longest record: what one read of OpenSSL's gives at the most."""
_OWN_BYTES = 65_536
"""What OpenSSL may say of itself (alerts, new keys) to a client that does not read, before it is let go."""
REFUSED = b"\x15\x03\x01\x00\x02\x02\x28"
"""A record with the fatal alert handshake_failure: every client understands it at once, whatever version it speaks."""
BUSY = b"\x15\x03\x01\x00\x02\x02\x50"
"""The same with internal_error, for a server that closes before a client has said anything."""

PLAIN_HTTP, NOT_TLS, SLOW, LEFT, UNTRUSTED, VERSION, CIPHER, OTHER = (
    "plain_http", "not_tls", "slow", "left", "untrusted", "version", "cipher", "other",
)  # fmt: skip
_REASONS = {
    "ALERT_UNKNOWN_CA": UNTRUSTED,
    "ALERT_BAD_CERTIFICATE": UNTRUSTED,
    "ALERT_CERTIFICATE_UNKNOWN": UNTRUSTED,
    "ALERT_CERTIFICATE_EXPIRED": UNTRUSTED,
    "ALERT_UNSUPPORTED_CERTIFICATE": UNTRUSTED,
    "UNSUPPORTED_PROTOCOL": VERSION,
    "VERSION_TOO_LOW": VERSION,
    "ALERT_PROTOCOL_VERSION": VERSION,
    "NO_SHARED_CIPHER": CIPHER,
    "NO_SUITABLE_SIGNATURE_ALGORITHM": CIPHER,
    "NO_SUITABLE_KEY_SHARE": CIPHER,
    "ALERT_HANDSHAKE_FAILURE": CIPHER,
    "WRONG_VERSION_NUMBER": NOT_TLS,
}
"""OpenSSL's reasons, as far as somebody who reads them could do something about each."""

_TOLD = {
    UNTRUSTED: "Clients do not trust the certificate: they need it, or its issuer's, in AWS_CA_BUNDLE, or whatever "
    "their SDK takes",
    PLAIN_HTTP: "Clients speak HTTP in clear to a port that speaks TLS: their endpoint is to begin with https://",
}
"""Logged once a spell: what a person has set up wrong. The other reasons are logged at level info."""
OFFERED = (
    "Clients speak TLS to a port that speaks HTTP in clear: their endpoint is to begin with http://, or the server is "
    "to be started with --tls-cert or --tls-self-signed"
)
"""The same for a server without TLS."""


class Connection(Protocol):
    """What stands behind a channel: see http.server."""

    scheme: str

    def connection_made(self, transport: Any) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool: ...
    def connection_lost(self, error: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def stands_in_clear(self, transport: Any) -> None: ...
    def refuse_clear(self) -> None: ...


class Tls:
    """How a server speaks TLS. ``context``: asked for each connection, so that a renewed certificate is in force at
    once. ``mixed``: HTTP in clear is served at the same port. ``handshake_seconds``, ``monotonic``: real seconds.

    ``failures``: handshakes that failed, by reason.
    """

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        mixed: bool = False,
        handshake_seconds: float = 60.0,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self.context = context
        self.mixed = mixed
        self.handshake_seconds = handshake_seconds
        self.failures: dict[str, int] = {}
        clock = monotonic or (lambda: asyncio.get_running_loop().time())
        self._told = {reason: Refusals(text, log, clock) for reason, text in _TOLD.items()}

    def failed(self, reason: str, detail: str, peer: str) -> None:
        """A handshake with ``peer`` came to nothing."""
        self.failures[reason] = self.failures.get(reason, 0) + 1
        told = self._told.get(reason)
        if told is not None:
            told.add()
        log.info("No TLS with %s: %s", peer, detail, extra={"peer": peer})


class Channel(asyncio.Protocol):
    """One socket, and the transport of ``connection``: asyncio's, as far as http.server uses it."""

    def __init__(self, tls: Tls, connection: Connection) -> None:
        self._tls = tls
        self._connection: Any = connection
        self._raw: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object: Any = None
        self._secured = False
        """The handshake is through."""
        self._judged = False
        """How the handshake ended, if it did not end well, has been counted."""
        self._closing = False
        self._said_all = False
        """The client's close_notify or end came."""
        self._said_goodbye = False
        self._paused = False
        self._full = False
        self._own_bytes = 0
        self._reading_on = False

    # -- the protocol of the socket ------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self._raw = transport
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._tls.handshake_seconds, self._too_slow)
        self._connection.connection_made(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._stop_timer()
        if self._object is not None and not self._secured:
            self._fail(LEFT, "the client left during the handshake")
        connection, self._connection = self._connection, None
        # They know each other, and what one holds is some tens of KB: without this it would wait for the collector.
        self._object = None
        connection.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self._closing or self._said_goodbye:
            return
        if self._object is None:
            if data[0] != HANDSHAKE:
                self._in_clear(data)
                return
            self._object = self._tls.context().wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(data)
        if self._secured or self._shake():
            self._read()

    def eof_received(self) -> bool:
        if not self._secured:
            return False  # nobody is left to shake hands with; connection_lost counts it
        return self._ended()

    def pause_writing(self) -> None:
        self._full = True
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        self._own_bytes = 0
        self._connection.resume_writing()

    # -- the handshake -------------------------------------------------------------

    def _shake(self) -> bool:
        """Go on with the handshake; True when it is through."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
            return False
        except (ssl.SSLError, ssl.CertificateError) as error:
            reason, detail = _reason(error)
            if reason == NOT_TLS:
                self._raw.write(REFUSED)
            else:
                self._send()  # OpenSSL's alert, which says why
            self._fail(reason, detail)
            self._end()
            return False
        self._secured = True
        self._stop_timer()
        self._connection.scheme = "https"
        self._send()
        return True

    def _too_slow(self) -> None:
        if not self._secured and not self._closing:
            if self._object is not None:
                self._fail(SLOW, f"the handshake did not end within {self._tls.handshake_seconds:g} seconds")
            self.abort()

    def _fail(self, reason: str, detail: str) -> None:
        if not self._judged:
            self._judged = True
            peer = self._raw.get_extra_info("peername")
            self._tls.failed(reason, detail, peer[0] if isinstance(peer, tuple) else "")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _in_clear(self, data: bytes) -> None:
        """The client does not speak TLS: step out of the way of one who speaks HTTP, at least to tell him."""
        letter = data[:1].isalpha()
        self._stop_timer()
        if not (self._tls.mixed or letter):
            self._fail(NOT_TLS, f"what came is neither TLS nor HTTP: {data[:8]!r}")
            self._raw.write(REFUSED)
            self._end()
            return
        self._raw.set_protocol(self._connection)
        self._connection.stands_in_clear(self._raw)
        if self._tls.mixed:
            self._connection.data_received(data)
        else:
            self._fail(PLAIN_HTTP, "it speaks HTTP in clear, and was told to say https://")
            self._connection.refuse_clear()

    # -- what comes, and what goes -------------------------------------------------

    def _read(self) -> None:
        """Hand over what came, as long as it is wanted."""
        incoming, read, connection = self._incoming, self._object.read, self._connection
        try:
            while True:
                data = read(_RECORD)
                if not data:
                    self._ended_by_notice()
                    return
                connection.data_received(data)
                if not incoming.pending or self._paused or self._closing or self._said_goodbye:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended_by_notice()
            return
        except ssl.SSLError as error:
            log.info("TLS broke off: %s", _text(error))
            self._send()
            self._end()
            return
        if self._outgoing.pending:
            self._send_own()

    def _read_on(self) -> None:
        self._reading_on = False
        if self._incoming.pending and not (self._paused or self._closing or self._said_goodbye or self._said_all):
            self._read()

    def _ended_by_notice(self) -> None:
        if self._outgoing.pending:
            self._send()
        if not self._ended():
            self.close()

    def _ended(self) -> bool:
        """The client says no more; True if it is still to be answered."""
        if self._said_all:
            return not self._closing
        self._said_all = True
        return bool(self._connection.eof_received())

    def _send(self) -> None:
        data = self._outgoing.read()
        if data:
            self._raw.write(data)

    def _send_own(self) -> None:
        """What OpenSSL has to say to the client by itself."""
        if self._full:
            self._own_bytes += self._outgoing.pending
            if self._own_bytes > _OWN_BYTES:
                self.abort()
                return
        self._send()

    # -- the transport of the connection -------------------------------------------

    def write(self, data: bytes) -> None:
        """What is written before the handshake is through, or after the end, reaches nobody."""
        if not self._secured or self._closing or self._said_goodbye:
            return
        secure = self._object.write
        try:
            done = secure(data)
            if done < len(data):  # a record is 16 KiB at the most
                with memoryview(data) as rest:
                    while done < len(data):
                        done += secure(rest[done:])
        except ssl.SSLError as error:
            log.info("TLS broke off: %s", _text(error))
            self.abort()
            return
        self._raw.write(self._outgoing.read())

    def close(self) -> None:
        """Close when what was written has gone out, with close_notify, or, before the handshake, with an alert."""
        if self._closing:
            return
        if self._secured:
            self._say_goodbye()
        else:
            self._judged = True
            if self._object is None and not self._tls.mixed:
                self._raw.write(BUSY)  # later it would have to be encrypted
        self._end()

    def abort(self) -> None:
        """Close at once."""
        self._closing = True
        self._raw.abort()

    def can_write_eof(self) -> bool:
        return self._secured and bool(self._raw.can_write_eof())

    def write_eof(self) -> None:
        """Say no more. What still comes is thrown away."""
        if not self._closing:
            self._say_goodbye()
            self._raw.write_eof()

    def _say_goodbye(self) -> None:
        if self._said_goodbye:
            return
        self._said_goodbye = True
        with suppress(ssl.SSLError):  # for the client's own close_notify is not here, nor awaited
            self._object.unwrap()
        self._send()

    def _end(self) -> None:
        self._closing = True
        self._raw.close()

    def is_closing(self) -> bool:
        return self._closing or bool(self._raw.is_closing())

    def pause_reading(self) -> None:
        self._paused = True
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._raw.resume_reading()
        if self._incoming.pending and not self._reading_on:
            # Not at once: the connection is in the middle of something.
            self._reading_on = True
            asyncio.get_running_loop().call_soon(self._read_on)

    def get_write_buffer_size(self) -> int:
        return int(self._raw.get_write_buffer_size())

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._raw.get_extra_info(name, default)


def _reason(error: Exception) -> tuple[str, str]:
    """Why a handshake failed: a word for the metrics, a text for people."""
    text = _text(error)
    if isinstance(error, ssl.SSLEOFError):
        return LEFT, text
    reason = getattr(error, "reason", None) or ""
    # A client's alert is named after the version that brought it in: SSLV3_ALERT_…, TLSV1_ALERT_….
    at = reason.find("ALERT_")
    return _REASONS.get(reason[at:] if at > 0 else reason, OTHER), text


def _text(error: Exception) -> str:
    """OpenSSL's own words, without its file and line."""
    reason = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if reason else str(error)

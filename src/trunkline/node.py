"""The composition root: the only file that knows every part.

Everything uncertain is made here and handed in: clocks, ids, the secret, the
store, the socket. ``run`` is a server process; ``Node`` is the same without
the process around it, for tests and for people's own programs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import trunkline
from trunkline import logs
from trunkline.admission import Admission
from trunkline.banner import banner, url
from trunkline.certificates import BadCertificate, Certificates, Pair
from trunkline.certificates import load as load_certificate
from trunkline.credentials import BadCredentials, Credentials
from trunkline.gateway import Gateway
from trunkline.http.access import AccessLog, Handler
from trunkline.http.binding import bind
from trunkline.http.browsers import Browsers
from trunkline.http.connections import Limits, raise_limit, room
from trunkline.http.endpoints import Endpoints
from trunkline.http.inspection import SqsPages
from trunkline.http.server import HttpServer
from trunkline.http.tls import Tls
from trunkline.kernel.errors import ServiceUnavailable
from trunkline.kernel.ids import Ids, RandomIds
from trunkline.kernel.time import RealClock, ServiceClock
from trunkline.metrics.collector import Metrics
from trunkline.metrics.lag import Lag
from trunkline.metrics.token import Token
from trunkline.reloads import Reloads
from trunkline.runtime.partitions import Partitions
from trunkline.runtime.timekeeper import Timekeeper
from trunkline.selfmade import SelfMade, names
from trunkline.services.sqs import urls
from trunkline.services.sqs.catalogue import Clear
from trunkline.services.sqs.inspection import Inspection, View
from trunkline.services.sqs.receipts import Receipts
from trunkline.services.sqs.service import READING, SENDING, SqsService
from trunkline.services.sts.service import StsService
from trunkline.settings import Settings, flag
from trunkline.signatures import Verifier
from trunkline.storage.directory import DataDirectoryInUse
from trunkline.storage.memory import MemoryStore
from trunkline.storage.sqlite import SqliteStore
from trunkline.storage.sqlite_file import NewerFormat
from trunkline.storage.store import Store, StoreError
from trunkline.unenforced import UNENFORCED
from trunkline.wire import sigv4
from trunkline.wire.message import HttpRequest

log = logging.getLogger(__name__)

_CLEARED_AT_ONCE = 100
"""Queues that a reset deletes in one turn: in a few milliseconds."""
_REFUSE_SECONDS = 0.05
"""Real seconds between two looks for callers who wait while the server stops."""


class Node:
    """A whole server in this process. ``await start()``, use ``port``, ``await stop()``.

    ``store``, ``real`` and ``ids`` replace the real ones, for tests. ``reloads.run()`` is what SIGHUP does.
    BadCredentials or BadCertificate if the file of either cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store | None = None,
        real: RealClock | None = None,
        ids: Ids | None = None,
        reloads: Reloads | None = None,
    ) -> None:
        self.settings = settings
        self.reloads = Reloads() if reloads is None else reloads
        self.real = real or RealClock()
        self.token: Token | None = None
        if settings.metrics_token is not None:
            self.token = Token(settings.metrics_token)
            self.reloads.register("the metrics token", self.token.read_again)
        self.credentials: Credentials | None = None
        if settings.credentials is not None:
            self.credentials = Credentials(settings.credentials, settings.account)
            self.reloads.register("the credentials", self.credentials.read_again)
        self.certificates: Certificates | None = None
        self._made_for_memory: Path | None = None
        if settings.tls_cert is not None:
            self._certify(partial(load_certificate, settings.tls_cert, settings.tls_key))
        self.clock = ServiceClock(self.real)
        self.ids = ids or RandomIds()
        self.lost: asyncio.Future[Exception] | None = None
        self.hosts: list[str] = []
        self.port = 0
        self.partitions = Partitions(
            store or _store(settings),
            self.clock,
            self.real,
            secret=os.urandom(32),
            cache_bytes=settings.cache_bytes,
            machine_bytes=settings.machine_bytes,
            on_lost=self._on_lost,
        )
        self.timekeeper = Timekeeper(self.clock, self.real, self.partitions, settings.advance_timeout)
        self.lag = Lag(self.real.monotonic)
        self.sqs: SqsService
        self.gateway: Gateway
        self.server: HttpServer
        self.metrics: Metrics

    async def start(self) -> None:
        """Open the data, then listen. StoreError or OSError if either cannot be; BadCertificate if none can be made."""
        self.lost = asyncio.get_running_loop().create_future()
        # A machine is only built when its partition is loaded, which is after this.
        await self.partitions.start()
        sockets: list[socket.socket] = []
        try:
            if self.settings.tls_self_signed:
                # In a directory that is this server's now.
                made = SelfMade(self._place_for_certificate(), names(self.settings), self.real.wall)
                self._certify(made.load, renews=True)
            # Before what tells of the port is made; who calls already waits until it is.
            sockets = await bind(self.settings.host, self.settings.port)
            self.hosts = [each.getsockname()[0] for each in sockets]
            self.port = sockets[0].getsockname()[1]
            self._build()
            await self.server.serve(sockets)
        except BaseException:
            for each in sockets:
                each.close()
            await self.partitions.stop()
            self._forget_certificate()
            raise

    def _certify(self, load: Callable[[], Pair], renews: bool = False) -> None:
        self.certificates = Certificates(load, self.real.wall, renews)
        self.reloads.register("the certificate and its key", self.certificates.read_again)

    def _place_for_certificate(self) -> Path:
        if not self.settings.memory:
            return self.settings.data
        self._made_for_memory = Path(tempfile.mkdtemp(prefix="trunkline-"))
        return self._made_for_memory

    def _forget_certificate(self) -> None:
        if self.certificates is not None:
            self.certificates.stop()
        if self._made_for_memory is not None:
            shutil.rmtree(self._made_for_memory, ignore_errors=True)
            self._made_for_memory = None

    def _build(self) -> None:
        """Put the parts together."""
        settings = self.settings
        receipts = Receipts(self.partitions.secret)
        sqs = self.sqs = SqsService(self.partitions, self.ids, receipts, _timer, _aside, settings, self.real.monotonic)
        inspection = Inspection(self.partitions)

        async def look(
            account: str, region: str, name: str, invisible: bool, delayed: bool
        ) -> tuple[list[dict[str, Any]], bool]:
            return await inspection.messages(account, region, name, View(invisible, delayed))

        self.partitions.register("sqs", sqs.factory)
        self.partitions.begin()
        sts = StsService()
        verifier = None
        if self.credentials is not None:
            credentials = self.credentials
            verifier = Verifier(lambda: credentials.keys, self.real.wall)
        browsers = Browsers((settings.hostname, settings.host), settings.allow_origin)
        endpoints = Endpoints(
            services=["sqs", "sts"],
            version=trunkline.__version__,
            clock=self.timekeeper,
            reset=self.reset,
            inspect=SqsPages(look, inspection.purge, urls.parse, self.ids, settings.account, settings.region).answer,
            unenforced=UNENFORCED,
            from_anywhere=settings.clock_from == "anywhere",
            settings=_in_force(settings, self.port),
            new_id=self.ids.text,
            token=None if self.token is None else self.token.matches,
            scrape=lambda accept: self.metrics.scrape(accept),
            admit=None if verifier is None else partial(verifier.caller, service="sqs"),
            storage=self._storage,
        )
        self.gateway = Gateway(
            {"sqs": sqs.operations(), "sts": sts.operations()},
            self.ids,
            default_account=settings.account,
            default_region=settings.region,
            own_pages=endpoints.handle,
            monotonic=self.real.monotonic,
            verifier=verifier,
            aside=_aside,
            browsers=browsers.admit,
            admission=Admission(
                self.partitions.commits,
                settings.max_uncommitted_bytes,
                SENDING,
                self.real.monotonic,
                READING | {"sts:GetCallerIdentity"},
            ),
        )
        told = settings.log_level in ("debug", "info")
        handle: Handler = self.gateway.handle
        if told:
            handle = AccessLog(handle, self.real.monotonic, partial(_place, self.credentials, settings.account))
        self.server = HttpServer(
            handle,
            max_body_bytes=settings.max_body_bytes,
            limits=_limits(settings),
            max_reading_bytes=settings.max_reading_bytes,
            door=self.gateway,
            tls=self._tls(),
        )
        self.metrics = Metrics(
            self.gateway, self.server, self.partitions, sqs.receiving, self.clock, self.real.monotonic, self.lag,
            settings.metrics_queues, self.certificates,
        )  # fmt: skip
        self.lag.start()

    def _tls(self) -> Tls | None:
        if self.certificates is None:
            return None
        self.certificates.watch()
        return Tls(self.certificates.context, self.settings.tls_mixed, self.settings.request_seconds)

    async def stop(self) -> None:
        """Answer what is in flight (long polls with a retryable error), flush everything, let go of the data."""
        self.lag.stop()
        closing = asyncio.ensure_future(self.server.stop(self.settings.grace))
        await asyncio.sleep(0)
        while not closing.done():
            # Again and again: what was half here when the stop began may turn out to be a long poll.
            self.partitions.refuse_waiting(ServiceUnavailable("The server is shutting down; please retry."))
            await asyncio.wait((closing,), timeout=_REFUSE_SECONDS)
        await closing
        await self.partitions.stop()
        self._forget_certificate()

    async def reset(self, account: str | None, service: str | None) -> int:
        """Empty an account, a service or everything. How many queues went."""
        gone = 0
        for (name, region, owner), partition in self.partitions.catalogues():
            if account not in (None, owner) or service not in (None, name):
                continue
            catalogue: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self.partitions.load_catalogue(name, region, owner, catalogue.set_result)
            _refuse(await catalogue)
            more = True
            while more:
                answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                self.partitions.tell(partition, Clear(FutureToken(answer), _CLEARED_AT_ONCE))
                cleared = _refuse(await answer)
                gone += cleared.queues
                more = cleared.more
        return gone

    def _storage(self) -> dict[str, Any]:
        """How the store is, for the health page."""
        outage = self.partitions.outage
        if outage.failing and outage.error is not None:
            reason = f"{outage.error}. {outage.error.advice}".rstrip()
            return {
                "state": "failing", "kind": outage.error.kind, "reason": reason, "seconds": round(outage.seconds, 1)
            }  # fmt: skip
        if self.partitions.short:
            return {"state": "short", "reason": "The disk is nearly full: no messages are taken until there is room."}
        return {"state": "ok"}

    def _on_lost(self, error: Exception) -> None:
        if self.lost is not None and not self.lost.done():
            self.lost.set_result(error)


def _limits(settings: Settings) -> Limits:
    most = room(settings.max_connections)
    if most < settings.max_connections:
        log.info(
            "%d connections are taken, not %d: more file descriptors are not to be had", most, settings.max_connections
        )
    return Limits(settings.idle_seconds, settings.request_seconds, most, settings.max_unsent_bytes)


class FutureToken:
    """A token whose answer sets a future."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def release(self, answer: Any) -> None:
        if not self._future.done():
            self._future.set_result(answer)


def _place(credentials: Credentials | None, default: str, request: HttpRequest) -> tuple[str, str]:
    """The account and the region that a request was signed for."""
    credential = sigv4.read(sigv4.scope(request))
    if credential is None:
        return default, ""
    key = None if credentials is None else credentials.keys.get(credential.access_key)
    account = sigv4.account_of(credential.access_key, default) if key is None else key.account
    return account, credential.region


def _timer(seconds: float, action: Callable[[], None]) -> Callable[[], None]:
    """Real seconds from now; the result takes it back."""
    return asyncio.get_running_loop().call_later(seconds, action).cancel


def _in_force(settings: Settings, port: int) -> dict[str, Any]:
    """The settings as they turned out, for JSON."""
    shown = dataclasses.asdict(settings) | {
        "port": port,
        "purge_wait": settings.purge_wait_ms / 1000,
        "delete_wait": settings.delete_wait_ms / 1000,
    }
    if settings.memory:
        shown |= {"data": None, "durability": "none"}
    return {name: str(value) if isinstance(value, Path) else value for name, value in shown.items()}


def _aside(work: Callable[[], Any], then: Callable[[Any], None]) -> None:
    """Do ``work`` on a thread; ``then`` is called on the event loop with its result or its exception."""

    def done(future: asyncio.Future[Any]) -> None:
        if not future.cancelled():
            error = future.exception()
            then(future.result() if error is None else error)

    asyncio.get_running_loop().run_in_executor(None, work).add_done_callback(done)


def _refuse(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _store(settings: Settings) -> Store:
    if settings.memory:
        return MemoryStore()
    return SqliteStore(settings.data, durability="os" if settings.durability == "os" else "fsync")


INTERRUPTED = 128 + signal.SIGINT
"""The exit code of a process that was interrupted before it could run or stop in order, as shells have it."""

_CANNOT_LISTEN = {
    errno.EADDRINUSE: "Stop the server that listens there, or take another port: {port} 0 takes a free one",
    errno.EACCES: "This user may not take that port; those from 1024 on are free to all: {port} 4566",
    errno.EADDRNOTAVAIL: "This machine does not have that address; see what it has with `ip addr`, or {host} 127.0.0.1",
    errno.EAFNOSUPPORT: "This machine does not speak IPv6: {host} 127.0.0.1",
}
_NO_SUCH_NAME = "{host} takes an address of this machine, such as 127.0.0.1, or a name that it knows"


def run(settings: Settings) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP. The process's exit code: 0, or 1 after a clear message."""
    logs.set_up(settings.log_level, settings.log_format)
    try:
        return _loop_runner()(_serve(settings))
    except (DataDirectoryInUse, NewerFormat) as error:
        print(f"trunkline: {error}", file=sys.stderr)
    except (BadCredentials, BadCertificate) as error:
        print(f"trunkline: {error}", file=sys.stderr)
    except StoreError as error:
        advice = f". {error.advice}" if error.advice else ""
        print(f"trunkline: the data cannot be opened: {error}{advice}", file=sys.stderr)
    except OSError as error:
        print(f"trunkline: {_why_not_listening(settings, error)}", file=sys.stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1


def _why_not_listening(settings: Settings, error: OSError) -> str:
    where = url(settings.host, settings.port).removeprefix("http://")
    unknown = isinstance(error, socket.gaierror)
    advice = _NO_SUCH_NAME if unknown else _CANNOT_LISTEN.get(error.errno or 0, "")
    text = f"cannot listen on {where}: {error.strerror or error}."
    return f"{text} {advice.format(host=flag('host'), port=flag('port'))}." if advice else text


def _loop_runner() -> Callable[[Coroutine[Any, Any, int]], int]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    runner: Callable[[Coroutine[Any, Any, int]], int] = uvloop.run
    return runner


async def _serve(settings: Settings) -> int:
    # First, so that a signal during the start is a stop as well.
    stop = asyncio.Event()
    raise_limit()
    reloads = Reloads()
    _on_signals(stop, reloads)
    node = Node(settings, reloads=reloads)
    await node.start()
    # What is in memory now stays; collecting it again and again would cost p99 and find nothing. Nothing that comes and
    # goes with requests, connections and queues is a cycle (tests/server/test_memory.py), so the collector is for what
    # failed half-way. It looks at new objects, some at a time, in 2 ms. At those that have outlived that, a million for
    # each full FIFO queue perhaps, it hardly ever looks: a third of a second would nobody be answered.
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 2_000, 10)
    # The store's threads hand the interpreter lock to and fro; waiting 5 ms for it each time, as by default, would be
    # most of the latency of a read or of a commit on a slow disk.
    sys.setswitchinterval(0.0002)
    print(banner(settings, node.hosts, node.port, str(node.credentials or ""), node.certificates), flush=True)
    print("Ready.", flush=True)
    assert node.lost is not None
    node.lost.add_done_callback(lambda _: stop.set())
    await stop.wait()
    await node.stop()
    if node.lost.done():
        print(f"trunkline: stopped, for the data is out of reach: {node.lost.result()}", file=sys.stderr)
        return 1
    return 0


def _on_signals(stop: asyncio.Event, reloads: Reloads) -> None:
    """The first signal sets ``stop``; the second one ends the process at once. SIGHUP reads again what can be."""
    asked = False

    def ask(number: int) -> None:
        nonlocal asked
        if asked:
            print("trunkline: stopped at once; what was acknowledged is kept", file=sys.stderr, flush=True)
            os._exit(128 + number)
        asked = True
        stop.set()

    def hang_up(number: int) -> None:
        if reloads and not asked:
            reloads.run()
        else:
            ask(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # nohup has a process ignore SIGHUP, so that it outlives its terminal.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            action = hang_up if number == signal.SIGHUP else ask
            asyncio.get_running_loop().add_signal_handler(number, action, number)

"""Reads the parts of a node when somebody looks, and writes what it read.

The parts only count (kernel.measures); nothing is computed until a scrape.
A scrape gives way to others every millisecond, so the values of one text may
lie some of them apart. Scrapes that come while one is under way share it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Iterator
from typing import Any

import trunkline
from trunkline.certificates import Certificates
from trunkline.gateway import Gateway
from trunkline.http.server import HttpServer
from trunkline.kernel.measures import Histogram, Traffic
from trunkline.kernel.time import ServiceClock
from trunkline.metrics import table
from trunkline.metrics.exposition import Family, Pace, Samples, load, write
from trunkline.metrics.lag import Lag
from trunkline.metrics.table import Metric
from trunkline.runtime.partitions import Partitions
from trunkline.services.sqs.levels import Levels, Look
from trunkline.services.sqs.receiving import Receiving

_TRAFFIC: tuple[tuple[Metric, Callable[[Traffic], int]], ...] = (
    (table.SENT, lambda traffic: traffic.sent),
    (table.DUPLICATES, lambda traffic: traffic.duplicates),
    (table.RECEIVED, lambda traffic: traffic.received),
    (table.EMPTY, lambda traffic: traffic.empty),
    (table.DELETED, lambda traffic: traffic.deleted),
    (table.EXPIRED, lambda traffic: traffic.expired),
    (table.DEAD, lambda traffic: traffic.dead),
)


class Metrics:
    """``scrape(accept)``: the text and its content type. ``most``: queues with series of their own.
    ``certificates``: what the server shows, if it speaks TLS."""

    def __init__(
        self,
        gateway: Gateway,
        server: HttpServer,
        partitions: Partitions,
        receiving: Receiving,
        clock: ServiceClock,
        monotonic: Callable[[], float],
        lag: Lag,
        most: int,
        certificates: Certificates | None = None,
    ) -> None:
        self._gateway = gateway
        self._server = server
        self._partitions = partitions
        self._receiving = receiving
        self._clock = clock
        self._monotonic = monotonic
        self._lag = lag
        self._most = most
        self._certificates = certificates
        self._levels = Levels(partitions, clock.now, monotonic)
        self._turn = asyncio.Lock()
        self._under_way: dict[str, asyncio.Task[tuple[bytes, str]]] = {}
        self._took = 0.0

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        task = self._under_way.get(accept)
        if task is None:
            task = self._under_way[accept] = asyncio.ensure_future(self._scrape(accept))
            task.add_done_callback(lambda _: self._under_way.pop(accept, None))
        return await asyncio.shield(task)

    async def _scrape(self, accept: str) -> tuple[bytes, str]:
        async with self._turn:
            library = await load()
            begun = self._monotonic()
            pace = Pace(self._monotonic)
            look = await self._levels.look(self._most, pace.rest) if self._most else None
            written = await write(library, self._families(look), accept, pace.rest)
            self._took = self._monotonic() - begun
            return written

    def _families(self, look: Look | None) -> Iterator[Family]:
        yield from self._requests()
        if look is not None:
            yield from _queues(look)
        yield from self._commits()
        yield from self._memory()
        yield table.LAG, _one(self._lag.seconds)
        yield table.SCRAPE, _one(self._took)
        yield table.FROZEN, _one(self._clock.frozen)
        yield table.OFFSET, _one(self._clock.offset / 1000)
        versions = (trunkline.__version__, sys.version.split()[0], sqlite3.sqlite_version)
        yield table.BUILD, [(versions, 1)]

    def _requests(self) -> Iterator[Family]:
        answers = sorted(self._gateway.answers.items())
        outcomes: list[tuple[tuple[str, ...], float]] = []
        for (service, operation), answer in answers:
            outcomes.append(((service, operation, "OK"), answer.succeeded))
            outcomes += [((service, operation, code), count) for code, count in sorted(answer.errors.items())]
        yield table.REQUESTS, outcomes
        yield table.DURATION, list(answers)
        yield table.UNROUTED, [((code,), count) for code, count in sorted(self._gateway.refused.items())]
        yield table.HTTP_REFUSED, [((str(status),), count) for status, count in sorted(self._server.refused.items())]
        yield table.CONNECTIONS, _one(len(self._server.connections))
        yield table.READING, _one(self._server.reading_bytes)
        yield from self._tls()
        bounds = {
            "max_connections": self._server.turned_away,
            "max_reading_bytes": self._server.throttled,
            "max_uncommitted_bytes": self._gateway.admission.refused,
            "max_waiting_receivers": self._receiving.refused,
        }
        yield table.THROTTLED, [((bound,), refused.count) for bound, refused in bounds.items()]

    def _tls(self) -> Iterator[Family]:
        yield table.CERTIFICATE, [] if self._certificates is None else _one(self._certificates.pair.ends)
        failures = {} if self._server.tls is None else self._server.tls.failures
        failed = {**failures, "no_tls_here": self._server.tls_offered.count}
        yield table.TLS_FAILURES, [((reason,), count) for reason, count in sorted(failed.items())]

    def _commits(self) -> Iterator[Family]:
        partitions = self._partitions
        commits = partitions.commits
        yield table.COMMITS, _one(commits.batches)
        yield table.COMMITS_FAILED, _one(commits.failures)
        yield table.COMMIT_SECONDS, _one(commits.seconds)
        yield table.COMMIT_UNITS, _one(commits.sizes)
        yield table.UNSETTLED, _one(commits.unsettled)
        yield table.UNCOMMITTED, _one(commits.uncommitted)
        yield table.SHORT, _one(partitions.short)
        yield table.FAILING, _one(partitions.outage.failing)
        yield table.FAILURES, [((kind,), count) for kind, count in partitions.outage.failures.items()]
        yield table.KEPT_OUT, _one(partitions.outage.refused)
        sizes = partitions.sizes()
        if sizes is not None:
            yield table.DATABASE, _one(sizes.data)
            yield table.WAL, _one(sizes.log)
            yield table.FREE, _one(sizes.free)
        yield table.DEAD_RANGES, _one(partitions.sweeper.behind)

    def _memory(self) -> Iterator[Family]:
        partitions = self._partitions
        yield table.MACHINES, _one(sum(1 for _ in partitions.machines()))
        yield table.MACHINE_BYTES, _one(partitions.weight)
        yield table.CACHE_BYTES, _one(partitions.cached)
        yield table.ALL_RECEIVERS, _one(self._receiving.waiting)


def _one(value: float | Histogram) -> Samples:
    return [((), value)]


def _queues(look: Look) -> Iterator[Family]:
    yield table.MESSAGES, _messages(look)
    known = [(_labels(each), each) for each in look.levels]
    yield table.AGE, ((labels, each.age) for labels, each in known if each.counts is not None)
    yield table.RECEIVERS, ((labels, each.receivers) for labels, each in known)
    for metric, count in _TRAFFIC:
        yield metric, _traffic(known, count)
    yield table.QUEUES, _one(look.queues)
    yield table.LEFT_OUT, _one(look.left_out)
    yield table.UNREAD, _one(look.unread)
    yield table.PLACES_LEFT_OUT, _one(look.places_left_out)


def _labels(level: Any) -> tuple[str, str, str]:
    return level.account, level.region, level.name


def _messages(look: Look) -> Iterator[tuple[tuple[str, ...], float]]:
    for each in look.levels:
        if each.counts is not None:
            labels = _labels(each)
            yield (*labels, "visible"), each.counts.visible
            yield (*labels, "in_flight"), each.counts.in_flight
            yield (*labels, "delayed"), each.counts.delayed


def _traffic(known: list[Any], count: Callable[[Traffic], int]) -> Samples:
    return ((labels, count(each.traffic)) for labels, each in known)

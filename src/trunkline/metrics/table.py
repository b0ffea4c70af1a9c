"""Every metric that /metrics shows, declared once: the page docs/reference/metrics.md is made from this table.

Names follow the conventions of Prometheus: one prefix, base units, ``_total``
for what only rises. Labels have few values: operations are those of AWS's
models, codes those of its errors; queues are limited by the setting
``metrics_queues``. The metrics of the process and of Python are the client
library's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """``name`` in full, with ``_total``; a histogram's samples add ``_bucket``, ``_sum`` and ``_count`` to it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


_QUEUE = ("account", "region", "queue")


def _queue(name: str, kind: Kind, help: str, *more: str) -> Metric:
    return Metric(f"trunkline_queue_{name}", kind, help, (*_QUEUE, *more))


REQUESTS = Metric(
    "trunkline_requests_total", "counter",
    "Requests answered, by operation and outcome: the error's code, or OK.", ("service", "operation", "code"),
)  # fmt: skip
DURATION = Metric(
    "trunkline_request_duration_seconds", "histogram",
    "From a whole request to its answer, durable if it changed anything. What a long poll waits is in it.",
    ("service", "operation"),
)  # fmt: skip
UNROUTED = Metric(
    "trunkline_requests_refused_total", "counter",
    "Requests for no operation of ours, by the code that they were refused with.", ("code",),
)  # fmt: skip
HTTP_REFUSED = Metric(
    "trunkline_http_refused_total", "counter",
    "Requests refused before they were whole or understood as HTTP, by status.", ("status",),
)  # fmt: skip
CONNECTIONS = Metric("trunkline_http_connections", "gauge", "Connections that are open.")
READING = Metric(
    "trunkline_http_reading_bytes", "gauge", "What is counted of bodies that have come in part; see max_reading_bytes."
)
CERTIFICATE = Metric(
    "trunkline_tls_certificate_expiry_timestamp_seconds", "gauge",
    "When the certificate that is shown ends, or the first of its issuers', in seconds since 1970. Only with TLS.",
)  # fmt: skip
TLS_FAILURES = Metric(
    "trunkline_tls_failures_total", "counter",
    "Connections that came to no TLS, by why; no_tls_here: TLS was tried at a port that speaks HTTP in clear.",
    ("reason",),
)  # fmt: skip
THROTTLED = Metric(
    "trunkline_throttled_total", "counter",
    "Requests (of max_connections: connections) that were kept out because too much is under way, by the setting that "
    "is the bound.", ("bound",),
)  # fmt: skip

MESSAGES = _queue(
    "messages", "gauge",
    "Messages in a queue: visible, in_flight (ApproximateNumberOfMessagesNotVisible) or delayed.", "state",
)  # fmt: skip
AGE = _queue(
    "oldest_message_age_seconds", "gauge",
    "How long ago the oldest message was sent (ApproximateAgeOfOldestMessage); 0 if there is none.",
)  # fmt: skip
RECEIVERS = _queue("waiting_receivers", "gauge", "Receivers that wait at a queue: long polls.")
SENT = _queue(
    "messages_sent_total", "counter", "Messages whose sending was answered (NumberOfMessagesSent), duplicates included."
)
DUPLICATES = _queue(
    "messages_deduplicated_total", "counter",
    "Sends that a FIFO queue answered with the message that it had (NumberOfDeduplicatedSentMessages).",
)  # fmt: skip
RECEIVED = _queue("messages_received_total", "counter", "Messages handed out (NumberOfMessagesReceived).")
EMPTY = _queue("empty_receives_total", "counter", "Receives that were given nothing (NumberOfEmptyReceives).")
DELETED = _queue(
    "messages_deleted_total", "counter", "Deletions answered (NumberOfMessagesDeleted), repeated ones included."
)
EXPIRED = _queue("messages_expired_total", "counter", "Messages deleted because their retention ended.")
DEAD = _queue("messages_dead_lettered_total", "counter", "Messages given to the queue's dead-letter queue.")

QUEUES = Metric("trunkline_queues", "gauge", "Queues of the accounts and regions that were looked at.")
LEFT_OUT = Metric(
    "trunkline_queues_left_out", "gauge", "Queues without series of their own, for there are more than metrics_queues."
)
UNREAD = Metric(
    "trunkline_queues_unread", "gauge",
    "Queues not in memory whose messages have not been counted since the start; the next scrapes do it.",
)  # fmt: skip
PLACES_LEFT_OUT = Metric(
    "trunkline_accounts_left_out", "gauge",
    "Accounts and regions that were not looked at, for metrics_queues queues were found before.",
)  # fmt: skip

COMMITS = Metric("trunkline_commits_total", "counter", "Batches handed to the store.")
COMMITS_FAILED = Metric("trunkline_commits_failed_total", "counter", "Batches that the store did not confirm.")
COMMIT_SECONDS = Metric(
    "trunkline_commit_duration_seconds", "histogram", "From handing a batch to the store until it was durable."
)
COMMIT_UNITS = Metric("trunkline_commit_units", "histogram", "Units in a batch: a unit is what one request changed.")
UNSETTLED = Metric("trunkline_uncommitted_units", "gauge", "Units that are neither durable nor failed yet.")
UNCOMMITTED = Metric("trunkline_uncommitted_bytes", "gauge", "What they count for; see max_uncommitted_bytes.")

SHORT = Metric("trunkline_store_short", "gauge", "1 while the disk has hardly any room and no message is taken.")
FAILING = Metric("trunkline_store_failing", "gauge", "1 while nothing can be stored; see /_trunkline/health.")
FAILURES = Metric(
    "trunkline_store_failures_total", "counter",
    "Commits, erasures, checkpoints and probes that the store failed at: full, read_only, gone (the data directory), "
    "io, lost (for good).", ("kind",),
)  # fmt: skip
KEPT_OUT = Metric(
    "trunkline_store_refused_total", "counter", "Requests and units of work refused because they could not be stored."
)
DATABASE = Metric("trunkline_store_bytes", "gauge", "Size of the data file.")
WAL = Metric("trunkline_store_wal_bytes", "gauge", "Size of the write-ahead log beside it.")
FREE = Metric("trunkline_store_free_bytes", "gauge", "Room on the disk that the data is on.")
DEAD_RANGES = Metric(
    "trunkline_dead_ranges", "gauge", "Ranges of rows of deleted and purged queues that are still to be erased."
)

MACHINES = Metric("trunkline_machines", "gauge", "Queues and catalogues in memory.")
MACHINE_BYTES = Metric("trunkline_machine_bytes", "gauge", "About what they hold; see machine_bytes.")
CACHE_BYTES = Metric("trunkline_body_cache_bytes", "gauge", "Bodies in memory; see cache_bytes.")
ALL_RECEIVERS = Metric(
    "trunkline_waiting_receivers", "gauge",
    "Receives that may wait and are not answered yet, of all queues; see max_waiting_receivers.",
)  # fmt: skip
LAG = Metric(
    "trunkline_event_loop_lag_seconds", "histogram",
    "How much later than asked for the event loop called a timer, tried four times a second.",
)  # fmt: skip
SCRAPE = Metric("trunkline_scrape_duration_seconds", "gauge", "How long the scrape before this one took.")

FROZEN = Metric("trunkline_clock_frozen", "gauge", "1 while service time stands still.")
OFFSET = Metric("trunkline_clock_offset_seconds", "gauge", "How far service time is ahead of real time.")
BUILD = Metric(
    "trunkline_build_info", "gauge", "1, with the versions of Trunkline, Python and SQLite.",
    ("version", "python", "sqlite"),
)  # fmt: skip

METRICS = tuple(each for each in list(globals().values()) if isinstance(each, Metric))
"""All of them, in the order of their declaration, which is that of the page."""

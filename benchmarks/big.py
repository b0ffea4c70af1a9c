"""What much of everything costs: memory, time to start, the speed of a receive, and what others feel of it.

    python benchmarks/big.py [--scale 1.0] [--only backlog,delayed,fifo,queues] [--json FILE] [--data DIR]

A real durable server holds, one after the other: ten million messages of 1 KB in one queue; a million delayed ones; a
million over 100,000 FIFO groups; 10,000 queues. While millions are moved, deleted, expired and purged somebody else
uses a queue of his own (bystander), and his latency stands beside that without such work. ``--scale 0.1`` makes all
sizes a tenth. Each figure has the bound that is wanted of it; the exit code is 1 if one is broken. The data is
made in a temporary directory (``--data``: in there), needs 15 GB at full scale, and is removed in any case.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bystander import Bystander, Latency
from calls import ACCOUNT, Client, Next, drive, request, send_all
from served import LongestLog, Served

MESSAGES = 10_000_000
DELAYED = 1_000_000
FIFO = 1_000_000
GROUPS = 100_000
QUEUES = 10_000
BODY = "x" * 1_000
OTHER_ACCOUNT = "111111111111"
FREED_DEAD, FREED_END = b"\x20", b"\x21"
"""Rows of the node's own partition that list what is dead and not erased yet (see trunkline.runtime.system)."""

MEMORY_BOUND = 1_000_000_000
START_BOUND = 5.0
RECEIVE_BOUND = 0.9
FIRST_BOUND = 1_000.0
"""Milliseconds for the first use of a queue after a start, whatever is in it."""
P99_BOUND, LONGEST_BOUND = 20.0, 100.0
"""Milliseconds for one request of the bystander. A client's own time is in it, and what shares the machine."""
LOADED_P99_BOUND, LOADED_LONGEST_BOUND = 100.0, 250.0
"""The same while 32 requests for ten messages each are under way at any time: one stands in line behind them, some
15 ms if nobody stalls, and the load takes the processor as well."""
LOG_BOUND = 80.0
"""MB of write-ahead log, whatever is done: what a power cut, or a kill, leaves to be read again."""
LEFT_BOUND = 5.0
"""MB of the file, when everything in it has been deleted and the server is at rest."""
KEPT_PAGES = 1_100
"""Free pages of the file that a server which is in use keeps for what comes, and some."""


@dataclass
class Figure:
    """``ok``: None if nothing is wanted of it."""

    case: str
    name: str
    value: float
    unit: str
    wanted: str = ""
    ok: bool | None = None


class Report:
    """Prints each figure as it comes."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.case = ""

    def say(self, name: str, value: float, unit: str, most: float | None = None, least: float | None = None) -> None:
        ok: bool | None = None
        wanted = ""
        if most is not None:
            ok, wanted = value <= most, f"<= {most:,.6g}"
        elif least is not None:
            ok, wanted = value >= least, f">= {least:,.6g}"
        figure = Figure(self.case, name, value, unit, wanted, ok)
        self.figures.append(figure)
        shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}" if abs(value) < 1 else f"{value:,.1f}"
        mark = "" if ok is None else "ok" if ok else "NOT OK"
        print(f"{figure.case:9} {name:58}{shown:>12} {unit:11}{wanted:>10}  {mark}".rstrip(), flush=True)

    @property
    def broken(self) -> list[Figure]:
        return [figure for figure in self.figures if figure.ok is False]


class Bench:
    """One server, and what is asked of it."""

    def __init__(self, server: Served, report: Report, scale: float) -> None:
        self.server = server
        self.report = report
        self.scale = scale
        self.client: Client

    def size(self, full: int) -> int:
        """A multiple of ten: messages go in batches."""
        return max(10, int(full * self.scale) // 10 * 10)

    # -- the server ----------------------------------------------------------------

    def begin(self, case: str) -> None:
        self.report.case = case
        self.server.start()
        self.client = Client(self.server.port)
        self.bystanding = Client(self.server.port, OTHER_ACCOUNT).sqs("CreateQueue", QueueName="bystander")["QueueUrl"]

    def restart(self, name: str, kill: bool = False) -> None:
        self.client.close()
        if kill:
            self.server.kill()
        else:
            self.report.say(f"{name}: stop", self.server.stop(), "s")
        self.report.say(f"{name}: start to Ready", self.server.start(), "s", most=START_BOUND)
        self.client = Client(self.server.port)

    def memory(self, name: str) -> None:
        """The greatest memory since the last call."""
        process = self.server.process
        self.report.say(f"{name}: memory, greatest", process.memory("VmHWM"), "MB", most=MEMORY_BOUND / 1e6)
        self.report.say(f"{name}: memory, now", process.memory(), "MB")
        process.forget_peak()

    # -- queues --------------------------------------------------------------------

    def queue(self, name: str, **attributes: object) -> str:
        given = {key: str(value) for key, value in attributes.items()}
        url: str = self.client.sqs("CreateQueue", QueueName=name, Attributes=given)["QueueUrl"]
        return url

    def count(self, url: str, name: str = "ApproximateNumberOfMessages") -> int:
        return int(self.client.sqs("GetQueueAttributes", QueueUrl=url, AttributeNames=[name])["Attributes"][name])

    def fill(self, name: str, requests: Iterator[bytes]) -> float:
        """Send batches of ten; messages per second."""
        with self.felt(f"{name} sent", loaded=True):
            answers, seconds = send_all(self.server.port, requests)
        rate = 10 * answers / seconds
        self.report.say(f"{name}: sent in batches of 10", rate, "messages/s")
        return rate

    def drain(self, url: str, messages: int, connections: int = 16) -> tuple[int, float]:
        """Receive ten, delete ten, until ``messages`` are gone: (messages, messages per second)."""
        receive = request("ReceiveMessage", json.dumps({"QueueUrl": url, "MaxNumberOfMessages": 10}).encode())
        drained = 0

        def talk() -> Next:
            received = False

            def ask(body: bytes) -> bytes | None:
                nonlocal received, drained
                handles = _handles(body) if received else []
                if received and not handles:
                    return None
                received = not received
                if not received:
                    drained += len(handles)
                    return _deletion(url, handles)
                return receive if drained < messages else None

            return ask

        _, seconds = drive(self.server.port, [talk() for _ in range(connections)])
        return drained, drained / seconds

    # -- what others feel ------------------------------------------------------------

    def bystander(self) -> Bystander:
        return Bystander(self.server.port, self.bystanding, OTHER_ACCOUNT)

    def quiet(self) -> None:
        with self.bystander() as other:
            time.sleep(max(1.0, 5 * min(1.0, 10 * self.scale)))
        self._felt("nothing else", other.latency, P99_BOUND, LONGEST_BOUND)

    @contextmanager
    def felt(self, work: str, loaded: bool = False) -> Iterator[None]:
        """Say how another queue was served, and how long the log was, while the context lasted.

        ``loaded``: the work is as many requests as the server takes.
        """
        with LongestLog(self.server) as log, self.bystander() as other:
            yield
        bounds = (LOADED_P99_BOUND, LOADED_LONGEST_BOUND) if loaded else (P99_BOUND, LONGEST_BOUND)
        self._felt(work, other.latency, *bounds)
        self.report.say(f"{work}: greatest write-ahead log", log.bytes / 1e6, "MB", most=LOG_BOUND)

    def _felt(self, work: str, found: Latency, p99: float, longest: float) -> None:
        self.report.say(f"bystander, {work}: p50", found.p50, "ms")
        self.report.say(f"bystander, {work}: p99", found.p99, "ms", most=p99)
        self.report.say(f"bystander, {work}: longest", found.longest, "ms", most=longest)

    # -- the disk --------------------------------------------------------------------

    def left(self) -> None:
        """Say what is left of the file when all in it has been deleted, and nobody asks for anything."""
        deadline = time.monotonic() + 60
        while self.server.log_bytes() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.report.say("file, after all that", self.server.file_bytes() / 1e6, "MB", most=LEFT_BOUND)

    def await_sweep(self) -> None:
        """Until nothing dead is left in the file, and what is free has gone back to the disk."""
        deadline = time.monotonic() + 1_800
        with closing(sqlite3.connect(f"file:{self.server.data / 'trunkline.db'}?mode=ro", uri=True)) as look:
            [page_size] = look.execute("PRAGMA page_size").fetchone()
            while True:
                dead = look.execute(
                    "SELECT count(*) FROM rows WHERE partition=0 AND key>=? AND key<?", (FREED_DEAD, FREED_END)
                ).fetchone()[0]
                [free] = look.execute("PRAGMA freelist_count").fetchone()
                [pages] = look.execute("PRAGMA page_count").fetchone()
                # What is free in the log's view leaves the file when the log is folded in.
                folded = self.server.file_bytes() <= (pages + 64) * page_size
                if not dead and free <= max(KEPT_PAGES, pages // 100) and folded:
                    return
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{dead} dead ranges and {free} free pages of {pages} are left")
                time.sleep(0.1)


def _handles(body: bytes) -> list[str]:
    return [each["ReceiptHandle"] for each in json.loads(body).get("Messages", [])]


def _deletion(url: str, handles: list[str]) -> bytes:
    entries = [{"Id": str(at), "ReceiptHandle": handle} for at, handle in enumerate(handles)]
    return request("DeleteMessageBatch", json.dumps({"QueueUrl": url, "Entries": entries}).encode())


def batches(url: str, messages: int) -> Iterator[bytes]:
    """The same request again and again."""
    entries = [{"Id": str(at), "MessageBody": BODY} for at in range(10)]
    message = request("SendMessageBatch", json.dumps({"QueueUrl": url, "Entries": entries}).encode())
    for _ in range(messages // 10):
        yield message


def delayed_batches(url: str, messages: int) -> Iterator[bytes]:
    """Delays from ten to fifteen minutes."""
    for number in range(messages // 10):
        entries = [{"Id": str(at), "MessageBody": BODY, "DelaySeconds": 600 + number % 300} for at in range(10)]
        yield request("SendMessageBatch", json.dumps({"QueueUrl": url, "Entries": entries}).encode())


def fifo_batches(url: str, messages: int, groups: int, offset: int = 0) -> Iterator[bytes]:
    """Each message in the next group, with a deduplication id of its own."""
    for first in range(offset, offset + messages, 10):
        entries = [
            {
                "Id": str(at), "MessageBody": BODY, "MessageGroupId": f"group-{(first + at) % groups}",
                "MessageDeduplicationId": f"message-{first + at}",
            } for at in range(10)
        ]  # fmt: skip
        yield request("SendMessageBatch", json.dumps({"QueueUrl": url, "Entries": entries}).encode())


def backlog(bench: Bench) -> None:
    """Ten million messages in one queue; then a part moved, a part expired, and the rest purged."""
    report, size, part = bench.report, bench.size(MESSAGES), bench.size(MESSAGES // 5)
    first = 3 * part
    bench.begin("backlog")
    big, moved, short = bench.queue("big"), bench.queue("moved"), bench.queue("short")
    arn = bench.client.sqs("GetQueueAttributes", QueueUrl=big, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    bench.queue("source", RedrivePolicy=json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5}))
    bench.memory("empty")
    bench.quiet()
    bench.fill(f"{first:,}", batches(big, first))
    bench.client.page("/_trunkline/clock/advance", seconds=3_600)
    bench.fill(f"{size - first:,} more", batches(big, size - first))
    assert bench.count(big) == size, bench.count(big)
    bench.memory(f"{size:,}")
    bench.restart("stopped")
    bench.restart("killed", kill=True)
    begun = time.monotonic()
    bench.client.sqs("ReceiveMessage", QueueUrl=big, MaxNumberOfMessages=1)
    report.say("first receive after the start", 1000 * (time.monotonic() - begun), "ms", most=FIRST_BOUND)
    _receive_beside_short(bench, big, short)
    bench.memory("received")
    report.say("file", bench.server.file_bytes() / 1e6, "MB")

    moving = bench.client.sqs("StartMessageMoveTask", SourceArn=arn, DestinationArn=arn.replace("big", "moved"))
    begun = time.monotonic()
    with bench.felt(f"{part:,} moved"):
        while (gone := bench.count(moved)) < part:
            time.sleep(0.05)
    report.say("moved", gone / (time.monotonic() - begun), "messages/s")
    bench.client.sqs("CancelMessageMoveTask", TaskHandle=moving["TaskHandle"])
    bench.memory("moved")

    rate = _swept(bench, f"{part:,} deleted", lambda: bench.client.sqs("DeleteQueue", QueueUrl=moved))
    report.say("deleted and erased", gone / rate, "messages/s")

    left, begun = bench.count(big), time.monotonic()
    with bench.felt("expiring"):
        bench.client.sqs("SetQueueAttributes", QueueUrl=big, Attributes={"MessageRetentionPeriod": "3000"})
        while bench.count(big) > size - first:
            time.sleep(0.05)
        seconds = time.monotonic() - begun
    report.say(f"{left - bench.count(big):,} expired", (left - bench.count(big)) / seconds, "messages/s")
    assert bench.count(big) == size - first, bench.count(big)
    bench.memory("expired")

    left = bench.count(big)
    rate = _swept(bench, f"{left:,} purged", lambda: bench.client.sqs("PurgeQueue", QueueUrl=big))
    report.say("purged and erased", left / rate, "messages/s")
    assert bench.count(big) == 0
    bench.left()
    bench.memory("in the end")


def _receive_beside_short(bench: Bench, big: str, short: str) -> None:
    """In turn, so that a machine that is slow for a while is slow for both."""
    each = bench.size(100_000) if bench.scale < 0.1 else 10_000
    found: dict[str, list[float]] = {"short": [], "big": []}
    for _ in range(9):
        send_all(bench.server.port, batches(short, each))
        for name, url in (("short", short), ("big", big)):
            messages, rate = bench.drain(url, each)
            assert messages >= each, messages
            found[name].append(rate)
    ratio = statistics.median(b / s for b, s in zip(found["big"], found["short"], strict=True))
    bench.report.say("received and deleted in tens, short queue", statistics.median(found["short"]), "messages/s")
    bench.report.say("received and deleted in tens, backlog", statistics.median(found["big"]), "messages/s")
    bench.report.say("backlog beside short queue", ratio, "", least=RECEIVE_BOUND)


def _swept(bench: Bench, work: str, begin: Callable[[], object]) -> float:
    """Seconds until everything that ``begin`` made dead is off the disk."""
    with bench.felt(work):
        begun = time.monotonic()
        begin()
        bench.report.say(f"{work}: answered after", 1000 * (time.monotonic() - begun), "ms", most=LONGEST_BOUND)
        bench.await_sweep()
        seconds = time.monotonic() - begun
    return seconds


def delayed(bench: Bench) -> None:
    """A million messages that are not to be seen yet."""
    report, size = bench.report, bench.size(DELAYED)
    bench.begin("delayed")
    url = bench.queue("later")
    bench.quiet()
    bench.fill(f"{size:,}", delayed_batches(url, size))
    assert bench.count(url, "ApproximateNumberOfMessagesDelayed") == size
    bench.memory(f"{size:,}")
    bench.restart("stopped")
    begun = time.monotonic()
    assert bench.count(url, "ApproximateNumberOfMessagesDelayed") == size
    assert not bench.client.sqs("ReceiveMessage", QueueUrl=url)
    report.say("first count and receive after the start", 1000 * (time.monotonic() - begun), "ms", most=FIRST_BOUND)
    with bench.felt("delays ending"):
        begun = time.monotonic()
        while not bench.client.page("/_trunkline/clock/advance", seconds=900)["reached"]:
            pass
        report.say("the clock moved on by their delay", 1000 * (time.monotonic() - begun), "ms", most=5_000)
        assert bench.count(url) == size
    got, rate = bench.drain(url, size // 2)
    report.say("received and deleted in tens, when due", rate, "messages/s")
    assert bench.count(url) == size - got, (bench.count(url), got)
    bench.memory("half received")
    _swept(bench, f"{size - got:,} purged", lambda: bench.client.sqs("PurgeQueue", QueueUrl=url))
    bench.left()


def fifo(bench: Bench) -> None:
    """A million messages over 100,000 groups."""
    report, size, groups = bench.report, bench.size(FIFO), bench.size(GROUPS)
    bench.begin("fifo")
    url = bench.queue("line.fifo", FifoQueue="true")
    bench.quiet()
    bench.fill(f"{size:,} in {groups:,} groups", fifo_batches(url, size, groups))
    assert bench.count(url) == size
    bench.memory(f"{size:,}")
    bench.fill("again, all duplicates", fifo_batches(url, size // 10, groups))
    assert bench.count(url) == size
    got, rate = bench.drain(url, size // 4)
    report.say("received and deleted in tens", rate, "messages/s")
    bench.memory("a quarter received")
    bench.restart("stopped")
    with bench.felt("first uses after the start"):
        begun = time.monotonic()
        for message in fifo_batches(url, 10, groups):
            send_all(bench.server.port, iter([message]), 1)
        report.say("first send after the start", 1000 * (time.monotonic() - begun), "ms", most=FIRST_BOUND)
        begun = time.monotonic()
        [message] = bench.client.sqs("ReceiveMessage", QueueUrl=url)["Messages"]
        report.say("first receive after the start", 1000 * (time.monotonic() - begun), "ms", most=FIRST_BOUND)
    assert bench.count(url) == size - got - 1, (bench.count(url), got)
    with bench.felt("receives after the start", loaded=True):
        got, rate = bench.drain(url, size // 4)
    report.say("received and deleted in tens, after the start", rate, "messages/s")
    with bench.felt("its DelaySeconds changed"):
        for delay in ("900", "0"):
            begun = time.monotonic()
            bench.client.sqs("SetQueueAttributes", QueueUrl=url, Attributes={"DelaySeconds": delay})
            report.say(f"DelaySeconds set to {delay}", 1000 * (time.monotonic() - begun), "ms", most=LONGEST_BOUND)
            time.sleep(0.5)
    bench.memory("used")
    left = bench.count(url)
    _swept(bench, f"{left:,} purged", lambda: bench.client.sqs("PurgeQueue", QueueUrl=url))
    bench.left()


def queues(bench: Bench) -> None:
    """Ten thousand queues."""
    report, size = bench.report, bench.size(QUEUES)
    bench.begin("queues")
    bench.quiet()
    names = [f"queue-{number:05}" for number in range(size)]
    with bench.felt(f"{size:,} made", loaded=True):
        made, seconds = send_all(
            bench.server.port, (request("CreateQueue", json.dumps({"QueueName": name}).encode()) for name in names)
        )
    report.say("made", made / seconds, "queues/s")
    bench.memory(f"{size:,} made")
    _list(bench, size)
    root = f"http://localhost/{ACCOUNT}/"

    def touch() -> None:
        body = BODY[:100]
        sends = (
            request("SendMessage", json.dumps({"QueueUrl": root + name, "MessageBody": body}).encode())
            for name in names
        )
        sent, seconds = send_all(bench.server.port, sends)
        report.say("a message to each", sent / seconds, "messages/s")

    with bench.felt("a message to each", loaded=True):
        touch()
    bench.memory("used")
    bench.restart("stopped")
    with bench.felt("a message to each after the start", loaded=True):
        touch()
    bench.memory("used after the start")
    with bench.felt("all reset"):
        begun = time.monotonic()
        bench.client.page("/_trunkline/reset", account=ACCOUNT)
        report.say("reset", 1000 * (time.monotonic() - begun), "ms")
        bench.await_sweep()
    report.say("reset and erased", time.monotonic() - begun, "s")
    bench.left()
    bench.memory("reset")


def _list(bench: Bench, size: int) -> None:
    listed: list[str] = []
    token: dict[str, str] = {}
    longest = 0.0
    with bench.felt("listing them"):
        while token or not listed:
            begun = time.monotonic()
            page = bench.client.sqs("ListQueues", MaxResults=1_000, **token)
            longest = max(longest, time.monotonic() - begun)
            listed += page["QueueUrls"]
            token = {"NextToken": page["NextToken"]} if "NextToken" in page else {}
        time.sleep(0.2)
    assert len(listed) == size, len(listed)
    bench.report.say("ListQueues, the longest page of 1,000", 1000 * longest, "ms", most=100)


CASES = {"backlog": backlog, "delayed": delayed, "fifo": fifo, "queues": queues}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What much of everything costs.")
    parser.add_argument("--scale", type=float, default=1.0, help="of the full sizes (1.0)")
    parser.add_argument("--only", default=",".join(CASES), help=f"cases, of {', '.join(CASES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    parser.add_argument("--data", type=Path, metavar="DIR", help="where to make the data (the temporary directory)")
    given = parser.parse_args()
    if not 0 < given.scale <= 10:
        parser.error("--scale: more than 0, and 10 at the most")
    if unknown := set(given.only.split(",")) - CASES.keys():
        parser.error(f"--only: there is no case {', '.join(sorted(unknown))}")
    return given


def main() -> None:
    given = arguments()
    room = shutil.disk_usage(given.data or tempfile.gettempdir()).free
    needed = int(given.scale * 16e9) + 200_000_000
    if room < needed:
        sys.exit(f"it needs {needed / 1e9:.1f} GB of disk and there are {room / 1e9:.1f}; a smaller --scale needs less")
    report = Report()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))  # not without removing the data
    begun = time.monotonic()
    for name in given.only.split(","):
        with tempfile.TemporaryDirectory(prefix="trunkline-big-", dir=given.data) as folder:
            server = Served(Path(folder) / "data", "--auth", "open")
            try:
                CASES[name](Bench(server, report, given.scale))
            finally:
                server.stop()
    print(f"\nscale {given.scale:g}, {time.monotonic() - begun:.0f} s")
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        kept = {"scale": given.scale, "figures": [asdict(figure) for figure in report.figures]}
        given.json.write_text(json.dumps(kept, indent=1) + "\n")
    for figure in report.broken:
        print(f"NOT OK: {figure.case}, {figure.name}: {figure.value:.6g} {figure.unit}, wanted {figure.wanted}")
    sys.exit(1 if report.broken else 0)


if __name__ == "__main__":
    main()

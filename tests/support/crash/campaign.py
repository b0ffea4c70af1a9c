"""A campaign: one data directory, many lives of the server, each ended by SIGKILL at a moment drawn by the dice.

    load      clients at work, killed within a second
    soon      killed just after ``Ready.``, with the first requests under way
    starting  killed while it starts: opening the file, recovering the WAL, reading its rows
    twice     killed under load, and again in the start that follows
    idle      everybody stops: killed as the checkpoint that follows writes the main file
    heavy     the WAL is filled until a checkpoint comes under load: killed in it
    sweep     killed just after purges, while the sweeper deletes

Before the load most lives have a quiet point: the clock is frozen, what is due
happens, queues are looked at and judged, move tasks are followed and started,
service time is advanced (by hours, at times), and the clock resumes, or not.
The clock is read first after every start, before anybody could change it.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from crash import store
from crash.catalogue import CatalogueOwner
from crash.checker import Checker
from crash.client import Client, Record
from crash.history import DAYS, History, Queue
from crash.moves import Moves
from crash.process import Server
from crash.servicetime import ServiceTime
from crash.wire import Connection, Refused, Unknown
from crash.workers import (
    Attempts,
    Bulk,
    Bystander,
    ClockMover,
    Consumer,
    FifoPurger,
    FifoSender,
    Purger,
    Scene,
    Sender,
    Worker,
    until_killed,
)

QUEUES = (
    Queue("plain"),
    Queue("delayed", delay=1_000),
    Queue("brief", retention=60_000, visibility=2_000),
    Queue("orders.fifo", fifo=True),
    Queue("tenants.fifo", fifo=True, per_group=True, by_content=True, visibility=2_000),
    Queue("attempts.fifo", fifo=True),
    Queue("source", family="redrive", dead_letters="dead", most=2, visibility=1_000),
    Queue("dead", family="redrive"),
    Queue("source.fifo", family="redrive.fifo", fifo=True, dead_letters="dead.fifo", most=2, visibility=1_000),
    Queue("dead.fifo", family="redrive.fifo", fifo=True),
    Queue("purged"),
    Queue("purged.fifo", fifo=True),
)
KINDS = {"load": 50, "soon": 10, "starting": 10, "twice": 8, "idle": 8, "heavy": 4, "sweep": 10}
"""How a life may end, and how often of a hundred."""
ADVANCES = (0, 0, 0, 0, 1_000, 3_000, 40_000, 310_000, 3_600_000, 43_200_000)
"""Milliseconds of service time between two lives: past timeouts, the deduplication window, everything in flight."""
TICK = 0.0005


class Campaign:
    """``say`` prints progress. ``violations`` of the checker are what it has found."""

    def __init__(self, directory: Path, seed: int, say: Callable[[str], None] = print) -> None:
        self.directory = directory
        self.seed = seed
        self.dice = Random(seed)
        self.say = say
        self.server = Server(directory / "data", directory / "server.log")
        self.history = History(QUEUES)
        self.checker = Checker(self.history)
        self.record = Record(self.history, ServiceTime(), self.checker.accuse)
        self.scene = Scene(self.history)
        self.kills: Counter[str] = Counter()
        self.starts: list[float] = []
        self.drained = 0
        self.moves = [Moves(self.checker, name, self._dice(name)) for name in ("dead", "dead.fifo")]
        self.workers = self._make_workers()
        self.bulk = [Bulk(self.scene, f"bulk{n}", self._dice(f"bulk{n}")) for n in range(4)]

    def _dice(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")

    def _make_workers(self) -> list[Worker]:
        made: list[Worker] = []
        for kind, number, *arguments in (
            (Sender, 2, "plain"),
            (Consumer, 3, "plain"),
            (Sender, 1, "delayed", (None, None, 0, 2, 20)),
            (Consumer, 1, "delayed"),
            (Sender, 1, "brief"),
            (Consumer, 1, "brief"),
            (FifoSender, 2, "orders.fifo", 6),
            (Consumer, 2, "orders.fifo"),
            (FifoSender, 1, "tenants.fifo", 3, False),
            (Consumer, 2, "tenants.fifo"),
            (Attempts, 1, "attempts.fifo"),
            (Sender, 1, "source"),
            (Consumer, 2, "source", (0, 0, 1, 30), 0.1),
            (Consumer, 1, "dead", (0, 1, 30), 0.1),
            (FifoSender, 1, "source.fifo", 8),
            (Consumer, 2, "source.fifo", (0, 0, 1, 30), 0.1),
            (Consumer, 1, "dead.fifo", (0, 1, 30), 0.1),
            (Purger, 1, "purged"),
            (FifoPurger, 1, "purged.fifo", 3, True, False),
            (CatalogueOwner, 2),
            (ClockMover, 1),
            (Bystander, 1, [queue.name for queue in QUEUES]),
        ):
            for n in range(number):
                name = f"{kind.__name__.lower()}{n}" + (f"-{arguments[0]}" if kind in (Consumer,) else "")
                made.append(kind(self.scene, name, self._dice(f"{name}/{arguments}"), *arguments))
        return made

    # -- the whole -----------------------------------------------------------------------

    async def run(self, kills: int) -> bool:
        """Kill the server so many times, then drain everything. False at the first violations."""
        try:
            await self._begin()
            told = 0
            while self.kills.total() < kills and not self.checker.violations:
                await self._live()
                if self.kills.total() // 20 > told:
                    told = self.kills.total() // 20
                    self._progress(kills)
            if not self.checker.violations:
                await self._end()
        except (Unknown, Refused) as error:
            self.checker.accuse("no_request_fails_where_nothing_is_wrong", f"while nobody killed it: {error}")
        finally:
            await self.server.kill()
        return not self.checker.violations

    def _progress(self, kills: int) -> None:
        calls, unknown = self.record.acknowledged.total(), self.record.unknown.total()
        there = len(self.history.lives)
        self.say(
            f"  {self.kills.total():4} of {kills} kills, {calls} calls answered, {unknown} unknown, "
            f"{there} messages there, {len(self.history.gone)} gone"
        )

    async def _begin(self) -> None:
        """The first life makes the queues."""
        self.starts.append(await self.server.start("fsync"))
        client = await self._client()
        self.record.time.learn(await client.clock())
        for queue in sorted(QUEUES, key=lambda each: bool(each.dead_letters)):
            attributes = {
                "VisibilityTimeout": str(queue.visibility // 1_000),
                "MessageRetentionPeriod": str(queue.retention // 1_000),
                "DelaySeconds": str(queue.delay // 1_000),
            }
            if queue.fifo:
                attributes["FifoQueue"] = "true"
                attributes["ContentBasedDeduplication"] = str(queue.by_content).lower()
                attributes["DeduplicationScope"] = "messageGroup" if queue.per_group else "queue"
            if queue.dead_letters:
                arn = f"arn:aws:sqs:us-east-1:000000000000:{queue.dead_letters}"
                attributes["RedrivePolicy"] = f'{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": {queue.most}}}'
            await client.ask("CreateQueue", {"QueueName": queue.name, "Attributes": attributes})
        await client.ask("CreateQueue", {"QueueName": "bulk"})
        client.connection.close()

    async def _client(self) -> Client:
        return Client(await Connection.open(self.server.port), self.record)

    # -- one life of the server --------------------------------------------------------------

    async def _live(self) -> None:
        [kind] = self.dice.choices(list(KINDS), list(KINDS.values()))
        if self.server.port == 0:
            started = await self._start(kind == "starting")
            if not started:
                return
            if kind not in ("soon", "starting") and self.dice.random() < 0.8:
                await self._quiet_point()
        await self._load(kind)
        self.checker.judge(self.record.time.low())
        if self.dice.random() < 0.1 or self.checker.violations:
            for fault in store.faults(self.server.directory, self.directory):
                self.checker.accuse("the_file_is_sound", fault)
        if kind == "twice":
            await self._start(True)

    async def _start(self, kill_it: bool) -> bool:
        """Start the server; False if it was killed before it was ready."""
        durability = self.dice.choice(["fsync", "fsync", "os"])
        if kill_it:
            await self.server.spawn(durability)
            usual = statistics.median(self.starts)
            await asyncio.sleep(usual * self.dice.uniform(0.4, 1.02))
            await self._kill("starting")
            return False
        self.starts.append(await self.server.start(durability))
        client = await self._client()
        answer = await client.clock()
        for fault in self.record.time.faults(answer):
            self.checker.accuse("service_time_goes_on", fault)
        self.record.time.learn(answer)
        client.connection.close()
        return True

    async def _kill(self, kind: str) -> None:
        if self.server.ended:
            self.checker.accuse("the_server_lives_until_it_is_killed", "it ended by itself; its log says why")
        await self.server.kill()
        self.server.port = 0
        self.kills[kind] += 1

    async def _load(self, kind: str) -> None:
        scene, dice = self.scene, self.dice
        scene.stopping = False
        scene.frozen = dice.random() < 0.2
        scene.moving_clock = dice.random() < 0.4
        workers = self.workers + (self.bulk if kind == "heavy" else [])
        clients = [await self._client() for _ in workers]
        tasks = [
            asyncio.ensure_future(until_killed(worker, client)) for worker, client in zip(workers, clients, strict=True)
        ]
        if kind == "idle":
            await asyncio.sleep(dice.uniform(0.1, 0.4))
            scene.stopping = True
            await asyncio.wait(tasks, timeout=5)
        if kind in ("idle", "heavy"):
            await self._await_checkpoint(4.0 if kind == "heavy" else 0.8)
            await asyncio.sleep(dice.choice([0, 0, 0.001, 0.004, 0.02]))
        elif kind == "sweep":
            await asyncio.sleep(dice.uniform(0.05, 0.3))
            await self._purge_all()
            await asyncio.sleep(dice.uniform(0, 0.03))
        else:
            await asyncio.sleep(dice.uniform(0, 0.05) if kind == "soon" else dice.uniform(0.05, 0.9))
        await self._kill(kind)
        scene.stopping = True  # for those who have nothing to ask and do not notice
        done = await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            client.connection.close()
        for failure in done:
            if isinstance(failure, BaseException):
                raise failure

    async def _await_checkpoint(self, seconds: float) -> None:
        """Return when the main file is written: that is a checkpoint."""
        before = self.server.written()
        until = time.monotonic() + seconds
        while self.server.written() == before and time.monotonic() < until:
            await asyncio.sleep(TICK)

    async def _purge_all(self) -> None:
        client = await self._client()
        with contextlib.suppress(Unknown):
            await client.ask("PurgeQueue", {"QueueUrl": "bulk"})
            for name in ("purged", "purged.fifo"):
                await client.purge(name)
        client.connection.close()

    # -- quiet points --------------------------------------------------------------------------

    async def _quiet_point(self, everything: bool = False) -> None:
        client = await self._client()
        clock = self.record.time
        was_frozen = clock.frozen
        if not was_frozen:
            await client.freeze()
        # What is due happens, and nothing happens between the looks. Counts are true to the second: at its end.
        await client.advance((999 - clock.high()) % 1_000)
        families = list(dict.fromkeys(self.history.family(queue.name) for queue in QUEUES))
        for family in families:
            moves = [each for each in self.moves if self.history.family(each.queue) == family]
            if everything or self.dice.random() < 0.5 or any(each.under_way for each in moves):
                await self._look(client, family, moves, start=not everything)
        self.checker.judge(clock.low())
        by = self.dice.choice(ADVANCES)
        if by and not everything:
            await client.advance(by)
        if everything or not was_frozen or self.dice.random() < 0.6:
            await client.resume()
        client.connection.close()

    async def _look(self, client: Client, family: str, moves: list[Moves], start: bool) -> None:
        looks = [await client.look(queue.name) for queue in self.history.members(family)]
        self.checker.judge_looks(looks)
        for each in moves:
            await each.look(client, next(look for look in looks if look.queue == each.queue), start)

    # -- the end -------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Everything that must be there is received and deleted, and nothing else is; then nothing is left."""
        if self.server.port == 0:
            await self._start(False)
        self.scene.stopping = True
        client = await self._client()
        until = time.monotonic() + 60
        while any(each.under_way for each in self.moves) and time.monotonic() < until:
            if not self.record.time.frozen:
                await client.advance(60_000)
            await self._quiet_point(everything=True)
        if any(each.under_way for each in self.moves):
            self.checker.accuse("moves_are_counted", "a move task does not come to its end")
        await client.advance(43_200_000)  # nothing is in flight any more
        await self._quiet_point(everything=True)
        for queue in sorted(QUEUES, key=lambda each: not each.dead_letters):
            await self._drain(client, queue.name)
        await self._quiet_point(everything=True)
        for token in list(self.history.lives):
            self.checker.accuse("nothing_is_lost", "it was not drained", [self.history.lives[token]])
        await client.ask("PurgeQueue", {"QueueUrl": "bulk"})
        for owner in self.workers:
            if isinstance(owner, CatalogueOwner):
                await owner.verify(client)
                for name, [state] in owner.possible.items():
                    if state is not None:
                        await client.ask("DeleteQueue", {"QueueUrl": name})
        client.connection.close()
        await self._await_sweeper()
        if (code := await self.server.stop()) != 0:
            self.checker.accuse("the_server_stops_in_order", f"its exit code is {code}")
        for fault in store.faults(self.server.directory, self.directory):
            self.checker.accuse("the_file_is_sound", fault)

    async def _drain(self, client: Client, queue: str) -> None:
        empty = 0
        while empty < 3:
            got = await client.receive(queue, 10, 600)
            empty = 0 if got else empty + 1
            self.drained += len(got)
            if got:
                await client.delete(got, batch=True)
        self.checker.judge(self.record.time.low())

    async def _await_sweeper(self) -> None:
        """What is dead leaves the disk by itself."""
        until = time.monotonic() + 20
        while True:
            found = store.kinds(self.server.directory)
            left = {kind: found[kind] for kind in ("dead", "dead rows", "message", "state", "delayed") if found[kind]}
            if not left or time.monotonic() > until:
                break
            await asyncio.sleep(0.1)
        if left:
            self.checker.accuse("nothing_dead_is_left", f"the data directory still has {left}")

    # -- the report ----------------------------------------------------------------------------

    def table(self) -> str:
        record = self.record
        starts = sorted(self.starts)
        lines = [f"kills                      {self.kills.total()}: {_listed(self.kills)}"]
        lines.append(f"calls answered             {record.acknowledged.total()}")
        lines += [f"    {name:30}{count:9}" for name, count in record.acknowledged.most_common()]
        lines.append(f"calls with unknown outcome {record.unknown.total()}")
        lines.append(f"refusals and failures      {_listed(record.errors) or 'none'}")
        lines.append(f"messages                   {len(self.history.gone) + len(self.history.lives)}, each judged")
        lines.append(f"    drained at the end     {self.drained}")
        lines.append(f"judgements of a message    {self.checker.judged['messages']}")
        lines.append(f"looks at quiet points      {self.checker.judged['looks']}")
        lines.append(
            f"move tasks                 {sum(each.ended for each in self.moves)} ended, "
            f"{sum(each.moved for each in self.moves)} messages moved"
        )
        lines.append(f"from start to Ready.       p50 {statistics.median(starts):.3f} s, max {starts[-1]:.3f} s")
        lines.append(f"violations                 {len(self.checker.violations)}")
        return "\n".join(lines)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


__all__ = ["DAYS", "KINDS", "QUEUES", "Campaign"]

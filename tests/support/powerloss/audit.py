"""Opens what a power cut left, with the code of the server, and says what is wrong with it.

Two sorts of checks. Those of the rows need no history: the file is whole, every
row can be read and belongs to somebody, counts are those of what is counted, no
instant that is stored lies beyond the clock's high-water mark, no number that
was given away is given again. Those of the promises need the marks before the
cut: what was answered with success is there, what was not asked for is not, and
a request without an answer took effect wholly or not at all.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from powerloss.clients import ACCOUNT, BIN, DEAD, FIFO, SOURCE, Refused, call, is_whole, name_of
from trunkline.kernel.ids import uuid_text
from trunkline.kernel.time import NEVER
from trunkline.node import Node
from trunkline.runtime import system
from trunkline.services.sqs import rows as layout
from trunkline.services.sqs.catalogue import DELETED, ENTRY
from trunkline.services.sqs.deduplication import entries_of
from trunkline.services.sqs.messages import decode_tail
from trunkline.services.sqs.rows import MessageRow, StateRow
from trunkline.settings import Settings
from trunkline.storage.sqlite import SqliteStore
from trunkline.storage.sqlite_file import FILE, read_rows
from trunkline.storage.store import SHARDS, StoreError

# -- what was promised -----------------------------------------------------------


@dataclass(slots=True)
class Deed:
    """A request: ``answered`` is None while it has no success."""

    what: str
    queue: str
    asked: int
    said: dict[str, Any]
    answered: int | None = None
    got: dict[str, Any] = field(default_factory=dict)


class Promises:
    """The marks before a cut. ``put`` them in the order of the log."""

    def __init__(self) -> None:
        self.deeds: dict[int, Deed] = {}
        self.starts = 0
        self._place = 0

    def put(self, mark: dict[str, Any]) -> None:
        self._place += 1
        if "do" in mark:
            self.deeds[mark["do"]] = Deed(mark["what"], mark["queue"], self._place, mark)
        elif "did" in mark:
            deed = self.deeds[mark["did"]]
            deed.answered, deed.got = self._place, mark
        elif "ready" in mark:
            self.starts += 1


# -- what is there ---------------------------------------------------------------


@dataclass(slots=True)
class Queue:
    """The live rows of a queue's partition."""

    name: str
    partition: int
    generation: int = 0
    counts: tuple[int, int, int, int] = (0, 0, NEVER, 0)
    messages: dict[int, MessageRow] = field(default_factory=dict)
    bodies: dict[int, str] = field(default_factory=dict)
    states: dict[int, StateRow] = field(default_factory=dict)
    delayed: set[int] = field(default_factory=set)
    histogram: dict[tuple[int, int], int] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)


class Found:
    """The rows, read by the server's own decoders. ``wrong``: what is not as it must be."""

    def __init__(self, stored: Iterable[tuple[int, bytes, bytes]], epochs: dict[int, int]) -> None:
        self.wrong: list[str] = []
        self.queues: dict[str, Queue] = {}
        self.secret = b""
        self.epochs = epochs
        by_partition: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        for partition, key, value in stored:
            by_partition[partition].append((key, value))
        self._read(by_partition)

    def _read(self, stored: dict[int, list[tuple[bytes, bytes]]]) -> None:
        clock = following = 0
        catalogues: list[int] = []
        owners: dict[int, int] = {}
        dead: list[system.DeadRange] = []
        alarms: set[int] = set()
        for key, value in stored.pop(system.SYSTEM, []):
            match key[:1]:
                case system.CLOCK:
                    clock = system.ClockRow.decode(value).high_water
                case system.NEXT_PARTITION:
                    following = int.from_bytes(value, "big")
                case system.SECRET:
                    self.secret = value
                case system.CATALOGUE:
                    catalogues.append(int.from_bytes(value, "big"))
                case system.OWNER:
                    owners[int.from_bytes(key[1:], "big")] = int.from_bytes(value, "big")
                case system.DEAD:
                    dead.append(system.DeadRange.decode(key, value))
                case system.ALARM:
                    alarms.add(system.parse_alarm_key(key)[1])
                case _:
                    self.wrong.append(f"a row of the system with the key {key.hex()}")
        for partition in catalogues:
            for key, value in stored.pop(partition, []):
                if key.startswith(ENTRY):
                    name = key[1:].decode()
                    self.queues[name] = Queue(name, json.loads(value)["partition"])
                elif not key.startswith(DELETED):
                    self.wrong.append(f"a row of a catalogue with the key {key.hex()}")
        gone = {each.partition for each in dead if not each.start and not each.end}
        latest = 0
        for queue in self.queues.values():
            self._read_queue(queue, stored.pop(queue.partition, []), dead)
            if owners.get(queue.partition) not in catalogues:
                self.wrong.append(f"{queue.name} has no owner")
            latest = max([latest, *(row.sent for row in queue.messages.values())])
            latest = max([latest, *(row.first_received for row in queue.states.values())])
            latest = max([latest, *queue.memory.values()])
            if queue.messages and queue.partition not in alarms:
                self.wrong.append(f"{queue.name} has messages and no alarm for the end of their retention")
        if left := stored.keys() - gone:
            self.wrong.append(f"rows of partitions {sorted(left)}, which nobody has and nobody sweeps")
        if latest > clock:
            self.wrong.append(f"{latest} is stored, and the clock's high-water mark is {clock}")
        taken = max([*catalogues, *owners, *(q.partition for q in self.queues.values()), *gone], default=0)
        if taken and following <= taken:
            self.wrong.append(f"partition {taken} is taken, and {following} comes next")

    def _read_queue(self, queue: Queue, stored: list[tuple[bytes, bytes]], dead: list[system.DeadRange]) -> None:
        for key, value in stored:
            if key == layout.META:
                queue.generation = int.from_bytes(value[:4], "big")
        old: list[bytes] = []
        for key, value in stored:
            if key == layout.META or key.startswith(layout.MOVE_TASK):
                continue
            if int.from_bytes(key[1:5], "big") != queue.generation:
                old.append(key)
                continue
            rest = key[5:]
            number = int.from_bytes(rest[-8:], "big")
            match key[:1]:
                case layout.COUNTERS:
                    queue.counts = layout.COUNTS.unpack(value)
                case layout.HISTOGRAM:
                    queue.histogram[rest[0], number] = int.from_bytes(value, "big")
                case layout.MESSAGE:
                    queue.messages[number] = row = MessageRow.decode(value)
                    queue.bodies[number] = decode_tail(row.tail)[3]
                case layout.STATE:
                    queue.states[number] = StateRow.decode(value)
                case layout.DELAYED:
                    queue.delayed.add(number)
                case layout.DEDUPLICATION | layout.DEDUPLICATION_RUN:
                    queue.memory |= {uuid_text(id_): accepted for _, id_, accepted, _ in entries_of(value)}
                case layout.SENT_INDEX | layout.ATTEMPT:
                    pass
                case _:
                    self.wrong.append(f"{queue.name}: a row with the key {key.hex()}")
        for key in old:
            if not any(
                each.partition == queue.partition and each.start <= key and (not each.end or key < each.end)
                for each in dead
            ):
                self.wrong.append(f"{queue.name}: the row {key.hex()} of an older generation, which nobody sweeps")
        self._count(queue)

    def _count(self, queue: Queue) -> None:
        wrong = self.wrong
        following, live, oldest, _ = queue.counts
        if live != len(queue.messages):
            wrong.append(f"{queue.name} counts {live} messages and has {len(queue.messages)}")
        if queue.messages and max(queue.messages) >= following:
            wrong.append(f"{queue.name} will give the sequence {following} again")
        if queue.messages and oldest > min(row.sent for row in queue.messages.values()):
            wrong.append(f"{queue.name} has an older message than it knows")
        if orphans := (queue.states.keys() | queue.delayed) - queue.messages.keys():
            wrong.append(f"{queue.name} has states of messages that are not there: {sorted(orphans)[:5]}")
        if queue.name == FIFO:
            unreceived = Counter(row.sent // 1000 for seq, row in queue.messages.items() if seq not in queue.states)
            self._same(queue, layout.UNRECEIVED, unreceived, 0)
        else:
            unreceived = Counter(
                row.due // 1000 for seq, row in queue.messages.items() if row.due and seq not in queue.states
            )
            self._same(queue, layout.DELAYED_UNTIL, unreceived, self._newest(queue))
        hidden = Counter(row.visible_at // 1000 for row in queue.states.values())
        self._same(queue, layout.IN_FLIGHT_UNTIL, hidden, self._newest(queue))

    @staticmethod
    def _newest(queue: Queue) -> int:
        """A second whose followers had not passed at the queue's last change: no bucket before it need be there."""
        times = [row.sent for row in queue.messages.values()] + [row.first_received for row in queue.states.values()]
        return max(times, default=0) // 1000 + 60

    def _same(self, queue: Queue, kind: int, expected: Counter[int], after: int) -> None:
        there = {second: n for (of, second), n in queue.histogram.items() if of == kind and second > after}
        wanted = {second: n for second, n in expected.items() if second > after}
        if kind == layout.UNRECEIVED:
            there = {second: n for second, n in there.items() if n}
        if there != wanted:
            self.wrong.append(
                f"{queue.name}: {layout.HISTOGRAMS[kind]}: counted {sum(there.values())}, there are "
                f"{sum(wanted.values())}"
            )


# -- are the promises kept? ------------------------------------------------------


def broken(promises: Promises, found: Found) -> list[str]:
    """What was promised and is not so, one line each."""
    return _Judge(promises, found).judge()


class _Judge:
    def __init__(self, promises: Promises, found: Found) -> None:
        self._deeds = list(promises.deeds.values())
        self._starts = promises.starts
        self._found = found
        self._wrong: list[str] = []
        self._places: dict[str, list[tuple[Queue, int]]] = defaultdict(list)
        for queue in found.queues.values():
            for seq, text in queue.bodies.items():
                if not is_whole(text):
                    self._wrong.append(f"{queue.name} has a body that nobody sent: {text[:60]!r}")
                self._places[name_of(text)].append((queue, seq))

    def judge(self) -> list[str]:
        self._queues()
        removed = {d.queue for d in self._deeds if d.what == "remove"}
        deleted: dict[str, Deed] = {}
        for deed in self._deeds:
            if deed.what == "delete":
                for name in deed.said["bodies"]:
                    deleted[name] = deed
        asked: set[str] = set()
        for deed in self._deeds:
            if deed.what == "send":
                asked.update(deed.said["bodies"])
                if deed.queue not in removed:
                    self._send(deed, deleted)
        for name, places in self._places.items():
            if name not in asked:
                self._wrong.append(f"{name} is there, and nobody has sent it")
            if len(places) > 1:
                where = ", ".join(queue.name for queue, _ in places)
                self._wrong.append(f"{name} is there {len(places)} times: {where}")
        for deed in self._deeds:
            if deed.what == "delete":
                self._delete(deed)
        self._purges(deleted)
        self._receives()
        self._order()
        if self._starts:
            for shard in range(SHARDS):
                if self._found.epochs.get(shard, 0) < self._starts:
                    self._wrong.append(f"shard {shard} is at epoch {self._found.epochs.get(shard, 0)} after "
                                       f"{self._starts} starts")  # fmt: skip
                    break
            if not self._found.secret:
                self._wrong.append("the node's secret is gone")
        return self._wrong

    def _queues(self) -> None:
        created = {d.queue: d for d in self._deeds if d.what == "create"}
        removed = {d.queue: d for d in self._deeds if d.what == "remove"}
        for name, deed in created.items():
            there = name in self._found.queues
            gone = removed.get(name)
            if deed.answered is not None and gone is None and not there:
                self._wrong.append(f"the queue {name} was created and is not there")
            if gone is not None and gone.answered is not None and there:
                self._wrong.append(f"the queue {name} was deleted and is there")
        for name in self._found.queues.keys() - created.keys():
            self._wrong.append(f"the queue {name} is there, and nobody has created it")

    def _send(self, deed: Deed, deleted: dict[str, Deed]) -> None:
        names = [name for name in deed.said["bodies"] if name not in deleted]
        if deed.queue == BIN:
            return  # see _purges
        there = [name for name in names if name in self._places]
        if deed.answered is not None and len(there) < len(names):
            missing = sorted(set(names) - set(there))
            self._wrong.append(f"{missing[:3]} of {len(names)} were sent to {deed.queue} and are not there")
        elif there and len(there) < len(names):
            self._wrong.append(f"of the batch {names} to {deed.queue}, not answered, {len(there)} are there")
        if deed.queue == FIFO and deed.answered is not None and self._starts:
            memory = self._found.queues[FIFO].memory if FIFO in self._found.queues else {}
            if missing := [each for each in deed.got["ids"] if each not in memory]:
                self._wrong.append(f"{len(missing)} messages of {deed.queue} could be sent twice within five minutes")

    def _delete(self, deed: Deed) -> None:
        names = deed.said["bodies"]
        there = [name for name in names if name in self._places]
        if deed.answered is not None and there:
            self._wrong.append(f"{there[:3]} of {deed.queue} were deleted and are there")
        elif there and len(there) < len(names):
            self._wrong.append(f"of {len(names)} deletes in {deed.queue}, not answered, some took effect")

    def _purges(self, deleted: dict[str, Deed]) -> None:
        purges = [d for d in self._deeds if d.what == "purge" and d.queue == BIN]
        for deed in self._deeds:
            if deed.what != "send" or deed.queue != BIN:
                continue
            there = [name for name in deed.said["bodies"] if name in self._places]
            # A purge that was asked for only after the answer to a send takes it; one that was asked before may.
            after = [p for p in purges if deed.answered is not None and p.asked > deed.answered]
            may = [p for p in purges if p.answered is None or p.answered > deed.asked]
            if any(p.answered is not None for p in after) and there:
                self._wrong.append(f"{there[:3]} were purged and are there")
            if deed.answered is not None and not may and len(there) < len(deed.said["bodies"]):
                self._wrong.append(f"{len(deed.said['bodies'])} were sent to {BIN}, and {len(there)} are there")
            if there and len(there) < len(deed.said["bodies"]):
                self._wrong.append(f"of a batch to {BIN}, {len(there)} of {len(deed.said['bodies'])} are there")
        for purge in purges:
            if purge.answered is not None:
                continue
            # Of what was there for certain before it, with no other purge since, all is gone or nothing.
            sure = [
                name
                for deed in self._deeds
                if deed.what == "send" and deed.queue == BIN and deed.answered is not None
                and deed.answered < purge.asked
                and not any(p is not purge and (p.answered is None or p.answered > deed.asked) for p in purges)
                for name in deed.said["bodies"]
                if name not in deleted
            ]  # fmt: skip
            there = [name for name in sure if name in self._places]
            if there and len(there) < len(sure):
                self._wrong.append(f"a purge without an answer left {len(there)} of {len(sure)} messages")

    def _receives(self) -> None:
        """A receipt that was handed out is remembered, and so is the last change of a timeout."""
        received: dict[str, tuple[str, int]] = {}
        hidden: dict[str, Deed] = {}
        for deed in self._deeds:
            if deed.what == "receive" and deed.answered is not None and deed.queue not in (SOURCE, DEAD):
                for name, count in deed.got["counts"].items():
                    received[name] = (deed.queue, count)
            elif deed.what == "hide":
                hidden[deed.said["bodies"][0]] = deed
        for name, (place, count) in received.items():
            for queue, seq in self._places.get(name, ()):
                state = queue.states.get(seq)
                if queue.name == place and (state is None or state.receives < count):
                    self._wrong.append(f"{name} was received {count} times, and {place} knows of less")
        for name, deed in hidden.items():
            if deed.answered is None:
                continue
            for queue, seq in self._places.get(name, ()):
                state = queue.states.get(seq)
                begun = 0 if state is None else state.visible_at - deed.said["timeout"] * 1000
                if not deed.said["at"] * 1000 - 50 <= begun <= deed.got["at"] * 1000 + 50:
                    self._wrong.append(f"{name} was hidden for {deed.said['timeout']} s and is not")

    def _order(self) -> None:
        """Each group has one sender, who numbers its messages."""
        queue = self._found.queues.get(FIFO)
        if queue is None:
            return
        last: dict[str, int] = {}
        for seq in sorted(queue.messages):
            group = queue.messages[seq].group
            number = int(name_of(queue.bodies[seq]).split("-")[1])
            if last.get(group, -1) >= number:
                self._wrong.append(f"group {group}: {number} comes after {last[group]}")
            last[group] = number


# -- opening it ------------------------------------------------------------------


def audit(data: Path, promises: Promises, serve: bool = False) -> list[str]:
    """Open the data directory, which may not be there, and check it; what is wrong, one line each.

    ``serve``: start a whole server on it too, and compare what it says of its queues.
    """
    return asyncio.run(_audit(data, promises, serve))


async def _audit(data: Path, promises: Promises, serve: bool) -> list[str]:
    store = SqliteStore(data)
    try:
        await store.open()
    except StoreError as error:
        return [f"it cannot be opened: {error}"]
    try:
        stored = list(read_rows(data))
        connection = sqlite3.connect(f"{(data / FILE).absolute().as_uri()}?mode=ro", uri=True)
        try:
            checked = [text for (text,) in connection.execute("PRAGMA integrity_check")]
            epochs = dict(connection.execute("SELECT shard, epoch FROM leases WHERE shard >= 0"))
        finally:
            connection.close()
    except (sqlite3.Error, StoreError) as error:
        return [f"it cannot be read: {error}"]
    finally:
        await store.close()
    wrong = [] if checked == ["ok"] else [f"SQLite: {text}" for text in checked[:5]]
    try:
        found = Found(stored, epochs)
    except (ValueError, IndexError, KeyError) as error:
        return [*wrong, f"a row cannot be read: {error!r}"]
    wrong += found.wrong + broken(promises, found)
    return wrong + await _served(data, found) if serve else wrong


async def _served(data: Path, found: Found) -> list[str]:
    """A server on what is left counts in each queue what lies there, and takes and gives a message."""
    node = Node(Settings(data=data, port=0))
    await node.start()
    try:
        return await asyncio.to_thread(_ask_of_all, node.port, found)
    except (Refused, OSError) as error:
        return [f"a server on it fails: {error}"]
    finally:
        await node.stop()


def _ask_of_all(port: int, found: Found) -> list[str]:
    wrong = []
    there: Counter[str] = Counter()
    for queue in found.queues.values():
        there[_place(queue.name)] += len(queue.messages)
    end = time.monotonic() + 10
    # A move task goes on as soon as the server is there, and between two looks messages are counted in neither or both.
    while (counted := _counts(port, found)) != there and time.monotonic() < end:
        time.sleep(0.1)
    for place in there:
        if counted[place] != there[place]:
            wrong.append(f"a server counts {counted[place]} messages in {place}, where {there[place]} are")
    for queue in found.queues.values():
        more = {"MessageGroupId": "new", "MessageDeduplicationId": "new"} if queue.name == FIFO else {}
        try:
            call(port, "SendMessage", QueueUrl=_url(port, queue), MessageBody="new", **more)
            call(port, "ReceiveMessage", QueueUrl=_url(port, queue), MaxNumberOfMessages=10)
        except (Refused, OSError) as error:
            wrong.append(f"a server on it fails in {queue.name}: {error}")
    return wrong


def _counts(port: int, found: Found) -> Counter[str]:
    counted: Counter[str] = Counter()
    for queue in found.queues.values():
        said = call(port, "GetQueueAttributes", QueueUrl=_url(port, queue), AttributeNames=["All"])["Attributes"]
        counted[_place(queue.name)] += sum(
            int(said[f"ApproximateNumberOfMessages{which}"]) for which in ("", "NotVisible", "Delayed")
        )
    return counted


def _place(queue: str) -> str:
    """Messages go to and fro between two queues."""
    return f"{SOURCE} and {DEAD}" if queue in (SOURCE, DEAD) else queue


def _url(port: int, queue: Queue) -> str:
    return f"http://127.0.0.1:{port}/{ACCOUNT}/{queue.name}"

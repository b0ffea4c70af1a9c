"""The clients of a campaign: each does its part until the server is killed under it, and goes on after the restart.

What a worker holds over a kill is what a real consumer would: handles, sends
whose answer did not come, the id of a receive request attempt.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

from crash.client import Client, Letter
from crash.history import REFUSED, WINDOW, History, Sight
from crash.rules import exists
from crash.wire import Refused, Unknown

BACKLOG = 250
"""Messages of a family beyond which nobody sends more: a look at all of them must stay cheap."""
RETRIED = WINDOW - 100_000
"""ms of service time for which a send without an answer is tried again: well inside the deduplication window."""


@dataclass(slots=True)
class Scene:
    """What the workers of a campaign share. ``frozen``: the clock is to stand still in this round."""

    history: History
    stopping: bool = False
    frozen: bool = False
    moving_clock: bool = False

    def full(self, queue: str, most: int = BACKLOG) -> bool:
        return len(self.history.alive[self.history.family(queue)]) >= most


class Worker:
    """``dice``: its own, so that one worker's luck does not hang on another's speed."""

    def __init__(self, scene: Scene, name: str, dice: Random) -> None:
        self.scene = scene
        self.name = name
        self.dice = dice
        self._number = 0

    async def run(self, client: Client) -> None:
        """Until the campaign stops it, or Unknown: the server is gone, or failed."""
        while not self.scene.stopping:
            await self.turn(client)

    async def turn(self, client: Client) -> None:
        raise NotImplementedError

    def token(self, queue: str) -> str:
        self._number += 1
        return f"{queue}.{self.name}.{self._number}"

    async def pause(self) -> None:
        await asyncio.sleep(self.dice.uniform(0.001, 0.005))


class Sender(Worker):
    """Sends to a standard queue, alone and in batches, with and without delays (seconds) and groups."""

    def __init__(
        self, scene: Scene, name: str, dice: Random, queue: str, delays: tuple[int | None, ...] = (None,)
    ) -> None:
        super().__init__(scene, name, dice)
        self.queue = queue
        self.delays = delays

    async def turn(self, client: Client) -> None:
        if self.scene.full(self.queue):
            await self.pause()
        elif self.dice.random() < 0.5:
            await client.send(self.queue, self._letter())
        else:
            letters = [self._letter() for _ in range(self.dice.randint(1, 9))]
            await client.send_batch(self.queue, letters, spoilt=self.dice.random() < 0.1)

    def _letter(self) -> Letter:
        group = f"tenant{self.dice.randrange(4)}" if self.dice.random() < 0.2 else ""
        return Letter(self.token(self.queue), self.dice.choice(self.delays), group)


class FifoSender(Worker):
    """Sends to groups; repeats what had no answer, and at times what had one, with another body."""

    def __init__(
        self, scene: Scene, name: str, dice: Random, queue: str, groups: int, named: bool = True, again: bool = True
    ) -> None:
        super().__init__(scene, name, dice)
        self.queue = queue
        self.groups = groups
        self.named = named
        self.again = again
        self.pending: list[Letter] = []
        self.since = 0
        self.sent: list[Letter] = []

    async def turn(self, client: Client) -> None:
        clock = client.record.time
        if self.pending and (not self.again or clock.high() > self.since + RETRIED):
            self.pending = []
        if not self.pending:
            if self.scene.full(self.queue):
                await self.pause()
                return
            self.since = clock.low()
            self.pending = self._letters()
        letters = self.pending
        if len(letters) == 1 and self.dice.random() < 0.7:
            await client.send(self.queue, letters[0])
        else:
            await client.send_batch(self.queue, letters)
        self.pending = []
        self.sent = (self.sent + letters)[-30:]

    def _letters(self) -> list[Letter]:
        if self.named and self.sent and self.dice.random() < 0.15:
            first = self.dice.choice(self.sent)  # inside its window or past it: both have one right answer
            return [Letter(self.token(self.queue), None, first.group, first.deduplication)]
        return [self._letter() for _ in range(self.dice.choice([1, 1, 2, 5, 10]))]

    def _letter(self) -> Letter:
        token = self.token(self.queue)
        group = f"g{self.dice.randrange(self.groups)}"
        if self.named:
            return Letter(token, None, group, f"d-{token}")
        return Letter(token, None, group, f"hash of {token}", named=False)


class Consumer(Worker):
    """Receives, and of what it got deletes some, hides or shows some, and keeps the handles of the rest for later."""

    def __init__(
        self, scene: Scene, name: str, dice: Random, queue: str,
        visibilities: tuple[int | None, ...] = (None, None, 0, 1, 2, 600), deletes: float = 0.65,
    ) -> None:  # fmt: skip
        super().__init__(scene, name, dice)
        self.queue = queue
        self.visibilities = visibilities
        self.deletes = deletes
        self.held: list[Sight] = []

    async def turn(self, client: Client) -> None:
        dice = self.dice
        if self.held and dice.random() < 0.25:
            await self._use_old_handles(client)
        wait = 1 if dice.random() < 0.05 else 0
        got = await client.receive(self.queue, dice.choice([1, 2, 10, 10]), dice.choice(self.visibilities), wait)
        if not got:
            await self.pause()
            return
        crowded = self.scene.full(self.queue, BACKLOG // 2)
        share = min(1.0, self.deletes + 0.25) if crowded else self.deletes
        done = [sight for sight in got if dice.random() < share]
        rest = [sight for sight in got if sight not in done]
        changed = [sight for sight in rest if dice.random() < 0.4]
        self.held = (self.held + rest + done[:1])[-40:]
        if done:
            await client.delete(done, batch=dice.random() < 0.6)
        if changed:
            await client.change(changed, dice.choice([0, 1, 3, 60]), batch=dice.random() < 0.6)

    async def _use_old_handles(self, client: Client) -> None:
        sights = self.dice.sample(self.held, min(len(self.held), self.dice.randint(1, 5)))
        if self.dice.random() < 0.6:
            await client.delete(sights, batch=self.dice.random() < 0.5)
            self.held = [sight for sight in self.held if sight not in sights]
        else:
            await client.change(sights, self.dice.choice([0, 2, 30]), batch=self.dice.random() < 0.5)


class Attempts(FifoSender):
    """The only consumer of its queue, which receives with attempt ids and repeats them, also over a kill."""

    def __init__(self, scene: Scene, name: str, dice: Random, queue: str) -> None:
        super().__init__(scene, name, dice, queue, groups=3)
        self.attempt = ""
        self.asked = 0
        self.blocked = 0
        self.undeleted: list[Sight] = []

    async def turn(self, client: Client) -> None:
        if self.undeleted:
            await client.delete(self.undeleted, batch=True)
            self.undeleted = []
        if not self.attempt:
            if len(self.scene.history.alive[self.queue]) < 40 or self.pending:
                await super().turn(client)
            self._number += 1
            self.attempt = f"{self.name}-{self._number}"
            self.asked = client.record.time.low()
        elif client.record.time.high() > self.asked + RETRIED:
            # What it took, if it was carried out, stays in flight.
            self.attempt, self.blocked = "", client.record.time.high() + 600_000
            return
        there = self._surely_there() if client.record.time.low() > self.blocked else ""
        got = await client.receive(self.queue, self.dice.choice([1, 3, 10]), 600, attempt=self.attempt)
        if there and not got and client.record.time.high() < self.asked + RETRIED:
            client.record.accuse("attempts_repeat", f"attempt {self.attempt} got nothing where {there} is to be had")
        if got and self.dice.random() < 0.4:
            return  # ask again with the same id, in this life of the server or in the next
        self.attempt = ""
        self.undeleted = got

    def _surely_there(self) -> str:
        """A message that is there and that only this attempt can have in flight."""
        for life in self.scene.history.alive[self.queue].values():
            if any(delete.outcome is not REFUSED for delete in life.deletes):
                return ""
            if any(sight.attempt != self.attempt for sight in life.receives):
                return ""
        lives = self.scene.history.alive[self.queue].values()
        return next((life.token for life in lives if exists(life)), "")


class Purger(Sender):
    """Fills its queue, takes some out, and purges it."""

    async def turn(self, client: Client) -> None:
        if self.dice.random() < 0.08:
            await client.purge(self.queue)
        elif self.dice.random() < 0.3:
            got = await client.receive(self.queue, 10, self.dice.choice([0, 1, 30]))
            await client.delete(got[:3])
        else:
            await super().turn(client)


class FifoPurger(FifoSender):
    """The same of a FIFO queue. It repeats nothing: a purge forgets what was a duplicate."""

    async def turn(self, client: Client) -> None:
        if self.dice.random() < 0.08:
            self.sent = []
            await client.purge(self.queue)
        elif self.dice.random() < 0.3:
            got = await client.receive(self.queue, 10, self.dice.choice([0, 1, 30]))
            await client.delete(got[:3])
        else:
            self.sent = []
            await super().turn(client)


class Bulk(Worker):
    """Fills the WAL: 90 KB bodies, ten to a batch, purged when they are many."""

    def __init__(self, scene: Scene, name: str, dice: Random) -> None:
        super().__init__(scene, name, dice)
        self._body = "x" * 90_000

    async def turn(self, client: Client) -> None:
        self._number += 1
        if self._number % 120 == 0:
            await client.ask("PurgeQueue", {"QueueUrl": "bulk"})
        entries = [{"Id": f"e{at}", "MessageBody": f"bulk.{self._number}.{at}|{self._body}"} for at in range(10)]
        await client.ask("SendMessageBatch", {"QueueUrl": "bulk", "Entries": entries})


class ClockMover(Worker):
    """Moves service time under the others' feet, by less than the shortest window."""

    async def run(self, client: Client) -> None:
        if self.scene.frozen and not client.record.time.frozen:
            await client.freeze()
        while not self.scene.stopping and (self.scene.moving_clock or self.scene.frozen):
            await self.turn(client)

    async def turn(self, client: Client) -> None:
        await asyncio.sleep(self.dice.uniform(0.005, 0.12))
        if self.scene.frozen or self.dice.random() < 0.7:
            await client.advance(self.dice.choice([1, 250, 1_000, 3_000]))
        elif client.record.time.frozen:
            await client.resume()
        else:
            await client.freeze()


class Bystander(Worker):
    """Reads what can be read."""

    def __init__(self, scene: Scene, name: str, dice: Random, queues: list[str]) -> None:
        super().__init__(scene, name, dice)
        self.queues = queues

    async def turn(self, client: Client) -> None:
        queue = self.dice.choice(self.queues)
        await client.ask("GetQueueAttributes", {"QueueUrl": queue, "AttributeNames": ["All"]})
        await client.ask("ListQueues", {})
        await self.pause()


async def until_killed(worker: Worker, client: Client) -> None:
    """Run a worker; a failure that is no kill (a 503) lets it go on."""
    while True:
        try:
            await worker.run(client)
        except Unknown as unknown:
            if not unknown.lost:
                await worker.pause()
                continue
        except Refused as refusal:
            client.record.accuse("nothing_good_is_refused", f"{worker.name}: {refusal}")
        return

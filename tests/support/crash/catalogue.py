"""Queues that come and go: what CreateQueue, DeleteQueue, SetQueueAttributes and tags acknowledged must hold.

One worker owns its queues, so of each it knows the state, or after a call
without an answer the two that it can have. After a restart it reads them: what
it finds must be one of these. Messages tell by their bodies in which life of
the queue they were sent: none of a deleted queue may be in its namesake.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

from crash.client import Client
from crash.wire import Refused
from crash.workers import Scene, Worker

RULE = "queues_are_as_they_were_made"


@dataclass(slots=True)
class State:
    """A queue that exists. ``sent``: the least and the most messages that can be in it."""

    life: int
    attributes: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    sent: tuple[int, int] = (0, 0)


class CatalogueOwner(Worker):
    def __init__(self, scene: Scene, name: str, dice: Random, queues: int = 4) -> None:
        super().__init__(scene, name, dice)
        self.prefix = f"made-{name}-"
        self.possible: dict[str, list[State | None]] = {f"{self.prefix}{n}": [None] for n in range(queues)}
        self._lives = 0

    async def run(self, client: Client) -> None:
        await self.verify(client)
        await super().run(client)

    async def turn(self, client: Client) -> None:
        name = self.dice.choice(list(self.possible))
        [state] = self.possible[name]
        if state is None:
            await self._create(client, name)
            return
        match self.dice.randrange(12):
            case 0 | 1:
                await self._do(client, name, None, "DeleteQueue", {})
            case 2 | 3:
                given = {"VisibilityTimeout": str(self.dice.randint(0, 43_200)), "DelaySeconds": "0"}
                if self.dice.random() < 0.5:
                    given["MaximumMessageSize"] = str(self.dice.randint(1_024, 262_144))
                changed = deepcopy(state)
                changed.attributes.update(given)
                await self._do(client, name, changed, "SetQueueAttributes", {"Attributes": given})
            case 4 | 5:
                tags = {f"tag{self.dice.randrange(5)}": str(self.dice.random())}
                changed = deepcopy(state)
                changed.tags.update(tags)
                await self._do(client, name, changed, "TagQueue", {"Tags": tags})
            case 6 if state.tags:
                key = self.dice.choice(list(state.tags))
                changed = deepcopy(state)
                del changed.tags[key]
                await self._do(client, name, changed, "UntagQueue", {"TagKeys": [key]})
            case 7:
                await self._verify_one(client, name)
            case _:
                changed = deepcopy(state)
                changed.sent = (state.sent[0] + 1, state.sent[1] + 1)
                body = f"{name}#{state.life}#{state.sent[1]}"
                await self._do(client, name, changed, "SendMessage", {"MessageBody": body})

    async def _create(self, client: Client, name: str) -> None:
        self._lives += 1
        attributes = {"VisibilityTimeout": str(self.dice.randint(0, 43_200)), "MessageRetentionPeriod": "1209600"}
        made = State(self._lives, attributes, {"life": str(self._lives)})
        parameters = {"QueueName": name, "Attributes": made.attributes, "tags": made.tags}
        self.possible[name] = [None, made]
        await client.ask("CreateQueue", parameters)
        self.possible[name] = [made]

    async def _do(
        self, client: Client, name: str, becomes: State | None, operation: str, parameters: dict[str, Any]
    ) -> None:
        [state] = self.possible[name]
        self.possible[name] = [state, becomes]
        await client.ask(operation, {"QueueUrl": name, **parameters})
        self.possible[name] = [becomes]

    async def verify(self, client: Client) -> None:
        """Read every queue. What is found is what is so."""
        for name in self.possible:
            await self._verify_one(client, name)
        listed = await client.ask("ListQueues", {"QueueNamePrefix": self.prefix})
        names = {url.rpartition("/")[2] for url in listed.get("QueueUrls", [])}
        known = {name for name, [state] in self.possible.items() if state is not None}
        if names != known:
            client.record.accuse(RULE, f"ListQueues shows {sorted(names)}, and there are {sorted(known)}")

    async def _verify_one(self, client: Client, name: str) -> None:
        possible = self.possible[name]
        try:
            await client.ask("GetQueueUrl", {"QueueName": name})
        except Refused as refusal:
            if refusal.code != "QueueDoesNotExist" or None not in possible:
                client.record.accuse(RULE, f"{name} is {refusal}, and was to be {possible}")
            self.possible[name] = [None]
            return
        shown = await client.ask("GetQueueAttributes", {"QueueUrl": name, "AttributeNames": ["All"]})
        attributes: dict[str, str] = shown["Attributes"]
        tags: dict[str, str] = (await client.ask("ListQueueTags", {"QueueUrl": name})).get("Tags", {})
        got = await client.ask("ReceiveMessage", {"QueueUrl": name, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0})
        lives = {int(message["Body"].split("#")[1]) for message in got.get("Messages", [])}
        count = int(attributes["ApproximateNumberOfMessages"])
        for state in possible:
            if (
                state is not None
                and all(attributes.get(key) == value for key, value in state.attributes.items())
                and tags == state.tags
                and lives <= {state.life}
                and state.sent[0] <= count <= state.sent[1]
            ):
                state.sent = (count, count)
                self.possible[name] = [state]
                return
        seen = {key: attributes.get(key) for key in ("VisibilityTimeout", "MaximumMessageSize")}
        text = f"{name} has {seen}, the tags {tags}, and {count} messages of lives {lives}; it was to be {possible}"
        client.record.accuse(RULE, text)
        self.possible[name] = [State(self._lives, {}, tags, (count, count))]

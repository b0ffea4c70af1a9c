"""Message move tasks that run over kills: nothing lost, nothing doubled, and their counts are right.

A task is started at a quiet point, when all of the dead-letter queue has been
seen. When it has ended, every message that was there is counted: it has
another id now (it was moved), the same one, or has ended. The task must say
as many as were moved, and reach its end whatever was killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from crash.checker import Checker
from crash.client import Client
from crash.history import Look

RULE = "moves_are_counted"


@dataclass(slots=True)
class _Task:
    """``there``: token -> id of what was in the dead-letter queue. ``visible``: how many of it could be moved."""

    there: dict[str, str]
    visible: int
    started: int | None


class Moves:
    """The tasks of one dead-letter queue, one after the other."""

    def __init__(self, checker: Checker, queue: str, dice: Random) -> None:
        self.queue = queue
        self.ended = 0
        self.moved = 0
        self._checker = checker
        self._history = checker.history
        self._dice = dice
        self._task: _Task | None = None
        self._latest = 0

    @property
    def under_way(self) -> bool:
        return self._task is not None

    def _arn(self, queue: str) -> str:
        return f"arn:aws:sqs:us-east-1:000000000000:{queue}"

    async def look(self, client: Client, look: Look, start: bool = True) -> None:
        """At a quiet point, with all of the queue: end the task that has ended, start one where there is none."""
        if self._task is not None:
            await self._follow(client, self._task)
        if self._task is None and start and len(look.seen) >= 20 and self._dice.random() < 0.7:
            await self._start(client, look)

    async def _start(self, client: Client, look: Look) -> None:
        there = {sight.token: sight.id for sight in look.seen}
        self._task = _Task(there, sum(sight.state == "visible" for sight in look.seen), None)
        parameters: dict[str, object] = {"SourceArn": self._arn(self.queue)}
        rate = self._dice.choice([None, 3, 6, 20, 500])
        if rate is not None:
            parameters["MaxNumberOfMessagesPerSecond"] = rate
        if self._dice.random() < 0.5:
            source = next(q.name for q in self._history.queues.values() if q.dead_letters == self.queue)
            parameters["DestinationArn"] = self._arn(source)
        await client.ask("StartMessageMoveTask", parameters)

    async def _follow(self, client: Client, task: _Task) -> None:
        answer = await client.ask("ListMessageMoveTasks", {"SourceArn": self._arn(self.queue), "MaxResults": 10})
        [newest, *_] = answer.get("Results", []) or [None]
        if newest is None or newest["StartedTimestamp"] == self._latest:
            if task.started is not None:
                self._checker.accuse(RULE, f"the task of {self.queue} that was shown before is gone")
            self._task = None  # its start had no answer, and did not happen
            return
        task.started = newest["StartedTimestamp"]
        if newest["ApproximateNumberOfMessagesToMove"] != task.visible:
            text = f"a task of {self.queue} was to move {task.visible} messages and says {newest}"
            self._checker.accuse(RULE, text)
        if newest["Status"] == "RUNNING":
            return
        self._task = None
        self._latest = newest["StartedTimestamp"]
        self.ended += 1
        self._judge(task, newest["Status"], newest["ApproximateNumberOfMessagesMoved"])

    def _judge(self, task: _Task, status: str, moved: int) -> None:
        if status != "COMPLETED":
            self._checker.accuse(RULE, f"a task of {self.queue} ended as {status}")
        surely = perhaps = 0
        for token, id_ in task.there.items():
            life = self._history.lives.get(token)
            ids = life.ids() if life is not None else self._history.last_ids.get(token, [])
            if id_ in ids[:-1]:
                surely += 1
            elif life is None:
                perhaps += 1
        self.moved += surely
        if not surely <= moved <= surely + perhaps:
            text = f"a task of {self.queue} says that it moved {moved} of {len(task.there)}"
            self._checker.accuse(RULE, f"{text}; {surely} were moved, and of {perhaps} it cannot be known")

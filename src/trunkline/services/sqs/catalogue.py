"""The catalogue: which queues an account has in a region. One partition, one machine.

    key                value
    10 name            JSON: partition, created, modified (ms), attributes (those explicitly set), tags, version
    11 name            deleted at, ms u64: a name that may not be used again yet

All of it is in memory while the machine is: a queue takes about a kilobyte.
Whatever depends on the present state is decided here, inside one step, so two
callers cannot both create a queue or both take a label.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any
from unicodedata import category

from trunkline.kernel.arn import Arn, partition_of
from trunkline.kernel.errors import ServiceError
from trunkline.kernel.measures import Traffic
from trunkline.kernel.step import Close, Delivery, Row, Step, Token
from trunkline.kernel.time import NEVER, Millis
from trunkline.services.sqs import attributes as table
from trunkline.services.sqs import permissions
from trunkline.services.sqs.commands import Configure, Open, QueueSettings
from trunkline.services.sqs.errors import bad_attribute, invalid, no_such_queue
from trunkline.services.sqs.limits import MAXIMUM_BYTES, TAGS
from trunkline.services.sqs.redrive_policies import check_redrive_allow_policy, check_redrive_policy

ENTRY = b"\x10"
DELETED = b"\x11"
_VERSION = 1


@dataclass(slots=True)
class Entry:
    """A queue. ``attributes``: those that were set; ``full``: all that can be set, with their defaults."""

    name: str
    arn: str
    partition: int
    created: Millis
    modified: Millis
    attributes: dict[str, str]
    tags: dict[str, str]
    full: dict[str, str] = field(default_factory=dict)
    settings: QueueSettings = field(init=False)
    traffic: Traffic = field(default_factory=Traffic, compare=False)

    def refresh(self, maximum: int) -> None:
        self.full = table.stored(self.attributes, self.name.endswith(".fifo"), maximum)
        self.settings = table.settings(self.name, self.arn, self.full)

    def encode(self) -> bytes:
        return json.dumps(
            {
                "version": _VERSION,
                "partition": self.partition,
                "created": self.created,
                "modified": self.modified,
                "attributes": self.attributes,
                "tags": self.tags,
            }
        ).encode()


@dataclass(slots=True)
class Create:
    """Answer: Entry. ``partition``: a new one, used only if the queue is not there yet."""

    token: Token
    name: str
    partition: int
    attributes: dict[str, str]
    tags: dict[str, str]


@dataclass(slots=True)
class Remove:
    """Answer: None."""

    token: Token
    name: str


@dataclass(slots=True)
class SetAttributes:
    """Answer: None."""

    token: Token
    name: str
    attributes: dict[str, str]


@dataclass(slots=True)
class Tag:
    """Answer: None."""

    token: Token
    name: str
    tags: dict[str, str]


@dataclass(slots=True)
class Untag:
    """Answer: None."""

    token: Token
    name: str
    keys: list[str]


@dataclass(slots=True)
class AddPermission:
    """Answer: None."""

    token: Token
    name: str
    label: str
    accounts: list[str]
    actions: list[str]


@dataclass(slots=True)
class RemovePermission:
    """Answer: None."""

    token: Token
    name: str
    label: str


@dataclass(slots=True)
class Show:
    """Answer: ``output``, which was read from this catalogue, when everything that it shows is durable."""

    token: Token
    output: dict[str, Any]


@dataclass(slots=True)
class Clear:
    """Delete queues, ``most`` of them, and when all are gone let their names be free. Answer: Cleared."""

    token: Token
    most: int


@dataclass(slots=True)
class Cleared:
    """What ``Clear`` did: ``queues`` were deleted, and there is ``more`` to do."""

    queues: int
    more: bool


class QueueCatalogue:
    """See the module. ``delete_wait``: ms until a deleted queue's name is free; ``maximum``: the message size limit."""

    wake_at = NEVER
    durable_wake_at = NEVER
    companions: tuple[int, ...] = ()
    idle = True

    def __init__(
        self,
        partition: int,
        region: str,
        account: str,
        rows: list[Row],
        delete_wait: Millis = 0,
        maximum: int = MAXIMUM_BYTES,
    ) -> None:
        self.partition = partition
        self.region = region
        self.account = account
        self._delete_wait = delete_wait
        self._maximum = maximum
        self._prefix = f"arn:{partition_of(region)}:sqs:{region}:{account}:"
        self._entries: dict[str, Entry] = {}
        self._names: list[str] = []
        self._by_partition: dict[int, Entry] = {}
        self._sources: dict[str, set[str]] = {}
        self._deleted: dict[str, Millis] = {}
        for key, value in rows:
            name = key[1:].decode()
            if key[:1] == ENTRY:
                self._restore(name, json.loads(value))
            elif key[:1] == DELETED:
                self._deleted[name] = int.from_bytes(value, "big")
        # In the order of deletion, so that what has lapsed stands at the front.
        self._deleted = dict(sorted(self._deleted.items(), key=lambda item: item[1]))
        self._handlers: dict[type, Callable[[Any, Millis, Step], Any]] = {
            Create: self._create,
            Remove: self._remove,
            SetAttributes: self._set_attributes,
            Tag: self._tag,
            Untag: self._untag,
            AddPermission: self._add_permission,
            RemovePermission: self._remove_permission,
            Show: lambda command, now, step: command.output,
            Clear: self._clear,
        }

    def _restore(self, name: str, row: dict[str, Any]) -> None:
        entry = Entry(
            name,
            self._prefix + name,
            row["partition"],
            row["created"],
            row["modified"],
            row["attributes"],
            row["tags"],
        )
        self._put(entry)

    # -- reading -------------------------------------------------------------------

    def find(self, name: str) -> Entry | None:
        return self._entries.get(name)

    def by_arn(self, arn: str) -> Entry | None:
        """The queue with this ARN, if it is of this account and region."""
        if arn.startswith(self._prefix):
            return self._entries.get(arn[len(self._prefix) :])
        return None

    def by_partition(self, partition: int) -> Entry | None:
        return self._by_partition.get(partition)

    def entries(self, most: int) -> list[Entry]:
        """So many queues, in the order of their names."""
        return [self._entries[name] for name in self._names[:most]]

    @property
    def size(self) -> int:
        """How many queues there are."""
        return len(self._names)

    def names(self, prefix: str, after: str, limit: int) -> list[str]:
        """Names that begin with ``prefix`` and sort behind ``after``, in order."""
        start = bisect_left(self._names, prefix)
        if after:
            start = max(start, bisect_right(self._names, after))
        page = self._names[start : start + limit]
        return [name for name in page if name.startswith(prefix)]

    def sources_of(self, arn: str) -> list[str]:
        """Names of the queues whose dead letters go to ``arn``, in order."""
        return sorted(self._sources.get(arn, ()))

    def dead_letter_queues(self) -> list[Entry]:
        """The queues of this catalogue that dead letters go to."""
        return [entry for entry in map(self.by_arn, self._sources) if entry is not None]

    def shed(self, everything: bool) -> list[list[Any] | dict[Any, Any]]:
        return []

    @property
    def weight(self) -> int:
        return 1_000 * len(self._entries)

    # -- changing ------------------------------------------------------------------

    def handle(self, command: Any, now: Millis) -> Step:
        step = Step()
        handler = self._handlers.get(type(command))
        if handler is None:
            return step
        try:
            answer = handler(command, now, step)
        except ServiceError as error:
            # Refused before anything changed; the refusal too waits for what it was decided on.
            answer = error
        step.answers.append((command.token, answer))
        return step

    def _present(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise no_such_queue()
        return entry

    def _put(self, entry: Entry) -> None:
        entry.refresh(self._maximum)
        if entry.name not in self._entries:
            insort(self._names, entry.name)
        self._entries[entry.name] = entry
        self._by_partition[entry.partition] = entry
        if entry.settings.dead_letter_arn:
            self._sources.setdefault(entry.settings.dead_letter_arn, set()).add(entry.name)

    def _unlink(self, entry: Entry) -> None:
        sources = self._sources.get(entry.settings.dead_letter_arn)
        if sources is not None:
            sources.discard(entry.name)
            if not sources:
                del self._sources[entry.settings.dead_letter_arn]

    def _save(self, entry: Entry, step: Step) -> None:
        step.writes.append((ENTRY + entry.name.encode(), entry.encode()))

    def _allow_policy_of(self, arn: str) -> str | None:
        entry = self.by_arn(arn)
        return None if entry is None else entry.attributes.get("RedriveAllowPolicy", "")

    def _checked(self, given: dict[str, str], name: str) -> dict[str, str]:
        found = table.checked(given, name.endswith(".fifo"), self._maximum)
        arn = self._prefix + name
        if found.get("RedrivePolicy"):
            own = arn

            def allow_policy_of(target: str) -> str | None:
                # A queue may name itself: as this very request makes it, and even if it is just being created.
                if target == own and "RedriveAllowPolicy" in found:
                    return found["RedriveAllowPolicy"]
                allowed = self._allow_policy_of(target)
                return "" if allowed is None and target == own else allowed

            check_redrive_policy(found["RedrivePolicy"], arn, allow_policy_of)
        if found.get("RedriveAllowPolicy"):
            check_redrive_allow_policy(found["RedriveAllowPolicy"])
        return found

    def _create(self, command: Create, now: Millis, step: Step) -> Entry:
        name = command.name
        entry = self._entries.get(name)
        if entry is not None:
            self._compare(entry, command.attributes)
            return entry
        given = self._checked(command.attributes, name)
        _check_tags(command.tags, 0, name)
        deleted = self._deleted.get(name)
        if deleted is not None and self._delete_wait and now < deleted + self._delete_wait:
            raise ServiceError(
                "QueueDeletedRecently",
                "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
            )
        given.pop("FifoQueue", None)
        kept = table.merged({}, given)
        entry = Entry(name, self._prefix + name, command.partition, now, now, kept, dict(command.tags))
        self._put(entry)
        self._save(entry, step)
        if deleted is not None:
            del self._deleted[name]
            step.writes.append((DELETED + name.encode(), None))
        step.deliveries.append(Delivery(entry.partition, Open(entry.settings), fresh=True))
        return entry

    def _compare(self, entry: Entry, given: dict[str, str]) -> None:
        """CreateQueue of a queue that exists: every attribute given must be what it has."""
        wanted = table.checked(given, entry.settings.fifo, self._maximum)
        for name, value in wanted.items():
            if name == table.KMS_REUSE and name not in entry.full:
                continue  # it means nothing while there is no key
            if entry.full.get(name, "") != value and not _same_json(entry.full.get(name, ""), value):
                raise ServiceError(
                    "QueueNameExists",
                    "A queue already exists with the same name and a different value for attribute " + name,
                )

    def _remove(self, command: Remove, now: Millis, step: Step) -> None:
        entry = self._present(command.name)
        self._drop(entry, now, step)

    def _drop(self, entry: Entry, now: Millis, step: Step) -> None:
        self._unlink(entry)
        del self._entries[entry.name]
        del self._by_partition[entry.partition]
        del self._names[bisect_left(self._names, entry.name)]
        step.writes.append((ENTRY + entry.name.encode(), None))
        self._forget(now, step)
        if self._delete_wait:
            self._deleted[entry.name] = now
            step.writes.append((DELETED + entry.name.encode(), now.to_bytes(8, "big")))
        step.deliveries.append(Delivery(entry.partition, Close(no_such_queue()), optional=True))
        step.dead.append(entry.partition)

    def _forget(self, now: Millis, step: Step) -> None:
        """Names that are free again are of no interest any more."""
        lapsed = takewhile(lambda item: item[1] + self._delete_wait <= now, self._deleted.items())
        for name, _ in list(lapsed):
            del self._deleted[name]
            step.writes.append((DELETED + name.encode(), None))

    def _clear(self, command: Clear, now: Millis, step: Step) -> Cleared:
        entries = list(islice(self._entries.values(), command.most))
        for entry in entries:
            self._drop(entry, now, step)
        for name in list(islice(self._deleted, command.most - len(entries))):
            del self._deleted[name]
            step.writes.append((DELETED + name.encode(), None))
        return Cleared(len(entries), bool(self._entries or self._deleted))

    def _set_attributes(self, command: SetAttributes, now: Millis, step: Step) -> None:
        entry = self._present(command.name)
        given = self._checked(command.attributes, entry.name)
        if given.get("FifoQueue", "true") != "true":
            raise bad_attribute("FifoQueue", "Modifying queue type is not supported.")
        given.pop("FifoQueue", None)
        self._change(entry, table.merged(entry.attributes, given), now, step)

    def _change(self, entry: Entry, attributes: dict[str, str], now: Millis, step: Step) -> None:
        self._unlink(entry)
        entry.attributes = attributes
        entry.modified = now
        self._put(entry)
        self._save(entry, step)
        step.deliveries.append(Delivery(entry.partition, Configure(entry.settings), optional=True))

    def _tag(self, command: Tag, now: Millis, step: Step) -> None:
        entry = self._present(command.name)
        _check_tags(command.tags, len(set(entry.tags) - set(command.tags)), entry.name)
        entry.tags = {**entry.tags, **command.tags}
        self._save(entry, step)

    def _untag(self, command: Untag, now: Millis, step: Step) -> None:
        entry = self._present(command.name)
        entry.tags = {key: value for key, value in entry.tags.items() if key not in command.keys}
        self._save(entry, step)

    def _add_permission(self, command: AddPermission, now: Millis, step: Step) -> None:
        entry = self._present(command.name)
        present = entry.attributes.get("Policy")
        policy = permissions.added(present, entry.arn, command.label, command.accounts, command.actions)
        self._change(entry, table.merged(entry.attributes, {"Policy": policy}), now, step)

    def _remove_permission(self, command: RemovePermission, now: Millis, step: Step) -> None:
        entry = self._present(command.name)
        policy = permissions.removed(entry.attributes.get("Policy"), command.label)
        self._change(entry, table.merged(entry.attributes, {"Policy": policy}), now, step)


def _same_json(one: str, other: str) -> bool:
    """Policies are compared by what they say, not by their spaces."""
    if not one.startswith("{") or not other.startswith("{"):
        return False
    value = table.json_map(one)
    return value is not None and value == table.json_map(other)


_TAG = r"letters, digits, spaces and _.:/=+-@"


def _check_tags(tags: dict[str, str], others: int, queue: str) -> None:
    if len(tags) + others > TAGS:
        raise invalid(f"Too many tags added for queue {queue}.")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128:
            raise invalid("Tag keys must be between 1 and 128 characters in length.")
        if len(value) > 256:
            raise invalid("Tag values must be between 0 and 256 characters in length.")
        if key.lower().startswith("aws:"):
            raise invalid(f"Tag key {key} is invalid: the prefix aws: is reserved.")
        for text in (key, value):
            if not all(each.isalnum() or category(each)[0] == "Z" or each in "_.:/=+-@" for each in text):
                raise invalid(f"Tag {text!r} is invalid: tags consist of {_TAG}.")


def arn_place(arn: str) -> tuple[str, str] | None:
    """(region, account) of a queue's ARN."""
    parsed = Arn.parse(arn)
    return (parsed.region, parsed.account) if parsed is not None and parsed.service == "sqs" else None

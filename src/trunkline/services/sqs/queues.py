"""Operations on queues themselves: create, find, list, attributes, tags, permissions (aws/sqs.md sections 2, 3, 10)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Protocol

from trunkline.kernel.call import Call, Operation
from trunkline.kernel.errors import InternalFailure
from trunkline.services.sqs import permissions
from trunkline.services.sqs.answers import Done, Shaped
from trunkline.services.sqs.attributes import ATTRIBUTES, COUNTS, READ_ONLY
from trunkline.services.sqs.catalogue import (
    AddPermission,
    Create,
    Entry,
    QueueCatalogue,
    Remove,
    RemovePermission,
    SetAttributes,
    Show,
    Tag,
    Untag,
)
from trunkline.services.sqs.commands import Count, Counts
from trunkline.services.sqs.errors import invalid, invalid_value, missing, no_room, no_such_queue, unknown_attribute
from trunkline.services.sqs.limits import PAGE
from trunkline.services.sqs.notices import Notices
from trunkline.services.sqs.seams import Runtime

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_BAD_NAME = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
_BAD_FIFO_NAME = (
    "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo "
    "suffix and be 1 to 80 in length"
)


class Directory(Protocol):
    """How these operations find queues and write their URLs: see service."""

    def find(self, url: str | None, call: Call) -> Entry: ...
    def of(self, entry: Entry) -> QueueCatalogue: ...
    def place(self, account: str, region: str) -> QueueCatalogue | None: ...
    def url(self, catalogue: QueueCatalogue, name: str, call: Call) -> str: ...


class QueueOperations:
    """``enforced``: what would not be enforced is refused (see notices)."""

    def __init__(self, directory: Directory, runtime: Runtime, enforced: bool = False) -> None:
        self._directory = directory
        self._runtime = runtime
        self._tell = runtime.tell
        self._allot = runtime.allot
        self._notices = Notices(enforced)

    def operations(self) -> dict[str, Operation]:
        return {
            "CreateQueue": self.create_queue,
            "DeleteQueue": self.delete_queue,
            "GetQueueUrl": self.get_queue_url,
            "ListQueues": self.list_queues,
            "GetQueueAttributes": self.get_queue_attributes,
            "SetQueueAttributes": self.set_queue_attributes,
            "ListDeadLetterSourceQueues": self.list_dead_letter_source_queues,
            "TagQueue": self.tag_queue,
            "UntagQueue": self.untag_queue,
            "ListQueueTags": self.list_queue_tags,
            "AddPermission": self.add_permission,
            "RemovePermission": self.remove_permission,
        }

    def create_queue(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html"""
        name = params.get("QueueName")
        if name is None:
            raise missing("QueueName")
        attributes = params.get("Attributes", {})
        self._notices.check(attributes)
        catalogue = self._directory.place(call.caller.account, call.caller.region)
        if catalogue is None:
            raise InternalFailure
        present = catalogue.find(name)
        if present is None and self._runtime.short:
            raise no_room()
        if present is None or "FifoQueue" in attributes:
            # Of a FIFO queue that exists the URL may be asked for without saying that it is one.
            _check_name(name, attributes)
        # An id is only spent where it may be needed: asking again for a queue that exists must cost nothing.
        partition = present.partition if present is not None else self._allot()

        def made(entry: Entry) -> dict[str, Any]:
            self._notices.stored(entry.arn, attributes)
            return {"QueueUrl": self._directory.url(catalogue, entry.name, call)}

        token = Shaped(call, made)
        self._tell(catalogue.partition, Create(token, name, partition, attributes, params.get("tags", {})))

    def delete_queue(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html"""
        entry = self._directory.find(params.get("QueueUrl"), call)
        self._change(entry, Remove(Done(call), entry.name))

    def _noticed(self, call: Call, entry: Entry, attributes: dict[str, str]) -> Shaped:
        """A token that says, when ``attributes`` are stored, what of them is not enforced."""

        def done(_: Any) -> dict[str, Any]:
            self._notices.stored(entry.arn, attributes)
            return {}

        return Shaped(call, done)

    def _change(self, entry: Entry, command: Any) -> None:
        self._tell(self._directory.of(entry).partition, command)

    def _show(self, catalogue: QueueCatalogue, output: dict[str, Any], call: Call) -> None:
        """Answer with what was read, but never before it is durable: a failed commit must not have been seen."""
        self._tell(catalogue.partition, Show(Shaped(call, lambda shown: shown), output))

    def get_queue_url(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueUrl.html"""
        name = params.get("QueueName")
        if name is None:
            raise missing("QueueName")
        if not name:
            raise invalid("Value for parameter QueueName is invalid. Reason: Must specify a queue name.")
        owner = params.get("QueueOwnerAWSAccountId") or call.caller.account
        catalogue = self._directory.place(owner, call.caller.region)
        if catalogue is None or catalogue.find(name) is None:
            raise no_such_queue()
        self._show(catalogue, {"QueueUrl": self._directory.url(catalogue, name, call)}, call)

    def list_queues(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ListQueues.html"""
        catalogue = self._directory.place(call.caller.account, call.caller.region)
        limit, after = _page(params)
        if catalogue is None:
            call.answer({})
            return
        names = catalogue.names(params.get("QueueNamePrefix", ""), after, limit + 1)
        answer: dict[str, Any] = {}
        if names:
            answer["QueueUrls"] = [self._directory.url(catalogue, name, call) for name in names[:limit]]
        if len(names) > limit and "MaxResults" in params:
            answer["NextToken"] = _token(names[limit - 1])
        self._show(catalogue, answer, call)

    def list_dead_letter_source_queues(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ListDeadLetterSourceQueues.html"""
        entry = self._directory.find(params.get("QueueUrl"), call)
        limit, after = _page(params)
        catalogue = self._directory.of(entry)
        names = [name for name in catalogue.sources_of(entry.arn) if name > after]
        answer: dict[str, Any] = {"queueUrls": [self._directory.url(catalogue, name, call) for name in names[:limit]]}
        if len(names) > limit and "MaxResults" in params:
            answer["NextToken"] = _token(names[limit - 1])
        self._show(catalogue, answer, call)

    def get_queue_attributes(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html"""
        entry = self._directory.find(params.get("QueueUrl"), call)
        names = params.get("AttributeNames", [])
        for name in names:
            if name != "All" and name not in ATTRIBUTES and name not in READ_ONLY:
                raise unknown_attribute(name)
        if not names:
            call.answer({})
            return
        everything = "All" in names
        shown = {
            **entry.full,
            "QueueArn": entry.arn,
            "CreatedTimestamp": str(entry.created // 1000),
            "LastModifiedTimestamp": str(entry.modified // 1000),
        }
        if everything or any(name in COUNTS for name in names):
            self._tell(entry.partition, Count(_Counted(call, shown, None if everything else names)))
            return
        found = {name: shown[name] for name in names if name in shown}
        self._show(self._directory.of(entry), {"Attributes": found} if found else {}, call)

    def set_queue_attributes(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html"""
        entry = self._directory.find(params.get("QueueUrl"), call)
        attributes = params["Attributes"]
        self._notices.check(attributes)
        self._change(entry, SetAttributes(self._noticed(call, entry, attributes), entry.name, attributes))

    def tag_queue(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_TagQueue.html"""
        entry = self._directory.find(params.get("QueueUrl"), call)
        self._change(entry, Tag(Done(call), entry.name, params["Tags"]))

    def untag_queue(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_UntagQueue.html"""
        entry = self._directory.find(params.get("QueueUrl"), call)
        self._change(entry, Untag(Done(call), entry.name, params["TagKeys"]))

    def list_queue_tags(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ListQueueTags.html"""
        entry = self._directory.find(params.get("QueueUrl"), call)
        self._show(self._directory.of(entry), {"Tags": entry.tags} if entry.tags else {}, call)

    def add_permission(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_AddPermission.html"""
        entry = self._directory.find(params.get("QueueUrl"), call)
        label, accounts, actions = params["Label"], params["AWSAccountIds"], params["Actions"]
        permissions.check(label, accounts, actions)
        self._notices.check({"Policy": label})
        token = self._noticed(call, entry, {"Policy": label})
        self._change(entry, AddPermission(token, entry.name, label, accounts, actions))

    def remove_permission(self, params: dict[str, Any], call: Call) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_RemovePermission.html"""
        entry = self._directory.find(params.get("QueueUrl"), call)
        self._change(entry, RemovePermission(Done(call), entry.name, params["Label"]))


def _check_name(name: str, attributes: dict[str, str]) -> None:
    if not name:
        raise invalid("Queue name cannot be empty")
    stem = name.removesuffix(".fifo")
    # On a standard queue FifoQueue is an unknown attribute, whatever its value; the table of attributes says so.
    if attributes.get("FifoQueue", "").lower() == "true":
        if not name.endswith(".fifo") or len(name) > 80 or _NAME.fullmatch(stem) is None:
            raise invalid(_BAD_FIFO_NAME)
    elif name.endswith(".fifo") and "FifoQueue" in attributes:
        raise unknown_attribute("FifoQueue")
    elif _NAME.fullmatch(name) is None:
        raise invalid(_BAD_NAME)


_LONGEST_TOKEN = 256
"""Characters of a NextToken, which is a queue's name in base64."""


def _page(params: dict[str, Any]) -> tuple[int, str]:
    """(how many, the name to go on after)"""
    most = params.get("MaxResults")
    if most is not None and not 1 <= most <= PAGE:
        raise invalid_value(most, "MaxResults", f"MaxResults must be an integer between 1 and {PAGE}")
    token = params.get("NextToken")
    if not token:
        return most or PAGE, ""
    try:
        after = urlsafe_b64decode(token.encode()).decode() if len(token) <= _LONGEST_TOKEN else ""
    except ValueError:
        after = ""
    # The decoder skips what is not base64: only what we would write ourselves is a token of ours.
    if not after or _token(after) != token:
        raise invalid("Value for parameter NextToken is invalid.")
    return most or PAGE, after


def _token(name: str) -> str:
    return urlsafe_b64encode(name.encode()).decode()


class _Counted:
    """Answers GetQueueAttributes. ``names`` None: all."""

    __slots__ = ("_call", "_names", "_shown")

    def __init__(self, call: Call, shown: dict[str, str], names: list[str] | None) -> None:
        self._call = call
        self._shown = shown
        self._names = names

    def release(self, answer: Any) -> None:
        if not isinstance(answer, Counts):
            self._call.fail(answer)
            return
        counts = zip(COUNTS, (answer.visible, answer.in_flight, answer.delayed), strict=True)
        shown = {**self._shown, **{name: str(count) for name, count in counts}}
        if self._names is not None:
            shown = {name: shown[name] for name in self._names if name in shown}
        self._call.answer({"Attributes": shown})

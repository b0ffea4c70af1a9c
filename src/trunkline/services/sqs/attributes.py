"""Queue attributes as a table: range, default, who may set them, and what their values must be (aws/sqs.md section 3).

All values are strings on the wire and here. ``checked`` validates what a
request gives; ``settings`` makes of stored attributes what a queue computes
with; ``shown`` is what GetQueueAttributes answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trunkline.kernel.errors import ServiceError
from trunkline.services.sqs.commands import QueueSettings
from trunkline.services.sqs.errors import bad_attribute, unknown_attribute
from trunkline.services.sqs.limits import MAXIMUM_BYTES
from trunkline.services.sqs.policy_limits import excess


@dataclass(frozen=True, slots=True)
class Attribute:
    """``check`` returns the value to store, or raises ValueError. ``default`` None: absent until set."""

    check: Callable[[str], str]
    default: str | None = None
    fifo_only: bool = False


def _number(least: int, most: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if re.fullmatch(r"[0-9]{1,10}", text) is None or not least <= int(text) <= most:
            raise ValueError
        return str(int(text))

    return check


def _boolean(text: str) -> str:
    low = text.lower()
    if low not in ("true", "false"):
        raise ValueError
    return low


def _word(*words: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in words:
            raise ValueError
        return text

    return check


def _policy(text: str) -> str:
    if text:
        value = json_map(text)
        statements = value.get("Statement") if value is not None else None
        if not isinstance(statements, list):
            statements = [statements]
        if value is None or not all(isinstance(each, dict) for each in statements) or excess(text, value):
            raise ValueError
    return text


_LONGEST_MAP = 32_768
"""Characters of a policy or redrive policy: a policy has 8,192 bytes, ten source queues' ARNs about 2,000."""


def json_map(text: str) -> dict[str, Any] | None:
    """The JSON object that ``text`` is, or None if it is none (or long or nested beyond reason)."""
    if len(text) > _LONGEST_MAP:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _anything(text: str) -> str:
    text.encode()  # a lone surrogate is a ValueError
    return text


KMS_REUSE = "KmsDataKeyReusePeriodSeconds"

ATTRIBUTES: dict[str, Attribute] = {
    "VisibilityTimeout": Attribute(_number(0, 43_200), "30"),
    "MessageRetentionPeriod": Attribute(_number(60, 1_209_600), "345600"),
    "DelaySeconds": Attribute(_number(0, 900), "0"),
    "MaximumMessageSize": Attribute(_number(1_024, MAXIMUM_BYTES), str(MAXIMUM_BYTES)),
    "ReceiveMessageWaitTimeSeconds": Attribute(_number(0, 20), "0"),
    "Policy": Attribute(_policy),
    "RedrivePolicy": Attribute(_anything),
    "RedriveAllowPolicy": Attribute(_anything),
    "KmsMasterKeyId": Attribute(_anything),
    KMS_REUSE: Attribute(_number(60, 86_400)),
    "SqsManagedSseEnabled": Attribute(_boolean, "true"),
    "FifoQueue": Attribute(_boolean, fifo_only=True),
    "ContentBasedDeduplication": Attribute(_boolean, "false", fifo_only=True),
    "DeduplicationScope": Attribute(_word("queue", "messageGroup"), "queue", fifo_only=True),
    "FifoThroughputLimit": Attribute(_word("perQueue", "perMessageGroupId"), "perQueue", fifo_only=True),
}

COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
READ_ONLY = ("QueueArn", "CreatedTimestamp", "LastModifiedTimestamp", *COUNTS)
_REMOVED_BY_EMPTY = ("Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId")
_ONLY_WITH_FIFO = ("DeduplicationScope", "FifoThroughputLimit")

_TWO_KINDS_OF_ENCRYPTION = (
    "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE."
)


def checked(given: Mapping[str, str], fifo: bool, maximum: int = MAXIMUM_BYTES) -> dict[str, str]:
    """The attributes of a request, validated one by one. Redrive policies are checked apart (redrive_policies)."""
    found: dict[str, str] = {}
    for name, value in given.items():
        attribute = ATTRIBUTES.get(name)
        if attribute is None:
            raise unknown_attribute(name)
        if attribute.fifo_only and not fifo:
            if name in _ONLY_WITH_FIFO:
                raise ServiceError(
                    "InvalidAttributeName", f"You can specify the {name} only when FifoQueue is set to true."
                )
            raise unknown_attribute(name)
        try:
            found[name] = attribute.check(value)
        except ValueError:
            raise bad_attribute(name) from None
        if name == "MaximumMessageSize" and int(value) > maximum:
            raise bad_attribute(name)
    if found.get("KmsMasterKeyId") and found.get("SqsManagedSseEnabled") == "true":
        raise ServiceError("InvalidAttributeName", _TWO_KINDS_OF_ENCRYPTION)
    return found


def merged(present: Mapping[str, str], change: Mapping[str, str]) -> dict[str, str]:
    """Stored attributes after a change. InvalidAttributeValue if the whole contradicts itself."""
    after = {**present, **change}
    if change.get("KmsMasterKeyId"):
        after["SqsManagedSseEnabled"] = "false"
    elif change.get("SqsManagedSseEnabled") == "true":
        after.pop("KmsMasterKeyId", None)
        after.pop(KMS_REUSE, None)
    for name in _REMOVED_BY_EMPTY:
        if after.get(name) == "":
            del after[name]
    if after.get(KMS_REUSE) == "300" and "KmsMasterKeyId" not in after:
        del after[KMS_REUSE]
    if after.get("FifoThroughputLimit") == "perMessageGroupId" and after.get("DeduplicationScope") != "messageGroup":
        raise bad_attribute(
            "FifoThroughputLimit",
            "The perMessageGroupId value is allowed only when the value for DeduplicationScope is messageGroup.",
        )
    return after


def stored(attributes: Mapping[str, str], fifo: bool, maximum: int) -> dict[str, str]:
    """All attributes of a queue with their defaults, the read-only ones excepted."""
    found = {
        name: each.default
        for name, each in ATTRIBUTES.items()
        if each.default is not None and (fifo or not each.fifo_only)
    }
    found["MaximumMessageSize"] = str(min(maximum, MAXIMUM_BYTES))
    if fifo:
        found["FifoQueue"] = "true"
    found.update(attributes)
    if "KmsMasterKeyId" not in found:
        found.pop(KMS_REUSE, None)  # shown only with a key
    elif KMS_REUSE not in found:
        found[KMS_REUSE] = "300"
    return found


def settings(name: str, arn: str, full: Mapping[str, str]) -> QueueSettings:
    """What the queue's machine computes with."""
    dead_letter, receives = "", 0
    if "RedrivePolicy" in full:
        policy: dict[str, Any] = json.loads(full["RedrivePolicy"])
        dead_letter, receives = policy["deadLetterTargetArn"], int(policy["maxReceiveCount"])
    return QueueSettings(
        name=name,
        arn=arn,
        fifo=full.get("FifoQueue") == "true",
        visibility_timeout=int(full["VisibilityTimeout"]) * 1000,
        delay=int(full["DelaySeconds"]) * 1000,
        retention=int(full["MessageRetentionPeriod"]) * 1000,
        receive_wait=int(full["ReceiveMessageWaitTimeSeconds"]) * 1000,
        maximum_size=int(full["MaximumMessageSize"]),
        content_deduplication=full.get("ContentBasedDeduplication") == "true",
        deduplicate_per_group=full.get("DeduplicationScope") == "messageGroup",
        throughput_per_group=full.get("FifoThroughputLimit") == "perMessageGroupId",
        dead_letter_arn=dead_letter,
        max_receive_count=receives,
    )

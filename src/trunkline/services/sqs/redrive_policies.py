"""RedrivePolicy and RedriveAllowPolicy: validation with AWS's texts, in AWS's order (aws/sqs.md section 4)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from trunkline.kernel.arn import Arn
from trunkline.services.sqs.attributes import json_map
from trunkline.services.sqs.errors import bad_attribute, invalid, invalid_value

_UNSUPPORTED = "Amazon SQS can't create the redrive allow policy, as it’s in an unsupported format."  # noqa: RUF001
_CANNOT = "Amazon SQS can't create the redrive allow policy. "
_SOURCES = 10
_COUNT = re.compile(r"[0-9]{1,9}")


def check_redrive_policy(text: str, arn: str, allow_policy_of: Callable[[str], str | None]) -> None:
    """``allow_policy_of(arn)``: the RedriveAllowPolicy of a queue that exists ("" if it has none), else None."""
    policy = json_map(text)
    if policy is None:
        raise bad_attribute("RedrivePolicy", "Redrive policy is not a valid JSON map.")

    def refuse(reason: str) -> Exception:
        return invalid_value(text, "RedrivePolicy", reason)

    for member in ("maxReceiveCount", "deadLetterTargetArn"):
        if member not in policy:
            raise refuse(f"Redrive policy does not contain mandatory attribute: {member}.")
    extra = set(policy) - {"maxReceiveCount", "deadLetterTargetArn"}
    if extra:
        raise refuse("Only following attributes are supported: [maxReceiveCount, deadLetterTargetArn].")
    count = policy["maxReceiveCount"]
    if isinstance(count, bool) or _COUNT.fullmatch(str(count)) is None or not 1 <= int(count) <= 1000:
        shown = count if isinstance(count, str) else json.dumps(count)
        raise refuse(f"Invalid value for maxReceiveCount: {shown}, valid values are from 1 to 1000 both inclusive.")
    target = str(policy["deadLetterTargetArn"])
    parsed, own = Arn.parse(target), Arn.parse(arn)
    if parsed is None or parsed.service != "sqs":
        raise refuse("Only SQS queues are valid resources for deadLetterTargetArn.")
    if target.endswith(".fifo") != arn.endswith(".fifo"):
        raise refuse("Dead-letter queue must be same type of queue as the source..")
    allowed = allow_policy_of(target)
    if own is None or (parsed.region, parsed.account) != (own.region, own.account) or allowed is None:
        raise refuse("Dead letter target does not exist.")
    if not _permits(allowed, arn):
        raise refuse("Queue specified in deadLetterTargetArn does not allow the source queue to use it.")


def _permits(allow_policy: str, source: str) -> bool:
    if not allow_policy:
        return True
    policy = json.loads(allow_policy)
    if policy["redrivePermission"] == "byQueue":
        return source in policy["sourceQueueArns"]
    return bool(policy["redrivePermission"] == "allowAll")


def check_redrive_allow_policy(text: str) -> None:
    def refuse(reason: str) -> Exception:
        return invalid(f"Value {text} for parameter RedriveAllowPolicy is invalid. Reason: {_CANNOT}{reason}")

    policy = json_map(text)
    if policy is None or set(policy) - {"redrivePermission", "sourceQueueArns"}:
        raise bad_attribute("RedriveAllowPolicy", _UNSUPPORTED)
    permission, sources = policy.get("redrivePermission"), policy.get("sourceQueueArns")
    if permission not in ("allowAll", "denyAll", "byQueue"):
        raise bad_attribute("RedriveAllowPolicy", _UNSUPPORTED)
    if sources is not None and (not isinstance(sources, list) or not all(isinstance(each, str) for each in sources)):
        raise bad_attribute("RedriveAllowPolicy", _UNSUPPORTED)
    if permission == "byQueue":
        if not sources:
            raise refuse(
                "When you specify the byQueue permission type, you must also specify one or more sourceQueueArns "
                "values."
            )
        if len(sources) > _SOURCES:
            raise refuse(f"The maximum number of source queue ARNs you can specify is {_SOURCES}.")
        if any((parsed := Arn.parse(each)) is None or parsed.service != "sqs" for each in sources):
            raise bad_attribute("RedriveAllowPolicy", _UNSUPPORTED)
    elif sources:
        raise refuse("To specify one or more source queue ARNs, you must set redrivePermission to byQueue.")

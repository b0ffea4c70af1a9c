"""AddPermission and RemovePermission: the policy that AWS writes for them (aws/sqs.md section 10)."""

from __future__ import annotations

import json
import re
from typing import Any

from trunkline.kernel.arn import Arn, is_account
from trunkline.kernel.errors import ServiceError
from trunkline.services.sqs.errors import invalid, invalid_value
from trunkline.services.sqs.limits import PERMISSION_ACTIONS
from trunkline.services.sqs.policy_limits import excess

GRANTABLE = frozenset(
    {
        "*",
        "ChangeMessageVisibility",
        "DeleteMessage",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ListDeadLetterSourceQueues",
        "PurgeQueue",
        "ReceiveMessage",
        "SendMessage",
    }
)
OWNER_ONLY = frozenset(
    {
        "AddPermission",
        "CancelMessageMoveTask",
        "CreateQueue",
        "DeleteQueue",
        "ListMessageMoveTasks",
        "ListQueues",
        "ListQueueTags",
        "RemovePermission",
        "SetQueueAttributes",
        "StartMessageMoveTask",
        "TagQueue",
        "UntagQueue",
    }
)
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,80}")


def check(label: str, accounts: list[str], actions: list[str]) -> None:
    """What can be said of a request before the queue's policy is known."""
    if _LABEL.fullmatch(label) is None:
        raise invalid_value(
            label,
            "Label",
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.",
        )
    if len(actions) > PERMISSION_ACTIONS:
        raise ServiceError("OverLimit", f"{len(actions)} Actions were found, maximum allowed is {PERMISSION_ACTIONS}.")
    if not accounts or not actions:
        raise ServiceError(
            "MissingParameter",
            f"The request must contain the parameter {'Actions' if accounts else 'AWSAccountIds'}.",
        )
    for action in actions:
        if action in OWNER_ONLY:
            raise invalid_value(f"SQS:{action}", "ActionName", "Only the queue owner is allowed to invoke this action.")
        if action not in GRANTABLE:
            raise invalid_value(
                f"SQS:{action}", "ActionName", "Please refer to the appropriate WSDL for a list of valid actions. "
            )
    for account in accounts:
        if not is_account(account):
            parsed = Arn.parse(account)
            if parsed is None or parsed.service != "iam":
                raise invalid_value(account, "PrincipalId", "Unable to verify.")


def added(policy: str | None, arn: str, label: str, accounts: list[str], actions: list[str]) -> str:
    """The policy with one statement more. InvalidParameterValue if the label is taken, OverLimit."""
    document: dict[str, Any]
    if policy:
        document = json.loads(policy)
    else:
        document = {"Version": "2008-10-17", "Id": f"{arn}/SQSDefaultPolicy", "Statement": []}
    statements = _statements(document)
    if any(each.get("Sid") == label for each in statements):
        raise invalid_value(label, "Label", "Already exists.")
    principals = [each if each.startswith("arn:") else f"arn:aws:iam::{each}:root" for each in accounts]
    granted = [f"SQS:{action}" for action in actions]
    statements.append(
        {
            "Sid": label,
            "Effect": "Allow",
            "Principal": {"AWS": principals[0] if len(principals) == 1 else principals},
            "Action": granted[0] if len(granted) == 1 else granted,
            "Resource": arn,
        }
    )
    document["Statement"] = statements
    text = json.dumps(document, separators=(",", ":"))
    too_much = excess(text, document)
    if too_much:
        raise ServiceError("OverLimit", too_much)
    return text


def removed(policy: str | None, label: str) -> str:
    """The policy without the labelled statement; "" if none is left. InvalidParameterValue if there is no such one."""
    document: dict[str, Any] = json.loads(policy) if policy else {}
    statements = _statements(document)
    left = [each for each in statements if each.get("Sid") != label]
    if len(left) == len(statements):
        raise invalid(f"Value {label} for parameter Label is invalid. Reason: can't find label.")
    if not left:
        return ""
    document["Statement"] = left
    return json.dumps(document, separators=(",", ":"))


def _statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    found = document.get("Statement", [])
    return list(found) if isinstance(found, list) else [found]

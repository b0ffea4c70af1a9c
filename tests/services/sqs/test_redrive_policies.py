"""Redrive policies: AWS's texts in AWS's order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.kernel.errors import ServiceError
from trunkline.services.sqs.redrive_policies import check_redrive_allow_policy, check_redrive_policy

HERE = "arn:aws:sqs:us-east-1:000000000000:"
DEAD = HERE + "dead"
ALLOW: dict[str, str] = {DEAD: "", HERE + "dead.fifo": ""}


def refusal(policy: Any, source: str = HERE + "q", allow: dict[str, str] = ALLOW) -> tuple[str, str] | None:
    text = policy if isinstance(policy, str) else json.dumps(policy)
    try:
        check_redrive_policy(text, source, allow.get)
    except ServiceError as error:
        return error.name, error.message.replace(text, "{..}")
    return None


@pytest.mark.parametrize("count", [1, 1000, "1", "1000", "7"])
def test_a_count_may_be_a_number_or_its_text(count: int | str) -> None:
    assert refusal({"deadLetterTargetArn": DEAD, "maxReceiveCount": count}) is None


def test_a_queue_may_be_its_own_dead_letter_queue() -> None:
    assert refusal({"deadLetterTargetArn": DEAD, "maxReceiveCount": 1}, source=DEAD) is None


@pytest.mark.parametrize("text", ["nonsense", "[]", "5", "null", "{", "[" * 100_000])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    assert refusal(text) == (
        "InvalidAttributeValue",
        "Invalid value for the parameter RedrivePolicy. Reason: Redrive policy is not a valid JSON map.",
    )


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({}, "Redrive policy does not contain mandatory attribute: maxReceiveCount."),
        ({"deadLetterTargetArn": DEAD}, "Redrive policy does not contain mandatory attribute: maxReceiveCount."),
        ({"maxReceiveCount": -36}, "Redrive policy does not contain mandatory attribute: deadLetterTargetArn."),
        (
            {"deadLetterTargetArn": DEAD, "maxReceiveCount": 1, "more": 1},
            "Only following attributes are supported: [maxReceiveCount, deadLetterTargetArn].",
        ),
        (
            {"deadLetterTargetArn": "x", "maxReceiveCount": -36},
            "Invalid value for maxReceiveCount: -36, valid values are from 1 to 1000 both inclusive.",
        ),
        (
            {"deadLetterTargetArn": DEAD, "maxReceiveCount": 1001},
            "Invalid value for maxReceiveCount: 1001, valid values are from 1 to 1000 both inclusive.",
        ),
        (
            {"deadLetterTargetArn": "arn:aws:sns:us-east-1:000000000000:dead", "maxReceiveCount": 1},
            "Only SQS queues are valid resources for deadLetterTargetArn.",
        ),
        (
            {"deadLetterTargetArn": "dead", "maxReceiveCount": 1},
            "Only SQS queues are valid resources for deadLetterTargetArn.",
        ),
        (
            {"deadLetterTargetArn": HERE + "nobody.fifo", "maxReceiveCount": 1},
            "Dead-letter queue must be same type of queue as the source..",
        ),
        ({"deadLetterTargetArn": HERE + "nobody", "maxReceiveCount": 1}, "Dead letter target does not exist."),
        (
            {"deadLetterTargetArn": "arn:aws:sqs:eu-west-1:000000000000:dead", "maxReceiveCount": 1},
            "Dead letter target does not exist.",
        ),
    ],
)
def test_each_fault_has_its_reason(policy: dict[str, Any], reason: str) -> None:
    text = "Value {..} for parameter RedrivePolicy is invalid. Reason: "
    assert refusal(policy) == ("InvalidParameterValue", text + reason)


def test_a_fifo_queue_wants_a_fifo_dead_letter_queue() -> None:
    assert refusal({"deadLetterTargetArn": HERE + "dead.fifo", "maxReceiveCount": 1}, HERE + "q.fifo") is None
    found = refusal({"deadLetterTargetArn": DEAD, "maxReceiveCount": 1}, HERE + "q.fifo")
    assert found is not None and "same type" in found[1]


@pytest.mark.parametrize(
    ("allow", "permitted"),
    [
        ({"redrivePermission": "allowAll"}, True),
        ({"redrivePermission": "denyAll"}, False),
        ({"redrivePermission": "byQueue", "sourceQueueArns": [HERE + "q"]}, True),
        ({"redrivePermission": "byQueue", "sourceQueueArns": [HERE + "other"]}, False),
    ],
)
def test_the_dead_letter_queue_says_who_may_use_it(allow: dict[str, Any], permitted: bool) -> None:
    found = refusal({"deadLetterTargetArn": DEAD, "maxReceiveCount": 1}, allow={DEAD: json.dumps(allow)})
    assert (found is None) is permitted


@given(
    st.dictionaries(
        st.sampled_from(["deadLetterTargetArn", "maxReceiveCount", "other"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text("0-9²arnsq:", max_size=9) | st.just([1]),
    )
)
def test_any_object_is_accepted_or_refused_with_a_reason(policy: dict[str, Any]) -> None:
    found = refusal(policy)
    assert found is None or found[0] in ("InvalidParameterValue", "InvalidAttributeValue")


@pytest.mark.parametrize("count", ["²", "٣", "1.0", "", "--5", True, None, 1.5])
def test_a_count_is_made_of_plain_digits(count: Any) -> None:
    found = refusal({"deadLetterTargetArn": DEAD, "maxReceiveCount": count})
    assert found is not None and "Invalid value for maxReceiveCount" in found[1]


@pytest.mark.parametrize(("count", "shown"), [(None, "null"), (True, "true"), (0, "0"), ("x", "x")])
def test_a_refused_count_is_shown_as_json_has_it(count: Any, shown: str) -> None:
    found = refusal({"deadLetterTargetArn": DEAD, "maxReceiveCount": count})
    assert found is not None and f"Invalid value for maxReceiveCount: {shown}, valid" in found[1]


def allow_refusal(policy: Any) -> tuple[str, str] | None:
    text = policy if isinstance(policy, str) else json.dumps(policy)
    try:
        check_redrive_allow_policy(text)
    except ServiceError as error:
        return error.name, error.message.replace(text, "{..}")
    return None


@pytest.mark.parametrize(
    "policy",
    [
        {"redrivePermission": "allowAll"},
        {"redrivePermission": "denyAll"},
        {"redrivePermission": "denyAll", "sourceQueueArns": []},
        {"redrivePermission": "byQueue", "sourceQueueArns": [HERE + "q"]},
        {"redrivePermission": "byQueue", "sourceQueueArns": [f"{HERE}q{number}" for number in range(10)]},
    ],
)
def test_the_three_permissions_are_accepted(policy: dict[str, Any]) -> None:
    assert allow_refusal(policy) is None


@pytest.mark.parametrize(
    "policy",
    [
        "nonsense",
        "[]",
        {},
        {"redrivePermission": "sometimes"},
        {"redrivePermission": ["allowAll"]},
        {"redrivePermission": "allowAll", "extra": 1},
        {"redrivePermission": "byQueue", "sourceQueueArns": [5]},
        {"redrivePermission": "byQueue", "sourceQueueArns": "arn"},
    ],
)
def test_an_allow_policy_of_another_form_is_refused(policy: Any) -> None:
    assert allow_refusal(policy) == (
        "InvalidAttributeValue",
        "Invalid value for the parameter RedriveAllowPolicy. Reason: Amazon SQS can't create the redrive allow "
        "policy, as it’s in an unsupported format.",  # noqa: RUF001
    )


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (
            {"redrivePermission": "byQueue"},
            "When you specify the byQueue permission type, you must also specify one or more sourceQueueArns values.",
        ),
        (
            {"redrivePermission": "byQueue", "sourceQueueArns": [f"{HERE}q{number}" for number in range(11)]},
            "The maximum number of source queue ARNs you can specify is 10.",
        ),
        (
            {"redrivePermission": "allowAll", "sourceQueueArns": [HERE + "q"]},
            "To specify one or more source queue ARNs, you must set redrivePermission to byQueue.",
        ),
    ],
)
def test_sources_go_with_by_queue_only(policy: dict[str, Any], reason: str) -> None:
    text = "Value {..} for parameter RedriveAllowPolicy is invalid. Reason: Amazon SQS can't create the redrive allow "
    assert allow_refusal(policy) == ("InvalidParameterValue", text + "policy. " + reason)

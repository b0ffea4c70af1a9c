"""AddPermission and RemovePermission: the policy's exact text, and who is refused."""

from __future__ import annotations

import json

import pytest

from trunkline.kernel.errors import ServiceError
from trunkline.services.sqs.permissions import added, check, removed

ARN = "arn:aws:sqs:us-east-1:000000000000:q"
ALICE, BOB = "111111111111", "222222222222"


def refusal(label: str = "l", accounts: tuple[str, ...] = (ALICE,), actions: tuple[str, ...] = ("*",)) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        check(label, list(accounts), list(actions))
    return caught.value


def test_one_principal_and_one_action_are_plain_strings() -> None:
    assert added(None, ARN, "label", [ALICE], ["ReceiveMessage"]) == (
        '{"Version":"2008-10-17","Id":"' + ARN + '/SQSDefaultPolicy","Statement":[{"Sid":"label","Effect":"Allow",'
        '"Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":"SQS:ReceiveMessage","Resource":"' + ARN + '"}]}'
    )


def test_several_principals_and_actions_are_lists() -> None:
    [statement] = json.loads(added(None, ARN, "l", [ALICE, BOB], ["SendMessage", "*"]))["Statement"]
    assert statement["Principal"] == {"AWS": [f"arn:aws:iam::{ALICE}:root", f"arn:aws:iam::{BOB}:root"]}
    assert statement["Action"] == ["SQS:SendMessage", "SQS:*"]


def test_a_statement_is_added_to_the_owners_own_policy() -> None:
    own = '{"Version":"2012-10-17","Statement":{"Sid":"own","Effect":"Allow"}}'
    policy = json.loads(added(own, ARN, "more", [ALICE], ["*"]))
    assert policy["Version"] == "2012-10-17"
    assert [each["Sid"] for each in policy["Statement"]] == ["own", "more"]


def test_a_label_is_used_once() -> None:
    policy = added(None, ARN, "label", [ALICE], ["*"])
    with pytest.raises(ServiceError) as caught:
        added(policy, ARN, "label", [BOB], ["*"])
    assert caught.value.name == "InvalidParameterValue"
    assert caught.value.message == "Value label for parameter Label is invalid. Reason: Already exists."


def test_removing_the_last_statement_leaves_no_policy() -> None:
    one = added(None, ARN, "one", [ALICE], ["*"])
    both = added(one, ARN, "two", [ALICE], ["*"])
    assert removed(both, "two") == one
    assert removed(one, "one") == ""


@pytest.mark.parametrize("policy", [None, '{"Statement":[{"Sid":"other"}]}'])
def test_a_label_that_is_not_there_cannot_be_removed(policy: str | None) -> None:
    with pytest.raises(ServiceError) as caught:
        removed(policy, "l")
    assert caught.value.message == "Value l for parameter Label is invalid. Reason: can't find label."


def test_more_than_seven_actions_are_over_the_limit() -> None:
    check("l", [ALICE], ["SendMessage"] * 7)
    error = refusal(actions=("SendMessage",) * 8)
    assert (error.name, error.message) == ("OverLimit", "8 Actions were found, maximum allowed is 7.")


@pytest.mark.parametrize("action", ["CreateQueue", "DeleteQueue", "SetQueueAttributes", "TagQueue", "AddPermission"])
def test_what_only_the_owner_may_do_is_not_granted(action: str) -> None:
    assert refusal(actions=(action,)).message == (
        f"Value SQS:{action} for parameter ActionName is invalid. "
        "Reason: Only the queue owner is allowed to invoke this action."
    )


@pytest.mark.parametrize("action", ["Foo", "sendmessage", ""])
def test_an_action_that_is_none_is_refused(action: str) -> None:
    assert refusal(actions=(action,)).message == (
        f"Value SQS:{action} for parameter ActionName is invalid. "
        "Reason: Please refer to the appropriate WSDL for a list of valid actions. "
    )


@pytest.mark.parametrize("label", ["", "a b", "x" * 81, "é"])
def test_a_label_is_made_like_a_queue_name(label: str) -> None:
    assert refusal(label=label).name == "InvalidParameterValue"


def test_accounts_and_actions_must_be_given() -> None:
    assert refusal(accounts=()).message == "The request must contain the parameter AWSAccountIds."
    assert refusal(actions=()).message == "The request must contain the parameter Actions."


@pytest.mark.parametrize("account", ["12", "x" * 12, "arn:aws:sqs:us-east-1:000000000000:q"])
def test_a_principal_is_an_account_or_an_identity(account: str) -> None:
    assert refusal(accounts=(account,)).message == (
        f"Value {account} for parameter PrincipalId is invalid. Reason: Unable to verify."
    )

"""The table of attributes: ranges, defaults, and how attributes change one another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.kernel.errors import ServiceError
from trunkline.services.sqs.attributes import checked, merged, settings, stored

MAXIMUM = 1_048_576

NUMBERS = [
    ("VisibilityTimeout", 0, 43_200),
    ("MessageRetentionPeriod", 60, 1_209_600),
    ("DelaySeconds", 0, 900),
    ("MaximumMessageSize", 1_024, 1_048_576),
    ("ReceiveMessageWaitTimeSeconds", 0, 20),
    ("KmsDataKeyReusePeriodSeconds", 60, 86_400),
]


def refusal(given: dict[str, str], fifo: bool = False) -> tuple[str, str]:
    with pytest.raises(ServiceError) as caught:
        checked(given, fifo)
    return caught.value.name, caught.value.message


@pytest.mark.parametrize(("name", "least", "most"), NUMBERS)
def test_numbers_keep_within_their_range(name: str, least: int, most: int) -> None:
    for number in (least, most):
        assert checked({name: str(number)}, False) == {name: str(number)}
    for text in (str(least - 1), str(most + 1), "", " 5", "1.5", "true", "5 ", "+5", "٣", "9" * 5_000):
        assert refusal({name: text}) == ("InvalidAttributeValue", f"Invalid value for the parameter {name}.")


@given(st.sampled_from(NUMBERS), st.integers(-10, 2_000_000))
def test_a_number_is_accepted_if_and_only_if_it_is_in_range(row: tuple[str, int, int], number: int) -> None:
    name, least, most = row
    try:
        accepted = bool(checked({name: str(number)}, False))
    except ServiceError:
        accepted = False
    assert accepted is (least <= number <= most)


@pytest.mark.parametrize("name", ["Foobar", "visibilitytimeout", "QueueArn", "ApproximateNumberOfMessages", "All", ""])
def test_what_cannot_be_set_is_an_unknown_attribute(name: str) -> None:
    assert refusal({name: "1"}) == ("InvalidAttributeName", f"Unknown Attribute {name}.")


@pytest.mark.parametrize("name", ["FifoQueue", "ContentBasedDeduplication"])
@pytest.mark.parametrize("value", ["true", "false"])
def test_attributes_of_fifo_queues_are_unknown_to_standard_ones(name: str, value: str) -> None:
    assert refusal({name: value}) == ("InvalidAttributeName", f"Unknown Attribute {name}.")


@pytest.mark.parametrize("name", ["DeduplicationScope", "FifoThroughputLimit"])
def test_high_throughput_is_for_fifo_queues(name: str) -> None:
    text = f"You can specify the {name} only when FifoQueue is set to true."
    assert refusal({name: "queue"}) == ("InvalidAttributeName", text)


def test_booleans_come_in_any_case_and_are_stored_in_lower_case() -> None:
    given = {"FifoQueue": "True", "ContentBasedDeduplication": "FALSE"}
    assert checked(given, True) == {"FifoQueue": "true", "ContentBasedDeduplication": "false"}
    assert refusal({"SqsManagedSseEnabled": "yes"})[0] == "InvalidAttributeValue"


@pytest.mark.parametrize("policy", ["nonsense", "[]", "{}", '{"Statement":["x"]}', '{"Statement":1}', "[" * 99_999])
def test_a_policy_is_a_json_document_with_statements(policy: str) -> None:
    assert refusal({"Policy": policy}) == ("InvalidAttributeValue", "Invalid value for the parameter Policy.")


@pytest.mark.parametrize("policy", ["", '{"Statement":[]}', '{"Statement":{"Effect":"Allow"}}'])
def test_a_policy_is_kept_as_it_was_sent(policy: str) -> None:
    assert checked({"Policy": policy}, False) == {"Policy": policy}


def test_two_kinds_of_encryption_are_one_too_many() -> None:
    assert refusal({"KmsMasterKeyId": "k", "SqsManagedSseEnabled": "true"}) == (
        "InvalidAttributeName",
        "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.",
    )


def test_a_servers_lower_limit_bounds_the_size() -> None:
    with pytest.raises(ServiceError):
        checked({"MaximumMessageSize": "262145"}, False, 262_144)
    assert stored({}, False, 262_144)["MaximumMessageSize"] == "262144"


def test_a_new_standard_queue_has_exactly_these_attributes() -> None:
    assert stored({}, False, MAXIMUM) == {
        "VisibilityTimeout": "30",
        "MessageRetentionPeriod": "345600",
        "DelaySeconds": "0",
        "MaximumMessageSize": "1048576",
        "ReceiveMessageWaitTimeSeconds": "0",
        "SqsManagedSseEnabled": "true",
    }


def test_a_new_fifo_queue_has_four_more() -> None:
    assert stored({}, True, MAXIMUM).items() - stored({}, False, MAXIMUM).items() == {
        ("FifoQueue", "true"),
        ("ContentBasedDeduplication", "false"),
        ("DeduplicationScope", "queue"),
        ("FifoThroughputLimit", "perQueue"),
    }


def test_a_kms_key_turns_the_managed_encryption_off_for_good() -> None:
    keyed = merged({}, {"KmsMasterKeyId": "testKeyId"})
    assert stored(keyed, False, MAXIMUM)["SqsManagedSseEnabled"] == "false"
    assert stored(keyed, False, MAXIMUM)["KmsDataKeyReusePeriodSeconds"] == "300"
    cleared = stored(merged(keyed, {"KmsMasterKeyId": ""}), False, MAXIMUM)
    assert cleared["SqsManagedSseEnabled"] == "false"
    assert "KmsMasterKeyId" not in cleared and "KmsDataKeyReusePeriodSeconds" not in cleared


def test_the_reuse_period_of_data_keys_is_shown_only_with_a_key() -> None:
    kept = merged({}, {"KmsDataKeyReusePeriodSeconds": "600"})
    assert "KmsDataKeyReusePeriodSeconds" not in stored(kept, False, MAXIMUM)
    keyed = merged(kept, {"KmsMasterKeyId": "k"})
    assert stored(keyed, False, MAXIMUM)["KmsDataKeyReusePeriodSeconds"] == "600"


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(ServiceError) as caught:
        checked({"KmsMasterKeyId": "\ud800"}, False)
    assert caught.value.message == "Invalid value for the parameter KmsMasterKeyId."


def test_managed_encryption_drops_the_kms_key() -> None:
    keyed = merged({}, {"KmsMasterKeyId": "k", "KmsDataKeyReusePeriodSeconds": "600"})
    assert merged(keyed, {"SqsManagedSseEnabled": "true"}) == {"SqsManagedSseEnabled": "true"}


@pytest.mark.parametrize("name", ["Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId"])
def test_an_empty_text_takes_an_attribute_away(name: str) -> None:
    assert merged({name: "x"}, {name: ""}) == {}


def test_throughput_per_group_wants_deduplication_per_group() -> None:
    both = {"FifoThroughputLimit": "perMessageGroupId", "DeduplicationScope": "messageGroup"}
    assert merged({}, both) == both
    with pytest.raises(ServiceError, match="FifoThroughputLimit"):
        merged({}, {"FifoThroughputLimit": "perMessageGroupId"})
    with pytest.raises(ServiceError, match="FifoThroughputLimit"):
        merged(both, {"DeduplicationScope": "queue"})


def test_a_machine_gets_lengths_in_milliseconds() -> None:
    policy = '{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead.fifo","maxReceiveCount":"3"}'
    explicit = {"VisibilityTimeout": "5", "DelaySeconds": "900", "RedrivePolicy": policy}
    found = settings("q.fifo", "arn", stored(explicit, True, MAXIMUM))
    assert (found.visibility_timeout, found.delay, found.retention) == (5_000, 900_000, 345_600_000)
    assert (found.fifo, found.deduplicate_per_group, found.throughput_per_group) == (True, False, False)
    assert (found.dead_letter_arn[-9:], found.max_receive_count) == ("dead.fifo", 3)

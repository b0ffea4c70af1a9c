"""A short campaign of kills; ``make crash`` runs a long one."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvloop
from crash.campaign import Campaign
from crash.content import content, faults_received, token_of


@pytest.mark.slow
def test_a_few_kills_under_load_break_no_promise(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, seed=20)
    held = uvloop.run(campaign.run(kills=6))
    assert [str(violation) for violation in campaign.checker.violations] == []
    assert held
    assert campaign.kills.total() >= 6
    assert campaign.drained > 0 and campaign.record.unknown.total() > 0


def test_the_content_of_a_message_tells_what_came_back_changed() -> None:
    made = content("plain.sender0.1")
    message = {"Body": made.body, "MD5OfBody": made.body_md5, **made.parameters(), "Attributes": {}}
    message |= {"MD5OfMessageAttributes": made.attributes_md5} if made.attributes else {}
    if made.trace:
        message["Attributes"] = {"AWSTraceHeader": made.trace}
    assert token_of(made.body) == "plain.sender0.1"
    assert faults_received(message) == []
    assert faults_received({**message, "Body": made.body + "x"}) != []
    assert faults_received({**message, "MD5OfBody": "0"}) != []
    assert faults_received({**message, "MessageAttributes": {"k": {"DataType": "String", "StringValue": "v"}}}) != []


def test_contents_are_of_all_sizes_and_kinds() -> None:
    made = [content(f"t{number}") for number in range(500)]
    sizes = [len(each.body) for each in made]
    assert min(sizes) < 40 and max(sizes) > 65_536
    assert any(each.trace for each in made) and any(not each.trace for each in made)
    assert {len(each.attributes) for each in made} == {0, 1, 3}

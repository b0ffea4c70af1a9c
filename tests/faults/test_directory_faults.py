"""The data directory is removed, moved or replaced under a running server."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from ailing import BEGUN, OVER, Ailing, until

pytestmark = pytest.mark.slow


def fill(ailing: Ailing) -> None:
    for _ in range(5):
        assert ailing.send() == 200


def listed(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir()}


def test_a_removed_directory_refuses_what_it_cannot_keep_and_an_empty_one_is_given_all_of_it(ailing: Ailing) -> None:
    fill(ailing)
    shutil.rmtree(ailing.data)
    assert ailing.send() == 503
    storage = ailing.until_failing()
    assert storage["kind"] == "gone"
    assert f"{ailing.data} is gone" in storage["reason"] and "make an empty directory" in storage["reason"]
    assert {ailing.send() for _ in range(5)} == {503}
    assert not ailing.data.exists(), "it makes none by itself"
    assert ailing.sqs.list_queues()["QueueUrls"]
    assert len(ailing.lines(BEGUN)) == 1
    ailing.data.mkdir()
    ailing.until_well()
    until(lambda: ailing.lines(OVER))
    assert ailing.lines("has been written there again")
    ailing.check_messages()
    fill(ailing)
    ailing.kill_and_start()
    ailing.check_messages()
    assert not ailing.lines("Traceback")


def test_it_is_found_out_though_nobody_writes(ailing: Ailing) -> None:
    fill(ailing)
    shutil.rmtree(ailing.data)
    assert ailing.until_failing()["kind"] == "gone"


def test_a_directory_that_was_moved_away_is_gone_on_with_when_it_is_back(ailing: Ailing) -> None:
    fill(ailing)
    elsewhere = ailing.root / "elsewhere"
    ailing.data.rename(elsewhere)
    assert ailing.send() == 503
    ailing.until_failing()
    elsewhere.rename(ailing.data)
    ailing.until_well()
    fill(ailing)
    ailing.kill_and_start()
    ailing.check_messages()


def test_another_directory_in_its_place_is_left_alone_until_the_former_is_back(ailing: Ailing) -> None:
    fill(ailing)
    elsewhere = ailing.root / "elsewhere"
    ailing.data.rename(elsewhere)
    shutil.copytree(elsewhere, ailing.data)  # as a restored backup, with a log of its own
    before = listed(ailing.data)
    assert ailing.send() == 503
    storage = ailing.until_failing()
    assert "is not the file that the server has open" in storage["reason"] and "restart" in storage["reason"]
    assert listed(ailing.data) == before
    replaced = ailing.root / "replaced"
    ailing.data.rename(replaced)
    elsewhere.rename(ailing.data)
    ailing.until_well()
    fill(ailing)
    # And a stop while another one lies there does nothing to it.
    ailing.data.rename(elsewhere)
    replaced.rename(ailing.data)
    assert ailing.server.stop() == 0
    assert listed(ailing.data) == before
    shutil.rmtree(ailing.data)
    elsewhere.rename(ailing.data)
    ailing.start()
    ailing.check_messages()


@pytest.mark.parametrize("name", ["trunkline.db", "trunkline.db-wal", "trunkline.db-shm", "trunkline.lock"])
def test_a_single_file_that_was_removed_is_made_again_and_nothing_is_lost(ailing: Ailing, name: str) -> None:
    fill(ailing)
    os.unlink(ailing.data / name)
    until(lambda: ailing.send() == 200)
    ailing.until_well()
    fill(ailing)
    ailing.kill_and_start()
    ailing.check_messages()
    assert {each.name for each in ailing.data.iterdir()} >= {"trunkline.db", "trunkline.lock"}


def test_health_keeps_paths_to_itself_where_auth_is_verified(tmp_path: Path) -> None:
    keys = tmp_path / "credentials"
    keys.write_text("[one]\naws_access_key_id = AKIAONE\naws_secret_access_key = secret\n")
    keys.chmod(0o600)
    ailing = Ailing(tmp_path, "--auth", "verify", "--credentials", str(keys))
    try:
        ailing.server.start()
        shutil.rmtree(ailing.data)
        storage = ailing.until_failing()
        assert (storage.pop("seconds") >= 0, storage) == (True, {"state": "failing", "kind": "gone"})
    finally:
        ailing.close()


def test_a_server_that_lost_its_directory_to_another_one_stops(ailing: Ailing, tmp_path: Path) -> None:
    fill(ailing)
    (ailing.data / "trunkline.lock").unlink()
    (ailing.data / "trunkline.lock").write_text("somebody else's\n")
    assert ailing.send() == 503
    assert ailing.server.process.wait(30) == 1
    assert ailing.lines("another server has taken the data directory")
    ailing.start()
    ailing.check_messages()

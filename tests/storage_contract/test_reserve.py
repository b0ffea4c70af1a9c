"""Room kept for the day on which the disk is full, with a disk that is as full as a test says."""

from __future__ import annotations

from pathlib import Path

from trunkline.storage.reserve import FILE, Reserve

MIB = 1 << 20


class Disk:
    """``free``: bytes beside what the reserve takes."""

    def __init__(self, directory: Path, free: int, size: int = 64 * MIB) -> None:
        self.directory = directory
        self.free = free
        self.size = size

    def __call__(self, directory: Path) -> tuple[int, int]:
        assert directory == self.directory
        held = self.directory / FILE
        return self.free - (held.stat().st_size if held.exists() else 0), self.size


def test_the_reserve_is_a_32nd_of_the_disk_from_1_to_16_mib(tmp_path: Path) -> None:
    for size, reserve in ((12 * MIB, MIB), (64 * MIB, 2 * MIB), (1 << 40, 16 * MIB)):
        assert Reserve(tmp_path, Disk(tmp_path, 0, size)).size == reserve


def test_it_is_taken_where_three_times_its_size_is_free_and_for_this_user_alone(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 6 * MIB - 1)
    reserve = Reserve(tmp_path, disk)
    assert not reserve.has_room()
    assert not (tmp_path / FILE).exists()
    disk.free = 6 * MIB
    assert reserve.has_room()
    assert (tmp_path / FILE).stat().st_size == 2 * MIB
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_there_is_no_room_when_less_than_twice_its_size_is_free_beside_it(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 6 * MIB)
    reserve = Reserve(tmp_path, disk)
    assert reserve.has_room()
    disk.free = 6 * MIB - 1
    assert not reserve.has_room()


def test_it_is_given_away_once_and_taken_again(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, Disk(tmp_path, 6 * MIB))
    assert reserve.has_room()
    assert reserve.drop()
    assert not reserve.drop()
    assert reserve.has_room()
    assert (tmp_path / FILE).exists()


def test_what_another_server_left_behind_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"half")
    reserve = Reserve(tmp_path, Disk(tmp_path, 60 * MIB))
    assert reserve.has_room()
    assert (tmp_path / FILE).stat().st_size == reserve.size

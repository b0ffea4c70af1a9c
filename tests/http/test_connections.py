"""How many connections a process has room for."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from trunkline.http.connections import raise_limit, room

resource = pytest.importorskip("resource")


class Descriptors:
    """Stands for the system's limit of open files, soft and hard; ``forbids``: the soft one may not be raised."""

    def __init__(self, soft: int, hard: int, forbids: bool = False) -> None:
        self.limits = (soft, hard)
        self.forbids = forbids

    def get(self, which: int) -> tuple[int, int]:
        assert which == resource.RLIMIT_NOFILE
        return self.limits

    def set(self, which: int, limits: tuple[int, int]) -> None:
        assert which == resource.RLIMIT_NOFILE
        if self.forbids:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[Descriptors]:
    descriptors = Descriptors(1_024, 4_096)
    monkeypatch.setattr(resource, "getrlimit", descriptors.get)
    monkeypatch.setattr(resource, "setrlimit", descriptors.set)
    yield descriptors


def test_a_process_takes_as_many_open_files_as_the_system_allows(system: Descriptors) -> None:
    raise_limit()
    assert system.limits == (4_096, 4_096)


def test_of_an_unlimited_number_it_takes_a_million(system: Descriptors) -> None:
    system.limits = (1_024, resource.RLIM_INFINITY)
    raise_limit()
    assert system.limits == (1 << 20, resource.RLIM_INFINITY)


@pytest.mark.parametrize("soft", [1 << 21, resource.RLIM_INFINITY])
def test_a_limit_that_is_high_already_stays(system: Descriptors, soft: int) -> None:
    system.limits = (soft, resource.RLIM_INFINITY)
    raise_limit()
    assert system.limits == (soft, resource.RLIM_INFINITY)


def test_a_system_that_forbids_it_is_told_of_in_the_log(system: Descriptors, caplog: pytest.LogCaptureFixture) -> None:
    system.forbids = True
    with caplog.at_level(logging.WARNING):
        raise_limit()
    assert caplog.messages == ["The limit of open files stays 1024: the system does not let it be 4096"]


@pytest.mark.parametrize(
    ("soft", "most", "expected"),
    [
        (1_024, 10_000, 960),
        (1_024, 100, 100),
        (100, 10_000, 50),
        (1, 10_000, 1),
        (resource.RLIM_INFINITY, 10_000, 10_000),
    ],
)
def test_connections_leave_open_files_to_the_store_and_the_log(
    system: Descriptors, soft: int, most: int, expected: int
) -> None:
    system.limits = (soft, system.limits[1])
    assert room(most) == expected

"""What every engine must do: the text of trunkline.storage.store, as tests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from trunkline.storage.store import SHARDS, Part, Store

END = b"\xff" * 40


async def put(store: Store, partition: int, *writes: tuple[bytes, bytes | None], epoch: int = 0) -> None:
    outcome = await store.commit([[Part(partition, epoch, list(writes))]])
    assert not outcome.stale


async def rows(store: Store, partition: int) -> list[tuple[bytes, bytes]]:
    found, done = await store.scan(partition, 0, b"", END, 100_000, 1 << 40)
    assert done
    return found


def test_a_store_that_is_well_is_in_no_doubt_and_a_probe_changes_nothing(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        await put(store, 1, (b"a", b"1"))
        before = await rows(store, 1)
        assert store.doubt is None
        store.look()
        await store.probe()
        await put(store, 1, (b"b", b"1"))
        assert store.doubt is None
        assert await rows(store, 1) == [*before, (b"b", b"1")]

    in_store(scenario)


def test_the_last_write_of_a_key_wins_within_a_part_and_across_units(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.commit(
            [
                [Part(1, 0, [(b"a", b"1"), (b"a", b"2"), (b"b", b"1"), (b"b", None), (b"c", None), (b"c", b"1")])],
                [Part(1, 0, [(b"d", b"1")]), Part(1, 0, [(b"d", b"2")])],
                [Part(1, 0, [(b"e", b"1")])],
                [Part(1, 0, [(b"e", None)])],
                [Part(1, 0, [(b"a", b"3")])],
            ]
        )
        assert await rows(store, 1) == [(b"a", b"3"), (b"c", b"1"), (b"d", b"2")]

    in_store(scenario)


def test_units_are_applied_in_their_order(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        await store.commit([[Part(1, 0, [(b"k", str(n).encode())])] for n in range(50)])
        assert await rows(store, 1) == [(b"k", b"49")]
        await store.commit([[Part(1, 0, [(b"k", None)])], [Part(1, 0, [(b"k", b"back")])]])
        assert await rows(store, 1) == [(b"k", b"back")]

    in_store(scenario)


def test_commits_under_way_together_are_applied_in_the_order_of_the_calls(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        for turn in range(40):
            values = [b"%d" % (turn * 5 + number) for number in range(5)]
            calls = [asyncio.ensure_future(store.commit([[Part(1, 0, [(b"k", value)])]])) for value in values]
            await asyncio.gather(*calls)
            assert await store.load(1, 0, [b"k"]) == [values[-1]]

    in_store(scenario)


def test_a_commit_overwrites_and_deletes_what_earlier_commits_wrote(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        await put(store, 1, (b"a", b"old"), (b"b", b"old"), (b"c", b"old"))
        await put(store, 1, (b"a", b"new"), (b"b", None), (b"absent", None))
        assert await rows(store, 1) == [(b"a", b"new"), (b"c", b"old")]

    in_store(scenario)


def test_one_stale_epoch_refuses_its_whole_unit_and_no_other(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        epoch = await store.lease(2)
        outcome = await store.commit(
            [
                [Part(1, 0, [(b"a", b"kept")]), Part(2, epoch, [(b"a", b"kept")])],
                [Part(1, 0, [(b"b", b"lost")]), Part(2, epoch - 1, [(b"b", b"lost")]), Part(3, 0, [(b"b", b"lost")])],
                [],
                [Part(2, epoch + 1, [(b"c", b"lost")])],
                [Part(3, 0, [(b"d", b"kept")])],
            ]
        )
        assert outcome.stale == {1, 3}
        assert await rows(store, 1) == await rows(store, 2) == [(b"a", b"kept")]
        assert await rows(store, 3) == [(b"d", b"kept")]

    in_store(scenario)


def test_a_stale_unit_does_not_take_the_last_word_on_a_key(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        epoch = await store.lease(1)
        outcome = await store.commit(
            [[Part(1, epoch, [(b"k", b"right")])], [Part(1, epoch - 1, [(b"k", b"wrong"), (b"x", b"wrong")])]]
        )
        assert outcome.stale == {1}
        assert await rows(store, 1) == [(b"k", b"right")]

    in_store(scenario)


def test_a_lease_gives_a_new_epoch_and_shuts_the_older_ones_out(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        first = await store.lease(7)
        second = await store.lease(7)
        assert second > first
        assert (await store.commit([[Part(7, first, [(b"k", b"v")])]])).stale == {0}
        assert (await store.commit([[Part(7, second, [(b"k", b"v")])]])).stale == frozenset()
        # Shard of a partition = partition % SHARDS: the lease covers its neighbours in the shard and nobody else.
        assert (await store.commit([[Part(7 + SHARDS, first, [(b"k", b"v")])]])).stale == {0}
        assert (await store.commit([[Part(7 + SHARDS, second, [(b"k", b"v")])]])).stale == frozenset()
        assert (await store.commit([[Part(8, 0, [(b"k", b"v")])]])).stale == frozenset()

    in_store(scenario)


def test_many_shards_are_leased_at_once_each_with_its_own_epoch(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        before = await store.lease(5)
        taken = await store.lease_all(range(SHARDS))
        assert set(taken) == set(range(SHARDS))
        assert taken[5] > before
        outcome = await store.commit([[Part(n, taken[n], [(b"k", b"v")])] for n in (0, 5, SHARDS - 1)])
        assert outcome.stale == frozenset()
        assert await store.lease_all([]) == {}

    in_store(scenario)


def test_commits_of_nothing_are_fine(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        assert (await store.commit([])).stale == frozenset()
        assert (await store.commit([[]])).stale == frozenset()
        assert (await store.commit([[Part(1, 0, [])]])).stale == frozenset()
        epoch = await store.lease(1)
        # Nothing to write is still refused under a stale epoch.
        assert (await store.commit([[Part(1, epoch - 1, [])], []])).stale == {0}

    in_store(scenario)


def test_load_answers_in_the_order_asked_with_none_for_absent_rows(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        await put(store, 1, (b"a", b"1"), (b"b", b""), (b"c", b"3"))
        await put(store, 2, (b"z", b"other"))
        keys = [b"c", b"x", b"a", b"", b"b", b"c", b"z"]
        assert await store.load(1, 0, keys) == [b"3", None, b"1", None, b"", b"3", None]
        assert await store.load(1, 0, []) == []
        assert await store.load(99, 0, [b"a"]) == [None]

    in_store(scenario)


def test_a_scan_reads_start_inclusive_end_exclusive_in_key_order(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        keys = [b"b", b"\x00", b"a\x00", b"a", b"\xff", b"aa", b"b\xff", b""]
        await put(store, 1, *((key, b"v" + key) for key in keys))
        everything = await rows(store, 1)
        assert everything == [(key, b"v" + key) for key in sorted(keys)]
        found, done = await store.scan(1, 0, b"a", b"b", 10)
        assert ([key for key, _ in found], done) == ([b"a", b"a\x00", b"aa"], True)
        assert await store.scan(1, 0, b"c", b"d", 10) == ([], True)
        assert await store.scan(1, 0, b"b", b"a", 10) == ([], True)
        assert await store.scan(1, 0, b"a", b"a", 10) == ([], True)
        assert await store.scan(99, 0, b"", END, 10) == ([], True)

    in_store(scenario)


def test_a_scan_stops_at_its_limit_and_knows_whether_more_is_left(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        await put(store, 1, *((b"%02d" % n, b"v") for n in range(10)))
        found, done = await store.scan(1, 0, b"", END, 9)
        assert (len(found), done) == (9, False)
        found, done = await store.scan(1, 0, b"", END, 10)
        assert (len(found), done) == (10, True)
        found, done = await store.scan(1, 0, b"03", b"06", 3)
        assert ([key for key, _ in found], done) == ([b"03", b"04", b"05"], True)

    in_store(scenario)


def test_a_scan_stops_after_max_bytes_but_never_before_the_first_row(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        await put(store, 1, *((b"%d" % n, b"x" * 100) for n in range(5)))
        found, done = await store.scan(1, 0, b"", END, 10, 250)
        assert (len(found), done) == (2, False)
        found, done = await store.scan(1, 0, b"", END, 10, 1)
        assert (len(found), done) == (1, False)
        found, done = await store.scan(1, 0, b"4", END, 10, 1)
        assert (len(found), done) == (1, True)
        found, done = await store.scan(1, 0, b"", END, 10, 500)
        assert (len(found), done) == (5, True)

    in_store(scenario)


def test_a_range_read_in_pieces_gives_every_row_once(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        keys = sorted({bytes([n % 7, n % 251]) for n in range(700)})
        await put(store, 1, *((key, key) for key in keys))
        found: list[bytes] = []
        start, done = b"", False
        while not done:
            piece, done = await store.scan(1, 0, start, END, 13)
            assert piece or done
            found += [key for key, _ in piece]
            start = found[-1] + b"\x00"
        assert found == keys

    in_store(scenario)


@pytest.mark.parametrize("end", [b"k\xff", b""])
def test_an_erase_goes_in_chunks_and_ends_when_nothing_is_left(in_store: Any, end: bytes) -> None:
    async def scenario(store: Store) -> None:
        await put(store, 1, *((b"k%02d" % n, b"v") for n in range(25)), (b"a", b"stays"))
        await put(store, 2, (b"k00", b"stays"))
        left, done, turns = 25, False, 0
        while not done and turns < 10:
            turns += 1
            done = await store.erase(1, b"k", end, 10)
            now = len(await rows(store, 1)) - 1
            assert left - now <= 10, "more rows than the limit are gone"
            assert (now == 0) or not done
            left = now
        assert turns <= 4
        assert await rows(store, 1) == [(b"a", b"stays")]
        assert await rows(store, 2) == [(b"k00", b"stays")]
        assert await store.erase(1, b"k", end, 10)

    in_store(scenario)


def test_an_erase_of_a_whole_partition_keeps_to_its_limit_too(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        await put(store, 1, *((b"%02d" % n, b"v") for n in range(25)))
        assert not await store.erase(1, b"", b"", 10)
        assert [key for key, _ in await rows(store, 1)] == [b"%02d" % n for n in range(10, 25)]
        assert await store.erase(1, b"", b"", 100)
        assert await rows(store, 1) == []
        assert await store.erase(99, b"", b"", 10)
        await put(store, 1, (b"new", b"life"))
        assert await rows(store, 1) == [(b"new", b"life")]

    in_store(scenario)


def test_an_erase_spares_what_lies_outside_its_range(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        await put(store, 1, *((bytes([n]), b"v") for n in range(10)))
        assert await store.erase(1, b"\x03", b"\x06", 100)
        assert [key[0] for key, _ in await rows(store, 1)] == [0, 1, 2, 6, 7, 8, 9]

    in_store(scenario)


def test_keys_and_values_are_any_bytes_of_any_size(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        every = bytes(range(256))
        written = {
            b"": b"",
            b"\x00": b"\x00",
            b"\x00\x00": b"'; DROP TABLE rows; --",
            every: every,
            b"k" * 5000: b"long key",
            b"big": b"\x00\xff" * (1 << 20),
        }
        await put(store, 1, *written.items())
        assert await rows(store, 1) == sorted(written.items())
        assert await store.load(1, 0, list(written)) == list(written.values())
        await put(store, 1, (every, None), (b"\x00", None))
        assert await store.load(1, 0, [b"", b"\x00", b"\x00\x00", every]) == [b"", None, written[b"\x00\x00"], None]

    in_store(scenario)


def test_partitions_do_not_see_one_another(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        numbers = [0, 1, SHARDS - 1, SHARDS, SHARDS + 1, 1 << 40, (1 << 63) - 1]
        await store.commit([[Part(n, 0, [(b"k", str(n).encode())]) for n in numbers]])
        for number in numbers:
            assert await rows(store, number) == [(b"k", str(number).encode())]
        await put(store, SHARDS, (b"k", None))
        assert await rows(store, 0) == [(b"k", b"0")]
        assert await rows(store, SHARDS) == []

    in_store(scenario)


def test_a_large_commit_of_puts_and_deletes_lands_whole(in_store: Any) -> None:
    async def scenario(store: Store) -> None:
        # Beyond every chunk of a multi-row statement and no multiple of one.
        await put(store, 1, *((b"%05d" % n, b"old") for n in range(1337)))
        await store.commit(
            [[Part(1, 0, [(b"%05d" % n, None if n % 2 else b"new")]), Part(2, 0, [(b"%05d" % n, b"x")])]
             for n in range(1337)]
        )  # fmt: skip
        assert await rows(store, 1) == [(b"%05d" % n, b"new") for n in range(0, 1337, 2)]
        assert len(await rows(store, 2)) == 1337

    in_store(scenario)

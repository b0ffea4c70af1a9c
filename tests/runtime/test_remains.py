"""What takes long to be freed is freed on many turns of the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

from trunkline.runtime.remains import AT_ONCE, Remains


class Counted:
    living = 0

    def __init__(self) -> None:
        Counted.living += 1

    def __del__(self) -> None:
        Counted.living -= 1


def test_containers_are_emptied_some_entries_at_a_time_and_others_have_their_turn_between() -> None:
    async def scenario() -> None:
        remains = Remains()
        some: list[Any] = [Counted() for _ in range(3 * AT_ONCE)]
        remains.add([{n: Counted() for n in range(2 * AT_ONCE)}, some, {}])
        del some
        most = Counted.living
        assert most == 5 * AT_ONCE
        while Counted.living:
            await asyncio.sleep(0)
            assert most - AT_ONCE <= Counted.living
            most = Counted.living
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(remains) == 0
        remains.add([[Counted()]])
        while len(remains):
            await asyncio.sleep(0)
        assert not Counted.living

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_nothing_is_waited_for_where_there_is_nothing_to_free() -> None:
    Remains().add([])  # there is no event loop either

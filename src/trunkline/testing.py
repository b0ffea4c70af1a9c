"""Trunkline inside a test run: a node in memory on a thread of its own, and a pytest plugin. Public API.

    with InMemory() as trunkline:
        sqs = boto3.client("sqs", endpoint_url=trunkline.url, region_name="us-east-1", ...)
        trunkline.freeze()
        ...
        trunkline.advance(seconds=30)

With Trunkline installed pytest knows the fixture ``trunkline``: one such node for
the whole run, emptied and with its clock running before each test.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from trunkline.node import Node

T = TypeVar("T")


class InMemory:
    """A whole server without a process: everything works but what a disk and a signal do.

    ``settings``: any of trunkline.settings by name, such as ``strict=True``. Start it with ``with`` or ``start``.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = {"memory": True, "port": 0, **settings}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._node: Node

    def __enter__(self) -> InMemory:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> InMemory:
        """Listen. OSError if the port cannot be had, RuntimeError if it was started before."""
        # Here and not above: pytest loads this file whether a test wants it or not.
        from trunkline.node import Node
        from trunkline.settings import Settings

        if self._thread is not None:
            raise RuntimeError("this node was started already")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="trunkline", daemon=True)
        self._thread.start()
        try:
            self._node = Node(Settings(**self._settings))
            self._wait(self._node.start())
        except BaseException:
            self._end()
            raise
        return self

    def stop(self) -> None:
        """Refuse who waits, and let go of the port. Nothing is kept."""
        if self._thread is None:
            return
        try:
            self._wait(self._node.stop())
        finally:
            self._end()

    def _end(self) -> None:
        assert self._loop is not None and self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise RuntimeError("this node is not running")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @property
    def url(self) -> str:
        """What an SDK wants as its endpoint."""
        return f"http://{self._node.settings.host}:{self._node.port}"

    @property
    def now(self) -> float:
        """Service time, in seconds since the epoch."""
        return self._node.clock.now() / 1000

    def freeze(self) -> float:
        """Hold service time where it is; return it in seconds since the epoch."""
        return self._wait(self._node.timekeeper.freeze()) / 1000

    def resume(self) -> float:
        """Let service time run on from where it is; return it in seconds since the epoch."""
        return self._wait(self._node.timekeeper.resume()) / 1000

    def advance(self, seconds: float) -> float:
        """Move service time on and return it when everything due by then has happened.

        ValueError if ``seconds`` is negative; TimeoutError if it did not all happen within the ``advance_timeout``.
        """
        moved = self._wait(self._node.timekeeper.advance(round(seconds * 1000)))
        if not moved.reached:
            raise TimeoutError(moved.reason)
        return moved.now / 1000

    def reset(self, account: str | None = None) -> int:
        """Empty an account, or everything; return how many queues went."""
        return self._wait(self._node.reset(account, None))


try:
    import pytest
except ImportError:
    pass
else:

    @pytest.fixture(scope="session")
    def _trunkline_node() -> Iterator[InMemory]:
        with InMemory() as node:
            yield node

    @pytest.fixture
    def trunkline(_trunkline_node: InMemory) -> InMemory:
        """A Trunkline in memory with nothing in it, whose clock runs: see trunkline.testing."""
        _trunkline_node.reset()
        _trunkline_node.resume()
        return _trunkline_node

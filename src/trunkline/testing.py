"""Trunkline inside a test run: a node in memory on a thread of its own, and a pytest plugin. Public API.

    with InMemory() as trunkline:
        sqs = boto3.client("sqs", endpoint_url=trunkline.url, region_name="us-east-1", ...)
        trunkline.freeze()
        ...
        trunkline.advance(seconds=30)

With Trunkline installed pytest knows the fixture ``trunkline``: one such node for
the whole run, empty and with its clock at real time before each test. Service time
never goes backward, so after a test that moved it the node is a new one, with
another ``url``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from trunkline.node import Node

T = TypeVar("T")

MOST_SECONDS = 100 * 365 * 86_400
"""That service time may be advanced by at once."""


class InMemory:
    """A whole server without a process: everything works but what a disk and a signal do.

    ``settings``: any of trunkline.settings by name, such as ``strict=True``, as text or as what it is; BadSetting (a
    ValueError) for one that is not there or a value that cannot work. The environment and configuration files are not
    read. Start it with ``with`` or ``start``; what needs a running node is a RuntimeError before and after.
    """

    def __init__(self, **settings: Any) -> None:
        # Here and not above: pytest loads this file whether a test wants it or not.
        from trunkline.settings import made

        self._settings = made({"memory": True, "port": 0, **settings})
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._running: Node | None = None

    def __enter__(self) -> InMemory:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> InMemory:
        """Listen. OSError if the port cannot be had, RuntimeError if it is running. After ``stop`` it begins anew."""
        from trunkline.node import Node

        if self._thread is not None:
            raise RuntimeError("this node was started already")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="trunkline", daemon=True)
        self._thread.start()
        try:
            node = Node(self._settings)
            self._wait(node.start())
        except BaseException:
            self._end()
            raise
        self._running = node
        return self

    def stop(self) -> None:
        """Refuse who waits, and let go of the port. Nothing is kept."""
        if self._running is None:
            return
        try:
            self._wait(self._running.stop())
        finally:
            self._running = None
            self._end()

    def _end(self) -> None:
        assert self._loop is not None and self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @property
    def _node(self) -> Node:
        if self._running is None:
            raise RuntimeError("this node is not running: enter it with `with`, or call start()")
        return self._running

    @property
    def url(self) -> str:
        """What an SDK wants as its endpoint."""
        from trunkline.banner import url

        settings = self._node.settings
        return url(settings.host, self._node.port, settings.scheme)

    @property
    def certificate(self) -> Path | None:
        """The file with the certificate that clients are to trust (boto3's ``verify``); None without TLS.

        One that the node made for itself (``tls_self_signed=True``) is there until ``stop``.
        """
        certificates = self._node.certificates
        return None if certificates is None else certificates.pair.file

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

        ValueError if ``seconds`` is negative or more than 100 years; TimeoutError if it did not all happen within the
        ``advance_timeout``: service time then stands at the instant it came to, and another call goes on.
        """
        node = self._node
        if not 0 <= seconds <= MOST_SECONDS:
            raise ValueError(f"advance takes 0 seconds to 100 years, not {seconds}: service time never goes backward")
        moved = self._wait(node.timekeeper.advance(round(seconds * 1000)))
        if not moved.reached:
            raise TimeoutError(moved.reason)
        return moved.now / 1000

    def reset(self, account: str | None = None) -> int:
        """Empty an account (12 digits), or everything; return how many queues went. The clock stays as it is.

        ValueError if ``account`` is none.
        """
        node = self._node
        if account is not None and not (len(account) == 12 and account.isascii() and account.isdigit()):
            raise ValueError(f"account is {account!r}; an account has 12 digits")
        return self._wait(node.reset(account, None))

    def _at_real_time(self) -> bool:
        """Does the node run, and its clock, and was that never moved?"""
        node = self._running
        return node is not None and not node.clock.frozen and node.clock.offset == 0


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
        """A Trunkline in memory with nothing in it, whose clock is at real time: see trunkline.testing."""
        if _trunkline_node._at_real_time():
            _trunkline_node.reset()
        else:
            _trunkline_node.stop()
            _trunkline_node.start()
        return _trunkline_node

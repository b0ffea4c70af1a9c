"""Sockets that listen: every address that a name stands for, at one port."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

BACKLOG = 1024
"""Connections that may wait to be accepted."""

_TRIES = 10
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What binding to an address ends with that this machine does not have, though a name stands for it."""


async def bind(host: str, port: int) -> list[socket.socket]:
    """Listen on every address that ``host`` stands for, at one port for all (0: a free one). OSError if it cannot be.

    ``::`` means every address, of both families. What a name stands for and this machine does not have is left out.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses: list[tuple[int, Any]] = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    if any(address[0] == "::" for _, address in addresses):
        addresses.append((socket.AF_INET, ("0.0.0.0", port)))
    for _ in range(_TRIES - 1):
        try:
            return _bind_all(addresses, port)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise
            # The port that was free at the first address is taken at another one.
    return _bind_all(addresses, port)


def _bind_all(addresses: list[tuple[int, Any]], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, (host, _, *scope) in addresses:
            try:
                one = _bind_one(family, (host, port, *scope))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
                continue
            bound.append(one)
            port = port or one.getsockname()[1]
        if absent is not None and not bound:
            raise absent
    except BaseException:
        for one in bound:
            one.close()
        raise
    return bound


def _bind_one(family: int, address: tuple[Any, ...]) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.setblocking(False)
        one.bind(address)
        one.listen(BACKLOG)  # now: until somebody listens, two may bind to one port
    except BaseException:
        one.close()
        raise
    return one

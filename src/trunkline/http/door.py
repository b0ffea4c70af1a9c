"""Who is asked about a request before it is here: the answers of a server that need not read it all."""

from __future__ import annotations

from typing import Protocol

from trunkline.wire.message import HttpRequest, HttpResponse


class Door(Protocol):
    """Asked about a request of which only the head is here: see Gateway."""

    def refuse_early(self, request: HttpRequest, size: int) -> HttpResponse | None:
        """The answer, if its body (longer than SMALL_BODY) need not be read. Never raises."""
        ...

    def throttled(self, request: HttpRequest, why: str) -> HttpResponse:
        """The answer to a request for which there is no room now. Never raises."""
        ...


class PlainDoor:
    """For a handler that has no answer of its own."""

    def refuse_early(self, request: HttpRequest, size: int) -> HttpResponse | None:
        return None

    def throttled(self, request: HttpRequest, why: str) -> HttpResponse:
        return plain(503, f"There is no room for the request now: {why}. Please retry.")


class Refused(Exception):
    """What was raised where the parser calls back; it is answered when the parser has returned."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.answer = plain(status, said)

    @classmethod
    def by(cls, answer: HttpResponse) -> Refused:
        refused = cls(answer.status, "")
        refused.answer = answer
        return refused


def plain(status: int, said: str) -> HttpResponse:
    """An answer for people."""
    return HttpResponse(status, (("Content-Type", "text/plain; charset=utf-8"),), said.encode())

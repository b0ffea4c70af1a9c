"""Tokens of operations that answer as soon as their machine has: see kernel.step.Token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trunkline.kernel.call import Call
from trunkline.kernel.errors import ServiceError


class Answering:
    """A token of a call, which lines in the log tell of."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def concerns(self) -> dict[str, Any]:
        """See kernel.call.Call."""
        return self._call.concerns


class Shaped(Answering):
    """Answers with what ``shape`` makes of the machine's answer."""

    __slots__ = ("_shape",)

    def __init__(self, call: Call, shape: Callable[[Any], dict[str, Any]]) -> None:
        self._call = call
        self._shape = shape

    def release(self, answer: Any) -> None:
        if isinstance(answer, ServiceError):
            self._call.fail(answer)
        else:
            self._call.answer(self._shape(answer))


class Done(Shaped):
    """Answers an operation without output."""

    __slots__ = ()

    def __init__(self, call: Call) -> None:
        super().__init__(call, _nothing)


def _nothing(_: Any) -> dict[str, Any]:
    return {}

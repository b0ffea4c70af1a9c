"""What of a queue's attributes is not enforced yet (see unenforced): refused, or stored and said once for a queue."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from trunkline.kernel.errors import ServiceError
from trunkline.unenforced import UNENFORCED

log = logging.getLogger(__name__)

_MEANS = {each["setting"]: each["means"] for each in UNENFORCED if each["service"] == "sqs"}
_MOST = 10_000
"""Queues and attributes that are remembered; past them it is said again."""


class Notices:
    """``refused``: what is not enforced may not be stored, for somebody would rely on it."""

    def __init__(self, refused: bool = False) -> None:
        self._refused = refused
        self._said: set[tuple[str, str]] = set()

    def check(self, attributes: Mapping[str, str]) -> None:
        """A queue is to be given ``attributes``. UnsupportedOperation if they are refused."""
        if self._refused:
            for name in _unenforced(attributes):
                raise ServiceError(
                    "UnsupportedOperation",
                    f"{name} is not supported with auth verify, for it would not be enforced. {_MEANS[name]}",
                )

    def stored(self, arn: str, attributes: Mapping[str, str]) -> None:
        """A queue was given ``attributes``: log a warning for what will not be enforced."""
        for name in _unenforced(attributes):
            if (arn, name) not in self._said:
                if len(self._said) >= _MOST:
                    self._said.clear()
                self._said.add((arn, name))
                log.warning("%s has %s, which is not enforced. %s", arn, name, _MEANS[name])


def _unenforced(attributes: Mapping[str, str]) -> list[str]:
    return [name for name, value in attributes.items() if name in _MEANS and value not in ("", "false")]

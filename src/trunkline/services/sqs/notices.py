"""Says once for each queue what of its attributes is stored but not enforced yet (see unenforced)."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from trunkline.unenforced import UNENFORCED

log = logging.getLogger(__name__)

_MEANS = {each["setting"]: each["means"] for each in UNENFORCED if each["service"] == "sqs"}
_MOST = 10_000
"""Queues and attributes that are remembered; past them it is said again."""


class Notices:
    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def stored(self, arn: str, attributes: Mapping[str, str]) -> None:
        """A queue was given ``attributes``: log a warning for what will not be enforced."""
        for name, value in attributes.items():
            if name in _MEANS and value not in ("", "false") and (arn, name) not in self._said:
                if len(self._said) >= _MOST:
                    self._said.clear()
                self._said.add((arn, name))
                log.warning("%s has %s, which is not enforced. %s", arn, name, _MEANS[name])

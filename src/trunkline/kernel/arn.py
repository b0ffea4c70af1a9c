"""Amazon Resource Names: ``arn:partition:service:region:account:resource``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ACCOUNT = re.compile("[0-9]{12}")
_REGION = re.compile("[A-Za-z0-9_-]{1,64}")


def is_account(text: str) -> bool:
    """Is ``text`` an account id: 12 digits?"""
    return _ACCOUNT.fullmatch(text) is not None


def is_region(text: str) -> bool:
    """Could ``text`` be a region's name? AWS's own are, and whatever else an ARN can hold."""
    return _REGION.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Arn:
    partition: str
    service: str
    region: str
    account: str
    resource: str

    @classmethod
    def parse(cls, text: str) -> Arn | None:
        """The parts of ``text``, or None if it is not an ARN."""
        parts = text.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn" or not parts[1] or not parts[2] or not parts[5]:
            return None
        return cls(*parts[1:])

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.resource}"


def partition_of(region: str) -> str:
    """The ARN partition that AWS puts ``region`` in."""
    if region.startswith("cn-"):
        return "aws-cn"
    if region.startswith("us-gov-"):
        return "aws-us-gov"
    return "aws"

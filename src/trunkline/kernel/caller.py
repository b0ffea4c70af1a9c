"""Who makes a call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity and the place of a request, as its signature tells.

    ``account`` has 12 digits; ``principal`` is the caller's unique id, as SQS
    shows it in ``SenderId``; ``arn`` as ``sts:GetCallerIdentity`` does.
    ``service`` is the calling AWS service (``sns.amazonaws.com``) for calls
    made in process, else None. Serialisable: another node may be handed it.
    """

    account: str
    region: str
    principal: str
    arn: str
    access_key: str | None = None
    service: str | None = None
    source_arn: str | None = None

"""What the three batch operations share: the rules of entries and their ids."""

from __future__ import annotations

import re
from typing import Any

from trunkline.kernel.errors import InternalFailure, ServiceError, ServiceUnavailable
from trunkline.services.sqs.errors import missing
from trunkline.services.sqs.limits import BATCH_ENTRIES

_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


def check_ids(entries: list[dict[str, Any]] | None, entry_name: str) -> None:
    """1 to 10 entries, each with an id of its own. ``entry_name``: as AWS's texts call an entry."""
    if entries is None:
        raise missing("Entries")
    if not entries:
        raise ServiceError("EmptyBatchRequest", f"There should be at least one {entry_name} in the request.")
    if len(entries) > BATCH_ENTRIES:
        raise ServiceError(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {BATCH_ENTRIES}. You have sent {len(entries)}.",
        )
    seen: set[str] = set()
    for number, entry in enumerate(entries, 1):
        id_ = entry.get("Id")
        if id_ is None:
            raise missing(f"{entry_name}.{number}.Id")
        if _ID.fullmatch(id_) is None:
            raise ServiceError(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at "
                "most 80 letters long.",
            )
        if id_ in seen:
            raise ServiceError("BatchEntryIdsNotDistinct", f"Id {id_} repeated.")
        seen.add(id_)


def failed(id_: str, error: ServiceError) -> dict[str, Any]:
    """A BatchResultErrorEntry."""
    return {
        "Id": id_,
        "Code": error.name,
        "Message": error.message,
        "SenderFault": not isinstance(error, InternalFailure | ServiceUnavailable),
    }

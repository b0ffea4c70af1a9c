"""The rules of receipt handles and visibility timeouts that both kinds of queue share (aws/sqs.md section 7)."""

from __future__ import annotations

from trunkline.kernel.errors import ServiceError
from trunkline.kernel.time import Millis
from trunkline.services.sqs.receipts import Receipt

MAXIMUM: Millis = 43_200_000
"""Twelve hours from the receive, all changes taken together."""


def not_available(handle: str) -> ServiceError:
    return ServiceError(
        "InvalidParameterValue",
        f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available "
        "for visibility timeout change.",
    )


def expired(handle: str) -> ServiceError:
    return ServiceError(
        "InvalidParameterValue",
        f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
    )


def beyond_limit(receipt: Receipt, timeout: Millis, now: Millis) -> ServiceError | None:
    """Refuse a timeout that would end more than twelve hours after the receive.

    Exactly 12 hours fails even in the instant of the receive (recorded), for
    AWS counts the time that the receive itself took.
    """
    if timeout and now + timeout >= receipt.received_at + MAXIMUM:
        return ServiceError(
            "InvalidParameterValue",
            f"Value {timeout // 1000} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout "
            "for the message is beyond the limit [43200 seconds]",
        )
    return None

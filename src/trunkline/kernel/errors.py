"""Errors that a caller of the API sees.

A service raises an error by its name in the AWS service model; the gateway
finds the HTTP status, the query-protocol code and the rendering. Nothing
outside ``wire`` and ``gateway`` knows a status code or a line of XML.
"""

from __future__ import annotations

MOST_TEXT = 4_096
"""Characters of an error's text: what a client sent is shown to it, but not megabytes of it."""


class ServiceError(Exception):
    """An answer of a service that is not a success.

    ``name`` is the error's name in the service model (``QueueDoesNotExist``)
    or, for AWS's codes that no model lists, the query-protocol code
    (``InvalidParameterValue``); ``message`` is AWS's text for people, cut off
    after MOST_TEXT characters.
    """

    def __init__(self, name: str, message: str = "") -> None:
        if len(message) > MOST_TEXT:
            message = message[:MOST_TEXT] + "\u2026"
        super().__init__(name, message)
        self.name = name
        self.message = message


class InternalFailure(ServiceError):
    """Something of ours failed; the outcome is unknown and the call may be repeated."""

    def __init__(self, message: str = "The request could not be completed; please retry.") -> None:
        super().__init__("InternalFailure", message)


class ServiceUnavailable(ServiceError):
    """The change could not be made durable now; nothing was acknowledged; retry."""

    def __init__(self, message: str = "The service cannot store the change now; please retry.") -> None:
        super().__init__("ServiceUnavailable", message)


class RequestThrottled(ServiceError):
    """Too much is under way already; nothing was done, and the same call may succeed a little later."""

    def __init__(self, why: str) -> None:
        super().__init__("RequestThrottled", f"Rate exceeded: {why}; please retry.")

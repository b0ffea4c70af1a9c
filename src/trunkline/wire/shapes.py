"""AWS service models as data: what ``tools/models.py`` wrote, read lazily.

A model says which operations a service has, what their inputs and outputs look
like, and (in its ``trunkline`` part, from an overlay) what AWS's own models
leave out: error codes of the query protocol, statuses, which required members
a service judges itself because their absence has a text of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

Shape = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """How an error looks on the wire. ``type``: the JSON ``__type``, with its prefix; ``code``: the query code."""

    code: str
    type: str
    status: int
    query_message: dict[str, str] = field(default_factory=dict)


_CORAL = "com.amazon.coral.service#"

COMMON: dict[str, ErrorCode] = {
    each.code: each
    for each in (
        ErrorCode("ServiceUnavailable", "ServiceUnavailable", 503),
        ErrorCode("InternalFailure", "InternalFailure", 500),
        ErrorCode("MethodNotAllowed", "MethodNotAllowed", 405),
        ErrorCode("AccessDenied", _CORAL + "AccessDeniedException", 403),
        ErrorCode("ExpiredToken", _CORAL + "ExpiredTokenException", 403),
        ErrorCode("IncompleteSignature", _CORAL + "IncompleteSignatureException", 400),
        ErrorCode("InvalidClientTokenId", _CORAL + "UnrecognizedClientException", 403),
        ErrorCode("MissingAuthenticationToken", _CORAL + "MissingAuthenticationTokenException", 403),
        ErrorCode("RequestExpired", _CORAL + "RequestExpiredException", 400),
        ErrorCode("SignatureDoesNotMatch", _CORAL + "InvalidSignatureException", 403),
    )
}
"""What every service answers before it looks at what an operation is given: no model lists it."""


class ServiceModel:
    """One service. ``name`` is the signing name, such as ``sqs``."""

    def __init__(self, name: str, data: dict[str, Any]) -> None:
        self.name = name
        self.metadata: dict[str, Any] = data["metadata"]
        self.operations: dict[str, dict[str, Any]] = data["operations"]
        self.shapes: dict[str, Shape] = data["shapes"]
        extra = data.get("trunkline", {})
        self.judged_by_service: frozenset[str] = frozenset(extra.get("judgedByService", ()))
        self.missing: dict[str, str] = extra.get(
            "missing", {"name": "ValidationException", "message": "{member} is required"}
        )
        self._prefix: str = extra.get("errorPrefix", "")
        self._errors: dict[str, dict[str, Any]] = extra.get("errors", {})

    @classmethod
    def load(cls, name: str) -> ServiceModel:
        """The model of a service that Trunkline serves. FileNotFoundError for any other."""
        return _load(name)

    def shape(self, reference: dict[str, Any]) -> Shape:
        """The shape that a member, element or operation refers to, with the reference's own traits on top."""
        return {**self.shapes[reference["shape"]], **{k: v for k, v in reference.items() if k != "shape"}}

    def error(self, name: str) -> ErrorCode:
        """How the error called ``name`` (in the model, or a query code that no model lists) goes out."""
        common = COMMON.get(name)
        if common is not None:
            return common
        found = self._errors.get(name, {})
        code = found.get("code", name)
        shape = self.shapes.get(name, {})
        by_default = 500 if shape.get("fault") else 400
        status = found.get("status") or shape.get("error", {}).get("httpStatusCode") or by_default
        return ErrorCode(
            shape.get("error", {}).get("code", code) if not found else code,
            found.get("type") or self._prefix + name,
            status,
            found.get("queryMessage", {}),
        )


@cache
def _load(name: str) -> ServiceModel:
    text = resources.files("trunkline.wire").joinpath("models", f"{name}.json").read_text()
    return ServiceModel(name, json.loads(text))

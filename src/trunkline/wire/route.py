"""Which service, operation and protocol a request is for.

By X-Amz-Target (one look-up), else by Action in the query string or form,
with the service from the signature's scope. SQS is what an unsigned request
with an Action or a queue's path means.
"""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.kernel.errors import ServiceError
from trunkline.wire import sigv4
from trunkline.wire.message import HttpRequest
from trunkline.wire.protocols.query import parameters
from trunkline.wire.shapes import ServiceModel

SERVED = ("sqs", "sts")
_TARGETS = {"AmazonSQS": "sqs", "AWSSecurityTokenServiceV20110615": "sts"}
_STS_ACTIONS = frozenset({"GetCallerIdentity"})
_NO_QUEUE_ACTIONS = frozenset({"CreateQueue", "ListQueues"})
"""Not valid on a queue's own path (recorded)."""


@dataclass(frozen=True, slots=True)
class Target:
    service: str
    operation: str
    protocol: str


class Unroutable(ServiceError):
    """No operation is meant. ``service`` and ``protocol`` say how to render the refusal."""

    def __init__(self, name: str, message: str, service: str = "sqs", protocol: str = "query") -> None:
        super().__init__(name, message)
        self.service = service
        self.protocol = protocol


_known: dict[str, Target] = {}


def route(request: HttpRequest) -> Target:
    """Where ``request`` goes. Unroutable says why it goes nowhere."""
    header = request.headers.get("x-amz-target")
    if header is not None:
        target = _known.get(header)
        return target if target is not None else _by_header(header)
    return _by_action(request)


def _by_header(header: str) -> Target:
    prefix, _, operation = header.rpartition(".")
    service = _TARGETS.get(prefix)
    if service is None:
        raise Unroutable("UnknownOperation", _not_served(prefix or header), protocol="json")
    if operation not in ServiceModel.load(service).operations:
        raise Unroutable(
            "UnknownOperation", f"The operation {operation} is not one of {service}.", service, protocol="json"
        )
    target = _known[header] = Target(service, operation, "json")
    return target


def _by_action(request: HttpRequest) -> Target:
    credential = sigv4.parse(request)
    service = "sqs" if credential is None else credential.service
    if service not in SERVED:
        raise Unroutable("UnknownOperation", _not_served(service), protocol="json")
    action = parameters(request).get("Action")
    if not action:
        raise Unroutable("UnknownOperation", "")
    if action in _STS_ACTIONS:
        service = "sts"
    invalid = action in _NO_QUEUE_ACTIONS and request.path.strip("/") != ""
    if invalid or action not in ServiceModel.load(service).operations:
        raise Unroutable("InvalidAction", f"The action {action} is not valid for this endpoint.", service)
    return Target(service, action, "query")


def _not_served(what: str) -> str:
    served = ", ".join(SERVED)
    return (
        f"Trunkline does not serve {what}. It serves: {served}. Send requests for other services to another endpoint."
    )

"""Which service, operation and protocol a request is for.

By X-Amz-Target (one look-up), else by Action in the query string or form,
with the service from the signature's scope. SQS is what an unsigned request
with an Action or a queue's path means.
"""

from __future__ import annotations

from dataclasses import dataclass

from trunkline.kernel.errors import ServiceError
from trunkline.wire import sigv4, unserved
from trunkline.wire.message import HttpRequest
from trunkline.wire.protocols.query import parameters
from trunkline.wire.shapes import ServiceModel

SERVED = ("sqs", "sts")
METHODS = ("GET", "POST")
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


class NotServed(Unroutable):
    """A service that is not here is meant; ``protocol`` is one of unserved's."""

    def __init__(self, what: str, protocol: str) -> None:
        served = ", ".join(SERVED)
        super().__init__(
            "UnknownOperation",
            f"Trunkline does not serve {what[:100]}. It serves: {served}. "
            "Send requests for other services to another endpoint.",
            protocol=protocol,
        )


_known: dict[str, Target] = {}


def route(request: HttpRequest) -> Target:
    """Where ``request`` goes. Unroutable says why it goes nowhere."""
    header = request.headers.get("x-amz-target")
    target = _by_action(request) if header is None else _known.get(header) or _by_header(header, request)
    if request.method not in METHODS:
        raise Unroutable(
            "MethodNotAllowed",
            f"{target.operation} is called with {' or '.join(METHODS)}, not {request.method}.",
            target.service,
            target.protocol,
        )
    return target


def _by_header(header: str, request: HttpRequest) -> Target:
    prefix, _, operation = header.rpartition(".")
    service = _TARGETS.get(prefix)
    if service is None:
        credential = sigv4.parse(request)
        signed = None if credential is None or credential.service in SERVED else credential.service
        raise NotServed(signed or prefix or header, "json")
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
        raise NotServed(service, unserved.protocol(service, request))
    action = parameters(request).get("Action")
    if not action:
        raise Unroutable("UnknownOperation", "")
    if action in _STS_ACTIONS:
        service = "sts"
    invalid = action in _NO_QUEUE_ACTIONS and request.path.strip("/") != ""
    if invalid or action not in ServiceModel.load(service).operations:
        raise Unroutable("InvalidAction", f"The action {action} is not valid for this endpoint.", service)
    return Target(service, action, "query")

"""How a request for a service that Trunkline does not serve is refused: in the form that its SDK reads.

An SDK that cannot read the refusal says nothing but "unknown error", and its
user does not learn that the request went to the wrong address.

    X-Amz-Target                  AWS JSON      {"__type": …, "message": …}
    Action in a form or query     query XML     <ErrorResponse><Error><Code>…, EC2: <Response><Errors><Error><Code>…
    S3, Route 53, CloudFront      REST-XML      <Error><Code>…, <ErrorResponse><Error><Code>…
    Smithy-Protocol               CBOR          the same map as AWS JSON
    anything else                 REST-JSON     {"message": …} and X-Amzn-Errortype
"""

from __future__ import annotations

import json

from trunkline.kernel.errors import ServiceError
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.protocols.query import escape, parameters, xml

_REST_XML = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts", "route53", "cloudfront"})
_NAME = "UnknownOperationException"
_CODE = "InvalidAction"


def protocol(service: str, request: HttpRequest) -> str:
    """What the SDK of ``service`` (a signing name) reads as the answer to ``request``."""
    if "smithy-protocol" in request.headers:
        return "cbor"
    if service in _REST_XML:
        return "s3" if service.startswith("s3") else "rest-xml"
    try:
        action = "Action" in parameters(request)
    except ServiceError:
        action = False
    if action:
        return "ec2" if service == "ec2" else "query"
    return "rest-json"


def refuse(protocol: str, text: str, request_id: str) -> HttpResponse:
    """``protocol``: as above, or ``json``. The status is 400: to many a client 404 says that a resource is gone."""
    error = f"<Code>{_CODE}</Code><Message>{escape(text)}</Message>"
    if protocol in ("query", "rest-xml"):
        error = f"<Error><Type>Sender</Type>{error}</Error>"
        return xml(400, f"<ErrorResponse>{error}<RequestId>{request_id}</RequestId></ErrorResponse>", request_id)
    if protocol == "ec2":
        error = f"<Errors><Error>{error}</Error></Errors>"
        return xml(400, f"<Response>{error}<RequestID>{request_id}</RequestID></Response>", request_id)
    if protocol == "s3":
        return xml(400, f"<Error>{error}<RequestId>{request_id}</RequestId></Error>", request_id)
    if protocol == "cbor":
        headers = (("Smithy-Protocol", "rpc-v2-cbor"), ("Content-Type", "application/cbor"))
        body = b"\xa2" + b"".join(_cbor(each) for each in ("__type", _NAME, "message", text))
        return HttpResponse(400, (("x-amzn-RequestId", request_id), *headers), body)
    kind = "application/json" if protocol == "rest-json" else "application/x-amz-json-1.0"
    headers = (("x-amzn-errortype", _NAME), ("Content-Type", kind))
    body = json.dumps({"__type": _NAME, "message": text}).encode()
    return HttpResponse(400, (("x-amzn-RequestId", request_id), *headers), body)


def _cbor(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    return b"\x79" + min(len(data), 0xFFFF).to_bytes(2, "big") + data[:0xFFFF]

"""AWS's protocol test vectors, backwards: they are written for a client, and this is a server.

Decoding the request that the vector's client sends must give the client's
parameters; encoding the result that it reads must give the response it read.
The vectors lie beside the project, or where TRUNKLINE_PROTOCOL_VECTORS says.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from trunkline.kernel.errors import ServiceError
from trunkline.wire.message import HttpRequest, HttpResponse
from trunkline.wire.protocols import codec
from trunkline.wire.shapes import ServiceModel

INPUTS = ("input-json", "input-json_1_0", "input-json_1_0-query-compatible", "input-query")
OUTPUTS = ("output-json", "output-json_1_0", "output-json_1_0-query-compatible", "output-query")
REQUEST_ID = "foo-id"
SHARED = Path("shared", "data", "protocols")

_COMPRESSED = "the vector names no body to decode: compression of requests is the client's choice, and not of SQS"
_OFFSET = "a client reads any offset from UTC; a server of AWS writes Z"
_UNKNOWN = "a client passes over what its model does not know; a server does not send it"
_NULL = "a client passes over null members; a server leaves them out"
_NULL_SENT = "the client leaves a null member out, so that the request does not tell of it"
_CODE = "a client reads the code from many places; a server of AWS JSON writes it to __type"
_MEMBERS = "an error of ours has a code and a message; no error of SQS or STS has more"

EXCLUDED = {
    "input-json/AwsJson11StructuresDontSerializeNullValues": _NULL_SENT,
    "input-json/SDKAppliedContentEncoding_awsJson1_1": _COMPRESSED,
    "input-json/SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsJson1_1": _COMPRESSED,
    "input-json_1_0/SDKAppliedContentEncoding_awsJson1_0": _COMPRESSED,
    "input-json_1_0/SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsJson1_0": _COMPRESSED,
    "input-query/SDKAppliedContentEncoding_awsQuery": _COMPRESSED,
    "input-query/SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsQuery": _COMPRESSED,
    "input-query/QueryProtocolIdempotencyTokenAutoFill": "the client adds a token that its caller did not give",
    "input-query/QueryEmptyQueryMaps": "the client leaves an empty map out, so that the request does not tell of it",
    "output-json/AwsJson11DateTimeWithNegativeOffset": _OFFSET,
    "output-json/AwsJson11DateTimeWithPositiveOffset": _OFFSET,
    "output-query/AwsQueryDateTimeWithNegativeOffset": _OFFSET,
    "output-query/AwsQueryDateTimeWithPositiveOffset": _OFFSET,
    "output-json/handles_unexpected_json_output": _UNKNOWN,
    "output-json/AwsJson11DeserializeIgnoreType": _UNKNOWN,
    "output-json_1_0/AwsJson10DeserializeIgnoreType": _UNKNOWN,
    "output-json_1_0/AwsJson10HandlesUnexpectedJsonOutput": _UNKNOWN,
    "output-json/AwsJson11StructuresDontDeserializeNullValues": _NULL,
    "output-json_1_0/AwsJson10DeserializeAllowNulls": _NULL,
    "output-json/AwsJson11ComplexError": _MEMBERS,
    "output-json_1_0/AwsJson10ComplexError": _MEMBERS,
    "output-query/QueryComplexError": _MEMBERS,
    "output-json/AwsJson11FooErrorUsingCode": _CODE,
    "output-json/AwsJson11FooErrorUsingCodeAndNamespace": _CODE,
    "output-json/AwsJson11FooErrorUsingCodeUriAndNamespace": _CODE,
    "output-json_1_0/AwsJson10FooErrorUsingCode": _CODE,
    "output-json_1_0/AwsJson10FooErrorUsingCodeAndNamespace": _CODE,
    "output-json_1_0/AwsJson10FooErrorUsingCodeUriAndNamespace": _CODE,
}
"""What a server such as this cannot do or never does, by ``file/id``."""


def _folder() -> Path | None:
    given = os.environ.get("TRUNKLINE_PROTOCOL_VECTORS")
    if given:
        return Path(given)
    root = Path(__file__).parents[2]
    git = root / ".git"
    beside = [root.parent]
    if git.is_file():  # a worktree: the repository itself lies elsewhere
        beside += [above.parent for above in Path(git.read_text().split(":", 1)[1].strip()).parents]
    return next((each / SHARED for each in beside if (each / SHARED).is_dir()), None)


FOLDER = _folder()
if FOLDER is None or not FOLDER.is_dir():
    pytest.skip("the AWS protocol vectors are not here; see TRUNKLINE_PROTOCOL_VECTORS", allow_module_level=True)


def _load(files: tuple[str, ...]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Every case by ``file/id``, with the suite that it is in."""
    found = {}
    for file in files:
        for suite in json.loads((FOLDER / f"{file}.json").read_text()):
            for case in suite["cases"]:
                found[f"{file}/{case['id']}"] = (suite, case)
    return found


REQUESTS = _load(INPUTS)
ANSWERS = _load(OUTPUTS)


STATUS_OF_ITS_OWN = "QueryCompatibleAwsJson10CustomCodeError"
"""The vector answers 400 where its own model says 402. All but the status is compared."""


def _kept(cases: dict[str, Any], *, errors: bool | None = None) -> Iterator[Any]:
    for name, (suite, case) in cases.items():
        if name not in EXCLUDED and errors in (None, "error" in case):
            yield pytest.param(suite, case, id=name)


def _model(suite: dict[str, Any], case: dict[str, Any]) -> ServiceModel:
    operation = dict(case["given"])
    metadata = dict(suite["metadata"])
    if metadata["protocol"] == "query":
        body = case.get("response", {}).get("body")
        if body and "xmlns=" in body:
            metadata["xmlNamespace"] = body.split('xmlns="', 1)[1].split('"', 1)[0]
        if "output" in operation:
            operation["output"] = {"resultWrapper": f"{operation['name']}Result", **operation["output"]}
    operations = {operation["name"]: operation}
    extra = {"errorPrefix": "aws.protocoltests#"}
    return ServiceModel(
        "vector", {"metadata": metadata, "operations": operations, "shapes": suite["shapes"], "trunkline": extra}
    )


def _in_python(model: ServiceModel, reference: dict[str, Any] | None, value: Any) -> Any:
    """A value as the vectors write it, in the types that services see: blobs are bytes, floats are floats."""
    if reference is None or value is None:
        return value
    shape = model.shape(reference)
    kind = shape["type"]
    if shape.get("document"):
        return value
    if kind == "structure":
        return {name: _in_python(model, shape["members"].get(name), item) for name, item in value.items()}
    if kind == "list":
        return [_in_python(model, shape["member"], item) for item in value]
    if kind == "map":
        return {name: _in_python(model, shape["value"], item) for name, item in value.items()}
    if kind == "blob":
        return value.encode()
    return float(value) if kind in ("float", "double") else value


def _comparable(value: Any) -> Any:
    """NaN equals nothing, itself included; here it is a word."""
    if isinstance(value, dict):
        return {name: _comparable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return "NaN" if value != value else value


def _tree(element: ElementTree.Element) -> Any:
    """XML without the white space between elements; an element with nothing in it is empty text.

    The namespace is compared at the root alone: no shape of SQS or STS has one of its own.
    """
    if len(element) == 0:
        return _local(element), (element.text or "").strip()
    return _local(element), [_tree(child) for child in element]


def _local(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _without(element: ElementTree.Element, *names: str) -> ElementTree.Element:
    """``element`` without what every answer of ours has and no vector does."""
    for parent in element.iter():
        for child in list(parent):
            if _local(child) in names:
                parent.remove(child)
    return element


def _header(response: HttpResponse, name: str) -> str:
    return {k.lower(): v for k, v in response.headers}[name.lower()]


@pytest.mark.parametrize("name", EXCLUDED)
def test_an_excluded_vector_exists(name: str) -> None:
    assert name in REQUESTS or name in ANSWERS


@pytest.mark.parametrize(("suite", "case"), list(_kept(REQUESTS)))
def test_the_clients_request_decodes_to_its_parameters(suite: dict[str, Any], case: dict[str, Any]) -> None:
    model = _model(suite, case)
    sent = case["serialized"]
    headers = {name.lower(): value for name, value in sent.get("headers", {}).items()}
    request = HttpRequest(sent["method"], sent["uri"], "", headers, sent.get("body", "").encode())
    name = case["given"]["name"]
    decoded = codec(model, suite["metadata"]["protocol"]).decode(name, request)
    assert _comparable(decoded) == _comparable(_in_python(model, case["given"].get("input"), case["params"]))


@pytest.mark.parametrize(("suite", "case"), list(_kept(ANSWERS, errors=False)))
def test_the_result_encodes_to_the_response_that_the_client_read(suite: dict[str, Any], case: dict[str, Any]) -> None:
    model = _model(suite, case)
    protocol = suite["metadata"]["protocol"]
    wanted = case["response"]
    name = case["given"]["name"]
    result = _in_python(model, case["given"].get("output"), case["result"])
    response = codec(model, protocol).encode(name, result, REQUEST_ID)
    assert response.status == wanted["status_code"]
    if "Content-Type" in wanted.get("headers", {}):
        assert _header(response, "Content-Type") == wanted["headers"]["Content-Type"]
    if protocol == "json":
        assert json.loads(response.body) == json.loads(wanted.get("body") or "{}")
    else:
        body = _without(ElementTree.fromstring(response.body), "ResponseMetadata")
        if wanted.get("body"):
            theirs = ElementTree.fromstring(wanted["body"])
            assert body.tag == theirs.tag
            assert _tree(body) == _tree(theirs)
        else:
            assert [_tree(child) for child in body] in ([], [(f"{name}Result", "")])


@pytest.mark.parametrize(("suite", "case"), list(_kept(ANSWERS, errors=True)))
def test_the_error_encodes_to_the_response_that_the_client_read(suite: dict[str, Any], case: dict[str, Any]) -> None:
    model = _model(suite, case)
    protocol = suite["metadata"]["protocol"]
    wanted = case["response"]
    (shape,) = (each["shape"] for each in case["given"]["errors"])
    response = codec(model, protocol).encode_error(ServiceError(shape, case.get("errorMessage", "")), REQUEST_ID)
    if case["id"] != STATUS_OF_ITS_OWN:
        assert response.status == wanted["status_code"]
    headers = wanted.get("headers", {})
    if "Content-Type" in headers:
        assert _header(response, "Content-Type") == headers["Content-Type"]
    if "x-amzn-query-error" in headers:
        assert _header(response, "x-amzn-query-error") == headers["x-amzn-query-error"]
    if "X-Amzn-Errortype" in headers:
        assert _named(_header(response, "X-Amzn-Errortype")) == _named(headers["X-Amzn-Errortype"])
    if protocol == "json":
        if wanted.get("body"):
            assert _json_error(response.body) == _json_error(wanted["body"])
    else:
        ours = _without(ElementTree.fromstring(response.body.replace(b' xmlns=""', b"")), "Detail")
        assert _tree(ours) == _tree(ElementTree.fromstring(wanted["body"]))


def _named(error: str) -> str:
    """The error's name: without the namespace before it and the address after it, which clients pass over."""
    return error.split(":", 1)[0].rsplit("#", 1)[-1]


def _json_error(body: bytes | str) -> dict[str, Any]:
    """The type without its prefix, which is the service's; the message in lower case, as every JSON service of AWS."""
    found = {name.lower() if name == "Message" else name: value for name, value in json.loads(body).items()}
    found["__type"] = _named(found.get("__type", ""))
    return {name: value for name, value in found.items() if value != ""}

"""What the server writes is read back as it was, by botocore's own parsers."""

from __future__ import annotations

from typing import Any

import botocore.model
import botocore.session
from botocore.parsers import create_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.wire.protocols import codec
from trunkline.wire.shapes import ServiceModel

MODEL = ServiceModel.load("sqs")
WITH_OUTPUT = sorted(name for name, each in MODEL.operations.items() if "output" in each)
CLIENTS_MODEL = botocore.session.get_session().get_service_model("sqs")


def _query_model() -> Any:
    """The model as botocore knew it when SQS spoke the query protocol: there the names of the form were the names."""
    shapes = {name: dict(shape) for name, shape in MODEL.shapes.items()}
    for shape in shapes.values():
        if "members" in shape:
            shape["members"] = {
                name: {**each, "locationName": each["queryName"]} if "queryName" in each else each
                for name, each in shape["members"].items()
            }
    metadata = {**MODEL.metadata, "protocol": "query"}
    return botocore.model.ServiceModel({"metadata": metadata, "operations": MODEL.operations, "shapes": shapes}, "sqs")


QUERY_MODEL = _query_model()

XML_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\ufffe\uffff", min_codepoint=0x20))


def _values(reference: dict[str, Any]) -> st.SearchStrategy[Any]:
    shape = MODEL.shape(reference)
    kind = shape["type"]
    if kind == "structure":
        members = {name: _values(each) for name, each in shape["members"].items()}
        return st.fixed_dictionaries({}, optional=members)
    if kind == "list":
        return st.lists(_values(shape["member"]), min_size=1, max_size=3)
    if kind == "map":
        return st.dictionaries(XML_TEXT.filter(bool), _values(shape["value"]), min_size=1, max_size=3)
    scalars: dict[str, st.SearchStrategy[Any]] = {
        "string": XML_TEXT | st.sampled_from(["a\r\nb\tc", "<&>\"'", "]]>", " ", "é😀"]),
        "integer": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "boolean": st.booleans(),
        "blob": st.binary(max_size=20),
    }
    return scalars[kind]


@st.composite
def _answers(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    operation = draw(st.sampled_from(WITH_OUTPUT))
    return operation, draw(_values(MODEL.operations[operation]["output"]))


def _read(protocol: str, model: Any, operation: str, output: dict[str, Any]) -> Any:
    answer = codec(MODEL, protocol).encode(operation, output, "id")
    headers = {name.lower(): value for name, value in answer.headers}
    response = {"body": answer.body, "headers": headers, "status_code": answer.status}
    parsed = create_parser(protocol).parse(response, model.operation_model(operation).output_shape)
    assert parsed.pop("ResponseMetadata")["RequestId"] == "id"
    return parsed


@given(_answers())
@settings(max_examples=200, deadline=None)
def test_an_answer_in_json_is_read_by_botocore_as_it_was_written(case: tuple[str, dict[str, Any]]) -> None:
    operation, output = case
    assert _read("json", CLIENTS_MODEL, operation, output) == output


@given(_answers())
@settings(max_examples=200, deadline=None)
def test_an_answer_in_xml_is_read_by_botocore_as_it_was_written(case: tuple[str, dict[str, Any]]) -> None:
    operation, output = case
    assert _read("query", QUERY_MODEL, operation, output) == output

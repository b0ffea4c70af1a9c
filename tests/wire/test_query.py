"""The query protocol, on the model of SQS."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlencode
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.kernel.errors import InternalFailure, ServiceError
from trunkline.wire.message import HttpRequest
from trunkline.wire.protocols import Codec, codec, query
from trunkline.wire.protocols.old_json import OldJsonCodec, wanted
from trunkline.wire.shapes import ServiceModel

NS = "{http://queue.amazonaws.com/doc/2012-11-05/}"
OPERATIONS = sorted(ServiceModel.load("sqs").operations)


def test_a_map_is_numbered_names_and_values(read_form: Any) -> None:
    form = "QueueName=q&Attribute.1.Name=DelaySeconds&Attribute.1.Value=5&Tag.1.Key=k&Tag.1.Value=v"
    assert read_form("CreateQueue", form) == {
        "QueueName": "q",
        "Attributes": {"DelaySeconds": "5"},
        "tags": {"k": "v"},
    }


def test_a_flattened_list_goes_by_the_name_of_its_elements(read_form: Any) -> None:
    form = "AttributeName.1=All&MessageAttributeName.1=a&MessageAttributeName.2=b&MessageSystemAttributeName.1=c"
    assert read_form("ReceiveMessage", form) == {
        "AttributeNames": ["All"],
        "MessageAttributeNames": ["a", "b"],
        "MessageSystemAttributeNames": ["c"],
    }


def test_elements_come_in_the_order_of_their_numbers_and_gaps_are_passed_over(read_form: Any) -> None:
    assert read_form("ReceiveMessage", "AttributeName.10=c&AttributeName.2=a&AttributeName.9=b") == {
        "AttributeNames": ["a", "b", "c"]
    }


def test_an_entry_of_a_map_without_its_value_is_passed_over(read_form: Any) -> None:
    form = "Attribute.1.Name=a&Attribute.2.Name=b&Attribute.2.Value=2&Attribute.3.Value=3"
    assert read_form("CreateQueue", form)["Attributes"] == {"b": "2"}


def test_an_empty_list_is_a_name_without_a_value(read_form: Any) -> None:
    assert read_form("ReceiveMessage", "AttributeName=") == {"AttributeNames": []}


def test_a_batch_without_entries_is_an_empty_batch(read_form: Any) -> None:
    for form in ("QueueUrl=q", "QueueUrl=q&Entries="):
        assert read_form("SendMessageBatch", form) == {"QueueUrl": "q", "Entries": []}


@pytest.mark.parametrize("number", ["x", "-1", "+1", "1_0", "%C2%B2", "%D9%A1", "9" * 5000, "1e3"])
def test_elements_are_numbered_with_plain_numbers_only(read_form: Any, number: str) -> None:
    with pytest.raises(ServiceError) as refused:
        read_form("ReceiveMessage", f"AttributeName.{number}=All")
    assert refused.value.name == "SerializationException"


def test_a_name_with_an_empty_part_is_not_the_value_of_the_name_before_it(read_form: Any) -> None:
    for name in ("MaxNumberOfMessages..QueueUrl", "MaxNumberOfMessages."):
        with pytest.raises(ServiceError) as refused:
            read_form("ReceiveMessage", f"{name}=1")
        assert refused.value.name == "SerializationException"


def test_a_value_and_names_below_it_do_not_hide_each_other(read_form: Any) -> None:
    for form in ("MaxNumberOfMessages=3&MaxNumberOfMessages.x=1", "MaxNumberOfMessages.x=1&MaxNumberOfMessages=3"):
        assert read_form("ReceiveMessage", form) == {"MaxNumberOfMessages": 3}


def test_structures_lie_in_lists_and_maps_as_deep_as_the_model_goes(read_form: Any) -> None:
    entry = "SendMessageBatchRequestEntry.1."
    form = {
        entry + "Id": "one",
        entry + "DelaySeconds": "7",
        entry + "MessageAttribute.1.Name": "a",
        entry + "MessageAttribute.1.Value.DataType": "Binary",
        entry + "MessageAttribute.1.Value.BinaryValue": "/wA=",
        entry + "MessageSystemAttribute.1.Name": "AWSTraceHeader",
        entry + "MessageSystemAttribute.1.Value.StringValue": "t",
    }
    assert read_form("SendMessageBatch", urlencode(form))["Entries"] == [
        {
            "Id": "one",
            "DelaySeconds": 7,
            "MessageAttributes": {"a": {"DataType": "Binary", "BinaryValue": b"\xff\x00"}},
            "MessageSystemAttributes": {"AWSTraceHeader": {"StringValue": "t"}},
        }
    ]


def test_a_name_nested_without_end_is_refused(read_form: Any) -> None:
    with pytest.raises(ServiceError, match="nested too deeply"):
        read_form("CreateQueue", "Attribute" + ".1" * 10_000 + "=x")


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("%4165=\n\r+ aF\0é"), max_size=80))
def test_many_escapes_are_read_fast_as_urllib_reads_them(text: str) -> None:
    assert query._unquoted(text) == unquote_to_bytes(text)
    whole = "".join(f"%{byte:02x}%{byte:02X}=%\n" for byte in range(256)) + text
    assert query._unquoted(whole) == unquote_to_bytes(whole)


def test_what_is_very_long_and_badly_escaped_is_refused(read_form: Any) -> None:
    assert read_form("CreateQueue", "QueueName=" + "%4" * 20_000) == {"QueueName": "%4" * 20_000}
    assert read_form("CreateQueue", "QueueName=" + "%41" * 40_000) == {"QueueName": "A" * 40_000}
    with pytest.raises(ServiceError, match="two hexadecimal digits"):
        read_form("CreateQueue", "QueueName=" + "%41" * 40_000 + "%4")


def test_more_parameters_than_any_operation_has_are_refused(read_form: Any) -> None:
    with pytest.raises(ServiceError, match="too many parameters"):
        read_form("CreateQueue", "a=1&" * 20_000)


@pytest.mark.parametrize(
    "form",
    [
        "MaxNumberOfMessages=ten",
        "MaxNumberOfMessages=",
        "MaxNumberOfMessages=1.5",
        "MaxNumberOfMessages=%D9%A1",
        "MaxNumberOfMessages=" + "9" * 5000,
        "MaxNumberOfMessages.x=1",
        "AttributeName.0=All",
        "QueueUrl=%ff",
        "%ff=1",
    ],
)
def test_a_parameter_of_the_wrong_form_is_refused(read_form: Any, form: str) -> None:
    with pytest.raises(ServiceError) as refused:
        read_form("ReceiveMessage", form)
    assert refused.value.name == "SerializationException"


def test_an_unknown_parameter_is_passed_over(read_form: Any) -> None:
    assert read_form("ListQueues", "Action=ListQueues&Version=1&AWSAccessKeyId=x&QueueNamePrefix=p") == {
        "QueueNamePrefix": "p"
    }


def test_a_required_parameter_that_is_missing_is_named(read_form: Any) -> None:
    with pytest.raises(ServiceError, match=r"The request must contain the parameter VisibilityTimeout\."):
        read_form("ChangeMessageVisibility", "QueueUrl=q&ReceiptHandle=r")


def test_a_get_is_read_from_its_query_string(read_form: Any) -> None:
    assert read_form("SendMessage", query="Action=SendMessage&MessageBody=a+b%26%C3%A9%2B") == {"MessageBody": "a b&é+"}


def test_a_form_has_the_last_word_over_the_query_string(read_form: Any) -> None:
    found = read_form("SendMessage", "MessageBody=form", query="MessageBody=url&QueueUrl=u")
    assert found == {"MessageBody": "form", "QueueUrl": "u"}


def _element(body: bytes, path: str) -> ElementTree.Element:
    found = ElementTree.fromstring(body).find("/".join(NS + each for each in path.split("/")))
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["<&>\"'", "]]>", "a\r\nb\rc", "\ttab ", " ", "é😀", "<!--x-->", "&amp;"])
def test_a_text_comes_back_from_the_xml_as_it_was(by_query: Codec, text: str) -> None:
    answer = by_query.encode("ReceiveMessage", {"Messages": [{"Body": text}]}, "id")
    assert _element(answer.body, "ReceiveMessageResult/Message/Body").text == text


@pytest.mark.parametrize("bad", ["\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_becomes_the_replacement_character(by_query: Codec, bad: str) -> None:
    answer = by_query.encode_error(ServiceError("InvalidParameterValue", f"a{bad}b"), "id")
    assert _element(answer.body, "Error/Message").text == "a\ufffdb"


def test_a_lone_surrogate_does_not_break_the_xml(by_query: Codec) -> None:
    answer = by_query.encode_error(ServiceError("InvalidParameterValue", "a\ud800b"), "id")
    assert _element(answer.body, "Error/Message").text == "a?b"


def test_an_empty_result_is_one_empty_element(by_query: Codec) -> None:
    answer = by_query.encode("ReceiveMessage", {}, "id")
    assert answer.body == (
        b'<?xml version="1.0"?><ReceiveMessageResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/">'
        b"<ReceiveMessageResult/><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata>"
        b"</ReceiveMessageResponse>"
    )


def test_an_operation_without_output_has_no_result(by_query: Codec) -> None:
    answer = by_query.encode("DeleteMessage", {}, "id")
    assert [child.tag for child in ElementTree.fromstring(answer.body)] == [NS + "ResponseMetadata"]


def test_lists_and_maps_lie_flat_in_the_result(by_query: Codec) -> None:
    answer = by_query.encode("ListDeadLetterSourceQueues", {"queueUrls": ["a", "b"], "NextToken": "t"}, "id")
    result = _element(answer.body, "ListDeadLetterSourceQueuesResult")
    assert sorted((child.tag, child.text) for child in result) == [
        (NS + "NextToken", "t"),
        (NS + "QueueUrl", "a"),
        (NS + "QueueUrl", "b"),
    ]
    answer = by_query.encode("ListQueueTags", {"Tags": {"k": "v"}}, "id")
    tag = _element(answer.body, "ListQueueTagsResult/Tag")
    assert [(child.tag, child.text) for child in tag] == [(NS + "Key", "k"), (NS + "Value", "v")]


def test_an_error_has_the_legacy_code_and_an_empty_detail(by_query: Codec) -> None:
    answer = by_query.encode_error(ServiceError("QueueDoesNotExist", "The specified queue does not exist."), "id-1")
    assert answer.status == 400
    assert dict(answer.headers)["Content-Type"] == "text/xml"
    assert answer.body == (
        b'<?xml version="1.0"?><ErrorResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><Error>'
        b"<Type>Sender</Type><Code>AWS.SimpleQueueService.NonExistentQueue</Code>"
        b"<Message>The specified queue does not exist for this wsdl version.</Message><Detail/></Error>"
        b"<RequestId>id-1</RequestId></ErrorResponse>"
    )


def test_a_code_has_no_suffix_in_the_query_protocol(by_query: Codec) -> None:
    answer = by_query.encode_error(ServiceError("MissingParameter", "m"), "id")
    assert _element(answer.body, "Error/Code").text == "MissingParameter"


def test_a_failure_of_ours_is_the_receivers_fault(by_query: Codec) -> None:
    answer = by_query.encode_error(InternalFailure(), "id")
    assert answer.status == 500
    assert _element(answer.body, "Error/Type").text == "Receiver"


@pytest.fixture(scope="module")
def by_old_json(model: ServiceModel) -> Codec:
    return codec(model, "old-json")


def test_the_old_json_of_an_error_has_code_and_message(by_old_json: Codec) -> None:
    answer = by_old_json.encode_error(ServiceError("InvalidParameterValue", "<m>"), "id")
    assert dict(answer.headers)["Content-Type"] == "application/json"
    assert json.loads(answer.body) == {"Error": {"Code": "InvalidParameterValue", "Message": "<m>"}, "RequestId": "id"}


def test_the_old_json_of_an_answer_has_arrays_where_elements_repeat(by_old_json: Codec) -> None:
    answer = by_old_json.encode("ListQueues", {"QueueUrls": ["a"]}, "id")
    assert json.loads(answer.body)["ListQueuesResponse"]["ListQueuesResult"] == {"QueueUrl": ["a"]}


def test_the_old_json_of_messages_has_names_and_values_and_every_value_is_text(by_old_json: Codec) -> None:
    message = {
        "Body": "<&>\x00\ud800",
        "Attributes": {"ApproximateReceiveCount": "1"},
        "MessageAttributes": {"a": {"DataType": "Binary", "BinaryValue": b"x"}},
        "MD5OfBody": "",
    }
    answer = json.loads(by_old_json.encode("ReceiveMessage", {"Messages": [message]}, "id").body)
    assert answer["ReceiveMessageResponse"]["ResponseMetadata"] == {"RequestId": "id"}
    [shown] = answer["ReceiveMessageResponse"]["ReceiveMessageResult"]["Message"]
    assert shown["Attributes"] == [{"Name": "ApproximateReceiveCount", "Value": "1"}]
    assert shown["MessageAttribute"] == [{"Name": "a", "Value": {"DataType": "Binary", "BinaryValue": "eA=="}}]
    assert shown["Body"].startswith("<&>\x00")
    assert shown["MD5OfBody"] == ""


def test_the_old_json_of_nothing_is_null_and_of_no_output_only_its_metadata(by_old_json: Codec) -> None:
    answer = json.loads(by_old_json.encode("ReceiveMessage", {}, "id").body)
    assert answer["ReceiveMessageResponse"]["ReceiveMessageResult"] is None
    answer = json.loads(by_old_json.encode("DeleteMessage", {}, "id").body)
    assert answer == {"DeleteMessageResponse": {"ResponseMetadata": {"RequestId": "id"}}}


def test_an_array_of_the_old_json_may_go_by_another_name(model: ServiceModel) -> None:
    answer = OldJsonCodec(model, {}).encode("GetQueueAttributes", {"Attributes": {"a": "1"}}, "id")
    found = json.loads(answer.body)["GetQueueAttributesResponse"]["GetQueueAttributesResult"]
    assert found == {"Attribute": [{"Name": "a", "Value": "1"}]}


@pytest.mark.parametrize(
    ("method", "accept", "is_wanted"),
    [
        ("GET", "application/json", True),
        ("GET", "text/html, Application/JSON;q=0.9", True),
        ("POST", "application/json", False),
        ("GET", "*/*", False),
        ("GET", "", False),
    ],
)
def test_only_a_get_that_accepts_json_gets_the_old_json(method: str, accept: str, is_wanted: bool) -> None:
    assert wanted(HttpRequest(method, "/", "", {"accept": accept}, b"")) is is_wanted


def test_a_list_or_map_without_a_number_has_one_element(read_form: Any) -> None:
    assert read_form("ReceiveMessage", "AttributeName=All") == {"AttributeNames": ["All"]}
    assert read_form("ReceiveMessage", "AttributeName=a&AttributeName.2=b") == {"AttributeNames": ["a", "b"]}
    form = "Attribute.Name=DelaySeconds&Attribute.Value=5&QueueName=q"
    assert read_form("CreateQueue", form)["Attributes"] == {"DelaySeconds": "5"}
    form = "SendMessageBatchRequestEntry.Id=a&SendMessageBatchRequestEntry.MessageBody=x&QueueUrl=q"
    assert read_form("SendMessageBatch", form)["Entries"] == [{"Id": "a", "MessageBody": "x"}]
    form = "MessageAttribute.Name=n&MessageAttribute.Value.DataType=String&MessageAttribute.Value.StringValue=v"
    attributes = {"n": {"DataType": "String", "StringValue": "v"}}
    assert read_form("SendMessage", f"QueueUrl=q&MessageBody=x&{form}")["MessageAttributes"] == attributes


@pytest.mark.parametrize(
    "form",
    ["AttributeName.0=All", "AttributeName.1=a&AttributeName=b", "AttributeName.-1=a", "AttributeName.1st=a",
     "AttributeName.=a"],
)  # fmt: skip
def test_a_list_whose_numbers_do_not_fit_is_refused(read_form: Any, form: str) -> None:
    with pytest.raises(ServiceError) as refused:
        read_form("ReceiveMessage", form)
    assert refused.value.name == "SerializationException"


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**63, 10**25])
def test_a_number_in_a_form_that_its_type_does_not_hold_is_refused(read_form: Any, number: int) -> None:
    with pytest.raises(ServiceError, match="Integer"):
        read_form("ReceiveMessage", f"QueueUrl=q&MaxNumberOfMessages={number}")
    assert read_form("ReceiveMessage", f"QueueUrl=q&WaitTimeSeconds={2**31 - 1}")["WaitTimeSeconds"] == 2**31 - 1


NAMES = st.sampled_from(
    ["QueueUrl", "Attribute", "1", "2", "Name", "Value", "AttributeName", "MaxNumberOfMessages", "", "Tag", "Key",
     "SendMessageBatchRequestEntry", "Id", "MessageAttribute", "DataType", "BinaryValue", "BinaryListValue", "x"]
)  # fmt: skip
PATHS = st.lists(NAMES | st.text(max_size=3), min_size=1, max_size=6).map(".".join)


@given(st.sampled_from(OPERATIONS), st.lists(st.tuples(PATHS, st.text(max_size=8) | st.sampled_from(["1", "YQ=="]))))
@settings(max_examples=400, deadline=None)
def test_any_form_decodes_or_is_refused(operation: str, pairs: list[tuple[str, str]]) -> None:
    body = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs).encode()
    _decodes_or_is_refused(operation, body)


@given(st.sampled_from(OPERATIONS), st.binary())
def test_any_bytes_decode_as_a_form_or_are_refused(operation: str, body: bytes) -> None:
    _decodes_or_is_refused(operation, body)


def _decodes_or_is_refused(operation: str, body: bytes) -> None:
    model = ServiceModel.load("sqs")
    try:
        found = codec(model, "query").decode(operation, HttpRequest("POST", "/", "", {}, body))
    except ServiceError as refused:
        assert refused.name in ("SerializationException", "MissingParameter")
    else:
        assert set(found) <= set(model.shape(model.operations[operation]["input"])["members"])

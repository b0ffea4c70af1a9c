"""SQS's errors with a text of their own, each in one place."""

from __future__ import annotations

from trunkline.kernel.call import Call
from trunkline.kernel.errors import ServiceError, ServiceUnavailable


def no_room() -> ServiceError:
    """Not an answer of AWS's, which has no disk that could be full."""
    return ServiceUnavailable(
        "The disk is nearly full: no messages and queues are taken until there is room. Receive and delete messages, "
        "purge or delete queues, or make room on the disk."
    )


def no_such_queue() -> ServiceError:
    return ServiceError("QueueDoesNotExist", "The specified queue does not exist.")


def denied(call: Call, arn: str) -> ServiceError:
    """``call`` is of another account than what it is for."""
    action = f"sqs:{call.operation.removesuffix('Batch').lower()}"
    return ServiceError(
        "AccessDenied",
        f"User: {call.caller.arn} is not authorized to perform: {action} on resource: {arn} because no resource-based "
        f"policy allows the {action} action",
    )


def missing(member: str) -> ServiceError:
    return ServiceError("MissingParameter", f"The request must contain the parameter {member}.")


def invalid(text: str) -> ServiceError:
    return ServiceError("InvalidParameterValue", text)


def invalid_value(value: object, parameter: str, reason: str) -> ServiceError:
    return invalid(f"Value {value} for parameter {parameter} is invalid. Reason: {reason}")


def bad_attribute(name: str, reason: str = "") -> ServiceError:
    text = f"Invalid value for the parameter {name}."
    return ServiceError("InvalidAttributeValue", f"{text} Reason: {reason}" if reason else text)


def unknown_attribute(name: str) -> ServiceError:
    return ServiceError("InvalidAttributeName", f"Unknown Attribute {name}.")

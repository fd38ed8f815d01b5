"""Requests of CreateModelInvocationJob, validated against botocore's model of the operation.

botocore's `ParamValidator` checks types, required members and minima, as it does in every client. The model also has
maxima, patterns and enums, which no client checks.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator

Parameters = dict[str, Any]
"""The parameters of a request, as boto3 takes them."""


class RequestRefusedError(Exception):
    """A request that the stand-in refuses. `code` is the API's name of the error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def invalid(message: str) -> RequestRefusedError:
    """Return the error of a request that cannot be fulfilled as it is."""
    return RequestRefusedError("ValidationException", message)


def parse_request(body: bytes) -> Parameters:
    """Return the parameters in a request's body. Raises RequestRefusedError if they break the model."""
    try:
        request: Any = json.loads(body)
    except ValueError as exc:
        raise RequestRefusedError("SerializationException", "The request's body is not JSON.") from exc
    report = ParamValidator().validate(request, _input_shape())
    if report.has_errors():
        raise invalid(report.generate_report())
    if violations := list(_violations(_input_shape(), request, "")):
        errors = "1 validation error" if len(violations) == 1 else f"{len(violations)} validation errors"
        raise invalid(f"{errors} detected: {'; '.join(violations)}")
    return request


@cache
def _input_shape() -> Shape:
    model: Any = Loader().load_service_model("bedrock", "service-2")
    return cast("Shape", ServiceModel(model).operation_model("CreateModelInvocationJob").input_shape)


def _violations(shape: Shape, value: Any, at: str) -> Iterator[str]:
    """Yield the constraints that a value breaks, in AWS's wording."""
    for constraint in _broken_constraints(shape, value):
        yield f"Value '{value}' at '{at}' failed to satisfy constraint: Member must {constraint}"
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            yield from _violations(shape.members[name], member, f"{at}.{name}" if at else name)
    elif isinstance(shape, ListShape):
        for number, item in enumerate(value, 1):
            yield from _violations(shape.member, item, f"{at}.{number}.member")


def _broken_constraints(shape: Shape, value: Any) -> Iterator[str]:
    maximum, pattern = shape.metadata.get("max"), cast("str | None", shape.metadata.get("pattern"))
    if maximum is not None and shape.type_name == "integer" and value > maximum:
        yield f"have value less than or equal to {maximum}"
    if maximum is not None and shape.type_name in {"string", "list"} and len(value) > maximum:
        yield f"have length less than or equal to {maximum}"
    if pattern is not None and not re.fullmatch(pattern, value):
        yield f"satisfy regular expression pattern: {pattern}"
    if isinstance(shape, StringShape) and shape.enum and value not in shape.enum:
        yield f"satisfy enum value set: [{', '.join(shape.enum)}]"

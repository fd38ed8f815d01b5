"""Checks of values against botocore's model of an API.

botocore's `ParamValidator` checks types, required members and minima, as it does in every client. The model also has
maxima, patterns and enums, which clients do not check.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, cast

from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator


@cache
def input_shape(service: str, operation: str) -> Shape:
    """Return the shape of an operation's parameters."""
    model: Any = Loader().load_service_model(service, "service-2")
    return cast("Shape", ServiceModel(model).operation_model(operation).input_shape)


def problem(shape: Shape, value: Any) -> str | None:
    """Return how a value breaks its shape, in AWS's wording, or None if it is valid."""
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        return report.generate_report()
    violations = list(_violations(shape, value, ""))
    if not violations:
        return None
    errors = "1 validation error" if len(violations) == 1 else f"{len(violations)} validation errors"
    return f"{errors} detected: {'; '.join(violations)}"


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

"""The API of Bedrock's batch inference, out of botocore's own model of it: paths, shapes, constraints and errors.

`ParamValidator`, with which clients check themselves, holds types, required members, unions and minima. Maxima,
patterns and enums are in the model as well and no client looks at them: they are held here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StringShape, StructureShape
from botocore.utils import parse_timestamp
from botocore.validate import ParamValidator

SERVICE = "bedrock"
OPERATIONS = (
    "CreateModelInvocationJob",
    "GetModelInvocationJob",
    "ListModelInvocationJobs",
    "StopModelInvocationJob",
)

Parameters = dict[str, Any]
"""The parameters or the result of an operation, as boto3 has them."""


class RequestRefusedError(Exception):
    """A request that is not done. `code` is the error's name in the model; `status` is for those not in it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What goes back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Api:
    """Reads requests and writes answers."""

    def __init__(self) -> None:
        self._model = _service_model()
        self._routes = [(*self._route(name), name) for name in OPERATIONS]

    def read(self, method: str, target: str, body: bytes) -> tuple[str, Parameters]:
        """Return the operation that is asked for and its parameters. Raises RequestRefusedError."""
        url = urlsplit(target)
        for of_route, path, operation in self._routes:
            if method == of_route and (found := path.fullmatch(url.path)):
                shape = self._model.operation_model(operation).input_shape
                in_path = {name: unquote(value) for name, value in found.groupdict().items()}
                return operation, _parameters(cast("StructureShape", shape), in_path, url.query, body)
        raise RequestRefusedError(
            "UnknownOperationException", f"{method} {url.path} is nothing that this stand-in for Bedrock does.", 404
        )

    def answer(self, operation: str, result: Parameters) -> Answer:
        """Return the answer that says what came of an operation."""
        status = int(self._model.operation_model(operation).http["responseCode"])
        return _json_answer(status, result)

    def error(self, refused: RequestRefusedError) -> Answer:
        """Return the answer that says why not, with the status that the model has for it."""
        status = refused.status
        if refused.code in self._model.shape_names:
            status = self._model.shape_for(refused.code).metadata["error"]["httpStatusCode"]
        return _json_answer(status, {"message": str(refused)}, {"x-amzn-ErrorType": refused.code})

    def enum(self, shape: str) -> list[str]:
        """Return the values of an enum."""
        return cast("StringShape", self._model.shape_for(shape)).enum

    def _route(self, operation: str) -> tuple[str, re.Pattern[str]]:
        http = self._model.operation_model(operation).http
        return http["method"], re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", http["requestUri"]))


@cache
def _service_model() -> ServiceModel:
    model: Any = Loader().load_service_model(SERVICE, "service-2")
    return ServiceModel(model, SERVICE)


def _parameters(shape: StructureShape, in_path: Mapping[str, str], query: str, body: bytes) -> Parameters:
    given: Parameters = {}
    in_query = parse_qs(query, keep_blank_values=True)
    in_body = _json_object(body)
    for name, member in shape.members.items():
        on_the_wire = member.serialization.get("name", name)
        match member.serialization.get("location"):
            case "uri":
                given[name] = in_path[on_the_wire]
            case "querystring" if on_the_wire in in_query:
                given[name] = _from_query(member, name, in_query[on_the_wire][0])
            case None if in_body.get(name) is not None:
                given[name] = _known(member, in_body[name])
            case _:
                pass
    report = ParamValidator().validate(given, shape)
    if report.has_errors():
        raise RequestRefusedError("ValidationException", report.generate_report())
    if problems := list(_problems(shape, given, "")):
        errors = "1 validation error" if len(problems) == 1 else f"{len(problems)} validation errors"
        raise RequestRefusedError("ValidationException", f"{errors} detected: {'; '.join(problems)}")
    return given


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value: object = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RequestRefusedError("SerializationException", "The request's body is no JSON object.")
    return cast("dict[str, Any]", value)


def _from_query(shape: Shape, name: str, text: str) -> Any:
    try:
        match shape.type_name:
            case "integer":
                return int(text)
            case "timestamp":
                return parse_timestamp(text)
            case _:
                return text
    except ValueError as exc:
        message = f"Invalid type for parameter {name}, value: {text}, valid types: {shape.type_name}"
        raise RequestRefusedError("ValidationException", message) from exc


def _known(shape: Shape, value: Any) -> Any:
    """Return a value without the members that the model does not know, which AWS passes over."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: _known(shape.members[name], members[name]) for name in members if name in shape.members}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_known(shape.member, item) for item in cast("list[Any]", value)]
    return value


def _problems(shape: Shape, value: Any, at: str) -> Iterator[str]:
    """Yield what a value of the right type breaks of the model's constraints, in the words that AWS has for it."""
    for constraint in _broken(shape, value):
        yield f"Value '{value}' at '{at}' failed to satisfy constraint: Member must {constraint}"
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            yield from _problems(shape.members[name], member, f"{at}.{name}" if at else name)
    elif isinstance(shape, ListShape):
        for number, item in enumerate(value, 1):
            yield from _problems(shape.member, item, f"{at}.{number}.member")


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    maximum = shape.metadata.get("max")
    if maximum is not None:
        if shape.type_name in {"integer", "long"} and value > maximum:
            yield f"have value less than or equal to {maximum}"
        if shape.type_name in {"string", "list"} and len(value) > maximum:
            yield f"have length less than or equal to {maximum}"
    if isinstance(shape, StringShape):
        pattern: Any = shape.metadata.get("pattern")
        if pattern is not None and not re.fullmatch(pattern, value):
            yield f"satisfy regular expression pattern: {pattern}"
        if shape.enum and value not in shape.enum:
            yield f"satisfy enum value set: [{', '.join(shape.enum)}]"


def _json_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps(value, default=_timestamp).encode()
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, body)


def _timestamp(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

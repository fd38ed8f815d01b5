"""Bedrock's API over HTTP: the operation CreateModelInvocationJob, validated against botocore's model of it.

botocore's `ParamValidator` checks types, required members and minima, as it does in every client. The model also has
maxima, patterns and enums, which clients do not check.
"""

import json
import re
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from botocore.loaders import Loader
from botocore.model import ListShape, ServiceModel, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator

from local.emulator import HOST

from .jobs import Bedrock, RequestRefusedError


@contextmanager
def serving(bedrock: Bedrock) -> Generator[str]:
    """Serve the API of a stand-in on a free loopback port, and yield the endpoint's URL."""
    with ThreadingHTTPServer((HOST, 0), partial(_Handler, bedrock)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def __init__(self, bedrock: Bedrock, *connection: Any) -> None:
        self._bedrock = bedrock
        super().__init__(*connection)

    def do_POST(self) -> None:
        """Create a job. Bedrock's other operations do not exist here."""
        if self.path != "/model-invocation-job":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            self._answer(HTTPStatus.OK, {"jobArn": self._bedrock.create(parse_request(body))})
        except RequestRefusedError as refused:
            self._answer(HTTPStatus.BAD_REQUEST, {"__type": refused.code, "message": str(refused)})
        except Exception as error:  # noqa: BLE001 - the client receives every error
            message = f"{type(error).__name__}: {error}"
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"__type": "InternalServerException", "message": message})

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Suppress the server's access log."""

    def _answer(self, status: HTTPStatus, answer: dict[str, str]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def parse_request(body: bytes) -> dict[str, Any]:
    """Return the parameters in a request's body. Raises RequestRefusedError if they break the model."""
    try:
        request: Any = json.loads(body)
    except ValueError as exc:
        raise RequestRefusedError("The request's body is not JSON.", "SerializationException") from exc
    report = ParamValidator().validate(request, _input_shape())
    if report.has_errors():
        raise RequestRefusedError(report.generate_report())
    if violations := list(_violations(_input_shape(), request, "")):
        errors = "1 validation error" if len(violations) == 1 else f"{len(violations)} validation errors"
        raise RequestRefusedError(f"{errors} detected: {'; '.join(violations)}")
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

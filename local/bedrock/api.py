"""Bedrock's API over HTTP: the operation CreateModelInvocationJob, validated against botocore's model of it.

`GET /states` is not a part of Bedrock's API. It returns the states that each job has had, for the demo.
"""

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.emulator import HOST

from .jobs import Bedrock, RequestRefusedError
from .request_rules import input_shape, problem

STATES = "/states"


@contextmanager
def serving(bedrock: Bedrock, port: int = 0) -> Generator[str]:
    """Serve the API of a stand-in on a loopback port, by default a free one, and yield the endpoint's URL."""
    with ThreadingHTTPServer((HOST, port), partial(_Handler, bedrock)) as server:
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

    def do_GET(self) -> None:
        """Return the states of each job, by job id."""
        if self.path != STATES:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        changes = self._bedrock.changes
        self._answer(HTTPStatus.OK, {job_id: [change.status for change in changes[job_id]] for job_id in [*changes]})

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

    def _answer(self, status: HTTPStatus, answer: Mapping[str, object]) -> None:
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
    if found := problem(input_shape("bedrock", "CreateModelInvocationJob"), request):
        raise RequestRefusedError(found)
    return request

"""Bedrock's API over HTTP: the operation CreateModelInvocationJob."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.emulator import HOST

from .jobs import Bedrock
from .request import RequestRefusedError, parse_request

PATH = "/model-invocation-job"


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
        if self.path != PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            self._answer(HTTPStatus.OK, {"jobArn": self._bedrock.create(parse_request(body))})
        except RequestRefusedError as refused:
            self._answer(HTTPStatus.BAD_REQUEST, {"message": str(refused)}, refused.code)
        except Exception as error:  # noqa: BLE001 - the client receives every error
            message = f"{type(error).__name__}: {error}"
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"message": message}, "InternalServerException")

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write no log."""

    def _answer(self, status: HTTPStatus, answer: dict[str, str], error: str = "") -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.end_headers()
        self.wfile.write(body)

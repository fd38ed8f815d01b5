"""The endpoint: Bedrock's API over HTTP on a free loopback port, and the time that passes for its jobs."""

import ssl
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from local.aws import Aws
from local.emulator import HOST, KEEP_ALIVE_SECONDS
from local.state_change import StateChange

from .api import Answer, Api, Parameters, RequestRefusedError
from .jobs import CHANGES, Jobs, Limits, State
from .replies import Model

SECONDS = 1.0
JOBS_AT_A_TIME = 8


class Bedrock:
    """A running stand-in. `url` is its endpoint."""

    def __init__(self, url: str, jobs: Jobs) -> None:
        self.url = url
        self._jobs = jobs

    def advance(self, job_id: str) -> State:
        """Take a job to its next state, and return that."""
        return self._jobs.advance(job_id)

    def finish(self, job_id: str) -> State:
        """Take a job to its end, and return that."""
        while not (state := self.advance(job_id)).is_end:
            pass
        return state


@contextmanager
def running_bedrock(
    aws: Aws,
    *,
    event_source: str,
    tls: ssl.SSLContext | None = None,
    seconds: float | None = SECONDS,
    model: Model | None = None,
    limits: Limits | None = None,
    changed: Callable[[StateChange], object] = lambda _: None,
) -> Generator[Bedrock]:
    """Run a stand-in for Bedrock beside the emulator, and end it on the way out.

    It answers over TLS where it is given the emulator's `server_tls()`, so that one AWS_CA_BUNDLE is good for both;
    else over HTTP. A job takes so many seconds from submitted to done, or, where `seconds` is None, as long as it
    takes whoever calls `advance` or `finish`. Each change of a job's state goes to the event bus, from `event_source`,
    and to `changed`, in order. Raises on the way out what a job broke off with, other than what makes a job Failed.
    """

    def tell(change: StateChange) -> None:
        change.put(aws.events, event_source)
        changed(change)

    with ExitStack() as stack:
        clock = stack.enter_context(_Clock(seconds))
        jobs = Jobs(aws, model or Model(), limits or Limits(), tell, lambda job_id: clock.start(jobs.advance, job_id))
        server = stack.enter_context(ThreadingHTTPServer((HOST, 0), partial(_Handler, Api(), jobs)))
        if tls:
            # The handshake is each connection's own business: here it would hold up the others.
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        serving.start()
        stack.callback(serving.join)
        stack.callback(server.shutdown)
        yield Bedrock(f"{'https' if tls else 'http'}://{HOST}:{server.server_port}", jobs)


class _Clock:
    """Takes each job from state to state, unless time is somebody else's matter."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(JOBS_AT_A_TIME, "bedrock-job")
        self._runs: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        for run in self._runs:
            run.result()

    def start(self, advance: Callable[[str], State], job_id: str) -> None:
        """Let time pass for a job."""
        if self._seconds is not None:
            self._runs.append(self._pool.submit(self._run, advance, job_id, self._seconds / CHANGES))

    def _run(self, advance: Callable[[str], State], job_id: str, pause: float) -> None:
        while not self._over.wait(pause) and not advance(job_id).is_end:
            pass


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    timeout = KEEP_ALIVE_SECONDS

    def __init__(self, api: Api, jobs: Jobs, *connection: Any) -> None:
        self._api = api
        self._operations: dict[str, Callable[[Parameters], Parameters]] = {
            "CreateModelInvocationJob": jobs.create,
            "GetModelInvocationJob": jobs.get,
            "ListModelInvocationJobs": jobs.list,
            "StopModelInvocationJob": jobs.stop,
        }
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Answer a request."""
        self._respond()

    def do_POST(self) -> None:
        """Answer a request."""
        self._respond()

    def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Say nothing: what becomes of jobs is told otherwise."""

    def _respond(self) -> None:
        answer = self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _answer(self, body: bytes) -> Answer:
        try:
            operation, parameters = self._api.read(self.command, self.path, body)
            return self._api.answer(operation, self._operations[operation](parameters))
        except RequestRefusedError as refused:
            return self._api.error(refused)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            return self._api.error(RequestRefusedError("InternalServerException", f"{type(error).__name__}: {error}"))

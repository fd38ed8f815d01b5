"""A copy that no client sends is the client's own but for its keys, and what it cannot do is left to the client."""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from hypothesis import example, given
from hypothesis import strategies as st

from batch_result_handler.object_copier import ObjectCopier
from local.wire import s3_error, xml_response

BUCKET = "images"
COPIED = "<CopyObjectResult><ETag>e</ETag></CopyObjectResult>"
OF_THE_CLIENT = {"amz-sdk-invocation-id", "amz-sdk-request"}
"""Headers by which AWS may tell retries of one call from one another; the copier sends a request once."""

Answer = Callable[[AWSPreparedRequest], AWSResponse]


def copied(_: AWSPreparedRequest) -> AWSResponse:
    """Answer that the copy was made."""
    return xml_response(200, COPIED)


def failed(status: int, code: str) -> Answer:
    """Return an answer that is an error."""
    return lambda _: s3_error(status, code)


def says_nothing(_: AWSPreparedRequest) -> AWSResponse:
    """Answer with success, and no word of a copy."""
    return xml_response(200, "")


@dataclass
class Bucket:
    """A bucket that answers copies as it is told, once for each answer, and then that they were made."""

    endpoint: str | None = None
    answers: list[Answer] = field(default_factory=list[Answer])
    asked: list[AWSPreparedRequest] = field(default_factory=list[AWSPreparedRequest])
    session: boto3.Session = field(
        default_factory=lambda: boto3.Session("an-id", "a-key", "a-token", region_name="ap-northeast-1")
    )

    @contextmanager
    def copier(self) -> Generator[ObjectCopier]:
        """Return a copier whose client has shown what it sends."""
        self.session.events.register("before-send.s3", cast("Callable[..., None]", self._answer))
        config = Config(retries={"total_max_attempts": 2, "mode": "standard"})
        with closing(self.session.client("s3", endpoint_url=self.endpoint, config=config)) as s3:
            copier = ObjectCopier(s3, BUCKET, 1)
            copier.copy("uploads/first", "processed/first")
            self.asked.clear()
            yield copier

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self.asked.append(request)
        return self.answers.pop(0)(request) if self.answers else copied(request)

    def senders(self) -> list[str]:
        """Return who sent each request."""
        return ["client" if OF_THE_CLIENT & set(_headers(request)) else "copier" for request in self.asked]


def _headers(request: AWSPreparedRequest) -> dict[str, str]:
    headers = cast("dict[str, str | bytes]", dict(request.headers.items()))
    return {name.lower(): value.decode() if isinstance(value, bytes) else str(value) for name, value in headers.items()}


def _same_for_both(request: AWSPreparedRequest) -> dict[str, Any]:
    """Return what two requests for the same copy have in common: all but their times, and what follows from those."""
    headers = {name: value for name, value in _headers(request).items() if name not in OF_THE_CLIENT}
    scope, signed, _ = headers.pop("authorization").split(", ")
    del headers["x-amz-date"]
    signed_headers = set(signed.partition("=")[2].split(";")) - OF_THE_CLIENT
    return {"method": request.method, "url": request.url, "scope": scope, "signed": signed_headers, **headers}


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@pytest.mark.parametrize("endpoint", [None, "https://127.0.0.1:4566"])
def test_it_sends_what_the_client_would_send(endpoint: str | None) -> None:
    bucket = Bucket(endpoint)
    with bucket.copier() as copier:

        @given(source=KEYS, target=KEYS)
        @example(source="a b+c%2F領収書&?#~.jpg", target="//../a=b/é")
        def of_any_keys(source: str, target: str) -> None:
            bucket.asked.clear()
            bucket.answers = [failed(503, "SlowDown")]
            copier.copy(f"uploads/{source}", f"processed/{target}")

            assert bucket.senders() == ["copier", "client"]
            by_copier, by_client = map(_same_for_both, bucket.asked)
            assert by_copier == by_client

        of_any_keys()


def _closed(request: AWSPreparedRequest) -> AWSResponse:
    raise ConnectionClosedError(endpoint_url=request.url)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(failed(503, "SlowDown"), id="an error"),
        pytest.param(failed(200, "InternalError"), id="an error within a 200"),
        pytest.param(says_nothing, id="a 200 that says nothing"),
        pytest.param(_closed, id="a connection that breaks"),
    ],
)
def test_what_does_not_plainly_succeed_is_done_by_the_client(answer: Answer) -> None:
    bucket = Bucket()
    with bucket.copier() as copier:
        bucket.answers = [answer]
        copier.copy("uploads/a", "processed/a")
        copier.copy("uploads/b", "processed/b")

    assert bucket.senders() == ["copier", "client", "copier"]
    assert [urlsplit(str(request.url)).path for request in bucket.asked] == [
        "/processed/a",
        "/processed/a",
        "/processed/b",
    ]


def test_an_error_is_raised_as_the_client_raises_it() -> None:
    bucket = Bucket()
    with bucket.copier() as copier:
        bucket.answers = [failed(403, "AccessDenied")] * 2
        with pytest.raises(ClientError, match=r"\(AccessDenied\) when calling the CopyObject operation"):
            copier.copy("uploads/a", "processed/a")

    assert bucket.senders() == ["copier", "client"]


def test_credentials_that_were_renewed_sign_the_next_copy() -> None:
    bucket = Bucket()
    with bucket.copier() as copier:
        copier.copy("uploads/a", "processed/a")
        credentials = bucket.session.get_credentials()
        assert credentials
        credentials.token = "another-token"  # noqa: S105
        copier.copy("uploads/b", "processed/b")

    tokens = [_headers(request)["x-amz-security-token"] for request in bucket.asked]
    assert (bucket.senders(), tokens) == (["copier"] * 2, ["a-token", "another-token"])


class _Server(BaseHTTPRequestHandler):
    """Answers every copy over a connection that stays, and counts connections and requests."""

    protocol_version = "HTTP/1.1"
    connections = 0
    keys: list[str] = []  # noqa: RUF012

    def setup(self) -> None:
        """Take a connection."""
        type(self).connections += 1
        super().setup()

    def do_PUT(self) -> None:
        """Answer a copy."""
        self.keys.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(COPIED)))
        self.end_headers()
        self.wfile.write(COPIED.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Return the URL of a server on loopback."""
    _Server.connections, _Server.keys = 0, []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_over_the_network_its_connection_is_kept(server: str) -> None:
    session = boto3.Session("an-id", "a-key", region_name="ap-northeast-1")
    with closing(session.client("s3", endpoint_url=server)) as s3:
        copier = ObjectCopier(s3, BUCKET, 1)
        for name in "abcd":
            copier.copy(f"uploads/{name}", f"processed/{name}")

    assert _Server.keys == [f"/images/processed/{name}" for name in "abcd"]
    # The client's own, for the first, and the copier's.
    assert _Server.connections == 2

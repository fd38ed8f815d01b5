"""The copier sends the same requests as the client, and leaves a copy that fails to the client."""

import ssl
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import boto3
import pytest
import trustme
import urllib3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from hypothesis import example, given
from hypothesis import strategies as st

from local.wire import s3_error, xml_response
from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.aws.object_copier import ObjectCopier, connections_to

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "images"
COPIED = "<CopyObjectResult><ETag>e</ETag></CopyObjectResult>"
ETAG = '"0cc175b9c0f1b6a831c399e269772661"'
CLIENT_HEADERS = {"amz-sdk-invocation-id", "amz-sdk-request"}
"""Headers that identify the retries of one call. The copier sends each request once, without them."""

Answer = Callable[[AWSPreparedRequest], AWSResponse]


def copied(_: AWSPreparedRequest) -> AWSResponse:
    """Answer that the copy succeeded."""
    return xml_response(200, COPIED)


def failed(status: int, code: str) -> Answer:
    """Return a function that answers with an error."""
    return lambda _: s3_error(status, code)


def empty_success(_: AWSPreparedRequest) -> AWSResponse:
    """Answer with status 200 and an empty body."""
    return xml_response(200, "")


@dataclass
class Bucket:
    """A bucket that gives each answer in `answers` once, and then answers that the copy succeeded."""

    endpoint: str | None = None
    tags: bool = True
    answers: list[Answer] = field(default_factory=list[Answer])
    requests: list[AWSPreparedRequest] = field(default_factory=list[AWSPreparedRequest])
    logs: Logs = field(default_factory=Logs)
    session: boto3.Session = field(
        default_factory=lambda: boto3.Session("an-id", "a-key", "a-token", region_name="ap-northeast-1")
    )

    @contextmanager
    def client(self) -> "Generator[S3Client]":
        """Yield a client of the bucket."""
        self.session.events.register("before-send.s3", cast("Callable[..., None]", self._answer))
        config = Config(retries={"total_max_attempts": 2, "mode": "standard"})
        with closing(self.session.client("s3", endpoint_url=self.endpoint, config=config)) as s3:
            yield s3

    @contextmanager
    def copier(self) -> Generator[ObjectCopier]:
        """Yield a copier that has already taken its template from a copy of the client."""
        with self.client() as s3:
            copier = ObjectCopier(s3, BUCKET, 1, self.logs.logger, tags=self.tags)
            copier.copy("uploads/first", "processed/first", ETAG)
            self.requests.clear()
            yield copier

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self.requests.append(request)
        return self.answers.pop(0)(request) if self.answers else copied(request)

    def senders(self) -> list[str]:
        """Return the sender of each request: `client` or `copier`."""
        return ["client" if CLIENT_HEADERS & set(_headers(request)) else "copier" for request in self.requests]


def _headers(request: AWSPreparedRequest) -> dict[str, str]:
    headers = cast("dict[str, str | bytes]", dict(request.headers.items()))
    return {name.lower(): value.decode() if isinstance(value, bytes) else str(value) for name, value in headers.items()}


def _comparable_parts(request: AWSPreparedRequest) -> dict[str, Any]:
    """Return the parts of a request that do not depend on its time or its sender."""
    headers = {name: value for name, value in _headers(request).items() if name not in CLIENT_HEADERS}
    scope, signed, _ = headers.pop("authorization").split(", ")
    del headers["x-amz-date"]
    # Powertools extends the header of the client after the client has signed the request.
    headers["user-agent"] = headers["user-agent"].partition(" PT/")[0]
    signed_headers = set(signed.partition("=")[2].split(";")) - CLIENT_HEADERS
    return {"method": request.method, "url": request.url, "scope": scope, "signed": signed_headers, **headers}


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("endpoint", "tags", "directive"),
    [(None, True, None), (None, False, "REPLACE"), ("https://127.0.0.1:4566", True, None)],
)
def test_copier_sends_the_same_request_as_the_client(
    endpoint: str | None, directive: str | None, *, tags: bool
) -> None:
    bucket = Bucket(endpoint, tags)
    with bucket.copier() as copier:

        @given(source=KEYS, target=KEYS)
        @example(source="a b+c%2F領収書&?#~.jpg", target="//../a=b/é")
        def copy_any_keys(source: str, target: str) -> None:
            bucket.requests.clear()
            bucket.answers = [failed(503, "SlowDown")]
            copier.copy(f"uploads/{source}", f"processed/{target}", ETAG)

            assert bucket.senders() == ["copier", "client"]
            by_copier, by_client = map(_comparable_parts, bucket.requests)
            assert by_copier == by_client
            assert by_copier.get("x-amz-tagging-directive") == directive

        copy_any_keys()


def raising(error: BotoCoreError) -> Answer:
    """Return a function that raises an error instead of an answer."""

    def answer(_: AWSPreparedRequest) -> AWSResponse:
        raise error

    return answer


URL = "https://images.s3.ap-northeast-1.amazonaws.com"
BROKEN = [
    ConnectionClosedError(endpoint_url=URL),
    ReadTimeoutError(endpoint_url=URL),
    EndpointConnectionError(endpoint_url=URL),
    ConnectTimeoutError(endpoint_url=URL),
    SSLError(endpoint_url=URL, error=ValueError()),
    ProxyConnectionError(proxy_url=URL),
]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(failed(503, "SlowDown"), id="an error"),
        pytest.param(failed(200, "InternalError"), id="an error within a 200"),
        pytest.param(empty_success, id="an empty 200"),
        *(pytest.param(raising(error), id=type(error).__name__) for error in BROKEN),
    ],
)
def test_client_repeats_a_copy_that_fails(answer: Answer) -> None:
    bucket = Bucket()
    with bucket.copier() as copier:
        bucket.answers = [answer]
        copier.copy("uploads/a", "processed/a", ETAG)
        copier.copy("uploads/b", "processed/b", ETAG)

    assert bucket.logs.entries("event", "error", "stack") == []
    assert bucket.senders() == ["copier", "client", "copier"]
    assert [urlsplit(str(request.url)).path for request in bucket.requests] == [
        "/processed/a",
        "/processed/a",
        "/processed/b",
    ]


def test_client_makes_only_the_first_concurrent_copy() -> None:
    bucket = Bucket()
    with bucket.client() as s3:
        copier = ObjectCopier(s3, BUCKET, 16, bucket.logs.logger)
        CallPool().map(lambda number: copier.copy(f"uploads/{number}", f"processed/{number}", ETAG), range(200))

    assert Counter(bucket.senders()) == {"client": 1, "copier": 199}


def test_failed_first_copy_does_not_block_others() -> None:
    bucket = Bucket(answers=[failed(403, "AccessDenied")])
    with bucket.client() as s3:
        copier = ObjectCopier(s3, BUCKET, 1, bucket.logs.logger)
        with pytest.raises(ClientError, match="AccessDenied"):
            copier.copy("uploads/a", "processed/a", ETAG)
        copier.copy("uploads/b", "processed/b", ETAG)

    assert bucket.senders() == ["client", "copier"]


def test_copier_raises_the_error_of_the_client() -> None:
    bucket = Bucket()
    with bucket.copier() as copier:
        bucket.answers = [failed(403, "AccessDenied")] * 2
        with pytest.raises(ClientError, match=r"\(AccessDenied\) when calling the CopyObject operation"):
            copier.copy("uploads/a", "processed/a", ETAG)

    assert bucket.senders() == ["copier", "client"]


def test_copier_signs_with_renewed_credentials() -> None:
    bucket = Bucket()
    with bucket.copier() as copier:
        copier.copy("uploads/a", "processed/a", ETAG)
        credentials = bucket.session.get_credentials()
        assert credentials
        credentials.token = "another-token"  # noqa: S105
        copier.copy("uploads/b", "processed/b", ETAG)

    tokens = [_headers(request)["x-amz-security-token"] for request in bucket.requests]
    assert (bucket.senders(), tokens) == (["copier"] * 2, ["a-token", "another-token"])


def test_copier_sends_the_trace_id_in_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "handler")
    bucket = Bucket()
    with bucket.copier() as copier:
        for trace in ("Root=1-a", "Root=1-b"):
            monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
            copier.copy("uploads/a", "processed/a", ETAG)

    traces = [_headers(request)["x-amzn-trace-id"] for request in bucket.requests]
    assert (bucket.senders(), traces) == (["copier"] * 2, ["Root=1-a", "Root=1-b"])


def test_client_makes_every_copy_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    bucket = Bucket()
    with bucket.copier() as copier:
        copier.copy("uploads/a", "processed/a", ETAG)

    assert bucket.senders() == ["client"]


def _gave_up_entry(error: str) -> dict[str, str]:
    return {"level": "WARNING", "event": "BATCH_RESULT_COPIER_GAVE_UP", "error": error}


def test_client_copies_when_the_template_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_copier.urlsplit", lambda: None)
    bucket, entry = Bucket(), _gave_up_entry("TypeError")
    with bucket.copier() as copier:
        copier.copy("uploads/a", "processed/a", ETAG)

    assert bucket.senders() == ["client"]
    assert bucket.logs.entries(*entry) == [entry]


def test_client_copies_when_botocore_classes_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, entry = Bucket(), _gave_up_entry("TypeError")
    with bucket.copier() as copier:
        monkeypatch.setattr("yorutsuke_common.aws.object_copier.AWSRequest", lambda: None)
        copier.copy("uploads/a", "processed/a", ETAG)
        copier.copy("uploads/b", "processed/b", ETAG)

    assert bucket.senders() == ["client", "client"]
    assert bucket.logs.entries(*entry) == [entry]


class _Server(BaseHTTPRequestHandler):
    """A server that answers every copy over persistent connections, and counts connections and requests."""

    protocol_version = "HTTP/1.1"
    connections = 0
    keys: list[str] = []  # noqa: RUF012

    def setup(self) -> None:
        """Count a connection."""
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
        """Suppress the log."""


@contextmanager
def _serving(certificate: trustme.LeafCert | None = None) -> Generator[str]:
    """Run a server on loopback, with TLS if there is a certificate, and yield its URL."""
    _Server.connections, _Server.keys = 0, []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _copies(url: str, names: str) -> None:
    session = boto3.Session("an-id", "a-key", region_name="ap-northeast-1")
    config = Config(retries={"total_max_attempts": 1})
    with closing(session.client("s3", endpoint_url=url, config=config)) as s3:
        copier = ObjectCopier(s3, BUCKET, 1, Logs().logger)
        for name in names:
            copier.copy(f"uploads/{name}", f"processed/{name}", ETAG)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that AWS_CA_BUNDLE names."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return authority


def test_copier_keeps_its_connection() -> None:
    with _serving() as url:
        _copies(url, "abcd")

    assert _Server.keys == [f"/images/processed/{name}" for name in "abcd"]
    # One connection of the client, for the first copy, and one of the copier.
    assert _Server.connections == 2


def test_copier_trusts_the_authorities_of_the_client(authority: trustme.CA) -> None:
    with _serving(authority.issue_cert("127.0.0.1")) as url:
        _copies(url, "abcd")

    assert (len(_Server.keys), _Server.connections) == (4, 2)


def certificate_of_another_host(authority: trustme.CA) -> trustme.LeafCert:
    """Return a certificate of another host."""
    return authority.issue_cert("another.example")


def certificate_of_another_authority(_: trustme.CA) -> trustme.LeafCert:
    """Return a certificate of an unknown authority."""
    return trustme.CA().issue_cert("127.0.0.1")


@pytest.mark.parametrize("certificate", [certificate_of_another_host, certificate_of_another_authority])
def test_copier_refuses_an_invalid_certificate(
    authority: trustme.CA, certificate: Callable[[trustme.CA], trustme.LeafCert]
) -> None:
    with (
        _serving(certificate(authority)) as url,
        pytest.raises(urllib3.exceptions.SSLError, match="CERTIFICATE_VERIFY"),
    ):
        connections_to(url, 1).urlopen("PUT", "/")

    assert _Server.keys == []

"""A copy that no client sends is the client's own but for its keys, and what it cannot do is left to the client."""

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
    logs: Logs = field(default_factory=Logs)
    session: boto3.Session = field(
        default_factory=lambda: boto3.Session("an-id", "a-key", "a-token", region_name="ap-northeast-1")
    )

    @contextmanager
    def client(self) -> "Generator[S3Client]":
        """Return a client of the bucket."""
        self.session.events.register("before-send.s3", cast("Callable[..., None]", self._answer))
        config = Config(retries={"total_max_attempts": 2, "mode": "standard"})
        with closing(self.session.client("s3", endpoint_url=self.endpoint, config=config)) as s3:
            yield s3

    @contextmanager
    def copier(self) -> Generator[ObjectCopier]:
        """Return a copier whose client has shown what it sends."""
        with self.client() as s3:
            copier = ObjectCopier(s3, BUCKET, 1, self.logs.logger)
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
    # Powertools adds itself to what a client has signed already.
    headers["user-agent"] = headers["user-agent"].partition(" PT/")[0]
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


def raises(error: BotoCoreError) -> Answer:
    """Return an answer that never comes."""

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
        pytest.param(says_nothing, id="a 200 that says nothing"),
        *(pytest.param(raises(error), id=type(error).__name__) for error in BROKEN),
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


def test_of_many_at_once_one_is_the_clients() -> None:
    bucket = Bucket()
    with bucket.client() as s3:
        copier = ObjectCopier(s3, BUCKET, 16, bucket.logs.logger)
        CallPool().map(lambda number: copier.copy(f"uploads/{number}", f"processed/{number}"), range(200))

    assert Counter(bucket.senders()) == {"client": 1, "copier": 199}


def test_a_first_copy_that_fails_holds_nobody_up() -> None:
    bucket = Bucket(answers=[failed(403, "AccessDenied")])
    with bucket.client() as s3:
        copier = ObjectCopier(s3, BUCKET, 1, bucket.logs.logger)
        with pytest.raises(ClientError, match="AccessDenied"):
            copier.copy("uploads/a", "processed/a")
        copier.copy("uploads/b", "processed/b")

    assert bucket.senders() == ["client", "copier"]


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


def test_within_lambda_its_requests_carry_the_trace_as_the_clients_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "handler")
    bucket = Bucket()
    with bucket.copier() as copier:
        for trace in ("Root=1-a", "Root=1-b"):
            monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
            copier.copy("uploads/a", "processed/a")

    traces = [_headers(request)["x-amzn-trace-id"] for request in bucket.asked]
    assert (bucket.senders(), traces) == (["copier"] * 2, ["Root=1-a", "Root=1-b"])


def test_behind_a_proxy_every_copy_is_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    bucket = Bucket()
    with bucket.copier() as copier:
        copier.copy("uploads/a", "processed/a")

    assert bucket.senders() == ["client"]


def _gave_up(error: str) -> dict[str, str]:
    return {"level": "WARNING", "event": "BATCH_RESULT_COPIER_GAVE_UP", "error": error}


def test_a_botocore_that_shows_something_else_harms_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_copier.urlsplit", lambda: None)
    bucket, said = Bucket(), _gave_up("TypeError")
    with bucket.copier() as copier:
        copier.copy("uploads/a", "processed/a")

    assert bucket.senders() == ["client"]
    assert bucket.logs.entries(*said) == [said]


def test_a_botocore_whose_parts_are_others_harms_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, said = Bucket(), _gave_up("TypeError")
    with bucket.copier() as copier:
        monkeypatch.setattr("yorutsuke_common.aws.object_copier.AWSRequest", lambda: None)
        copier.copy("uploads/a", "processed/a")
        copier.copy("uploads/b", "processed/b")

    assert bucket.senders() == ["client", "client"]
    assert bucket.logs.entries(*said) == [said]


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


@contextmanager
def _serving(certificate: trustme.LeafCert | None = None) -> Generator[str]:
    """Run a server on loopback, over TLS with a certificate, and return its URL."""
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
            copier.copy(f"uploads/{name}", f"processed/{name}")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Return an authority that AWS_CA_BUNDLE names."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return authority


def test_over_the_network_its_connection_is_kept() -> None:
    with _serving() as url:
        _copies(url, "abcd")

    assert _Server.keys == [f"/images/processed/{name}" for name in "abcd"]
    # The client's own, for the first, and the copier's.
    assert _Server.connections == 2


def test_over_tls_it_trusts_whom_the_client_trusts(authority: trustme.CA) -> None:
    with _serving(authority.issue_cert("127.0.0.1")) as url:
        _copies(url, "abcd")

    assert (len(_Server.keys), _Server.connections) == (4, 2)


def of_another_host(authority: trustme.CA) -> trustme.LeafCert:
    """Return a certificate of somebody else."""
    return authority.issue_cert("another.example")


def of_another_authority(_: trustme.CA) -> trustme.LeafCert:
    """Return a certificate that nobody knows."""
    return trustme.CA().issue_cert("127.0.0.1")


@pytest.mark.parametrize("certificate", [of_another_host, of_another_authority])
def test_over_tls_it_tells_nothing_to_a_stranger(
    authority: trustme.CA, certificate: Callable[[trustme.CA], trustme.LeafCert]
) -> None:
    with (
        _serving(certificate(authority)) as url,
        pytest.raises(urllib3.exceptions.SSLError, match="CERTIFICATE_VERIFY"),
    ):
        connections_to(url, 1).urlopen("PUT", "/")

    assert _Server.keys == []

"""Requests and responses on the wire between botocore and AWS, as botocore's `before-send` event exchanges them.

Sources: Amazon S3 API reference; Amazon DynamoDB API reference; botocore's `before-send` event.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import pydantic_core
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

if TYPE_CHECKING:
    from botocore.compat import HTTPHeaders

S3_OPERATIONS = {
    ("GET", ""): "GetObject",
    ("PUT", ""): "PutObject",
    ("PUT", "uploadId"): "UploadPart",
    ("DELETE", ""): "DeleteObject",
    ("POST", "delete"): "DeleteObjects",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
}
"""Operations by method and the query parameter that selects them. CopyObject is a PUT with a header."""


class Body(io.BufferedIOBase):
    """A response body that botocore reads piece by piece. It holds one piece at a time."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._held = b""

    def read(self, amount: int | None = -1, /) -> bytes:
        """Return up to `amount` bytes, or the rest of the body."""
        if amount is None or amount < 0:
            held, self._held = self._held, b""
            return held + b"".join(self._pieces)
        while len(self._held) < amount and (piece := next(self._pieces, b"")):
            self._held += piece
        read, self._held = self._held[:amount], self._held[amount:]
        return read

    def stream(self, **_: object) -> Iterator[bytes]:
        """Yield the whole body."""
        yield self.read()


@dataclass(frozen=True)
class S3Request:
    """A request to the bucket. `copy_source` is the source's object key; it is empty unless the request is a copy."""

    operation: str
    key: str
    query: Mapping[str, str]
    copy_source: str
    body: bytes


def s3_request(request: AWSPreparedRequest) -> S3Request:
    """Return a request of a client that puts the bucket's name into the host. Raises NotImplementedError."""
    url = urlsplit(str(request.url))
    query = dict(parse_qsl(url.query, keep_blank_values=True)) if url.query else {}
    selector = next((name for name in ("delete", "uploads", "uploadId") if name in query), "")
    operation = S3_OPERATIONS.get((str(request.method), selector))
    source = header(request, "x-amz-copy-source")
    if operation is None:
        raise NotImplementedError(f"{request.method} {request.url} is not implemented in memory")
    return S3Request(
        operation="CopyObject" if source else operation,
        key=unquote(url.path)[1:],
        query=query,
        copy_source=unquote(source).partition("/")[2],
        body=body_of(request),
    )


def header(request: AWSPreparedRequest, name: str) -> str:
    """Return a header of a request, or an empty string."""
    value = request.headers.get(name, "")
    return value.decode() if isinstance(value, bytes) else str(value)


def body_of(request: AWSPreparedRequest) -> bytes:
    """Return the body of a request, decoded if a client of S3 sent it in chunks."""
    body: Any = request.body or b""
    content: bytes = body if isinstance(body, bytes) else body.read()
    if not content or "aws-chunked" not in header(request, "Content-Encoding"):
        return content
    # Each chunk follows its length in hexadecimal digits. The last chunk is empty, and a checksum follows it.
    decoded = b""
    while (length := int((head := content.partition(b"\r\n"))[0], 16)) > 0:
        decoded += head[2][:length]
        content = head[2][length + 2 :]
    return decoded


def response(status: int, headers: Mapping[str, str], pieces: Iterable[bytes] = ()) -> AWSResponse:
    """Return a response whose body is generated while it is read."""
    return AWSResponse("in memory", status, cast("HTTPHeaders", headers), Body(pieces))


def json_response(status: int, content: dict[str, Any]) -> AWSResponse:
    """Return a response of DynamoDB or Bedrock."""
    return response(status, {"Content-Type": "application/x-amz-json-1.0"}, [pydantic_core.to_json(content)])


def xml_response(status: int, content: str) -> AWSResponse:
    """Return a response of S3."""
    return response(status, {"Content-Type": "application/xml"}, [content.encode()])


def s3_error(status: int, code: str) -> AWSResponse:
    """Return an error of S3."""
    return xml_response(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")

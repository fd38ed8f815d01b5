"""What goes over the wire between botocore and AWS: requests as `before-send` shows them, and answers to them.

Sources: Amazon S3 API reference; Amazon DynamoDB API reference; botocore's `before-send` event.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

if TYPE_CHECKING:
    from botocore.compat import HTTPHeaders


class Body(io.BufferedIOBase):
    """A body as botocore reads it from the network: piece by piece, none held longer than it takes to be read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._held = b""

    def read(self, amount: int | None = -1, /) -> bytes:
        """Return so many bytes, fewer at the end, or all that are left."""
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
    """A request to the bucket. `copy_source` is the source's object key, where it has one."""

    operation: str
    key: str
    query: Mapping[str, str]
    copy_source: str
    body: bytes


def s3_request(request: AWSPreparedRequest) -> S3Request:
    """Return what S3 is asked for, by a client that names the bucket in the host. Raises NotImplementedError."""
    url = urlsplit(str(request.url))
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    source = request.headers.get("x-amz-copy-source", b"")
    source = unquote(source.decode() if isinstance(source, bytes) else str(source))
    match request.method, sorted({"delete", "uploads", "uploadId"} & set(query)):
        case "GET", []:
            operation = "GetObject"
        case "PUT", []:
            operation = "CopyObject" if source else "PutObject"
        case "PUT", ["uploadId"]:
            operation = "UploadPart"
        case "DELETE", []:
            operation = "DeleteObject"
        case "POST", ["delete"]:
            operation = "DeleteObjects"
        case "POST", ["uploads"]:
            operation = "CreateMultipartUpload"
        case "POST", ["uploadId"]:
            operation = "CompleteMultipartUpload"
        case _:
            raise NotImplementedError(f"{request.method} {request.url} is not answered in memory")
    return S3Request(operation, unquote(url.path)[1:], query, source.partition("/")[2], body_of(request))


def body_of(request: AWSPreparedRequest) -> bytes:
    """Return the body of a request, out of the chunks that S3's clients send it in."""
    body: Any = request.body or b""
    content: bytes = body if isinstance(body, bytes) else body.read()
    if "aws-chunked" not in str(request.headers.get("Content-Encoding", "")):
        return content
    # Chunks, each behind its length in hexadecimal digits, the last one empty, then a checksum.
    decoded = b""
    while (length := int((head := content.partition(b"\r\n"))[0], 16)) > 0:
        decoded += head[2][:length]
        content = head[2][length + 2 :]
    return decoded


def response(status: int, headers: Mapping[str, str], *pieces: bytes) -> AWSResponse:
    """Return an answer with a body."""
    return streamed_response(status, headers, pieces)


def streamed_response(status: int, headers: Mapping[str, str], pieces: Iterable[bytes]) -> AWSResponse:
    """Return an answer whose body is made while it is read."""
    return AWSResponse("in memory", status, cast("HTTPHeaders", headers), Body(pieces))


def json_response(status: int, answer: dict[str, Any]) -> AWSResponse:
    """Return an answer of DynamoDB's."""
    return response(status, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(answer).encode())


def xml_response(status: int, answer: str) -> AWSResponse:
    """Return an answer of S3's."""
    return response(status, {"Content-Type": "application/xml"}, answer.encode())


def s3_error(status: int, code: str) -> AWSResponse:
    """Return an error of S3's."""
    return xml_response(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")

"""Requests and responses on the wire between botocore and AWS, as botocore's `before-send` event exchanges them.

Sources: Amazon S3 API reference; Amazon DynamoDB API reference; botocore's `before-send` event.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import pydantic_core
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

if TYPE_CHECKING:
    from botocore.compat import HTTPHeaders

S3_OPERATIONS = {
    ("GET", ""): "GetObject",
    ("GET", "list-type"): "ListObjectsV2",
    ("HEAD", ""): "HeadObject",
    ("PUT", ""): "PutObject",
    ("PUT", "uploadId"): "UploadPart",
    ("DELETE", ""): "DeleteObject",
    ("POST", "delete"): "DeleteObjects",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
}
"""Operations by method and the query parameter that selects them. CopyObject is a PUT with a header."""


class Body(io.BytesIO):
    """The body of a response."""

    def stream(self, **_: object) -> Iterator[bytes]:
        """Yield the complete body."""
        yield self.read()


@dataclass(frozen=True)
class S3Request:
    """A request to the bucket.

    `copy_source` is the source's object key, and `copy_etag` the ETag that it must have. Both are empty unless the
    request is a copy.
    """

    operation: str
    key: str
    query: Mapping[str, str]
    copy_source: str
    copy_etag: str
    body: bytes


def s3_request(request: AWSPreparedRequest) -> S3Request:
    """Return a request of a client that puts the bucket's name into the host. Raises NotImplementedError."""
    url = urlsplit(str(request.url))
    query = dict(parse_qsl(url.query, keep_blank_values=True)) if url.query else {}
    selector = next((name for name in ("delete", "uploads", "uploadId", "list-type") if name in query), "")
    operation = S3_OPERATIONS.get((str(request.method), selector))
    source = header(request, "x-amz-copy-source")
    if operation is None:
        raise NotImplementedError(f"{request.method} {request.url} is not implemented in memory")
    return S3Request(
        operation="CopyObject" if source else operation,
        key=unquote(url.path)[1:],
        query=query,
        copy_source=unquote(source).partition("/")[2],
        copy_etag=header(request, "x-amz-copy-source-if-match"),
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


def response(status: int, headers: Mapping[str, str], body: io.BufferedIOBase) -> AWSResponse:
    """Return a response. Its body needs a method `stream`, as urllib3's bodies have it."""
    return AWSResponse("in memory", status, cast("HTTPHeaders", headers), body)


def json_response(status: int, content: dict[str, Any]) -> AWSResponse:
    """Return a response of DynamoDB or Bedrock."""
    return response(status, {"Content-Type": "application/x-amz-json-1.0"}, Body(pydantic_core.to_json(content)))


def json_error(status: int, code: str, **members: object) -> AWSResponse:
    """Return an error of DynamoDB or Bedrock."""
    return json_response(status, {"__type": code, "message": code, **members})


def xml_response(status: int, content: str) -> AWSResponse:
    """Return a response of S3."""
    return response(status, {"Content-Type": "application/xml"}, Body(content.encode()))


def s3_error(status: int, code: str) -> AWSResponse:
    """Return an error of S3."""
    return xml_response(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>")

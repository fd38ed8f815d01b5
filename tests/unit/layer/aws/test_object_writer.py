"""Writing an object piece by piece."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError

from yorutsuke_common.aws.object_writer import PART_BYTES, ObjectWriter

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UPLOAD = {"Bucket": "images", "Key": "a.jsonl", "UploadId": "upload-1"}


@dataclass
class Bucket:
    """An S3 client that records its calls."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    abort_fails: str | None = None

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**request: Any) -> dict[str, Any]:
            self.calls.append((operation, request))
            if self.abort_fails and operation == "abort_multipart_upload":
                raise ClientError({"Error": {"Code": self.abort_fails}}, "AbortMultipartUpload")
            return {"UploadId": "upload-1", "ETag": f"etag-{len(self.calls)}"}

        return call


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def writer(bucket: Bucket) -> ObjectWriter:
    return ObjectWriter(cast("S3Client", bucket), "images", "a.jsonl")


def test_writer_uses_put_object_below_one_part(bucket: Bucket, writer: ObjectWriter) -> None:
    writer.write(b"a")
    writer.write(b"b")
    assert bucket.calls == []

    writer.close()

    assert bucket.calls == [("put_object", {"Bucket": "images", "Key": "a.jsonl", "Body": b"ab"})]


def test_writer_uploads_each_full_part_immediately(bucket: Bucket, writer: ObjectWriter) -> None:
    full = b"x" * (PART_BYTES + 1)
    writer.write(full)
    assert bucket.calls == [
        ("create_multipart_upload", {"Bucket": "images", "Key": "a.jsonl"}),
        ("upload_part", {**UPLOAD, "PartNumber": 1, "Body": full}),
    ]
    writer.write(b"rest")

    writer.close()

    parts = [{"PartNumber": 1, "ETag": "etag-2"}, {"PartNumber": 2, "ETag": "etag-3"}]
    assert bucket.calls[2:] == [
        ("upload_part", {**UPLOAD, "PartNumber": 2, "Body": b"rest"}),
        ("complete_multipart_upload", {**UPLOAD, "MultipartUpload": {"Parts": parts}}),
    ]


def test_abort_ends_the_multipart_upload(bucket: Bucket, writer: ObjectWriter) -> None:
    writer.write(b"x" * PART_BYTES)

    writer.abort()

    assert bucket.calls[2:] == [("abort_multipart_upload", UPLOAD)]


def test_abort_without_an_upload_makes_zero_calls(bucket: Bucket, writer: ObjectWriter) -> None:
    writer.write(b"x")

    writer.abort()

    assert bucket.calls == []


def test_abort_accepts_a_missing_upload(bucket: Bucket, writer: ObjectWriter) -> None:
    writer.write(b"x" * PART_BYTES)
    bucket.abort_fails = "NoSuchUpload"

    writer.abort()

    assert bucket.calls[2:] == [("abort_multipart_upload", UPLOAD)]


def test_abort_raises_other_errors(bucket: Bucket, writer: ObjectWriter) -> None:
    writer.write(b"x" * PART_BYTES)
    bucket.abort_fails = "AccessDenied"

    with pytest.raises(ClientError, match="AccessDenied"):
        writer.abort()

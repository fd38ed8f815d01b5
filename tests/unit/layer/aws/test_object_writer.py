"""An object that is written piece by piece."""

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
    """S3's answers, and what it was asked."""

    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    abort_fails: str | None = None

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def ask(**request: Any) -> dict[str, Any]:
            self.asked.append((operation, request))
            if self.abort_fails and operation == "abort_multipart_upload":
                raise ClientError({"Error": {"Code": self.abort_fails}}, "AbortMultipartUpload")
            return {"UploadId": "upload-1", "ETag": f"etag-{len(self.asked)}"}

        return ask


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def writer(bucket: Bucket) -> ObjectWriter:
    return ObjectWriter(cast("S3Client", bucket), "images", "a.jsonl")


def test_less_than_a_part_is_one_call(bucket: Bucket, writer: ObjectWriter) -> None:
    writer.write(b"a")
    writer.write(b"b")
    assert bucket.asked == []

    writer.close()

    assert bucket.asked == [("put_object", {"Bucket": "images", "Key": "a.jsonl", "Body": b"ab"})]


def test_a_part_goes_out_as_soon_as_it_is_full_and_the_rest_at_the_end(bucket: Bucket, writer: ObjectWriter) -> None:
    full = b"x" * (PART_BYTES + 1)
    writer.write(full)
    assert bucket.asked == [
        ("create_multipart_upload", {"Bucket": "images", "Key": "a.jsonl"}),
        ("upload_part", {**UPLOAD, "PartNumber": 1, "Body": full}),
    ]
    writer.write(b"rest")

    writer.close()

    parts = [{"PartNumber": 1, "ETag": "etag-2"}, {"PartNumber": 2, "ETag": "etag-3"}]
    assert bucket.asked[2:] == [
        ("upload_part", {**UPLOAD, "PartNumber": 2, "Body": b"rest"}),
        ("complete_multipart_upload", {**UPLOAD, "MultipartUpload": {"Parts": parts}}),
    ]


def test_what_was_sent_can_be_given_up(bucket: Bucket, writer: ObjectWriter) -> None:
    writer.write(b"x" * PART_BYTES)

    writer.abort()

    assert bucket.asked[2:] == [("abort_multipart_upload", UPLOAD)]


def test_where_nothing_was_sent_there_is_nothing_to_give_up(bucket: Bucket, writer: ObjectWriter) -> None:
    writer.write(b"x")

    writer.abort()

    assert bucket.asked == []


def test_what_is_gone_already_is_given_up(bucket: Bucket, writer: ObjectWriter) -> None:
    writer.write(b"x" * PART_BYTES)
    bucket.abort_fails = "NoSuchUpload"

    writer.abort()

    assert bucket.asked[2:] == [("abort_multipart_upload", UPLOAD)]


def test_what_cannot_be_given_up_is_raised(bucket: Bucket, writer: ObjectWriter) -> None:
    writer.write(b"x" * PART_BYTES)
    bucket.abort_fails = "AccessDenied"

    with pytest.raises(ClientError, match="AccessDenied"):
        writer.abort()

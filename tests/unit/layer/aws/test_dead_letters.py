"""The dead-letter file appears only when it is complete."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from yorutsuke_common.aws.dead_letters import DeadLetterFile
from yorutsuke_common.aws.object_writer import PART_BYTES
from yorutsuke_common.object_keys import dead_letters_key
from yorutsuke_common.schema import DeadLetter, Reason, serialize_json

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pydantic import JsonValue

S3_SMALLEST_PART = 5 * 1024 * 1024
KEY = ("images", "dead-letters/abcdefgh1234.jsonl")


@dataclass
class Bucket:
    """A bucket in which a multipart upload becomes an object only when it is completed."""

    objects: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])
    uploads: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    parts: list[bytes] = field(default_factory=list[bytes])
    calls: list[str] = field(default_factory=list[str])

    def put_object(self, **request: Any) -> dict[str, Any]:
        self.calls.append("PutObject")
        self.objects[request["Bucket"], request["Key"]] = request["Body"]
        return {}

    def create_multipart_upload(self, **request: str) -> dict[str, Any]:
        self.calls.append("CreateMultipartUpload")
        self.uploads.append((request["Bucket"], request["Key"]))
        return {"UploadId": "upload-1"}

    def upload_part(self, **request: Any) -> dict[str, Any]:
        self.calls.append("UploadPart")
        number = len(self.parts) + 1
        requested = (request["Bucket"], request["Key"], request["UploadId"], request["PartNumber"])
        assert requested == (*self.uploads[0], "upload-1", number)
        self.parts.append(request["Body"])
        return {"ETag": f"etag-{number}"}

    def complete_multipart_upload(self, **request: Any) -> dict[str, Any]:
        self.calls.append("CompleteMultipartUpload")
        expected_parts = [{"PartNumber": number, "ETag": f"etag-{number}"} for number in range(1, len(self.parts) + 1)]
        assert (request["UploadId"], request["MultipartUpload"]) == ("upload-1", {"Parts": expected_parts})
        assert [len(part) for part in self.parts[:-1] if len(part) < S3_SMALLEST_PART] == []
        self.objects[request["Bucket"], request["Key"]] = b"".join(self.parts)
        return {}


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def letters(bucket: Bucket) -> DeadLetterFile:
    return DeadLetterFile(cast("S3Client", bucket), "images", "abcdefgh1234")


def letter(line: int, record: str = "{") -> DeadLetter:
    """Return a dead letter of an image."""
    return DeadLetter(
        line=line,
        imageId=f"image-{line}",
        reason=Reason.INVALID_AI_JSON,
        detail="the reply is no JSON",
        record=serialize_json(record),
    )


def test_dead_letters_key_contains_the_job_id() -> None:
    assert dead_letters_key("abcdefgh1234") == "dead-letters/abcdefgh1234.jsonl"


def test_dead_letter_is_one_json_line_in_utf8(bucket: Bucket, letters: DeadLetterFile) -> None:
    letters.add(letter(3, record="喫茶\n\u2028"))
    letters.close()

    line = (
        '{"line":3,"imageId":"image-3","reason":"INVALID_AI_JSON","detail":"the reply is no JSON",'
        '"record":"喫茶\\n\u2028"}\n'
    )
    assert bucket.objects == {KEY: line.encode()}


def test_dead_letter_omits_a_missing_image_id(bucket: Bucket, letters: DeadLetterFile) -> None:
    letters.add(DeadLetter(line=1, reason=Reason.INVALID_JSON, detail="the line is no JSON", record=b"null"))
    letters.close()

    line = b'{"line":1,"reason":"INVALID_JSON","detail":"the line is no JSON","record":null}\n'
    assert bucket.objects == {KEY: line}


def test_numbers_outside_json_become_strings(bucket: Bucket, letters: DeadLetterFile) -> None:
    record: JsonValue = {"a": [float("inf"), float("-inf"), float("nan"), 1.5, 10**4_000]}
    letters.add(DeadLetter(line=1, reason=Reason.INVALID_RECORD, detail="", record=serialize_json(record)))
    letters.close()

    written = '{"line":1,"reason":"INVALID_RECORD","detail":"","record":{"a":["Infinity","-Infinity","NaN",1.5,1'
    assert bucket.objects == {KEY: written.encode() + b"0" * 4_000 + b"]}}\n"}


def test_dead_letters_are_written_on_close(bucket: Bucket, letters: DeadLetterFile) -> None:
    assert letters.count == 0

    for number in (1, 2, 3):
        letters.add(letter(number))

    assert (letters.count, bucket.calls) == (3, [])


def test_empty_dead_letter_file_replaces_an_earlier_one(bucket: Bucket, letters: DeadLetterFile) -> None:
    bucket.objects[KEY] = b"earlier"

    letters.close()

    assert (bucket.objects, bucket.calls) == ({KEY: b""}, ["PutObject"])


def test_many_dead_letters_are_uploaded_in_parts(bucket: Bucket, letters: DeadLetterFile) -> None:
    added = [letter(number, record="x" * 1_000_000) for number in range(1, 21)]
    for one in added:
        letters.add(one)
    assert bucket.objects == {}
    assert letters.count == 20

    letters.close()

    written = bucket.objects[KEY].splitlines()
    assert [DeadLetter.model_validate_json(line) for line in written] == added
    assert bucket.calls == ["CreateMultipartUpload", *["UploadPart"] * 3, "CompleteMultipartUpload"]
    assert list(bucket.objects) == [KEY]


def test_full_part_is_not_followed_by_empty_part(bucket: Bucket, letters: DeadLetterFile) -> None:
    without_record = len(letter(1, record="").as_json()) + 1
    letters.add(letter(1, record="x" * (PART_BYTES - without_record)))

    letters.close()

    assert [len(part) for part in bucket.parts] == [PART_BYTES]
    assert bucket.calls == ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]


def test_less_than_one_part_is_one_object(bucket: Bucket, letters: DeadLetterFile) -> None:
    without_record = len(letter(1, record="").as_json()) + 1
    letters.add(letter(1, record="x" * (PART_BYTES - without_record - 1)))

    letters.close()

    assert bucket.calls == ["PutObject"]

"""The dead-letter file appears only when it is complete."""

import io
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.response import StreamingBody

from yorutsuke_common.aws.dead_letters import DeadLetterFile
from yorutsuke_common.aws.object_writer import PART_BYTES
from yorutsuke_common.object_keys import dead_letters_key
from yorutsuke_common.schema import DeadLetter, Reason, serialize_json

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from pydantic import JsonValue

S3_SMALLEST_PART = 5 * 1024 * 1024
KEY = ("images", "dead-letters/abcdefgh1234.jsonl")
OUTPUT = "output.jsonl"


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

    def get_object(self, **request: str) -> dict[str, Any]:
        self.calls.append("GetObject")
        body = self.objects[request["Bucket"], request["Key"]]
        stored = StreamingBody(io.BytesIO(body), len(body))
        return {"Body": stored, "ETag": '"etag"', "LastModified": datetime(2026, 11, 22, tzinfo=UTC)}

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


def letters_of(bucket: Bucket, output: str, kept: Iterable[str] = ()) -> DeadLetterFile:
    """Return the dead letters of an output file, which keep those of other output files."""
    return DeadLetterFile(cast("S3Client", bucket), "images", "abcdefgh1234", output, kept)


def write_letters(bucket: Bucket, output: str, lines: Iterable[int], kept: Iterable[str] = ()) -> None:
    """Write the dead letters of these lines of an output file."""
    letters = letters_of(bucket, output, kept)
    letters.begin()
    for line in lines:
        letters.add(letter(line))
    letters.close()


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def letters(bucket: Bucket) -> DeadLetterFile:
    return letters_of(bucket, OUTPUT)


def letter(line: int, record: str = "{") -> DeadLetter:
    """Return a dead letter of an image."""
    return DeadLetter(
        line=line,
        imageId=f"image-{line}",
        reason=Reason.INVALID_AI_JSON,
        detail="the reply is no JSON",
        record=serialize_json(record),
    )


def stored(letter: DeadLetter) -> DeadLetter:
    """Return a dead letter as it is stored."""
    return letter.model_copy(update={"output": OUTPUT})


def test_dead_letters_key_contains_the_job_id() -> None:
    assert dead_letters_key("abcdefgh1234") == "dead-letters/abcdefgh1234.jsonl"


def test_dead_letter_is_one_json_line_in_utf8(bucket: Bucket, letters: DeadLetterFile) -> None:
    letters.add(letter(3, record="喫茶\n\u2028"))
    letters.close()

    line = (
        '{"output":"output.jsonl","line":3,"imageId":"image-3","reason":"INVALID_AI_JSON",'
        '"detail":"the reply is no JSON","record":"喫茶\\n\u2028"}\n'
    )
    assert bucket.objects == {KEY: line.encode()}


def test_dead_letter_omits_a_missing_image_id(bucket: Bucket, letters: DeadLetterFile) -> None:
    letters.add(DeadLetter(line=1, reason=Reason.INVALID_JSON, detail="the line is no JSON", record=b"null"))
    letters.close()

    line = b'{"output":"output.jsonl","line":1,"reason":"INVALID_JSON","detail":"the line is no JSON","record":null}\n'
    assert bucket.objects == {KEY: line}


def test_numbers_outside_json_become_strings(bucket: Bucket, letters: DeadLetterFile) -> None:
    record: JsonValue = {"a": [float("inf"), float("-inf"), float("nan"), 1.5, 10**4_000]}
    letters.add(DeadLetter(line=1, reason=Reason.INVALID_RECORD, detail="", record=serialize_json(record)))
    letters.close()

    written = (
        '{"output":"output.jsonl","line":1,"reason":"INVALID_RECORD","detail":"",'
        '"record":{"a":["Infinity","-Infinity","NaN",1.5,1'
    )
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
    assert [DeadLetter.model_validate_json(line) for line in written] == [stored(one) for one in added]
    assert bucket.calls == ["CreateMultipartUpload", *["UploadPart"] * 3, "CompleteMultipartUpload"]
    assert list(bucket.objects) == [KEY]


def test_full_part_is_not_followed_by_empty_part(bucket: Bucket, letters: DeadLetterFile) -> None:
    without_record = len(stored(letter(1, record="")).as_json()) + 1
    letters.add(letter(1, record="x" * (PART_BYTES - without_record)))

    letters.close()

    assert [len(part) for part in bucket.parts] == [PART_BYTES]
    assert bucket.calls == ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]


def test_less_than_one_part_is_one_object(bucket: Bucket, letters: DeadLetterFile) -> None:
    without_record = len(stored(letter(1, record="")).as_json()) + 1
    letters.add(letter(1, record="x" * (PART_BYTES - without_record - 1)))

    letters.close()

    assert bucket.calls == ["PutObject"]


# In JSON, the second name is longer than the name in the bucket, and it begins like the first.
NAMES = ('a".jsonl', 'a".jsonl.out', "b\n喫茶.jsonl")
LINES = {NAMES[0]: [2, 1], NAMES[1]: [1], NAMES[2]: [7, 8, 9]}


@pytest.mark.parametrize("order", [*itertools.permutations(NAMES)])
def test_dead_letters_are_equal_in_any_order(bucket: Bucket, order: tuple[str, ...]) -> None:
    for number, name in enumerate([*order, *order]):
        write_letters(bucket, name, LINES[name], kept={*order[:number]} - {name})

    written = [DeadLetter.model_validate_json(line) for line in bucket.objects[KEY].split(b"\n")[:-1]]
    assert [(one.output, one.line) for one in written] == [(name, line) for name in NAMES for line in LINES[name]]


def test_dead_letters_of_unkept_outputs_are_dropped(bucket: Bucket) -> None:
    write_letters(bucket, "b.jsonl", [1])
    write_letters(bucket, "c.jsonl", [2], kept=["b.jsonl"])

    write_letters(bucket, "a.jsonl", [3], kept=["c.jsonl"])

    letters = [DeadLetter.model_validate_json(line) for line in bucket.objects[KEY].splitlines()]
    assert [(one.output, one.line) for one in letters] == [("a.jsonl", 3), ("c.jsonl", 2)]


@pytest.mark.parametrize(("kept", "reads"), [([], 0), (["a"], 1), (["y", "z"], 1), (["a", "z"], 2)])
def test_stored_dead_letters_are_read_if_needed(bucket: Bucket, kept: list[str], reads: int) -> None:
    bucket.objects[KEY] = b""

    write_letters(bucket, "m", [1], kept)

    assert bucket.calls == ["GetObject"] * reads + ["PutObject"]


def test_stored_dead_letters_are_copied_in_parts(bucket: Bucket) -> None:
    first = letters_of(bucket, "a.jsonl")
    for line in range(20):
        first.add(letter(line, record="x" * 1_000_000))
    first.close()
    before = bucket.objects[KEY]
    bucket.calls.clear()
    bucket.uploads.clear()
    bucket.parts.clear()

    write_letters(bucket, "b.jsonl", [], kept=["a.jsonl"])

    assert bucket.calls == ["GetObject", "CreateMultipartUpload", *["UploadPart"] * 3, "CompleteMultipartUpload"]
    assert bucket.objects[KEY] == before

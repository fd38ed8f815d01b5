"""A manifest has one request per line, and its upload uses a limited amount of memory."""

import base64
import json
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from batch_orchestrator.image_copies import ImageCopier
from batch_orchestrator.images import Content, Image, ImageReader
from batch_orchestrator.manifest import SECONDS_TO_SUBMIT, Draft, Manifests, manifest_line
from batch_orchestrator.prompt import model_input
from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.aws.object_writer import PART_BYTES
from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.object_keys import input_key
from yorutsuke_common.schema import MAX_IMAGE_ID_BYTES

from .samples import SUBMISSION, image, running_out

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from yorutsuke_common.aws.object_copier import ObjectCopier

IMAGE_BYTES = 1_000_000
ETAG = '"etag-of-every-image"'


class Body:
    """The content of an image, created when it is read."""

    def read(self) -> bytes:
        return bytes(IMAGE_BYTES)

    def close(self) -> None:
        """Accept the call without an effect."""


@dataclass
class Bucket:
    """A bucket of images of one size. It stores only the number of written bytes."""

    calls: list[str] = field(default_factory=list[str])
    written: int = 0
    abort_fails: bool = False

    def get_object(self, **_: str) -> dict[str, Any]:
        return {"ContentLength": IMAGE_BYTES, "ETag": ETAG, "Body": Body()}

    def put_object(self, **request: Any) -> None:
        self.calls.append("PutObject")
        self.written += len(request["Body"])

    def create_multipart_upload(self, **_: str) -> dict[str, Any]:
        self.calls.append("CreateMultipartUpload")
        return {"UploadId": "upload-1"}

    def upload_part(self, **request: Any) -> dict[str, Any]:
        self.calls.append("UploadPart")
        self.written += len(request["Body"])
        return {"ETag": "etag"}

    def complete_multipart_upload(self, **_: Any) -> None:
        self.calls.append("CompleteMultipartUpload")

    def abort_multipart_upload(self, **_: str) -> None:
        self.calls.append("AbortMultipartUpload")
        if self.abort_fails:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "AbortMultipartUpload")


def enough_seconds() -> float:
    """Return the seconds that the function has left. They are sufficient."""
    return 900


def images(count: int) -> list[Image]:
    return [image(f"image-{number:05}", f"uploads/user-1/{number}.png", "png") for number in range(count)]


def manifests(bucket: Bucket, logs: Logs | None = None) -> Manifests:
    s3 = cast("S3Client", bucket)
    logger = (logs or Logs()).logger
    copies = ImageCopier(s3, "images", cast("ObjectCopier", bucket), CallPool())
    return Manifests(s3, "images", ImageReader(s3, "images"), copies, logger)


def draft(
    bucket: Bucket, count: int, seconds_left: Callable[[], float] = enough_seconds, logs: Logs | None = None
) -> AbstractContextManager[Draft]:
    """Return the draft of a manifest of images that can all be held."""
    return manifests(bucket, logs).draft(SUBMISSION, images(count), lambda held: held, seconds_left)


def test_manifest_key_contains_the_intent_id() -> None:
    assert input_key("batch-input/intent-1/") == "batch-input/intent-1/manifest.jsonl"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_IMAGE_ID_BYTES // 4), st.binary())
def test_manifest_line_is_the_request_for_its_image(image_id: str, content: bytes) -> None:
    line = manifest_line(image(image_id, "uploads/user-1/a.webp", "webp"), Content(content, ETAG))

    encoded = base64.b64encode(content).decode()
    assert json.loads(line) == {"recordId": image_id, "modelInput": model_input("webp", {"bytes": encoded})}
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1


def test_draft_is_written_only_when_published() -> None:
    bucket = Bucket()
    with draft(bucket, 2) as written:
        assert (written.etags, written.left_out, bucket.calls) == ({"image-00000": ETAG, "image-00001": ETAG}, {}, [])
        written.publish()

    assert bucket.calls == ["PutObject"]
    assert bucket.written == sum(len(manifest_line(sent, Content(bytes(IMAGE_BYTES), ETAG))) for sent in images(2))


def test_draft_aborts_its_upload_after_an_error() -> None:
    bucket = Bucket()

    with pytest.raises(KeyError), draft(bucket, 10):
        raise KeyError

    assert bucket.calls == ["CreateMultipartUpload", "UploadPart", "AbortMultipartUpload"]


def test_failed_abort_does_not_hide_the_error() -> None:
    bucket = Bucket(abort_fails=True)
    logs = Logs()

    with pytest.raises(KeyError), draft(bucket, 10, logs=logs):
        raise KeyError

    assert logs.entries("level", "event", "code") == [
        {"level": "WARNING", "event": "BATCH_SUBMIT_UPLOAD_KEPT", "code": "AccessDenied"}
    ]


def test_draft_is_refused_when_manifest_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = len(manifest_line(images(1)[0], Content(bytes(IMAGE_BYTES), ETAG)))
    monkeypatch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", 10 * line)
    bucket = Bucket()
    with draft(bucket, 10) as written:
        assert len(written.etags) == 10

    with pytest.raises(InvalidRequestError) as raised, draft(bucket, 11):
        pass

    assert str(raised.value) == (
        f"the manifest of 11 images is larger than Bedrock's limit of {10 * line} bytes; only 10 images fit. Request "
        "fewer images."
    )
    assert bucket.calls[-1] == "AbortMultipartUpload"


def test_draft_is_refused_when_time_runs_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds_left = running_out(monkeypatch, lines=3, at_first=900)

    with pytest.raises(InvalidRequestError) as raised, draft(Bucket(), 8, seconds_left):
        pass

    assert str(raised.value) == (
        "only 3 of 8 images were read in 825 seconds; the function reserves its last 75 seconds for the submission. "
        "Request fewer images."
    )


def test_draft_aborts_its_upload_when_time_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 1)
    seconds_left, bucket = running_out(monkeypatch, lines=1, at_first=SECONDS_TO_SUBMIT + 1), Bucket()

    with pytest.raises(InvalidRequestError), draft(bucket, 8, seconds_left):
        pass

    assert bucket.calls == ["CreateMultipartUpload", "UploadPart", "AbortMultipartUpload"]


def test_draft_limits_the_images_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_orchestrator.images.READ_AHEAD", 10)
    count, bucket = 150, Bucket()
    tracemalloc.start()

    with draft(bucket, count) as written:
        written.publish()

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bucket.written > count * IMAGE_BYTES * 4 // 3
    # Beside the images read ahead: a full part and its copy, and one image as content, as base64 and as a line.
    assert peak < 10 * IMAGE_BYTES + 3 * PART_BYTES + 8 * IMAGE_BYTES

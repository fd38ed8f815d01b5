"""The copies of a job's images, on AWS in memory."""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError

from batch_orchestrator.image_copies import ImageCopier, Reference
from batch_orchestrator.images import HELD_AT_A_TIME, Image, Unfit
from local.in_memory import Call, Fault, InMemoryAws
from tests.faults.invocations import InlineExecutor
from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool, OutOfTimeError
from yorutsuke_common.aws.object_copier import ObjectCopier
from yorutsuke_common.aws.pending_images import StoredImage
from yorutsuke_common.object_keys import snapshot_key

from .samples import FOLDER

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Outcome = Reference | Unfit
TIMEOUT_SECONDS = 30


def enough_seconds() -> float:
    """Return the seconds that are left. They are sufficient."""
    return 900


@dataclass
class Bucket:
    """A bucket in memory, and a copier of its images."""

    aws: InMemoryAws
    s3: "S3Client"
    copier: ImageCopier

    def upload(self, *keys: str, content: str = "content") -> None:
        """Store an object under each key."""
        for key in keys:
            self.aws.put_object(key, content.encode())

    def copy(
        self, images: Sequence[Image], seconds_left: Callable[[], float] = enough_seconds
    ) -> list[tuple[str, Outcome]]:
        """Copy images, and return the outcome of each one."""
        copied = self.copier.copy(FOLDER, images, lambda held: held, seconds_left)
        return [(image.image_id, outcome) for image, outcome in copied]

    def reference(self, image: Image) -> Reference:
        """Return the reference to the current content of an upload."""
        etag = f'"{self.aws.objects[image.key].etag}"'
        return Reference(f"s3://images/{snapshot_key(FOLDER, image.image_id, etag, image.format)}", etag)

    def copies(self) -> dict[str, bytes]:
        """Return the content of each copy, by its URI."""
        return {f"s3://images/{key}": o.body for key, o in self.aws.objects.items() if key.startswith("batch-input/")}


@pytest.fixture
def bucket() -> Generator[Bucket]:
    aws = InMemoryAws({}, now=lambda: datetime(2026, 11, 22, tzinfo=UTC))
    session = boto3.Session("in-memory", "in-memory", region_name="ap-northeast-1")
    aws.serve(session)
    with closing(session.client("s3")) as s3:
        copier = ObjectCopier(s3, "images", 4, Logs().logger, tags=False)
        yield Bucket(aws, s3, ImageCopier(s3, "images", copier, CallPool()))


def image(name: str, user_id: str = "user-1") -> Image:
    """Return an image of a user."""
    key = f"uploads/{user_id}/{name}.jpg"
    return Image(StoredImage(name, user_id, key, "pending", None, None, None, None), key, "jpeg")


def test_copies_are_yielded_in_order_with_their_etags(bucket: Bucket) -> None:
    images = [image(f"img-{number:03}") for number in range(300)]
    for each in images:
        bucket.upload(each.key, content=each.image_id)

    outcomes = bucket.copy(images)

    assert outcomes == [(each.image_id, bucket.reference(each)) for each in images]
    assert bucket.copies() == {bucket.reference(each).uri: each.image_id.encode() for each in images}
    assert (bucket.aws.calls["ListObjectsV2"], bucket.aws.calls["CopyObject"]) == (1, 300)
    assert (bucket.aws.calls["GetObject"], bucket.aws.calls["HeadObject"]) == (0, 0)


def test_source_is_an_s3_location(bucket: Bucket) -> None:
    only = image("img-1")
    bucket.upload(only.key)

    [(_, outcome)] = bucket.copy([only])

    assert isinstance(outcome, Reference)
    assert outcome.source == {"s3Location": {"uri": outcome.uri}}


def test_images_of_several_users_are_found(bucket: Bucket) -> None:
    # user-10 sorts between user-1 and its folder.
    images = [image("a", "user-2"), image("b", "user-1"), image("c", "user-10"), image("d", "user-2")]
    bucket.upload(*(each.key for each in images))

    assert bucket.copy(images) == [(each.image_id, bucket.reference(each)) for each in images]
    assert bucket.aws.calls["ListObjectsV2"] == 3


def test_unfit_images_are_not_copied(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_orchestrator.image_copies.MAX_REFERENCED_IMAGE_BYTES", 7)
    good, empty, large, missing = map(image, ("good", "empty", "large", "missing"))
    bucket.upload(good.key, content="7 bytes")
    bucket.upload(empty.key, content="")
    bucket.upload(large.key, content="8 bytes.")

    assert bucket.copy([good, empty, large, missing]) == [
        ("good", bucket.reference(good)),
        ("empty", Unfit.UNFIT_SIZE),
        ("large", Unfit.UNFIT_SIZE),
        ("missing", Unfit.UNREADABLE),
    ]
    assert bucket.aws.calls["CopyObject"] == 1


@pytest.mark.parametrize("others", ["img-0/{:05}.jpg", "img-5{:05}.jpg", "img-9.jp{:05}", "img-9/{:05}.jpg"])
def test_sparse_folder_is_not_listed_completely(bucket: Bucket, others: str) -> None:
    images = [image("img-00"), image("img-9"), image("img-95")]
    bucket.upload(*(each.key for each in images))
    bucket.upload(*(f"uploads/user-1/{others.format(number)}" for number in range(9_000)))

    assert bucket.copy(images) == [(each.image_id, bucket.reference(each)) for each in images]
    # A page for each image, or all pages with the other uploads if they are directly before an image.
    assert bucket.aws.calls["ListObjectsV2"] <= (11 if others == "img-9.jp{:05}" else 3)


def test_dense_folder_is_listed_by_the_thousand(bucket: Bucket) -> None:
    images = [image(f"img-{number:04}") for number in range(2_500)]
    bucket.upload(*(each.key for each in images))

    assert bucket.copy(images) == [(each.image_id, bucket.reference(each)) for each in images]
    # A page begins after a key without its last character, so the last key of a full page may be on the next one.
    assert bucket.aws.calls["ListObjectsV2"] == 3


def _replace_before_copies(bucket: Bucket, only: Image, times: int) -> None:
    """Replace an upload before each of its first copies."""
    replaced: list[int] = []

    def fault(call: Call) -> Fault | None:
        if call.operation == "CopyObject" and len(replaced) < times:
            replaced.append(1)
            bucket.upload(only.key, content=f"photograph {len(replaced)}")
        return None

    bucket.aws.fault = fault


def test_replaced_upload_is_copied_with_its_new_etag(bucket: Bucket) -> None:
    only = image("img-1")
    bucket.upload(only.key)
    _replace_before_copies(bucket, only, times=2)

    assert bucket.copy([only]) == [("img-1", bucket.reference(only))]
    assert bucket.copies() == {bucket.reference(only).uri: b"photograph 2"}


def test_upload_that_keeps_changing_raises_error(bucket: Bucket) -> None:
    only = image("img-1")
    bucket.upload(only.key)
    _replace_before_copies(bucket, only, times=9)

    with pytest.raises(ClientError, match="PreconditionFailed"):
        bucket.copy([only])
    assert bucket.copies() == {}


def test_upload_deleted_after_the_listing_is_unreadable(bucket: Bucket) -> None:
    images = [image("img-1"), image("img-2")]
    bucket.upload(*(each.key for each in images))

    def fault(call: Call) -> None:
        if call.operation == "CopyObject":
            bucket.aws.delete_object(images[1].key)

    bucket.aws.fault = fault

    assert bucket.copy(images)[1] == ("img-2", Unfit.UNREADABLE)


@pytest.mark.parametrize(("code", "status"), [("AccessDenied", 403), ("NoSuchKey", 404)])
def test_unreadable_upload_is_left_out(bucket: Bucket, code: str, status: int) -> None:
    bucket.upload(image("img-1").key)
    bucket.aws.fault = lambda call: Fault("error", code=code, status=status) if call.operation == "CopyObject" else None

    assert bucket.copy([image("img-1")]) == [("img-1", Unfit.UNREADABLE)]


@pytest.mark.parametrize("operation", ["ListObjectsV2", "CopyObject"])
def test_other_errors_are_raised(bucket: Bucket, operation: str) -> None:
    bucket.upload(image("img-1").key)
    bucket.aws.fault = lambda call: (
        Fault("error", code="InvalidArgument", status=400) if call.operation == operation else None
    )

    with pytest.raises(ClientError, match="InvalidArgument"):
        bucket.copy([image("img-1")])


def test_repeated_copies_have_the_same_keys(bucket: Bucket) -> None:
    images = [image("img-1"), image("img-2")]
    bucket.upload(*(each.key for each in images))
    first, stored = bucket.copy(images), bucket.copies()

    assert (bucket.copy(images), bucket.copies()) == (first, stored)


def test_listing_ends_when_time_runs_out(bucket: Bucket) -> None:
    bucket.upload(image("img-1").key)

    with pytest.raises(OutOfTimeError):
        bucket.copy([image("img-1")], lambda: 0)
    assert bucket.aws.calls == {}


def test_copying_ends_when_time_runs_out(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time ends with the listing."""
    monkeypatch.setattr("batch_orchestrator.image_copies.ThreadPoolExecutor", InlineExecutor)
    bucket.upload(image("img-1").key)

    with pytest.raises(OutOfTimeError):
        bucket.copy([image("img-1")], lambda: 0 if bucket.aws.calls["ListObjectsV2"] else 1)


def test_images_are_held_while_uploads_are_listed(bucket: Bucket) -> None:
    """Images that are held before the listing has ended have no ETag. Later ones do."""
    images = [image(f"img-{number:03}") for number in range(HELD_AT_A_TIME + 1)]
    bucket.upload(*(each.key for each in images))
    is_held, is_listed = threading.Event(), threading.Event()
    known: list[bool] = []

    def wait_for_the_hold(_: Call) -> None:
        assert is_held.wait(TIMEOUT_SECONDS)
        is_listed.set()

    def hold(some: Sequence[Image]) -> Sequence[Image]:
        known.append(all(each.upload for each in some))
        is_held.set()
        assert is_listed.wait(TIMEOUT_SECONDS)
        return some

    bucket.aws.fault = wait_for_the_hold
    copied = [*bucket.copier.copy(FOLDER, images, hold, enough_seconds)]

    assert known[0] is False
    assert [outcome for _, outcome in copied] == [bucket.reference(each) for each in images]

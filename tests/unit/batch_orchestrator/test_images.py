"""Which images can be sent, and why the others cannot."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError

from batch_orchestrator.images import MAX_IMAGE_BYTES, Image, ImageReader, PendingImages, Unfit
from batch_orchestrator.manifest import manifest_line
from tests.unit.logs import Logs
from yorutsuke_common.dynamodb import BatchClient, Item
from yorutsuke_common.overlap import Overlap

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

PENDING: Item = {
    "imageId": {"S": "image-1"},
    "userId": {"S": "user-1"},
    "s3Key": {"S": "uploads/user-1/a.jpg"},
    "status": {"S": "pending"},
}
IMAGE = Image("image-1", "uploads/user-1/a.jpg", "jpeg")


@dataclass
class Table:
    """A pending-images table of a few items."""

    items: list[Item]

    def batch_get_item(self, **_request: Any) -> dict[str, Any]:
        return {"Responses": {"pending-images": self.items}, "UnprocessedKeys": {}}


@dataclass
class Bucket:
    """A bucket that answers as it is told to."""

    answer: Callable[[str], dict[str, Any]]
    asked: list[str] = field(default_factory=list[str])

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert Bucket == "images"
        self.asked.append(Key)
        return self.answer(Key)


def find(*items: Item, image_ids: tuple[str, ...] = ("image-1",)) -> tuple[list[Image], dict[str, Unfit]]:
    """Return what user-1 finds of images in a table of these items."""
    batch = BatchClient(cast("DynamoDBClient", Table(list(items))), Overlap(), Logs().logger)
    return PendingImages(batch, "pending-images").find(image_ids, "user-1")


def body(content: bytes) -> dict[str, Any]:
    return {"ContentLength": len(content), "Body": io.BytesIO(content)}


def refused(code: str) -> Callable[[str], dict[str, Any]]:
    def answer(_: str) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": code}}, "GetObject")

    return answer


def read(answer: Callable[[str], dict[str, Any]], *images: Image) -> list[tuple[Image, bytes | Unfit]]:
    return list(ImageReader(cast("S3Client", Bucket(answer)), "images", Overlap()).read(images))


def test_the_users_pending_images_are_found_in_order_of_their_ids() -> None:
    second = {**PENDING, "imageId": {"S": "image-2"}, "s3Key": {"S": "user-1/b.PNG"}}

    assert find(second, PENDING, image_ids=("image-2", "image-1", "image-3")) == (
        [IMAGE, Image("image-2", "uploads/user-1/b.PNG", "png")],
        {"image-3": Unfit.UNKNOWN},
    )


@pytest.mark.parametrize(
    ("extension", "image_format"),
    [("jpg", "jpeg"), ("jpeg", "jpeg"), ("JPG", "jpeg"), ("png", "png"), ("gif", "gif"), ("webp", "webp")],
)
def test_the_format_is_what_the_extension_says(extension: str, image_format: str) -> None:
    [image], left_out = find({**PENDING, "s3Key": {"S": f"user-1/a.b.{extension}"}})

    assert (image.format, left_out) == (image_format, {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"userId": {"S": "user-2"}}, Unfit.FOREIGN),
        ({"userId": {"S": "user-2"}, "status": {"S": "processed"}}, Unfit.FOREIGN),
        ({"userId": {"N": "1"}}, Unfit.FOREIGN),
        ({"status": {"S": "processed"}}, Unfit.NOT_PENDING),
        ({"status": {"S": "failed"}}, Unfit.NOT_PENDING),
        ({"s3Key": {"S": "uploads/user-1/a.heic"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": "uploads/user-1/png"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": "uploads/"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"S": "uploads/\x00.png"}}, Unfit.UNSUPPORTED),
        ({"s3Key": {"NULL": True}}, Unfit.UNSUPPORTED),
    ],
)
def test_an_image_that_cannot_be_sent_is_left_out_with_its_reason(changes: Item, reason: Unfit) -> None:
    assert find({**PENDING, **changes}) == ([], {"image-1": reason})


def test_an_image_without_a_status_is_pending() -> None:
    assert find({name: value for name, value in PENDING.items() if name != "status"}) == ([IMAGE], {})


def test_images_are_read_in_order() -> None:
    images = [Image(str(number), f"uploads/{number}", "png") for number in range(40)]

    assert read(lambda key: body(key.encode()), *images) == [(image, image.key.encode()) for image in images]


def test_no_more_images_are_read_than_are_being_written() -> None:
    bucket = Bucket(lambda _: body(b"x"))
    reader = ImageReader(cast("S3Client", bucket), "images", Overlap())

    next(reader.read([Image(str(number), f"uploads/{number}", "png") for number in range(40)]))

    assert len(bucket.asked) == 16


@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied"])
def test_an_image_that_is_gone_is_left_out(code: str) -> None:
    assert read(refused(code), IMAGE) == [(IMAGE, Unfit.UNREADABLE)]


def test_a_bucket_that_does_not_answer_fails_the_reading() -> None:
    with pytest.raises(ClientError, match="SlowDown"):
        read(refused("SlowDown"), IMAGE)


@pytest.mark.parametrize(("size", "fits"), [(0, False), (1, True), (18_000_000, True), (18_000_001, False)])
def test_an_image_that_is_empty_or_too_large_is_left_out_unread(size: int, fits: bool) -> None:  # noqa: FBT001
    content = io.BytesIO(b"content")

    [(_, found)] = read(lambda _: {"ContentLength": size, "Body": content}, IMAGE)

    assert found == (b"content" if fits else Unfit.UNFIT_SIZE)
    assert content.closed


def test_the_largest_image_makes_a_request_that_nova_takes() -> None:
    assert 24_000_000 < len(manifest_line(IMAGE, bytes(MAX_IMAGE_BYTES))) < 25_000_000

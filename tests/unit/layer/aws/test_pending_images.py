"""The item of an image in pending-images, and the keys of the image before and after its migration."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import pytest

from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.aws.dynamodb import ChunkedClient, Item
from yorutsuke_common.aws.pending_images import PendingImages, StoredImage
from yorutsuke_common.object_keys import processed_date, processed_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass
class Table:
    """A pending-images table of a few items."""

    items: list[Item]
    requests: list[Any] = field(default_factory=list[Any])

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request["RequestItems"])
        return {"Responses": {"pending-images": self.items}, "UnprocessedKeys": {}}

    def batch_write_item(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request["RequestItems"])
        return {"UnprocessedItems": {}}


def pending_images(table: Table) -> PendingImages:
    """Return the adapter of a table."""
    return PendingImages(ChunkedClient(cast("DynamoDBClient", table), CallPool(), Logs().logger), "pending-images")


@pytest.mark.parametrize(
    ("upload_key", "processed"),
    [
        ("uploads/user-1/a.jpg", "processed/2026-11-23/user-1/{digest}-a.jpg"),
        ("uploads/user-1/uploads/a.jpg", "processed/2026-11-23/user-1/uploads/{digest}-a.jpg"),
        ("uploads/uploads/a.jpg", "processed/2026-11-23/uploads/{digest}-a.jpg"),
        ("uploads/喫茶 1+2.jpg", "processed/2026-11-23/{digest}-喫茶 1+2.jpg"),
    ],
)
def test_processed_key_has_date_path_and_digest(upload_key: str, processed: str) -> None:
    digest = hashlib.sha256(b"image-1").hexdigest()[:12]

    assert processed_key("image-1", upload_key, "2026-11-23") == processed.format(digest=digest)


@pytest.mark.parametrize(
    ("moment", "zone", "day"),
    [
        (datetime(2026, 11, 22, 14, 59, 59, tzinfo=UTC), "Asia/Tokyo", "2026-11-22"),
        (datetime(2026, 11, 22, 15, 0, 0, tzinfo=UTC), "Asia/Tokyo", "2026-11-23"),
        (datetime(2026, 11, 22, 15, 0, 0, tzinfo=UTC), "UTC", "2026-11-22"),
        (datetime(2027, 1, 1, 4, 59, 0, tzinfo=UTC), "America/New_York", "2026-12-31"),
        (datetime(2026, 11, 23, 1, 0, 0, tzinfo=timezone(timedelta(hours=9))), "UTC", "2026-11-22"),
    ],
)
def test_processed_date_is_in_the_given_zone(moment: datetime, zone: str, day: str) -> None:
    assert processed_date(moment, ZoneInfo(zone)) == day


@pytest.mark.parametrize(
    ("attributes", "upload_key", "processed"),
    [
        ({"s3Key": {"S": "uploads/user-1/a.jpg"}}, "uploads/user-1/a.jpg", False),
        ({"s3Key": {"S": "user-1/a.jpg"}}, "uploads/user-1/a.jpg", False),
        ({"s3Key": {"S": "k"}, "status": {"S": "pending"}}, "uploads/k", False),
        ({"s3Key": {"S": "長" * 338 + "ab"}}, "uploads/" + "長" * 338 + "ab", False),
        ({"s3Key": {"S": "長" * 338 + "abc"}}, None, False),
        ({"s3Key": {"S": "k"}, "status": {"S": "processed"}}, "uploads/k", True),
        ({"s3Key": {"S": "k"}, "status": {"S": "PROCESSED"}}, "uploads/k", False),
        ({}, None, False),
        ({"s3Key": {"S": "uploads/"}}, None, False),
        ({"s3Key": {"S": "a\x01.jpg"}}, None, False),
    ],
)
def test_find_returns_images_from_their_items(attributes: Item, upload_key: str | None, *, processed: bool) -> None:
    item = {"imageId": {"S": "image-1"}, "userId": {"S": "user-2"}, "md5": {"S": "m"}, **attributes}
    table = Table([item])

    found = pending_images(table).find(["image-1", "image-2"])

    stored = found["image-1"]
    assert found.keys() == {"image-1"}
    assert (stored.user_id, stored.upload_key, stored.is_processed, stored.item) == (
        "user-2",
        upload_key,
        processed,
        item,
    )
    assert table.requests == [
        {
            "pending-images": {
                "Keys": [{"imageId": {"S": "image-1"}}, {"imageId": {"S": "image-2"}}],
                "ConsistentRead": True,
            }
        }
    ]


def test_image_without_a_user_has_empty_owner() -> None:
    item = {"imageId": {"S": "image-1"}, "s3Key": {"S": "uploads/a.jpg"}}

    found = pending_images(Table([item])).find(["image-1"])

    assert found == {"image-1": StoredImage("image-1", "", "uploads/a.jpg", "pending", item)}


def test_mark_processed_keeps_other_attributes() -> None:
    item: Item = {"imageId": {"S": "image-1"}, "status": {"S": "pending"}, "size": {"N": "9"}, "tags": {"L": []}}
    table = Table([])

    image = StoredImage("image-1", "user-1", "uploads/user-1/a.jpg", "pending", item)
    pending_images(table).mark_processed([(image, "processed/2026-11-23/user-1/a.jpg")])

    marked: Item = {
        "imageId": {"S": "image-1"},
        "status": {"S": "processed"},
        "size": {"N": "9"},
        "tags": {"L": []},
        "processedKey": {"S": "processed/2026-11-23/user-1/a.jpg"},
    }
    assert table.requests == [{"pending-images": [{"PutRequest": {"Item": marked}}]}]
    assert item["status"] == {"S": "pending"}

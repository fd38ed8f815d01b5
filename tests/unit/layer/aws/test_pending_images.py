"""Where an image is, where it goes, and what pending-images says of it."""

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
    asked: list[Any] = field(default_factory=list[Any])

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request["RequestItems"])
        return {"Responses": {"pending-images": self.items}, "UnprocessedKeys": {}}

    def batch_write_item(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request["RequestItems"])
        return {"UnprocessedItems": {}}


def pending_images(table: Table) -> PendingImages:
    """Return the adapter over this table."""
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
def test_an_image_keeps_its_path_below_the_day_and_gets_a_name_of_its_own(upload_key: str, processed: str) -> None:
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
def test_the_day_is_the_one_where_the_users_live(moment: datetime, zone: str, day: str) -> None:
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
def test_an_image_is_found_as_the_table_knows_it(attributes: Item, upload_key: str | None, *, processed: bool) -> None:
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
    assert table.asked == [
        {
            "pending-images": {
                "Keys": [{"imageId": {"S": "image-1"}}, {"imageId": {"S": "image-2"}}],
                "ConsistentRead": True,
            }
        }
    ]


def test_an_image_whose_record_names_no_user_is_nobodys() -> None:
    item = {"imageId": {"S": "image-1"}, "s3Key": {"S": "uploads/a.jpg"}}

    found = pending_images(Table([item])).find(["image-1"])

    assert found == {"image-1": StoredImage("image-1", "", "uploads/a.jpg", "pending", item)}


def test_an_image_is_marked_processed_with_its_new_key_and_keeps_every_other_attribute() -> None:
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
    assert table.asked == [{"pending-images": [{"PutRequest": {"Item": marked}}]}]
    assert item["status"] == {"S": "pending"}

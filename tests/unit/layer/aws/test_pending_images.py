"""The item of an image in pending-images, and the keys of the image before and after its migration."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import pytest

from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool, TimeLimit
from yorutsuke_common.aws.dynamodb import ChunkedClient, Item
from yorutsuke_common.aws.pending_images import ATTRIBUTES, MovedImage, PendingImages, StoredImage
from yorutsuke_common.object_keys import MAX_UPLOAD_KEY_BYTES, processed_date, processed_key, upload_key
from yorutsuke_common.schema import Hold

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass
class Table:
    """A pending-images table of a few items. `codes` are the error codes of the statements."""

    items: list[Item]
    codes: list[str | None] = field(default_factory=list["str | None"])
    requests: list[Any] = field(default_factory=list[Any])

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request["RequestItems"])
        return {"Responses": {"pending-images": self.items}, "UnprocessedKeys": {}}

    def batch_execute_statement(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request["Statements"])
        codes = self.codes or [None] * len(request["Statements"])
        return {"Responses": [{"Error": {"Code": code}} if code else {} for code in codes]}


def pending_images(table: Table) -> PendingImages:
    """Return the adapter of a table."""
    client = ChunkedClient(cast("DynamoDBClient", table), CallPool(), TimeLimit(), Logs().logger)
    return PendingImages(client, "pending-images")


def image(**changes: Any) -> StoredImage:
    """Return a pending image of user-1, with changes."""
    return replace(
        StoredImage("image-1", "user-1", "user-1/a.jpg", "pending", "intent-1", '"e"', None, None), **changes
    )


@pytest.mark.parametrize(
    ("upload_key", "processed"),
    [
        ("uploads/user-1/a.jpg", "processed/2026-11-23/user-1/{digest}-a.jpg"),
        ("uploads/user-1/uploads/a.jpg", "processed/2026-11-23/user-1/uploads/{digest}-a.jpg"),
        ("uploads/user-1/喫茶 1+2.jpg", "processed/2026-11-23/user-1/{digest}-喫茶 1+2.jpg"),
    ],
)
def test_processed_key_has_date_path_and_digest(upload_key: str, processed: str) -> None:
    digest = hashlib.sha256(b"image-1#e").hexdigest()[:12]

    assert processed_key("image-1", upload_key, '"e"', "2026-11-23") == processed.format(digest=digest)


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


def test_longest_upload_key_has_a_valid_target() -> None:
    folder = "uploads/user-1/"
    longest = folder + "a" * (MAX_UPLOAD_KEY_BYTES - len(folder))

    assert upload_key(longest, "user-1") == longest
    assert len(processed_key("image-1", longest, '"e"', "2026-11-23")) == 1024
    assert upload_key(longest + "a", "user-1") is None


@pytest.mark.parametrize(
    ("s3_key", "user_id", "key"),
    [
        ("uploads/user-1/a.jpg", "user-1", "uploads/user-1/a.jpg"),
        ("user-1/a.jpg", "user-1", "uploads/user-1/a.jpg"),
        ("uploads/user-2/a.jpg", "user-1", None),
        ("uploads/user-10/a.jpg", "user-1", None),
        ("uploads/a.jpg", "user-1", None),
        ("uploads/user-1/", "user-1", None),
        ("uploads/user-1/b/a.jpg", "user-1", "uploads/user-1/b/a.jpg"),
        ("uploads/user-1/b/a.jpg", "user-1/b", None),
        ("uploads//a.jpg", "", "uploads//a.jpg"),
        ("processed/2026-11-23/user-1/a.jpg", "user-1", None),
        ("", "user-1", None),
        ("user-1/a\x01.jpg", "user-1", None),
    ],
)
def test_upload_key_is_in_the_owners_folder(s3_key: str, user_id: str, key: str | None) -> None:
    assert upload_key(s3_key, user_id) == key


@pytest.mark.parametrize(
    ("attributes", "processed"),
    [
        ({}, False),
        ({"status": {"S": "pending"}}, False),
        ({"status": {"S": "processed"}}, False),
        ({"status": {"S": "processed"}, "processedKey": {"S": "processed/x"}}, True),
        ({"status": {"S": "PROCESSED"}, "processedKey": {"S": "processed/x"}}, False),
        ({"status": {"S": "pending"}, "processedKey": {"S": "processed/x"}}, False),
    ],
)
def test_moved_image_has_status_and_new_key(attributes: Item, *, processed: bool) -> None:
    table = Table([{"imageId": {"S": "image-1"}, "userId": {"S": "user-2"}, **attributes}])

    found = pending_images(table).find(["image-1", "image-2"])

    assert found.keys() == {"image-1"}
    assert found["image-1"].is_processed is processed
    [request] = table.requests
    assert request["pending-images"]["Keys"] == [{"imageId": {"S": "image-1"}}, {"imageId": {"S": "image-2"}}]
    assert request["pending-images"]["ConsistentRead"] is True
    # The app's attributes may take 400 KB.
    assert sorted(request["pending-images"]["ExpressionAttributeNames"].values()) == sorted(ATTRIBUTES)


def test_image_without_a_user_has_empty_owner() -> None:
    item = {"imageId": {"S": "image-1"}, "s3Key": {"S": "uploads/a.jpg"}}

    found = pending_images(Table([item])).find(["image-1"])

    assert found == {"image-1": StoredImage("image-1", "", "uploads/a.jpg", "pending", None, None, None, None)}


WHERE = '"imageId" = ? AND "s3Key" = ? AND "userId" = ?'
SUBMITTED = 'UPDATE "pending-images" SET "intentId" = ? SET "uploadETag" = ?'
KEY = [{"S": "image-1"}, {"S": "user-1/a.jpg"}, {"S": "user-1"}]


def test_mark_processed_changes_own_attributes_only() -> None:
    table = Table([])

    failures = pending_images(table).mark_processed([MovedImage(image(), '"e"', "processed/x", "t-1")])

    sets = 'SET "status" = ? SET "processedKey" = ? SET "uploadETag" = ? SET "transactionId" = ?'
    values = [{"S": "processed"}, {"S": "processed/x"}, {"S": '"e"'}, {"S": "t-1"}]
    statement = f'UPDATE "pending-images" {sets} WHERE {WHERE} AND "processedKey" IS MISSING'
    assert table.requests == [[{"Statement": statement, "Parameters": [*values, *KEY]}]]
    assert failures == {}


def test_mark_processed_requires_the_key_that_was_read() -> None:
    table = Table([])

    pending_images(table).mark_processed([MovedImage(image(processed_key="old"), '"e"', "processed/x", "t-1")])

    [[request]] = table.requests
    assert request["Statement"].endswith(f'WHERE {WHERE} AND "processedKey" = ?')
    assert request["Parameters"][-4:] == [*KEY, {"S": "old"}]


def test_mark_processed_returns_the_code_per_image() -> None:
    table = Table([], codes=[None, "ConditionalCheckFailed", "ValidationError"])
    moved = [MovedImage(image(image_id=f"image-{n}"), '"e"', "processed/x", "t-1") for n in range(3)]

    failures = pending_images(table).mark_processed(moved)

    assert failures == {"image-1": "ConditionalCheckFailed", "image-2": "ValidationError"}


HELD: dict[str, Any] = {"submitted_at": "2026-11-22T14:05:00Z", "uploaded_at": "2026-11-22T01:00:00Z", "attempts": 3}


def test_retry_failed_requires_the_item_that_was_read() -> None:
    table = Table([], codes=[None, "ConditionalCheckFailed"])
    failed = [image(image_id=f"image-{n}", status="failed", **HELD) for n in (1, 2)]

    retried = pending_images(table).retry_failed([*failed, image(**HELD), image(status="submitted", **HELD)])

    as_read = '"status" = ? AND "intentId" = ? AND "submittedAt" = ? AND "processedKey" IS MISSING'
    [[first, second]] = table.requests
    assert first["Statement"].partition(" WHERE ")[::2] == (
        'UPDATE "pending-images" SET "status" = ?',
        f"{WHERE} AND {as_read}",
    )
    values = [{"S": "failed"}, {"S": "intent-1"}, {"S": HELD["submitted_at"]}]
    assert second["Parameters"] == [{"S": "pending"}, {"S": "image-2"}, *KEY[1:], *values]
    assert retried == 1


def test_mark_submitted_records_intent_and_etag() -> None:
    table = Table([], codes=["ConditionalCheckFailed"])

    pending_images(table).mark_submitted("intent-9", [(image(), '"new"')])

    assert table.requests == [
        [
            {
                "Statement": f'{SUBMITTED} WHERE {WHERE} AND "processedKey" IS MISSING',
                "Parameters": [{"S": "intent-9"}, {"S": '"new"'}, *KEY],
            }
        ]
    ]


def test_mark_submitted_skips_items_with_the_same_record() -> None:
    table = Table([])

    pending_images(table).mark_submitted("intent-1", [(image(), '"e"')])

    assert table.requests == []


@pytest.mark.parametrize(("etags", "recorded"), [({"image-1": '"new"'}, ['"new"']), ({"image-1": '"e"'}, []), ({}, [])])
def test_hold_records_an_etag_that_differs(etags: dict[str, str], recorded: list[str]) -> None:
    table, waiting = Table([]), image(uploaded_at=HELD["uploaded_at"])

    held = pending_images(table).hold(Hold("intent-9", HELD["submitted_at"]), [waiting], etags)

    sets = 'SET "status" = ? SET "intentId" = ? SET "submittedAt" = ? SET "attempts" = ?'
    [[request]] = table.requests
    assert request["Statement"].partition(" WHERE ")[0].partition(sets)[2] == ' SET "uploadETag" = ?' * len(recorded)
    assert request["Parameters"][4 : 4 + len(recorded)] == [{"S": etag} for etag in recorded]
    assert (held["image-1"].intent_id, held["image-1"].etag) == ("intent-9", [*recorded, '"e"'][0])

"""Tests of the failures that `ImageMover` returns, and of the uploads that it keeps, on moto."""

from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool, TimeLimit
from yorutsuke_common.aws.dynamodb import ChunkedClient
from yorutsuke_common.aws.image_moves import INVALID_KEY, UPLOADED_LATER, ImageMover, MoveFailure, ReadImage, Submitted
from yorutsuke_common.aws.object_copier import ObjectCopier
from yorutsuke_common.aws.pending_images import PendingImages

from .stage import BUCKET, JOB_ID, PENDING_IMAGES, UPLOADED_AT, Stage

NOW = datetime(2026, 11, 22, 14, 5, 0, 400_000, tzinfo=UTC)
SUBMITTED = Submitted(f"intent-{JOB_ID}", NOW)


def image_mover(logs: Logs | None = None) -> ImageMover:
    """Return an `ImageMover` with clients whose calls the stage records."""
    s3, logger, pool = boto3.client("s3"), (logs or Logs()).logger, CallPool()
    items = ChunkedClient(boto3.client("dynamodb"), pool, TimeLimit(), logger)
    return ImageMover(
        s3, BUCKET, ObjectCopier(s3, BUCKET, 1, logger), PendingImages(items, PENDING_IMAGES), pool, logger
    )


def move(mover: ImageMover, *image_ids: str, submitted: Submitted = SUBMITTED) -> dict[str, MoveFailure]:
    """Move images for the transaction t-1, and return the failures."""
    images = mover.pending.find(image_ids)
    return mover.move([ReadImage(images[image_id], "t-1") for image_id in image_ids], submitted, "2026-11-23")


def _hang() -> None:
    raise ReadTimeoutError(endpoint_url="https://s3.invalid")


def change_item(stage: Stage, image_id: str, expression: str, **values: str) -> None:
    """Change an item of pending-images, as the app does."""
    parameters: Any = {"ExpressionAttributeValues": {f":{name}": {"S": value} for name, value in values.items()}}
    stage.aws.dynamodb.update_item(
        TableName=PENDING_IMAGES,
        Key={"imageId": {"S": image_id}},
        UpdateExpression=expression,
        **(parameters if values else {}),
    )


def test_move_returns_operation_and_code_per_failure(stage: Stage) -> None:
    stage.put_images(["moved", "not-copied", "not-deleted"])
    stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/not-copied.png")
    stage.put_images(["no-key"], prefix="k" * 1024)
    refused = {"Key": "uploads/user-1/not-deleted.png", "Code": "AccessDenied"}
    stage.calls.replace_response("DeleteObjects", lambda _: {"Errors": [refused]})

    failures = move(image_mover(), "moved", "not-copied", "not-deleted", "no-key")

    assert failures == {
        "no-key": INVALID_KEY,
        "not-copied": MoveFailure("CopyObject", "NoSuchKey"),
        "not-deleted": MoveFailure("DeleteObjects", "AccessDenied"),
    }
    # An image is marked as processed after its copy and before the deletion of its upload.
    statuses = {image_id: image["status"] for image_id, image in stage.images().items()}
    held = dict.fromkeys(["not-copied", "no-key"], "submitted")
    assert statuses == {"moved": "processed", "not-deleted": "processed", **held}


def test_copies_and_deletions_name_the_etag(stage: Stage) -> None:
    stage.put_images(["img-1", "img-2"])
    etags = {image_id: item["uploadETag"] for image_id, item in stage.images().items()}

    assert move(image_mover(), "img-1", "img-2") == {}

    [first] = [call for call in stage.calls.parameters_of("CopyObject") if "CopySourceIfMatch" in call][:1]
    assert first["CopySourceIfMatch"] == etags["img-1"]
    [deletion] = stage.calls.parameters_of("DeleteObjects")
    assert deletion["Delete"]["Objects"] == [
        {"Key": f"uploads/user-1/{image_id}.png", "ETag": etag} for image_id, etag in sorted(etags.items())
    ]
    moved = stage.images()["img-1"]
    assert (moved["transactionId"], moved["uploadETag"], moved["md5"]) == ("t-1", etags["img-1"], "m")


def test_upload_without_etag_moves_if_it_is_older(stage: Stage) -> None:
    stage.put_images(["older", "same-second", "newer"])
    for image_id in ("older", "same-second", "newer"):
        change_item(stage, image_id, "REMOVE uploadETag")
    # S3 dates an object in whole seconds.
    second = NOW.replace(microsecond=0)
    stage.set_last_modified("uploads/user-1/older.png", second - timedelta(seconds=1))
    stage.set_last_modified("uploads/user-1/same-second.png", second)
    stage.set_last_modified("uploads/user-1/newer.png", NOW + timedelta(hours=1))

    failures = move(image_mover(), "older", "same-second", "newer")

    assert failures == {"same-second": UPLOADED_LATER, "newer": UPLOADED_LATER}
    assert "uploads/user-1/newer.png" in stage.objects()
    assert stage.images()["older"]["status"] == "processed"


def test_etag_of_another_intent_is_not_used(stage: Stage) -> None:
    stage.put_images(["img-1"])
    change_item(stage, "img-1", "SET intentId = :intent", intent="another")
    stage.set_last_modified("uploads/user-1/img-1.png", NOW)

    assert move(image_mover(), "img-1") == {"img-1": UPLOADED_LATER}


def test_upload_without_etag_stays_if_time_is_unknown(stage: Stage) -> None:
    stage.put_images(["img-1"])
    change_item(stage, "img-1", "REMOVE uploadETag")

    assert move(image_mover(), "img-1", submitted=Submitted("intent-1", None)) == {"img-1": UPLOADED_LATER}


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
def test_kept_upload_is_logged_and_not_a_failure(stage: Stage, code: str) -> None:
    stage.put_images(["img-1"])
    logs = Logs()
    replaced = {"Key": "uploads/user-1/img-1.png", "Code": code}
    stage.calls.replace_response("DeleteObjects", lambda _: {"Errors": [replaced]})

    assert move(image_mover(logs), "img-1") == {}
    assert logs.entries("level", "event", "imageId") == [
        {"level": "WARNING", "event": "BATCH_RESULT_UPLOAD_KEPT", "imageId": "img-1"}
    ]


@pytest.mark.parametrize(
    ("content", "uploaded_at", "is_deleted"),
    [
        pytest.param(b"img-1", UPLOADED_AT, True, id="after a crash"),
        pytest.param(b"img-1", NOW, False, id="the same photograph again"),
        pytest.param(b"another", NOW, False, id="another photograph"),
        pytest.param(b"another", UPLOADED_AT, False, id="an older photograph"),
    ],
)
@pytest.mark.parametrize("change", ["SET album = :album", "SET album = :album REMOVE uploadETag"])
def test_only_the_moved_upload_is_deleted_later(
    stage: Stage, content: bytes, uploaded_at: datetime, change: str, *, is_deleted: bool
) -> None:
    stage.put_images(["img-1"])
    mover = image_mover()
    assert move(mover, "img-1") == {}
    key = "uploads/user-1/img-1.png"
    stage.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    stage.set_last_modified(key, uploaded_at)
    change_item(stage, "img-1", change, album="taxes")

    assert move(mover, "img-1") == {}

    assert (key not in stage.objects()) is (is_deleted and "REMOVE" not in change)
    assert stage.calls.counts()["CopyObject"] == 1


def test_unanswered_question_about_a_moved_image_fails(stage: Stage) -> None:
    stage.put_images(["img-1"])
    mover = image_mover()
    assert move(mover, "img-1") == {}
    stage.calls.fail("HeadObject", "SlowDown")

    # The image is moved, so the failed question does not count.
    assert move(mover, "img-1") == {}
    assert stage.calls.counts()["DeleteObjects"] == 1


@pytest.mark.parametrize("code", ["", None])
def test_error_without_a_code_is_a_failure(stage: Stage, code: str | None) -> None:
    stage.put_images(["img-1", "img-2"])
    error = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    stage.calls.replace_response("CopyObject", lambda params: error if "img-1" in params["Key"] else None)
    refused = {"Key": "uploads/user-1/img-2.png", "Code": code}
    stage.calls.replace_response("DeleteObjects", lambda _: {"Errors": [refused]})

    assert move(image_mover(), "img-1", "img-2") == {
        "img-1": MoveFailure("CopyObject", "Unknown"),
        "img-2": MoveFailure("DeleteObjects", "Unknown"),
    }
    assert "uploads/user-1/img-1.png" in stage.objects()


@pytest.mark.parametrize("etag", ["a\nb", "\x01", "喫茶", ""])
def test_malformed_etag_counts_as_unknown(stage: Stage, etag: str) -> None:
    stage.put_images(["img-1"])
    change_item(stage, "img-1", "SET uploadETag = :etag", etag=etag)

    assert move(image_mover(), "img-1") == {}
    assert stage.images()["img-1"]["status"] == "processed"


def test_second_photograph_does_not_overwrite_the_first(stage: Stage) -> None:
    stage.put_images(["img-1"])
    assert move(image_mover(), "img-1") == {}
    replacement = b"another photograph, uploaded by the app on the same day"
    etag = stage.aws.s3.put_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png", Body=replacement)["ETag"]
    reset = "SET uploadETag = :etag, s3Key = :key REMOVE processedKey"
    change_item(stage, "img-1", reset, etag=etag, key="user-1/img-1.png")

    assert move(image_mover(), "img-1") == {}

    assert sorted(stage.objects().values()) == [replacement, b"img-1"]


@pytest.mark.parametrize("operation", ["HeadObject", "CopyObject", "DeleteObjects"])
def test_missing_response_of_s3_ends_the_move(stage: Stage, operation: str) -> None:
    stage.put_images(["img-1", "img-2"])
    change_item(stage, "img-1", "REMOVE uploadETag")
    stage.calls.before_call(operation, _hang)

    with pytest.raises(ReadTimeoutError):
        move(image_mover(), "img-1", "img-2")


def test_processed_status_without_new_key_is_moved(stage: Stage) -> None:
    stage.put_images(["img-1"])
    stage.aws.dynamodb.update_item(
        TableName=PENDING_IMAGES,
        Key={"imageId": {"S": "img-1"}},
        UpdateExpression="SET #status = :processed",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":processed": {"S": "processed"}},
    )

    assert move(image_mover(), "img-1") == {}
    assert [key.partition("/")[0] for key in stage.objects()] == ["processed"]


def test_item_that_changed_after_the_copy_is_kept(stage: Stage) -> None:
    stage.put_images(["img-1", "img-2"])
    mover = image_mover()
    images = mover.pending.find(["img-1", "img-2"])
    change_item(stage, "img-1", "SET s3Key = :key, album = :album", key="user-1/new.png", album="taxes")

    failures = mover.move([ReadImage(image, "t-1") for image in images.values()], SUBMITTED, "2026-11-23")

    assert failures == {"img-1": MoveFailure("UpdateItem", "ConditionalCheckFailed")}
    changed: dict[str, Any] = stage.images()["img-1"]
    assert (changed["s3Key"], changed["album"], changed["status"]) == ("user-1/new.png", "taxes", "submitted")
    assert "uploads/user-1/img-1.png" in stage.objects()
    assert stage.images()["img-2"]["status"] == "processed"


def test_deleted_item_does_not_come_back(stage: Stage) -> None:
    stage.put_images(["img-1"])
    mover = image_mover()
    images = mover.pending.find(["img-1"])
    stage.aws.dynamodb.delete_item(TableName=PENDING_IMAGES, Key={"imageId": {"S": "img-1"}})

    failures = mover.move([ReadImage(image, "t-1") for image in images.values()], SUBMITTED, "2026-11-23")

    assert failures == {"img-1": MoveFailure("UpdateItem", "ConditionalCheckFailed")}
    assert stage.images() == {}


def test_image_moved_by_another_job_is_no_failure(stage: Stage) -> None:
    stage.put_images(["img-1"])
    mover = image_mover()
    images = mover.pending.find(["img-1"])
    assert move(mover, "img-1") == {}

    assert mover.move([ReadImage(images["img-1"], "t-2")], Submitted("another", NOW), "2026-11-24") == {}
    assert stage.images()["img-1"]["transactionId"] == "t-1"


def test_key_in_another_users_folder_is_not_moved(stage: Stage) -> None:
    stage.put_images(["img-1"], user_id="user-2")
    change_item(stage, "img-1", "SET userId = :user", user="user-1")

    assert move(image_mover(), "img-1") == {"img-1": INVALID_KEY}
    assert [*stage.objects()] == ["uploads/user-2/img-1.png"]


def test_moved_image_with_another_key_stays_moved(stage: Stage) -> None:
    stage.put_images(["img-1"])
    mover = image_mover()
    assert move(mover, "img-1") == {}
    before = stage.objects()
    change_item(stage, "img-1", "SET s3Key = :key", key="elsewhere/img-1.png")

    assert move(mover, "img-1") == {}
    assert stage.objects() == before

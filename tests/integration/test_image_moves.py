"""Tests of the failures that `ImageMover` returns, on moto."""

import boto3

from tests.unit.logs import Logs
from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.aws.dynamodb import ChunkedClient
from yorutsuke_common.aws.image_moves import INVALID_KEY, ImageMover, MoveFailure
from yorutsuke_common.aws.object_copier import ObjectCopier
from yorutsuke_common.aws.pending_images import PendingImages

from .stage import BUCKET, PENDING_IMAGES, Stage


def image_mover() -> ImageMover:
    """Return an `ImageMover` with clients whose calls the stage records."""
    s3, logger, pool = boto3.client("s3"), Logs().logger, CallPool()
    pending = PendingImages(ChunkedClient(boto3.client("dynamodb"), pool, logger), PENDING_IMAGES)
    return ImageMover(s3, BUCKET, ObjectCopier(s3, BUCKET, 1, logger), pending, pool)


def test_move_returns_operation_and_code_per_failure(stage: Stage) -> None:
    stage.put_images(["moved", "not-copied", "not-deleted"])
    stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/not-copied.png")
    stage.put_images(["no-key"], prefix="k" * 1024)
    refused = {"Key": "uploads/user-1/not-deleted.png", "Code": "AccessDenied"}
    stage.calls.replace_response("DeleteObjects", lambda _: {"Errors": [refused]})
    mover = image_mover()
    images = list(mover.pending.find(["moved", "not-copied", "not-deleted", "no-key"]).values())

    failures = mover.move(images, "2026-11-23")

    assert failures == {
        "no-key": INVALID_KEY,
        "not-copied": MoveFailure("CopyObject", "NoSuchKey"),
        "not-deleted": MoveFailure("DeleteObjects", "AccessDenied"),
    }
    # An image is marked as processed after its copy and before the deletion of its upload.
    statuses = {image_id: image["status"] for image_id, image in stage.images().items()}
    assert statuses == {"moved": "processed", "not-copied": "pending", "not-deleted": "processed", "no-key": "pending"}

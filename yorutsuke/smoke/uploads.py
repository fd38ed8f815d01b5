"""Uploads images as the app's uploader does: an object in `uploads/` and an item in `pending-images` for each."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from yorutsuke.stage import Stage
from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.names import UPLOADS_PREFIX
from yorutsuke_common.schema import PendingImage, iso_utc

CONCURRENT_CALLS = 16
"""Number of concurrent calls. 100 images then take a few seconds, also from another continent."""


def upload(
    stage: Stage,
    user_id: str,
    images: Mapping[str, bytes],
    advance: Callable[[], None],
    *,
    is_collected: bool = True,
) -> None:
    """Upload PNG images of a user, by image id. Raises botocore's errors.

    Args:
        stage: The stage.
        user_id: The user.
        images: The content of each image, by image id.
        advance: Called after each image.
        is_collected: Whether a schedule may collect the images.
    """

    def upload_one(image_id: str) -> None:
        key = f"{UPLOADS_PREFIX}{user_id}/{image_id}.png"
        stage.clients.s3.put_object(
            Bucket=stage.settings.images_bucket, Key=key, Body=images[image_id], ContentType="image/png"
        )
        uploaded_at = iso_utc(datetime.now(UTC)) if is_collected else None
        image = PendingImage(imageId=image_id, userId=user_id, s3Key=key, uploadedAt=uploaded_at)
        stage.clients.dynamodb.put_item(
            TableName=stage.settings.pending_images_table, Item=to_item(image.model_dump(exclude_none=True))
        )
        advance()

    CallPool().map(upload_one, images, CONCURRENT_CALLS)

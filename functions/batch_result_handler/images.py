"""The receipt images: whose they are, and their move from `uploads/` to `processed/{date}/`.

A move is copy, then mark as processed, then delete. At no instant is an image in neither place, and whoever finds the
image gone from `uploads/` finds in pending-images where it went. Each step may be repeated.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from yorutsuke_common.logger import Event
from yorutsuke_common.schema import ImageStatus

from .aws_error import error_code
from .dynamodb import BatchClient, Item, batches

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UPLOADS_PREFIX = "uploads/"
PROCESSED_PREFIX = "processed/"
COPY_CONCURRENCY = 32
DELETE_BATCH = 1000


@dataclass(frozen=True)
class Image:
    """A receipt image as pending-images knows it. `item` keeps every attribute, also those we do not know."""

    image_id: str
    user_id: str
    upload_key: str
    processed: bool
    item: Item


@dataclass(frozen=True)
class PendingImages:
    """The pending-images table."""

    batch: BatchClient
    table: str

    def find(self, image_ids: Sequence[str]) -> dict[str, Image]:
        """Return the known ones of these images, by image id."""
        items = self.batch.get(self.table, "imageId", image_ids)
        return {image.image_id: image for image in map(_image, items)}

    def mark_processed(self, moves: Iterable["Move"]) -> None:
        """Record for each copied image that it is processed, and where it is now."""
        self.batch.put(
            self.table,
            [
                {
                    **move.image.item,
                    "status": {"S": ImageStatus.PROCESSED.value},
                    "processedKey": {"S": move.processed_key},
                }
                for move in moves
            ],
        )


@dataclass(frozen=True)
class Move:
    """An image on its way to where it is to be."""

    image: Image
    processed_key: str


@dataclass(frozen=True)
class ImageStore:
    """The images in the bucket."""

    s3: "S3Client"
    bucket: str
    pending: PendingImages
    logger: Logger

    def move(self, images: Sequence[Image], date: str) -> set[str]:
        """Move images to `processed/{date}/` and return the ids of those that could not be moved.

        A failed copy or delete is logged and keeps the source; images already processed count as moved.
        """
        moves = [Move(image, processed_key(image, date)) for image in images if not image.processed]
        with ThreadPoolExecutor(COPY_CONCURRENCY) as pool:
            copied = list(pool.map(self._copy, moves))
        done = [move for move, ok in zip(moves, copied, strict=True) if ok]
        failed = {move.image.image_id for move, ok in zip(moves, copied, strict=True) if not ok}
        self.pending.mark_processed(done)
        # Those processed before are deleted as well: an earlier run may have died before it came to that.
        sources = [move.image for move in done] + [image for image in images if image.processed]
        return failed | self._delete(sources)

    def _copy(self, move: Move) -> bool:
        try:
            self.s3.copy_object(
                Bucket=self.bucket,
                Key=move.processed_key,
                CopySource={"Bucket": self.bucket, "Key": move.image.upload_key},
            )
        except (ClientError, BotoCoreError) as exc:
            if self._exists(move.processed_key):
                # Another delivery of the same output moved it between our look-up and our copy.
                return True
            self._log_failure(move.image.image_id, "CopyObject", error_code(exc))
            return False
        return True

    def _exists(self, key: str) -> bool:
        try:
            self.s3.head_object(Bucket=self.bucket, Key=key)
        except (ClientError, BotoCoreError):
            # Whatever the cause, it cannot be said that the image is there: the move counts as failed.
            return False
        return True

    def _delete(self, images: Sequence[Image]) -> set[str]:
        failed: set[str] = set()
        for batch in batches(images, DELETE_BATCH):
            failed |= self._delete_batch({image.upload_key: image.image_id for image in batch})
        return failed

    def _delete_batch(self, image_id_by_key: dict[str, str]) -> set[str]:
        try:
            response = self.s3.delete_objects(
                Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in image_id_by_key], "Quiet": True}
            )
            errors = {error.get("Key", ""): error.get("Code", "") for error in response.get("Errors", [])}
        except (ClientError, BotoCoreError) as exc:
            errors = dict.fromkeys(image_id_by_key, error_code(exc))
        for key, code in errors.items():
            self._log_failure(image_id_by_key[key], "DeleteObjects", code)
        return {image_id_by_key[key] for key in errors}

    def _log_failure(self, image_id: str, operation: str, code: str) -> None:
        self.logger.warning(
            "the image stays in uploads/",
            event=Event.BATCH_RESULT_IMAGE_MIGRATION_FAILED,
            imageId=image_id,
            operation=operation,
            code=code,
        )


def processed_key(image: Image, date: str) -> str:
    """Return where an image goes: `uploads/{rest}` to `processed/{date}/{rest}`."""
    return f"{PROCESSED_PREFIX}{date}/{image.upload_key.removeprefix(UPLOADS_PREFIX)}"


def processed_date(extracted_at: datetime, timezone: ZoneInfo) -> str:
    """Return the calendar date of an instant where the users live, YYYY-MM-DD."""
    return extracted_at.astimezone(timezone).date().isoformat()


def _image(item: Item) -> Image:
    key = item.get("s3Key", {}).get("S", "")
    return Image(
        image_id=item["imageId"]["S"],
        user_id=item.get("userId", {}).get("S", ""),
        # Met with and without the prefix.
        upload_key=key if key.startswith(UPLOADS_PREFIX) else UPLOADS_PREFIX + key,
        processed=item.get("status", {}).get("S") == ImageStatus.PROCESSED.value,
        item=item,
    )

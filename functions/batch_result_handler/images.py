"""The receipt images: whose they are, and their move from `uploads/` to `processed/{date}/`.

A move is copy, then mark as processed, then delete. At no instant is an image in neither place, and whoever finds the
image gone from `uploads/` finds in pending-images where it went. Each step may be repeated.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from yorutsuke_common.aws_error import error_code
from yorutsuke_common.dynamodb import BatchClient, Item, batches
from yorutsuke_common.hashing import image_digest
from yorutsuke_common.logger import Event
from yorutsuke_common.object_keys import UPLOADS_PREFIX, upload_key
from yorutsuke_common.overlap import Overlap
from yorutsuke_common.schema import ImageStatus

from .object_copier import ObjectCopier

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PROCESSED_PREFIX = "processed/"
DELETE_BATCH = 1000


@dataclass(frozen=True)
class Image:
    """A receipt image as pending-images knows it.

    `upload_key` is None where the item has no key that S3's requests can carry. `item` keeps every attribute, also
    those we do not know.
    """

    image_id: str
    user_id: str
    upload_key: str | None
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


@dataclass(frozen=True, eq=False)
class Move:
    """An image on its way from where it is to where it is to be."""

    image: Image
    upload_key: str
    processed_key: str


@dataclass(frozen=True)
class ImageStore:
    """The images in the bucket."""

    s3: "S3Client"
    bucket: str
    copier: ObjectCopier
    pending: PendingImages
    overlap: Overlap
    logger: Logger

    def move(self, images: Sequence[Image], date: str) -> set[str]:
        """Move images to `processed/{date}/` and return the ids of those that could not be moved.

        A failed copy or delete is logged and keeps the source; images already processed count as moved.
        """
        moves = [Move(image, image.upload_key, processed_key(image, date)) for image in images if image.upload_key]
        waiting = [move for move in moves if not move.image.processed]
        codes = dict(zip(waiting, self.overlap.each(self._copy, waiting), strict=True))
        self.pending.mark_processed(move for move, code in codes.items() if code is None)
        failed = self._not_moved_by_another_job({move: code for move, code in codes.items() if code})
        # Those processed before are deleted as well: an earlier run may have died before it came to that.
        undeleted = self._delete([move for move in moves if move not in failed])
        keyless = {image.image_id for image in images if not image.upload_key}
        for image_id in keyless:
            self._log_failure(image_id, "BatchGetItem", "InvalidS3Key")
        return keyless | undeleted | {move.image.image_id for move in failed}

    def _copy(self, move: Move) -> str | None:
        """Copy an image and return None, or the error code where that failed."""
        try:
            self.copier.copy(move.upload_key, move.processed_key)
        except (ClientError, BotoCoreError) as exc:
            return error_code(exc)
        return None

    def _not_moved_by_another_job(self, failed: dict[Move, str]) -> set[Move]:
        """Return those of the failed copies that no other job has made in the meantime: an image may be in two.

        What pending-images says decides, not whether the target exists: it is marked before the source is deleted.
        """
        known = self.pending.find([move.image.image_id for move in failed])
        still = {move for move in failed if not known.get(move.image.image_id, move.image).processed}
        for move in still:
            self._log_failure(move.image.image_id, "CopyObject", failed[move])
        return still

    def _delete(self, moves: Sequence[Move]) -> set[str]:
        """Delete the sources and return the image ids of those that stayed."""
        return {image_id for batch in batches(moves, DELETE_BATCH) for image_id in self._delete_batch(batch)}

    def _delete_batch(self, moves: Sequence[Move]) -> set[str]:
        keys = {move.upload_key for move in moves}
        try:
            response = self.s3.delete_objects(
                Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in sorted(keys)], "Quiet": True}
            )
            errors = {error.get("Key", ""): error.get("Code", "") for error in response.get("Errors", [])}
        except (ClientError, BotoCoreError) as exc:
            errors = dict.fromkeys(keys, error_code(exc))
        failed = [move for move in moves if move.upload_key in errors]
        for move in failed:
            self._log_failure(move.image.image_id, "DeleteObjects", errors[move.upload_key])
        return {move.image.image_id for move in failed}

    def _log_failure(self, image_id: str, operation: str, code: str) -> None:
        self.logger.warning(
            "the image stays in uploads/",
            event=Event.BATCH_RESULT_IMAGE_MIGRATION_FAILED,
            imageId=image_id,
            operation=operation,
            code=code,
        )


def processed_key(image: Image, date: str) -> str:
    """Return where an image goes: `uploads/{folder}/{file}` to `processed/{date}/{folder}/{digest}-{file}`.

    The digest is the image id's: a camera that counts from IMG_0001 again must not overwrite what was moved before.
    """
    folder, slash, file = (image.upload_key or "").removeprefix(UPLOADS_PREFIX).rpartition("/")
    return f"{PROCESSED_PREFIX}{date}/{folder}{slash}{image_digest(image.image_id)}-{file}"


def processed_date(extracted_at: datetime, timezone: ZoneInfo) -> str:
    """Return the calendar date of an instant where the users live, YYYY-MM-DD."""
    return extracted_at.astimezone(timezone).date().isoformat()


def _image(item: Item) -> Image:
    return Image(
        image_id=item["imageId"]["S"],
        user_id=item.get("userId", {}).get("S", ""),
        upload_key=upload_key(item.get("s3Key", {}).get("S", "")),
        processed=item.get("status", {}).get("S") == ImageStatus.PROCESSED.value,
        item=item,
    )

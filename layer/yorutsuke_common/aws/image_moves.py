"""Moves images from `uploads/` to `processed/{date}/`: copy, mark as processed, then delete the upload.

At every instant the image is in at least one of the two places. A reader that does not find it in `uploads/` finds its
new key in pending-images. Each step is idempotent, and refers to the content that the job has read by its ETag. Another
upload under the same key is therefore neither moved nor deleted.

Sources: Amazon S3 API reference, CopyObject (`x-amz-copy-source-if-match`) and DeleteObjects (an ETag for each key);
Amazon S3 user guide, "How to perform conditional deletes".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError, ParamValidationError

from yorutsuke_common.error_codes import error_code
from yorutsuke_common.names import LogEvent
from yorutsuke_common.object_keys import processed_key

from .calls import CallPool, chunks
from .dynamodb import CONDITION_FAILED
from .object_copier import ObjectCopier
from .pending_images import MovedImage, PendingImages, StoredImage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DELETE_CHUNK = 1000
"""Number of keys in one DeleteObjects, its maximum."""
REPLACED = "PreconditionFailed"
"""S3's error code if an object does not have the given ETag."""
CONFLICT = "ConditionalRequestConflict"
"""S3's error code if the object changes during a conditional request."""
GONE = frozenset({"404", "NoSuchKey"})
"""S3's error codes for an object that does not exist. HeadObject has no body, and so only the status."""


@dataclass(frozen=True)
class MoveFailure:
    """The step that kept an image from being moved, and its error code.

    The step is the call of AWS, such as CopyObject. If the item of the image is the cause, the step is ReadItem, and
    the code is one of this module.
    """

    operation: str
    code: str

    @property
    def is_replaced(self) -> bool:
        """Whether the upload, or the upload that the item names, is not the one that the job has read."""
        return self.code in (REPLACED, CONDITION_FAILED)


NOT_IN_PENDING_IMAGES = MoveFailure("ReadItem", "UnknownImage")
INVALID_KEY = MoveFailure("ReadItem", "InvalidS3Key")
UPLOADED_LATER = MoveFailure("HeadObject", REPLACED)
"""The upload is not older than the job's submission, and the item does not name the content that was read."""


@dataclass(frozen=True)
class ReadImage:
    """An image that a job has read, and the id of the transaction that was made from it."""

    image: StoredImage
    transaction_id: str


@dataclass(frozen=True)
class Submitted:
    """The submission that read the images: its intent, and its time if that is known."""

    intent_id: str
    at: datetime | None


@dataclass(frozen=True, eq=False)
class _Move:
    """One image, its key in `uploads/`, the ETag of its content, and its target."""

    read: ReadImage
    source: str
    etag: str
    target: str

    @property
    def image_id(self) -> str:
        return self.read.image.image_id


@dataclass(frozen=True)
class ImageMover:
    """Moves images within the images bucket."""

    s3: "S3Client"
    bucket: str
    copier: ObjectCopier
    pending: PendingImages
    pool: CallPool
    logger: Logger

    def move(self, images: Sequence[ReadImage], submitted: Submitted, date: str) -> dict[str, MoveFailure]:
        """Move the images that a job has read.

        If a copy or an update fails, the image stays in `uploads/`. An image that is already processed is not copied
        again: only its upload is deleted, which an earlier invocation may not have done.

        Args:
            images: The images.
            submitted: The submission that read them.
            date: The date in the new keys.

        Returns:
            The failures by image id.

        Raises:
            The errors of `PendingImages`.
            BotoCoreError: S3 did not respond. That is not a fault of one image, and the calls for thousands of images
                would use up the function's time.
        """
        usable = [read for read in images if read.image.upload_key]
        etags = self.pool.map(lambda read: self._etag(read.image, submitted), usable)
        moves: list[_Move] = []
        failures: dict[str, MoveFailure] = {}
        for read, etag in zip(usable, etags, strict=True):
            source = read.image.upload_key or ""
            if isinstance(etag, str):
                moves.append(_Move(read, source, etag, processed_key(read.image.image_id, source, etag, date)))
            elif not read.image.is_processed:
                failures[read.image.image_id] = etag
        failures |= self._copy_and_mark([move for move in moves if not move.read.image.is_processed])
        failures = self._not_moved_by_others(failures)
        failures |= self._delete([move for move in moves if move.image_id not in failures])
        invalid = [read.image for read in images if not (read.image.upload_key or read.image.is_processed)]
        return failures | {image.image_id: INVALID_KEY for image in invalid}

    def _etag(self, image: StoredImage, submitted: Submitted) -> str | MoveFailure:
        """Return the ETag of the content that the job has read, or the reason why it is not known.

        The item names the content of the last submission. Without it, an upload that is older than the job's submission
        counts as the one that was read. S3 dates it in whole seconds, and an upload of several parts by its start.

        The upload of a moved image is mostly gone. If its key has an upload, the date tells it from another photograph,
        which may have the same content.
        """
        if image.etag and not image.is_processed and image.intent_id == submitted.intent_id:
            return image.etag
        try:
            upload = self.s3.head_object(Bucket=self.bucket, Key=image.upload_key or "")
        except (ClientError, ParamValidationError) as exc:
            return MoveFailure("HeadObject", error_code(exc))
        is_later = submitted.at is None or upload["LastModified"] >= submitted.at.replace(microsecond=0)
        if is_later or (image.is_processed and upload["ETag"] != image.etag):
            return UPLOADED_LATER
        return upload["ETag"]

    def _copy_and_mark(self, moves: Sequence[_Move]) -> dict[str, MoveFailure]:
        """Copy images, mark them as processed, and return the failures."""
        codes = dict(zip(moves, self.pool.map(self._copy, moves), strict=True))
        failures = {move.image_id: MoveFailure("CopyObject", code) for move, code in codes.items() if code is not None}
        copied = [move for move, code in codes.items() if code is None]
        unmarked = self.pending.mark_processed(
            [MovedImage(move.read.image, move.etag, move.target, move.read.transaction_id) for move in copied]
        )
        return failures | {image_id: MoveFailure("UpdateItem", code) for image_id, code in unmarked.items()}

    def _copy(self, move: _Move) -> str | None:
        """Copy an image and return None, or the error code if that fails."""
        try:
            self.copier.copy(move.source, move.target, move.etag)
        except (ClientError, ParamValidationError) as exc:
            return error_code(exc)
        return None

    def _not_moved_by_others(self, failures: dict[str, MoveFailure]) -> dict[str, MoveFailure]:
        """Return the failures, except for images that another job has moved since.

        An image may be in two jobs. Pending-images decides, not the target object: an image is marked before its upload
        is deleted.
        """
        current = self.pending.find([*failures])
        return {
            image_id: failure
            for image_id, failure in failures.items()
            if image_id not in current or not current[image_id].is_processed
        }

    def _delete(self, moves: Sequence[_Move]) -> dict[str, MoveFailure]:
        """Delete the uploads of moved images, and return the failures. An upload with other content is kept."""
        failures: dict[str, MoveFailure] = {}
        for chunk in chunks(moves, DELETE_CHUNK):
            codes = self._delete_objects((move.source, move.etag) for move in chunk)
            for move in chunk:
                code = codes.get(move.source)
                if code in (REPLACED, CONFLICT):
                    self.logger.warning(
                        "the upload of a moved image has new content and is kept",
                        event=LogEvent.BATCH_RESULT_UPLOAD_KEPT,
                        imageId=move.image_id,
                    )
                elif code and code not in GONE:
                    failures[move.image_id] = MoveFailure("DeleteObjects", code)
        return failures

    def _delete_objects(self, uploads: Iterable[tuple[str, str]]) -> dict[str, str]:
        """Delete objects with these keys and ETags in one call, and return the error codes by key."""
        distinct = sorted(set(uploads))
        try:
            response = self.s3.delete_objects(
                Bucket=self.bucket,
                Delete={"Objects": [{"Key": key, "ETag": etag} for key, etag in distinct], "Quiet": True},
            )
        except (ClientError, ParamValidationError) as exc:
            return dict.fromkeys((key for key, _ in distinct), error_code(exc))
        return {error.get("Key", ""): error.get("Code") or "Unknown" for error in response.get("Errors", [])}

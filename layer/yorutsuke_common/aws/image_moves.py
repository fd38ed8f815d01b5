"""Moves images from `uploads/` to `processed/{date}/`: copy, mark as processed, then delete the source.

At every instant the image is in at least one of the two places. A reader that does not find it in `uploads/` finds its
new key in pending-images. Each step is idempotent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from yorutsuke_common.error_codes import error_code
from yorutsuke_common.object_keys import processed_key

from .calls import CallPool, chunks
from .object_copier import ObjectCopier
from .pending_images import PendingImages, StoredImage

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DELETE_CHUNK = 1000
"""Number of keys in one DeleteObjects, its maximum."""


@dataclass(frozen=True)
class MoveFailure:
    """The call that kept an image from being moved, such as CopyObject, and its error code."""

    operation: str
    code: str


NOT_IN_PENDING_IMAGES = MoveFailure("BatchGetItem", "UnknownImage")
INVALID_KEY = MoveFailure("BatchGetItem", "InvalidS3Key")


@dataclass(frozen=True, eq=False)
class _Move:
    """One image, its source and its target."""

    image: StoredImage
    source: str
    target: str

    @property
    def image_id(self) -> str:
        return self.image.image_id


@dataclass(frozen=True)
class ImageMover:
    """Moves images within the images bucket."""

    s3: "S3Client"
    bucket: str
    copier: ObjectCopier
    pending: PendingImages
    pool: CallPool

    def move(self, images: Sequence[StoredImage], date: str) -> dict[str, MoveFailure]:
        """Move images to `processed/{date}/` and return the failures by image id.

        If a copy or a deletion fails, the image keeps its source. An image that is already processed counts as moved.
        Raises the errors of `PendingImages`.
        """
        failures = {image.image_id: INVALID_KEY for image in images if not image.upload_key}
        moves = [
            _Move(image, image.upload_key, processed_key(image.image_id, image.upload_key, date))
            for image in images
            if image.upload_key
        ]
        failures |= self._copy_and_mark([move for move in moves if not move.image.is_processed])
        # An earlier invocation may have ended before it deleted the source of an image that is already processed.
        return failures | self._delete([move for move in moves if move.image_id not in failures])

    def _copy_and_mark(self, moves: Sequence[_Move]) -> dict[str, MoveFailure]:
        """Copy images, mark them as processed, and return the failures."""
        codes = dict(zip(moves, self.pool.map(self._copy, moves), strict=True))
        self.pending.mark_processed((move.image, move.target) for move, code in codes.items() if code is None)
        return self._not_moved_elsewhere({move.image_id: code for move, code in codes.items() if code})

    def _copy(self, move: _Move) -> str | None:
        """Copy an image and return None, or the error code if that fails."""
        try:
            self.copier.copy(move.source, move.target)
        except (ClientError, BotoCoreError) as exc:
            return error_code(exc)
        return None

    def _not_moved_elsewhere(self, codes: dict[str, str]) -> dict[str, MoveFailure]:
        """Return the failures of copies, except for images that another job has moved since.

        An image may be in two jobs. Pending-images decides, not the target object: an image is marked before its source
        is deleted.
        """
        current = self.pending.find([*codes])
        return {
            image_id: MoveFailure("CopyObject", code)
            for image_id, code in codes.items()
            if image_id not in current or not current[image_id].is_processed
        }

    def _delete(self, moves: Sequence[_Move]) -> dict[str, MoveFailure]:
        """Delete the sources of moves and return the failures."""
        failures: dict[str, MoveFailure] = {}
        for chunk in chunks(moves, DELETE_CHUNK):
            codes = self._delete_objects(move.source for move in chunk)
            failures |= {
                move.image_id: MoveFailure("DeleteObjects", codes[move.source])
                for move in chunk
                if move.source in codes
            }
        return failures

    def _delete_objects(self, keys: Iterable[str]) -> dict[str, str]:
        """Delete objects in one call and return the error codes by key."""
        distinct = sorted(set(keys))
        try:
            response = self.s3.delete_objects(
                Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in distinct], "Quiet": True}
            )
        except (ClientError, BotoCoreError) as exc:
            return dict.fromkeys(distinct, error_code(exc))
        return {error.get("Key", ""): error.get("Code", "") for error in response.get("Errors", [])}

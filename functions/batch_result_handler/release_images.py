"""Releases the images that a job holds and has not read, so that another job can read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_lambda_powertools import Logger

from yorutsuke_common.aws.pending_images import Hold, PendingImages, StoredImage
from yorutsuke_common.aws.transactions import Transactions
from yorutsuke_common.hashing import transaction_id
from yorutsuke_common.names import LogEvent
from yorutsuke_common.schema import BatchJob

NO_RECORD = "NO_RECORD"
"""The reason of an image without a record in the job's complete output."""


@dataclass(frozen=True)
class ImageReleaser:
    """Releases images, except those with a stored transaction: an invocation may end before it moves an image.

    `max_attempts` is the number of attempts after which an image has failed.
    """

    pending: PendingImages
    transactions: Transactions
    max_attempts: int
    logger: Logger

    def release(self, job: BatchJob, reasons: Mapping[str, str]) -> None:
        """Release images for these reasons, by image id, unless another job has held them since.

        The caller must make sure that no other invocation stores transactions of the job.
        """
        hold = hold_of(job)
        found = self.pending.find([*reasons]).values()
        self._release(job, [image for image in found if is_own(image, hold)], reasons)

    def release_all(self, job: BatchJob, reason: str) -> None:
        """Release every image that the job still holds."""
        hold = hold_of(job)
        found = self.pending.find(self.pending.held().get(job.intentId, ())).values()
        held = [image for image in found if image.is_held(hold)]
        self._release(job, held, {image.image_id: reason for image in held})

    def _release(self, job: BatchJob, images: Sequence[StoredImage], reasons: Mapping[str, str]) -> None:
        keys = {image.image_id: transaction_key(job, image) for image in images}
        stored = self.transactions.stored([*keys.values()])
        by_reason: dict[str, list[StoredImage]] = {}
        for image in images:
            _, transaction = keys[image.image_id]
            if transaction not in stored and transaction != image.transaction_id:
                by_reason.setdefault(reasons[image.image_id], []).append(image)
        for reason, unread in sorted(by_reason.items()):
            failed = self.pending.release(hold_of(job), unread, reason, self.max_attempts)
            self.logger.warning(
                "images released",
                event=LogEvent.BATCH_RESULT_IMAGES_RELEASED,
                reason=reason,
                count=len(unread),
                failed=failed,
            )


def hold_of(job: BatchJob) -> Hold:
    """Return the hold of a job on its images."""
    return Hold(job.intentId, job.submitTime)


def is_own(image: StoredImage, hold: Hold) -> bool:
    """Return whether a job holds an image, or no other job has held it since."""
    return image.is_held(hold) or image.is_released(hold)


def transaction_key(job: BatchJob, image: StoredImage) -> tuple[str, str]:
    """Return the owner and the id of the transaction that the job makes from an image."""
    return job.userId or image.user_id, transaction_id(job.jobId, image.image_id, job.submitTime)

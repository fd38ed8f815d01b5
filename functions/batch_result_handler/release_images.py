"""Releases the images that a job holds and has not read, so that another job can read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_lambda_powertools import Logger

from yorutsuke_common.aws.pending_images import PendingImages, StoredImage
from yorutsuke_common.aws.record_images import transaction_key
from yorutsuke_common.aws.transactions import Transactions
from yorutsuke_common.names import LogEvent
from yorutsuke_common.schema import BatchJob, Hold

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
        hold = job.hold
        found = self.pending.find([*reasons]).values()
        self._release(job, [image for image in found if is_own(image, hold)], reasons)

    def release_all(self, job: BatchJob, reason: str) -> None:
        """Release every image that the job still holds. The caller must make sure of the same."""
        held = self.held(job)
        self._release(job, held, {image.image_id: reason for image in held})

    def held(self, job: BatchJob) -> list[StoredImage]:
        """Return the images that the job still holds, also if the index does not have them yet."""
        every_image_has_a_record = job.resultStats is not None and job.resultStats.missingCount == 0
        listed = () if every_image_has_a_record else job.pendingImageIds or ()
        found = self.pending.find(sorted({*listed, *self.pending.held().get(job.intentId, ())}))
        return [image for image in found.values() if image.is_held(job.hold)]

    def _release(self, job: BatchJob, images: Sequence[StoredImage], reasons: Mapping[str, str]) -> None:
        keys = {image.image_id: transaction_key(job, image) for image in images}
        stored = self.transactions.stored([*keys.values()])
        by_reason: dict[str, list[StoredImage]] = {}
        for image in images:
            _, transaction = keys[image.image_id]
            if transaction not in stored and transaction != image.transaction_id:
                by_reason.setdefault(reasons[image.image_id], []).append(image)
        for reason, unread in sorted(by_reason.items()):
            failed = self.pending.release(job.hold, unread, reason, self.max_attempts)
            self.logger.warning(
                "images released",
                event=LogEvent.BATCH_RESULT_IMAGES_RELEASED,
                reason=reason,
                count=len(unread),
                failed=failed,
            )


def is_own(image: StoredImage, hold: Hold) -> bool:
    """Return whether a job holds an image, or no other job has held it since."""
    return image.is_held(hold) or image.is_released(hold)

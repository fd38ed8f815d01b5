"""The images that a job's records name: those of the job, and those that are in another job."""

from collections.abc import Collection, Mapping, Sequence

from yorutsuke_common.hashing import transaction_id
from yorutsuke_common.schema import BatchJob, ImageStatus

from .pending_images import StoredImage
from .transactions import Transactions


def transaction_key(job: BatchJob, image: StoredImage) -> tuple[str, str]:
    """Return the owner and the id of the transaction that the job makes from an image."""
    return job.userId or image.user_id, transaction_id(job.jobId, image.image_id, job.submitTime)


def requested_images(
    job: BatchJob, listed: Collection[str] | None, images: Mapping[str, StoredImage]
) -> Collection[str] | None:
    """Return the ids of the images that a job requested, or None if they are not known.

    Args:
        job: The job.
        listed: The ids of the images in the job's item, or None if it does not list them.
        images: The images of some records, by image id.
    """
    if listed is None and job.userId is None:
        # The item does not list the images of a large job, but each of them names the job's intent.
        return frozenset(image_id for image_id, image in images.items() if image.intent_id == job.intentId)
    return listed


def split_by_hold(job: BatchJob, images: Sequence[StoredImage]) -> tuple[list[StoredImage], list[StoredImage]]:
    """Return the images that another job has held since, and those that the job has released.

    An image is also in another job if its transaction is of that job.
    """
    hold = job.hold
    taken: list[StoredImage] = []
    released: list[StoredImage] = []
    for image in images:
        is_filed = image.transaction_id == transaction_key(job, image)[1]
        if not image.is_indexed or image.intent_id is None or image.is_held(hold) or is_filed:
            continue
        was_held = image.intent_id == hold.intent_id and image.submitted_at in (None, hold.submit_time)
        if not was_held or image.is_processed:
            taken.append(image)
        elif image.status in (ImageStatus.PENDING, ImageStatus.FAILED):
            released.append(image)
    return taken, released


def without_transaction(job: BatchJob, transactions: Transactions, images: Sequence[StoredImage]) -> set[str]:
    """Return the ids of the images without a stored transaction of the job. Raises the errors of `ChunkedClient`."""
    keys = {image.image_id: transaction_key(job, image) for image in images}
    stored = transactions.stored([*keys.values()])
    return {image_id for image_id, (_, transaction) in keys.items() if transaction not in stored}

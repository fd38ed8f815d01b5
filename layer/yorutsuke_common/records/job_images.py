"""The images of a job: a valid record must name one of them."""

from collections.abc import Collection, Iterable, Mapping

from yorutsuke_common.schema import BatchJob, DeadLetter, Reason, Transaction

from .parser import ParsedRecord

MAX_USER_ID_BYTES = 2048
"""Maximum size of a user id, in bytes: that of a partition key. Source: Amazon DynamoDB developer guide, "Quotas"."""


def split_by_job(
    job: BatchJob,
    requested: Collection[str] | None,
    records: Iterable[ParsedRecord],
    owners: Mapping[str, str],
    taken: Collection[str] = (),
) -> tuple[list[Transaction], list[DeadLetter]]:
    """Return the transactions of the job's images with their owners, and the dead letters of the other records.

    Args:
        job: The job.
        requested: The ids of the images that the job requested, or None if they are not known.
        records: The valid records.
        owners: The users of the images in pending-images, by image id.
        taken: The ids of the images that are in another job.
    """
    transactions: list[Transaction] = []
    dead_letters: list[DeadLetter] = []
    for record in records:
        image_id = record.transaction.imageId
        owner = owners.get(image_id)
        rejection = _rejection(job, requested, image_id, owner, is_taken=image_id in taken)
        if rejection:
            dead_letters.append(record.reject(*rejection))
        elif job.userId is None:
            transactions.append(record.transaction.model_copy(update={"userId": owner}))
        else:
            transactions.append(record.transaction)
    return transactions, dead_letters


def _rejection(
    job: BatchJob, requested: Collection[str] | None, image_id: str, owner: str | None, *, is_taken: bool
) -> tuple[Reason, str] | None:
    """Return the reason and the detail of the dead letter of an image's record, or None if the image is the job's."""
    if job.userId is not None and owner not in (None, job.userId):
        return Reason.OWNER_MISMATCH, "the image must belong to the job's owner, but belongs to another user"
    if requested is not None and image_id not in requested:
        return Reason.UNKNOWN_IMAGE, "the image must be one of the job's images"
    if requested is None and owner is None:
        detail = "the image must have an item in pending-images, because the job's images are not known"
        return Reason.UNKNOWN_IMAGE, detail
    if job.userId is None and not (owner and len(owner.encode()) <= MAX_USER_ID_BYTES):
        return (
            Reason.UNKNOWN_IMAGE,
            "the image must have an item with its user in pending-images",
        )
    if is_taken:
        return Reason.OTHER_JOB, "the image must not be in another job, but this job had released it"
    return None

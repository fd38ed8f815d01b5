"""The images of a job: a valid record must name one of them."""

from collections.abc import Iterable, Mapping

from yorutsuke_common.schema import BatchJob, DeadLetter, Reason, Transaction

from .parser import ParsedRecord


def split_by_job(
    job: BatchJob, requested: frozenset[str] | None, records: Iterable[ParsedRecord], owners: Mapping[str, str]
) -> tuple[list[Transaction], list[DeadLetter]]:
    """Return the transactions of the job's images, and the dead letters of records of other images.

    Args:
        job: The job.
        requested: The ids of the images that the job requested, or None if they are not known.
        records: The valid records.
        owners: The users of the images in pending-images, by image id.
    """
    transactions: list[Transaction] = []
    dead_letters: list[DeadLetter] = []
    for record in records:
        image_id = record.transaction.imageId
        owner = owners.get(image_id)
        if owner is not None and owner != job.userId:
            detail = "the image must belong to the job's owner, but belongs to another user"
            dead_letters.append(record.reject(Reason.OWNER_MISMATCH, detail))
        elif requested is not None and image_id not in requested:
            detail = "the image must be one of the job's images"
            dead_letters.append(record.reject(Reason.UNKNOWN_IMAGE, detail))
        elif requested is None and owner is None:
            detail = "the image must have an item in pending-images, because the job's images are not known"
            dead_letters.append(record.reject(Reason.UNKNOWN_IMAGE, detail))
        else:
            transactions.append(record.transaction)
    return transactions, dead_letters

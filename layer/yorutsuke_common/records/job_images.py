"""The images of a job: a valid record must name one of them."""

from yorutsuke_common.schema import BatchJob, Reason

from .rejection import Rejection


def require_image_of_job(job: BatchJob, requested: frozenset[str] | None, image_id: str, owner: str | None) -> None:
    """Refuse a record of an image that does not belong to the job.

    Args:
        job: The job.
        requested: The ids of the images that the job requested, or None if they are not known.
        image_id: The image of the record.
        owner: The user in the image's item in pending-images, or None if it does not have an item.

    Raises:
        Rejection: OWNER_MISMATCH for an image of another user, UNKNOWN_IMAGE for one that the job does not have.
    """
    if owner is not None and owner != job.userId:
        raise Rejection(Reason.OWNER_MISMATCH, "the image must belong to the job's owner, but belongs to another user")
    if requested is not None and image_id not in requested:
        raise Rejection(Reason.UNKNOWN_IMAGE, "the image must be one of the job's images")
    if requested is None and owner is None:
        detail = "the image must have an item in pending-images, because the job's images are not known"
        raise Rejection(Reason.UNKNOWN_IMAGE, detail)

"""The images of a job, and the outcome of each: its transaction, or the reason why it does not have one."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from yorutsuke_common.aws.dynamodb import Item
from yorutsuke_common.aws.pending_images import StoredImage
from yorutsuke_common.schema import ImageStatus, Reason

from .letters import read_letters
from .stage import Stage
from .stored_jobs import UNREADABLE, StoredJob
from .transactions import job_transactions

UNREAD = (ImageStatus.SUBMITTED, ImageStatus.PENDING, ImageStatus.FAILED)
"""The statuses of an image that has not been moved."""


class Outcome(StrEnum):
    """The outcomes of an image in a job."""

    TRANSACTION = "transaction"
    DEAD_LETTER = "dead letter"
    NO_RECORD = "no record"
    OTHER_JOB = "in another job"
    DELETED = "deleted"


@dataclass
class JobRecords:
    """The records of a job's output.

    `transactions` has the id and the status of each transaction, and `letters` the reason of each image's first dead
    letter, by image id. `reasons` counts all dead letters, also those without an image.
    """

    transactions: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    letters: dict[str, Reason] = field(default_factory=dict[str, Reason])
    reasons: Counter[Reason] = field(default_factory=Counter[Reason])

    @property
    def image_ids(self) -> set[str]:
        """The ids of the images with a record."""
        return {*self.transactions, *self.letters}


@dataclass(frozen=True)
class JobImage:
    """An image of a job. `stored` is None if pending-images does not have it."""

    image_id: str
    outcome: Outcome
    stored: StoredImage | None
    transaction: tuple[str, str] | None = None
    reason: Reason | None = None

    def answer(self) -> dict[str, Any]:
        """Return the image as in the JSON answer."""
        transaction_id, status = self.transaction or (None, None)
        return {
            "imageId": self.image_id,
            "userId": self.stored and self.stored.user_id,
            "outcome": self.outcome,
            "transactionId": transaction_id,
            "transactionStatus": status,
            "reason": self.reason,
            "status": self.stored and self.stored.status,
            "attempts": self.stored and self.stored.attempts,
            "failureReason": self.stored and self.stored.failure_reason,
        }


def requested_ids(item: Item) -> list[str] | None:
    """Return the ids of the images in a job's manifest, if the job's item lists them."""
    # Another program may have written the item.
    ids = [each.get("S") for each in item.get("pendingImageIds", {}).get("L", [])]
    return [each for each in ids if each] or None


def read_records(stage: Stage, job: StoredJob) -> JobRecords:
    """Return the records of a job. The index of the transactions lags behind the table.

    The status of a transaction is UNREADABLE if it is missing or not a string. Transactions without an image id are
    left out.
    """
    records = JobRecords()
    if job.jobId:
        for _, letter in read_letters(stage, job.jobId):
            records.reasons[letter.reason] += 1
            if letter.imageId:
                records.letters.setdefault(letter.imageId, letter.reason)
        for found in job_transactions(stage, job.jobId, "imageId", "transactionId", "status"):
            # The app may have written the item. DynamoDB checks only the types of keys, also those of indexes.
            if image_id := found.get("imageId", {}).get("S"):
                status = found.get("status", {}).get("S", UNREADABLE)
                records.transactions[image_id] = found["transactionId"]["S"], status
    return records


def job_images(stage: Stage, job: StoredJob, requested: Collection[str] | None, records: JobRecords) -> list[JobImage]:
    """Return the images of a job, in the order of their ids.

    Without the requested ids, these are the images with a record, and those that no other job has held since. The index
    of the latter lags behind the table.
    """
    if requested is None:
        pending = stage.stores.pending
        last_held = [pending.last_held(status).get(job.intentId, ()) for status in UNREAD]
        requested = records.image_ids.union(*last_held)
    ids = sorted({*requested})
    stored = stage.stores.pending.find(ids)
    return [_job_image(job, image_id, stored.get(image_id), records) for image_id in ids]


def _job_image(job: StoredJob, image_id: str, stored: StoredImage | None, records: JobRecords) -> JobImage:
    transaction, reason = records.transactions.get(image_id), records.letters.get(image_id)
    if transaction:
        return JobImage(image_id, Outcome.TRANSACTION, stored, transaction=transaction)
    if reason:
        return JobImage(image_id, Outcome.DEAD_LETTER, stored, reason=reason)
    if stored is None:
        return JobImage(image_id, Outcome.DELETED, stored)
    waits = stored.status in (ImageStatus.PENDING, ImageStatus.FAILED)
    is_elsewhere = stored.intent_id not in (None, job.intentId) and not waits
    return JobImage(image_id, Outcome.OTHER_JOB if is_elsewhere else Outcome.NO_RECORD, stored)

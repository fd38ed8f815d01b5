"""Moves images that could not be moved before, and sets the status of their transactions.

A replay would write the transactions again and overwrite edits. Here, each status is set only if it is still
`migrationFailed`. One DynamoDB transaction sets the statuses and the job's count, so the record always agrees with the
table.

Source: Amazon DynamoDB API reference, TransactWriteItems (at most 100 actions, all or none; cancellation reasons in the
order of the actions).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from yorutsuke_common.aws.batch_jobs import NOT_CLAIMED
from yorutsuke_common.aws.calls import chunks
from yorutsuke_common.aws.dynamodb import Item, to_item
from yorutsuke_common.object_keys import processed_date
from yorutsuke_common.records.reader import CHUNK_RECORDS
from yorutsuke_common.schema import TransactionStatus

from .errors import UnfinishedError
from .jobs import JobRecord, Jobs
from .stage import Stage
from .times import age_seconds, moment
from .transactions import job_transactions

if TYPE_CHECKING:
    from yorutsuke_common.aws.pending_images import StoredImage

STATUSES_PER_WRITE = 99
"""Number of statuses that one DynamoDB transaction sets. The hundredth action updates the job's count."""
ATTEMPTS = 5
"""Attempts to update a job's count that other writers change at the same time."""
INDEX_SECONDS = 60
"""Seconds after which an index is complete. It mostly lags behind its table by less than a second."""
UNKNOWN = "not in pending-images"
FOREIGN = "another user's"


@dataclass(frozen=True)
class Unmoved:
    """A transaction whose image could not be moved."""

    user_id: str
    transaction_id: str
    image_id: str
    extracted_at: str


@dataclass
class RetryResult:
    """The number of images that were moved, and the reasons why the others were not, by image id.

    `edited` counts transactions that were deleted or had another status when their status was to be set. They are left
    unchanged. `corrected` is the number by which the job's record had counted too many.
    """

    moved: int = 0
    edited: int = 0
    corrected: int = 0
    failures: dict[str, str] = field(default_factory=dict[str, str])


def unmoved(stage: Stage, job: JobRecord) -> Iterator[Unmoved]:
    """Yield the transactions of a job whose image could not be moved."""
    if job.jobId is None:
        return
    attributes = ("userId", "transactionId", "imageId", "extractedAt")
    for item in job_transactions(stage, job.jobId, *attributes, status=TransactionStatus.MIGRATION_FAILED):
        yield Unmoved(*(item[name]["S"] for name in attributes))


def retry(stage: Stage, job: JobRecord, moved: Callable[[int], object]) -> RetryResult:
    """Move the images of a job that could not be moved, and set their transactions' status.

    Raises UnfinishedError where the job was taken in again meanwhile; botocore's errors as they come.
    """
    result = RetryResult()
    waiting = iter([*unmoved(stage, job)])
    while chunk := list(islice(waiting, CHUNK_RECORDS)):
        done = move_images(stage, chunk, result)
        for part in chunks(done, STATUSES_PER_WRITE):
            result.moved += _settle(stage, job, part, result)
        moved(len(chunk))
    if not result.failures:
        result.corrected = _correct(stage, job)
    return result


def surplus(job: JobRecord, found: int) -> int:
    """Return how many more unmoved images a job's record counts than transactions were found that say so.

    None is said to be too many while the index may not have them all yet.
    """
    counted = job.resultStats.migrationFailedCount if job.resultStats else 0
    settled = (age_seconds(moment(job.completedAt)) or 0) > INDEX_SECONDS
    return max(0, counted - found) if settled else 0


def _correct(stage: Stage, job: JobRecord) -> int:
    """Have the record of a job that has no unmoved image left say so; return how many more it counted.

    Somebody has deleted their transactions, or set their status: nothing else would ever take them off the count.
    """
    record = Jobs(stage).again(job)
    _require_same_results(job, record)
    more = surplus(record, 0)
    if more:
        stage.clients.dynamodb.update_item(**_count_update(stage, record, more)["Update"])
    return more


def move_images(stage: Stage, chunk: Sequence[Unmoved], result: RetryResult) -> list[Unmoved]:
    """Move the images of transactions, and return the transactions whose image was moved."""
    images = stage.stores.pending.find([transaction.image_id for transaction in chunk])
    by_date: dict[str, list[StoredImage]] = {}
    for transaction in chunk:
        image = images.get(transaction.image_id)
        if image is None or image.user_id != transaction.user_id:
            result.failures[transaction.image_id] = UNKNOWN if image is None else FOREIGN
            continue
        extracted = datetime.fromisoformat(transaction.extracted_at)
        by_date.setdefault(processed_date(extracted, stage.settings.timezone), []).append(image)
    for date, of_date in by_date.items():
        failures = stage.stores.images.move(of_date, date)
        result.failures |= {image_id: f"{failure.operation}: {failure.code}" for image_id, failure in failures.items()}
    return [transaction for transaction in chunk if transaction.image_id not in result.failures]


def _settle(stage: Stage, job: JobRecord, chunk: Sequence[Unmoved], result: RetryResult) -> int:
    """Set the status of transactions, and the job's count with them; return how many there were left to set."""
    left = [*chunk]
    for _ in range(ATTEMPTS):
        if not left:
            return 0
        record = Jobs(stage).again(job)
        _require_same_results(job, record)
        client = stage.clients.dynamodb
        try:
            client.transact_write_items(TransactItems=_writes(stage, record, left))
        except client.exceptions.TransactionCanceledException as exc:
            # The last reason is the job's own: somebody else has changed its count, which is read again.
            codes = [reason.get("Code") for reason in exc.response.get("CancellationReasons", [])]
            edited = [t for t, code in zip(left, codes, strict=False) if code == "ConditionalCheckFailed"]
            result.edited += len(edited)
            left = [t for t in left if t not in edited]
        else:
            return len(left)
    raise UnfinishedError(
        f"the count of job {job.name!r} was changed by somebody else {ATTEMPTS} times: run this again, what was moved "
        "stays moved."
    )


def _require_same_results(job: JobRecord, now: JobRecord) -> None:
    if now.is_claimed or now.processedOutputs != job.processedOutputs:
        raise UnfinishedError(
            f"the output of job {job.name!r} is being taken in, or was just now: that moves the images as well. Look "
            f"again later, with `job {job.name}`."
        )


def _writes(stage: Stage, record: JobRecord, transactions: Sequence[Unmoved]) -> list[Any]:
    statuses = [_status_update(stage, transaction) for transaction in transactions]
    return [*statuses, _count_update(stage, record, len(transactions))]


def _status_update(stage: Stage, transaction: Unmoved) -> Item:
    return {
        "Update": {
            "TableName": stage.settings.transactions_table,
            "Key": to_item({"userId": transaction.user_id, "transactionId": transaction.transaction_id}),
            "UpdateExpression": "SET #status = :processed",
            "ConditionExpression": "#status = :failed",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": to_item(
                {
                    ":processed": TransactionStatus.PROCESSED.value,
                    ":failed": TransactionStatus.MIGRATION_FAILED.value,
                }
            ),
        }
    }


def _count_update(stage: Stage, record: JobRecord, less: int) -> Item:
    count = record.resultStats.migrationFailedCount if record.resultStats else 0
    unchanged = "resultStats.migrationFailedCount = :count AND processedOutputs = :seen"
    return {
        "Update": {
            "TableName": stage.settings.batch_jobs_table,
            "Key": to_item({"intentId": record.intentId}),
            "UpdateExpression": "SET resultStats.migrationFailedCount = :left",
            "ConditionExpression": f"{unchanged} AND ({NOT_CLAIMED})",
            "ExpressionAttributeValues": to_item(
                {
                    # A part of an output may have left some that the whole one did not count.
                    ":left": max(0, count - less),
                    ":count": count,
                    ":seen": record.processedOutputs,
                    ":now": int(time.time()),
                }
            ),
        }
    }

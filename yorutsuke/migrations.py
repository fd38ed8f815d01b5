"""Moves images that could not be moved before, and sets the status of their transactions.

Each status is set only if it is still `migrationFailed`, and the rest of a transaction is not changed. One DynamoDB
transaction sets the statuses and the job's count, so the item always agrees with the table.

Source: Amazon DynamoDB API reference, TransactWriteItems (at most 100 actions, all or none; cancellation reasons in the
order of the actions).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from yorutsuke_common.aws.batch_jobs import NOT_CLAIMED
from yorutsuke_common.aws.calls import chunks
from yorutsuke_common.aws.dynamodb import Item, to_item
from yorutsuke_common.aws.image_moves import ReadImage, Submitted
from yorutsuke_common.object_keys import processed_date
from yorutsuke_common.records.reader import CHUNK_RECORDS
from yorutsuke_common.schema import TransactionStatus

from .errors import UnfinishedError
from .screen import Advance
from .stage import Stage
from .stored_jobs import StoredJob, find_job
from .times import age_seconds
from .transactions import job_transactions

STATUSES_PER_WRITE = 99
"""Number of statuses that one DynamoDB transaction sets. The hundredth action updates the job's count."""
ATTEMPTS = 5
"""Attempts to update a job's count that other writers change at the same time."""
INDEX_SECONDS = 60
"""Seconds after which an index is complete. It mostly lags behind its table by less than a second."""


@dataclass(frozen=True)
class Unmoved:
    """A transaction with an image that could not be moved."""

    user_id: str
    transaction_id: str
    image_id: str
    extracted_at: str


@dataclass
class RetryResult:
    """The number of images that were moved, and the reasons why the others were not, by image id.

    `edited` counts transactions that were deleted or had another status when their status was to be set. They are left
    unchanged. `corrected` is the number by which the job's item had counted too many.
    """

    moved: int = 0
    edited: int = 0
    corrected: int = 0
    failures: dict[str, str] = field(default_factory=dict[str, str])


def find_unmoved(stage: Stage, job_id: str) -> list[Unmoved]:
    """Return the transactions of a job with an image that could not be moved, except those without an image id."""
    attributes = ("userId", "transactionId", "imageId", "extractedAt")
    items = job_transactions(stage, job_id, *attributes, status=TransactionStatus.MIGRATION_FAILED)
    return [Unmoved(*(item[name]["S"] for name in attributes)) for item in items if "imageId" in item]


def surplus(job: StoredJob, found: int) -> int:
    """Return how many unmoved images a job's item counts beyond those in the index, or 0 while the index may lag."""
    return max(0, job.unmoved_count - found) if age_seconds(job.completed) > INDEX_SECONDS else 0


def target_date(stage: Stage, transaction: Unmoved) -> str:
    """Return the date in the target of a transaction's image, `processed/{date}/`."""
    return processed_date(datetime.fromisoformat(transaction.extracted_at), stage.settings.timezone)


def retry(stage: Stage, job: StoredJob, transactions: Sequence[Unmoved], advance: Advance) -> RetryResult:
    """Move the images of transactions, and set the status of those that were moved.

    Raises UnfinishedError if the job's output is processed again meanwhile, or if other writers change its count.
    """
    result = RetryResult()
    for chunk in chunks(transactions, CHUNK_RECORDS):
        moved = move_images(stage, job, chunk, result)
        for part in chunks(moved, STATUSES_PER_WRITE):
            _settle(stage, job, part, result)
        advance(len(chunk))
    if not result.failures:
        _correct_count(stage, job, result)
    return result


def move_images(stage: Stage, job: StoredJob, chunk: Sequence[Unmoved], result: RetryResult) -> list[Unmoved]:
    """Move the images of transactions, and return the transactions with a moved image."""
    images = stage.stores.pending.find([transaction.image_id for transaction in chunk])
    by_date: dict[str, list[ReadImage]] = {}
    for transaction in chunk:
        image = images.get(transaction.image_id)
        if image is None or image.user_id != transaction.user_id:
            problem = "not in pending-images" if image is None else "belongs to another user"
            result.failures[transaction.image_id] = problem
            continue
        read = ReadImage(image, transaction.transaction_id)
        by_date.setdefault(target_date(stage, transaction), []).append(read)
    submitted = Submitted(job.intentId, job.submitted)
    for date, of_date in by_date.items():
        failures = stage.stores.images.move(of_date, submitted, date)
        result.failures |= {image_id: f"{failure.operation}: {failure.code}" for image_id, failure in failures.items()}
    return [transaction for transaction in chunk if transaction.image_id not in result.failures]


def _settle(stage: Stage, job: StoredJob, transactions: Sequence[Unmoved], result: RetryResult) -> None:
    """Set the status of transactions with a moved image, and subtract them from the job's count."""
    client = stage.clients.dynamodb
    left = [*transactions]
    for _ in range(ATTEMPTS):
        if not left:
            return
        stored = _current_job(stage, job)
        actions: Any = [{"Update": update} for update in _updates(stage, stored, left)]
        try:
            client.transact_write_items(TransactItems=actions)
        except client.exceptions.TransactionCanceledException as exc:
            # The last reason belongs to the job's count. If another writer changed the count, it is read again.
            codes = [reason.get("Code") for reason in exc.response.get("CancellationReasons", [])]
            edited = [t for t, code in zip(left, codes, strict=False) if code == "ConditionalCheckFailed"]
            result.edited += len(edited)
            left = [t for t in left if t not in edited]
        else:
            result.moved += len(left)
            return
    raise UnfinishedError(
        f"other writers changed the count of job {job.name!r} {ATTEMPTS} times.",
        "Run the command again. Moved images stay moved.",
    )


def _correct_count(stage: Stage, job: StoredJob, result: RetryResult) -> None:
    """Set the count of a job without unmoved images to 0.

    The count is too high if a user has deleted transactions of unmoved images, or has set their status.
    """
    stored = _current_job(stage, job)
    result.corrected = surplus(stored, 0)
    if result.corrected:
        stage.clients.dynamodb.update_item(**_count_update(stage, stored, result.corrected))


def _current_job(stage: Stage, job: StoredJob) -> StoredJob:
    """Return a job's item as it is now. Raises UnfinishedError if its output was processed since `job` was read."""
    stored = find_job(stage, job.intentId)
    if stored.is_claimed or stored.processedOutputs != job.processedOutputs:
        raise UnfinishedError(
            f"an invocation is processing the output of job {job.name!r}, or has just processed it, which also moves "
            "the images.",
            f"Run `{stage.command('job', job.name)}` later to see the result.",
        )
    return stored


def _updates(stage: Stage, stored: StoredJob, transactions: Sequence[Unmoved]) -> list[Item]:
    statuses: list[Item] = [
        {
            "TableName": stage.settings.transactions_table,
            "Key": to_item({"userId": transaction.user_id, "transactionId": transaction.transaction_id}),
            "UpdateExpression": "SET #status = :processed",
            "ConditionExpression": "#status = :failed",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": {
                ":processed": {"S": TransactionStatus.PROCESSED.value},
                ":failed": {"S": TransactionStatus.MIGRATION_FAILED.value},
            },
        }
        for transaction in transactions
    ]
    return [*statuses, _count_update(stage, stored, len(transactions))]


def _count_update(stage: Stage, stored: StoredJob, less: int) -> Item:
    """Return the update that subtracts moved images from the counts of a job and of its output files.

    A transaction does not name its output file, so the images are subtracted from the first files that count some.
    """
    counted = {key: stats.model_dump(exclude_none=True) for key, stats in stored.outputStats.items()}
    left: dict[str, Any] = {}
    for key, stats in sorted(counted.items()):
        moved = min(less, stats["migrationFailedCount"])
        left[key] = {**stats, "migrationFailedCount": stats["migrationFailedCount"] - moved}
        # An output that arrives in parts may leave more unmoved images than the job's count has.
        less -= moved
    values = {
        ":total": sum(stats["migrationFailedCount"] for stats in left.values()),
        ":left": left,
        ":counted": counted,
        ":seen": stored.processedOutputs,
        ":now": int(time.time()),
    }
    return {
        "TableName": stage.settings.batch_jobs_table,
        "Key": to_item({"intentId": stored.intentId}),
        "UpdateExpression": "SET resultStats.migrationFailedCount = :total, outputStats = :left",
        "ConditionExpression": f"outputStats = :counted AND processedOutputs = :seen AND ({NOT_CLAIMED})",
        "ExpressionAttributeValues": to_item(values),
    }

"""Images that could not be moved, moved after all; of their transactions nothing changes but the status.

A replay would write the transactions again, and undo what a person has edited since. Here each status is set on the
condition that it is still `migrationFailed`, in one transaction of DynamoDB's with the job's count of them: whoever
reads the record finds it agreeing with the table.

Source: Amazon DynamoDB API reference, TransactWriteItems (at most 100 actions, all or none; reasons in their order).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from batch_result_handler.images import Image, processed_date
from batch_result_handler.job import UNCLAIMED
from batch_result_handler.reading import BLOCK
from yorutsuke_common.dynamodb import Item, batches, to_item
from yorutsuke_common.schema import TransactionStatus

from .errors import UnfinishedError
from .jobs import JobRecord, Jobs
from .stage import Stage
from .stores import Stores
from .times import age_seconds, moment
from .transactions import job_transactions

AT_ONCE = 99
"""Transactions whose status is set together: one action more is the job's count."""
ATTEMPTS = 5
INDEX_SECONDS = 60
"""An index lags behind its table, mostly by less than a second: what it has after this is all that there is."""
UNKNOWN = "not in pending-images"
FOREIGN = "another user's"
NOT_MOVED = "not moved"


@dataclass(frozen=True)
class Unmoved:
    """A transaction whose image could not be moved."""

    user_id: str
    transaction_id: str
    image_id: str
    extracted_at: str


@dataclass
class Outcome:
    """What came of it: how many images were moved, and why the others were not, by image id.

    `edited` counts transactions that had another status, or were gone, by the time that it was to be set: that is left
    as it is. `corrected` is how many more the job's record had counted than there were.
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


def retry(stores: Stores, job: JobRecord, moved: Callable[[int], object]) -> Outcome:
    """Move the images of a job that could not be moved, and set their transactions' status.

    Raises UnfinishedError where the job was taken in again meanwhile; botocore's errors as they come.
    """
    outcome = Outcome()
    waiting = iter([*unmoved(stores.stage, job)])
    while block := list(islice(waiting, BLOCK)):
        done = move(stores, block, outcome)
        for batch in batches(done, AT_ONCE):
            outcome.moved += _settle(stores, job, batch, outcome)
        moved(len(block))
    if not outcome.failures:
        outcome.corrected = _correct(stores.stage, job)
    return outcome


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


def move(stores: Stores, block: Sequence[Unmoved], outcome: Outcome) -> list[Unmoved]:
    """Move the images of transactions, and return those whose image is where it is to be."""
    images = stores.pending.find([transaction.image_id for transaction in block])
    dates: dict[str, list[Image]] = {}
    for transaction in block:
        image = images.get(transaction.image_id)
        if image is None or image.user_id != transaction.user_id:
            outcome.failures[transaction.image_id] = UNKNOWN if image is None else FOREIGN
            continue
        extracted = datetime.fromisoformat(transaction.extracted_at)
        dates.setdefault(processed_date(extracted, stores.stage.settings.timezone), []).append(image)
    stayed: set[str] = set()
    with stores.reasons() as reasons:
        for date, of_date in dates.items():
            stayed |= stores.images.move(of_date, date)
    outcome.failures.update({image_id: reasons.get(image_id, NOT_MOVED) for image_id in stayed})
    return [transaction for transaction in block if transaction.image_id not in outcome.failures]


def _settle(stores: Stores, job: JobRecord, batch: Sequence[Unmoved], outcome: Outcome) -> int:
    """Set the status of transactions, and the job's count with them; return how many there were left to set."""
    left = [*batch]
    for _ in range(ATTEMPTS):
        if not left:
            return 0
        record = Jobs(stores.stage).again(job)
        _require_same_results(job, record)
        client = stores.stage.clients.dynamodb
        try:
            client.transact_write_items(TransactItems=_writes(stores.stage, record, left))
        except client.exceptions.TransactionCanceledException as exc:
            # The last reason is the job's own: somebody else has changed its count, which is read again.
            codes = [reason.get("Code") for reason in exc.response.get("CancellationReasons", [])]
            edited = [t for t, code in zip(left, codes, strict=False) if code == "ConditionalCheckFailed"]
            outcome.edited += len(edited)
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
            "ConditionExpression": f"{unchanged} AND {UNCLAIMED}",
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

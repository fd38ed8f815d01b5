"""The job's story: from an output object to transactions, moved images and a completed job.

The order is what makes it safe to die anywhere and run again: the job is claimed, transactions are made durable, then
images copied, marked and deleted, then the dead letters written, and last the job is completed. Every step before the
last may be repeated, by one function at a time; only the last says that nothing needs to be.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from yorutsuke_common.dynamodb import BatchClient, to_item
from yorutsuke_common.errors import JobClaimedError
from yorutsuke_common.logger import Event
from yorutsuke_common.schema import BatchJob, DeadLetter, Reason, ResultStats, Transaction, TransactionStatus, iso_utc

from .dead_letters import DeadLetterFile
from .event import OutputObject
from .images import ImageStore, PendingImages, processed_date
from .job import BatchJobs, is_processed, new_token, require_sole_output
from .output import Output, opened_output
from .reading import Reading
from .records import GoodLine, LineReader, rejected
from .result_metrics import ResultMetrics
from .settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BLOCKS_AT_ONCE = 2
"""Stored while the next one is read: each step of one block waits for its last call, and the other has work then."""


@dataclass(frozen=True)
class Stores:
    """Everything a job's results are read from and written to."""

    s3: "S3Client"
    batch: BatchClient
    jobs: BatchJobs
    pending: PendingImages
    images: ImageStore


@dataclass(frozen=True)
class BatchResultProcessor:
    """Takes in the results of finished batch jobs."""

    stores: Stores
    settings: Settings
    metrics: ResultMetrics
    logger: Logger

    def process(self, source: OutputObject, remaining_seconds: float) -> None:
        """Take in one output object, unless this very content was taken in before, and report its counts.

        `remaining_seconds` is how long the function may live from now on.

        Raises JobClaimedError where another function is at it; YorutsukeError or botocore's errors where the job could
        not be completed: what was done until then stands, and doing it again changes nothing.
        """
        started = perf_counter()
        found = self.stores.jobs.find(source.job_id)
        if is_processed(found, source, source.etag):
            self._report_duplicate()
            return
        token = new_token()
        try:
            self._take_in(self.stores.jobs.claim(found, token, remaining_seconds), source, started)
        except JobClaimedError:
            raise
        except Exception:
            # Also where the claim itself failed: it may have taken effect, and its answer been lost.
            self.stores.jobs.release(found, token)
            raise

    def _take_in(self, job: BatchJob, source: OutputObject, started: float) -> None:
        require_sole_output(job, source)
        with opened_output(self.stores.s3, source.bucket, source.key) as output:
            if is_processed(job, source, output.etag):
                self.stores.jobs.release(job, job.claimedBy)
                self._report_duplicate()
                return
            self.logger.info("batch result started", event=Event.BATCH_RESULT_STARTED)
            run = _Run(self, job, output)
            stats = run.take_in()
        self.stores.jobs.complete(job, source, output.etag, stats, iso_utc(datetime.now(UTC)))
        self.logger.info(
            "batch result completed", event=Event.BATCH_RESULT_COMPLETED, **stats.model_dump(exclude_none=True)
        )
        self._report_missing(run.reading.unanswered)
        self.metrics.job_completed(job.jobId, stats, (perf_counter() - started) * 1000)

    def _report_duplicate(self) -> None:
        self.logger.info("batch result already processed", event=Event.BATCH_RESULT_DUPLICATE)

    def _report_missing(self, image_ids: Iterable[str]) -> None:
        for image_id in sorted(image_ids):
            self.logger.warning("no line answers the image", event=Event.BATCH_RESULT_IMAGE_MISSING, imageId=image_id)


@dataclass(frozen=True)
class Stored:
    """What came of a block.

    The transactions that stand, the ids of images that are unknown or did not move, and the lines whose image is
    another user's.
    """

    transactions: Sequence[Transaction]
    unknown: set[str]
    unmoved: set[str]
    foreign: Sequence[GoodLine]


class _Run:
    """One reading of one output, from its first line to its dead letters."""

    def __init__(self, processor: BatchResultProcessor, job: BatchJob, output: Output) -> None:
        self.stores = processor.stores
        self.settings = processor.settings
        self.logger = processor.logger
        self.job = job
        self.date = processed_date(output.last_modified, self.settings.timezone)
        self.dead_letters = DeadLetterFile(self.stores.s3, self.settings.images_bucket, job.jobId)
        self.success_count = 0
        self.migration_failed_count = 0
        reader = LineReader(job, output.last_modified, processor.settings.transaction_ttl_days)
        self.reading = Reading(output, reader, self._skip, unanswered=set(job.pendingImageIds or ()))

    def take_in(self) -> ResultStats:
        """Store every good line and keep every bad one; return the counts."""
        with ThreadPoolExecutor(BLOCKS_AT_ONCE) as storing:
            under_way: deque[Future[Stored]] = deque()
            for block in self.reading.blocks():
                # By how many there are, not by which is done: the same output ends in the same letters, in order.
                if len(under_way) == BLOCKS_AT_ONCE:
                    self._account_for(under_way.popleft().result())
                under_way.append(storing.submit(self._store, block))
            for stored in under_way:
                self._account_for(stored.result())
        # Also where it is empty: a run that died may have left the letters of an output that has changed since.
        self.dead_letters.close()
        return ResultStats(
            successCount=self.success_count,
            failureCount=self.dead_letters.count,
            totalCount=self.success_count + self.dead_letters.count,
            migrationFailedCount=self.migration_failed_count,
            missingCount=None if self.job.pendingImageIds is None else len(self.reading.unanswered),
        )

    def _store(self, block: Sequence[GoodLine]) -> Stored:
        """Write the transactions, move their images, then correct the status of those whose image did not move.

        Several blocks are stored at once: what is the run's own is accounted for by `_account_for` alone.
        """
        images = self.stores.pending.find([good.transaction.imageId for good in block])
        foreign = {image.image_id for image in images.values() if image.user_id != self.job.userId}
        transactions = [good.transaction for good in block if good.transaction.imageId not in foreign]
        unknown = {transaction.imageId for transaction in transactions} - images.keys()
        self._put([_failed(t) if t.imageId in unknown else t for t in transactions])
        unmoved = self.stores.images.move([images[t.imageId] for t in transactions if t.imageId in images], self.date)
        self._put([_failed(t) for t in transactions if t.imageId in unmoved])
        return Stored(transactions, unknown, unmoved, [good for good in block if good.transaction.imageId in foreign])

    def _account_for(self, stored: Stored) -> None:
        for good in stored.foreign:
            self._skip(rejected(good, Reason.OWNER_MISMATCH, "the image belongs to another user than the job"))
        self._report(stored.transactions, stored.unknown, stored.unmoved)

    def _put(self, transactions: Sequence[Transaction]) -> None:
        items = [to_item(transaction.item()) for transaction in transactions]
        self.stores.batch.put(self.settings.transactions_table, items)

    def _report(self, transactions: Sequence[Transaction], unknown: set[str], unmoved: set[str]) -> None:
        self.success_count += len(transactions)
        self.migration_failed_count += len(unknown | unmoved)
        for image_id in unknown:
            self.logger.warning(
                "the image is not in pending-images",
                event=Event.BATCH_RESULT_IMAGE_MIGRATION_FAILED,
                imageId=image_id,
                operation="BatchGetItem",
                code="UnknownImage",
            )
        for transaction in transactions:
            self.logger.debug(
                "transaction stored",
                event=Event.BATCH_RESULT_PER_TRANSACTION,
                transactionId=transaction.transactionId,
                imageId=transaction.imageId,
            )

    def _skip(self, letter: DeadLetter) -> None:
        self.dead_letters.add(letter)
        self.logger.error(
            "line skipped",
            event=Event.BATCH_RESULT_LINE_SKIPPED,
            line=letter.line,
            imageId=letter.imageId,
            reason=letter.reason.value,
        )


def _failed(transaction: Transaction) -> Transaction:
    return transaction.model_copy(update={"status": TransactionStatus.MIGRATION_FAILED})

"""Processes an output file: stores its transactions, moves their images, and completes the job.

An invocation first claims the job, so that it is the only one that works on it. For each chunk of records, it writes
the transactions, then moves their images. Then it writes the dead letters, and at last completes the job. The steps
between the claim and the completion are idempotent, so another invocation may repeat them after a crash at any call.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import perf_counter

from aws_lambda_powertools import Logger

from yorutsuke_common.aws.batch_jobs import is_processed, new_token
from yorutsuke_common.aws.calls import RESERVED_SECONDS, map_ahead
from yorutsuke_common.aws.dead_letters import DeadLetterFile
from yorutsuke_common.aws.image_moves import NOT_IN_PENDING_IMAGES, MoveFailure, ReadImage, Submitted
from yorutsuke_common.aws.output_files import Output, open_output
from yorutsuke_common.aws.pending_images import StoredImage
from yorutsuke_common.aws.record_images import requested_images, split_by_hold, without_transaction
from yorutsuke_common.aws.stores import ResultStores
from yorutsuke_common.errors import JobClaimedError
from yorutsuke_common.events import OutputObject
from yorutsuke_common.names import LogEvent
from yorutsuke_common.object_keys import output_name, processed_date
from yorutsuke_common.records.job_images import split_by_job
from yorutsuke_common.records.parser import RecordParser
from yorutsuke_common.records.reader import RecordChunk, read_chunks
from yorutsuke_common.schema import (
    BatchJob,
    DeadLetter,
    OutputStats,
    Transaction,
    TransactionStatus,
    iso_utc,
)
from yorutsuke_common.settings import ResultSettings

from .claims import release_claim
from .release_images import ImageReleaser, is_own
from .result_metrics import ResultMetrics

CONCURRENT_CHUNKS = 2
"""Number of chunks that are stored while the next one is read.

Each step of a chunk waits for its slowest call, and the other chunk uses the time.
"""


@dataclass(frozen=True)
class StoredChunk:
    """The results of one chunk of records.

    `image_ids` are the images that its records name. `unmoved` has the images that were not moved. `dead_letters` are
    in the order of their lines. `unread` has the reasons of their images that are in no other job.
    """

    image_ids: set[str]
    transactions: Sequence[Transaction]
    unmoved: dict[str, MoveFailure]
    dead_letters: Sequence[DeadLetter]
    unread: Mapping[str, str]


@dataclass(frozen=True)
class OutputProcessor:
    """Processes the output files of batch jobs."""

    stores: ResultStores
    releaser: ImageReleaser
    settings: ResultSettings
    metrics: ResultMetrics
    logger: Logger

    def process(self, found: BatchJob, source: OutputObject, remaining_seconds: float) -> None:
        """Process an output file, unless this content was processed before, and report its counts.

        If an error is raised, the steps done so far remain, and it is safe to run them again.

        Args:
            found: The job, as `jobIdIndex` has it, which may lag behind the table.
            source: The output file.
            remaining_seconds: How long Lambda lets this function run from now on.

        Raises:
            JobClaimedError: Another invocation is processing the job's output.
            YorutsukeError, botocore's errors: The job could not be completed.
        """
        started = perf_counter()
        if is_processed(found, source.key, source.etag):
            self._report_duplicate()
            return
        token = new_token()
        self.stores.time_limit.start(remaining_seconds - RESERVED_SECONDS)
        try:
            job = self.stores.jobs.claim(found, token, remaining_seconds)
            with open_output(self.stores.s3, source.bucket, source.key) as output:
                if is_processed(job, source.key, output.etag):
                    release_claim(self.stores.jobs, job, token, self.logger)
                    self._report_duplicate()
                    return
                self.logger.info("output processing started", event=LogEvent.BATCH_RESULT_STARTED)
                stats, missing = self._store(job, source.key, output)
            # Before the completion: a function that ends in between would otherwise hide the failures of the job.
            milliseconds = (perf_counter() - started) * 1000
            self.metrics.job_completed(job.jobId, stats, None if missing is None else len(missing), milliseconds)
            self.stores.jobs.complete(job, source.key, output.etag, stats, iso_utc(datetime.now(UTC)))
        except JobClaimedError:
            raise
        except Exception:
            # Also if the claim itself failed: it may have taken effect, and its answer was lost.
            release_claim(self.stores.jobs, found, token, self.logger)
            raise
        self._report_completion(stats, missing or ())

    def _store(self, job: BatchJob, key: str, output: Output) -> tuple[OutputStats, set[str] | None]:
        """Store every record of an output file.

        Args:
            job: The claimed job.
            key: The object key of the output file.
            output: The open output file.

        Returns:
            The counts of the file, and the ids of requested images without a record. The ids are None if the item does
            not list the requested images, or if other output files of the job were processed, which name images too.
        """
        others = {each: stats for each, stats in job.outputStats.items() if each != key}
        requested = None if job.pendingImageIds is None else frozenset(job.pendingImageIds)
        parser = RecordParser(job, output.last_modified, self.settings.transaction_ttl_days)
        date = processed_date(output.last_modified, self.settings.timezone)
        store_chunk = partial(self._store_chunk, job, requested, date)
        kept = [output_name(each) for each, stats in others.items() if stats.failureCount]
        letters = DeadLetterFile(self.stores.s3, self.stores.bucket, job.jobId, output_name(key), kept)
        letters.begin()
        # The images in the job's manifest.
        missing = set(requested or ())
        unread: dict[str, str] = {}
        success_count = migration_failed_count = 0
        # Leaving the executor waits for the chunks that are still being stored, also after an error.
        with ThreadPoolExecutor(CONCURRENT_CHUNKS) as executor:
            chunks = read_chunks(output.lines(), parser)
            for stored in map_ahead(executor, store_chunk, chunks, CONCURRENT_CHUNKS):
                for letter in stored.dead_letters:
                    letters.add(letter)
                self._report_chunk(stored)
                missing.difference_update(stored.image_ids)
                unread |= stored.unread
                success_count += len(stored.transactions)
                migration_failed_count += len(stored.unmoved)
        # The file is written even if it is empty: an earlier invocation may have left the letters of an earlier output.
        letters.close()
        # After all records: an image has a transaction if any of its records is valid.
        self.releaser.release(job, unread)
        stats = OutputStats(
            successCount=success_count,
            failureCount=letters.count,
            totalCount=success_count + letters.count,
            migrationFailedCount=migration_failed_count,
            namedImageCount=None if requested is None else len(requested) - len(missing),
        )
        return stats, None if requested is None or others else missing

    def _store_chunk(
        self, job: BatchJob, requested: frozenset[str] | None, date: str, chunk: RecordChunk
    ) -> StoredChunk:
        """Add the missing transactions of a chunk, move their images, and set the statuses that the moves change.

        A record becomes a dead letter if its image does not belong to the job or to its owner, or is in another job.

        Args:
            job: The claimed job.
            requested: The ids of the images that the job requested, or None if they are not known.
            date: The date in the new keys of the images.
            chunk: The records.
        """
        image_ids = set(chunk.image_ids())
        images = self.stores.pending.find(sorted(image_ids))
        owners = {image_id: image.user_id for image_id, image in images.items()}
        parsed = {record.transaction.imageId for record in chunk.parsed}
        taken = self._taken(job, [image for image_id, image in images.items() if image_id in parsed])
        requested_here = requested_images(job, requested, images)
        transactions, refused = split_by_job(job, requested_here, chunk.parsed, owners, taken)
        unmoved = self._store_transactions(job, transactions, images, date)
        dead_letters = sorted([*chunk.rejected, *refused], key=lambda letter: letter.line)
        return StoredChunk(
            image_ids=image_ids,
            transactions=transactions,
            unmoved=unmoved,
            dead_letters=dead_letters,
            unread={
                letter.imageId: letter.reason.value
                for letter in dead_letters
                if letter.imageId in images and is_own(images[letter.imageId], job.hold)
            },
        )

    def _taken(self, job: BatchJob, images: Sequence[StoredImage]) -> set[str]:
        """Return the ids of the images that are in another job, and hold those again that this job had released.

        A transaction that this job stored earlier counts as before.
        """
        taken, released = split_by_hold(job, images)
        held = self.stores.pending.hold(job.hold, released, again=True)
        taken += [image for image in released if image.image_id not in held]
        return without_transaction(job, self.stores.transactions, taken)

    def _store_transactions(
        self, job: BatchJob, transactions: Sequence[Transaction], images: Mapping[str, StoredImage], date: str
    ) -> dict[str, MoveFailure]:
        """Add transactions that are missing, move the images, and set the statuses. Return the images not moved.

        A moved image names its transaction, which is therefore stored. So an invocation that follows a crash continues
        where the earlier one stopped, and a transaction that its user deleted stays deleted. That also holds if the app
        has pointed the item to another upload since. This upload is not the one that the job has read, so the image is
        released for another job.
        """
        unmoved = {t.imageId: NOT_IN_PENDING_IMAGES for t in transactions if t.imageId not in images}
        stored_ids = {image.transaction_id for image in images.values()}
        stored = [t for t in transactions if t.transactionId in stored_ids]
        stored += self.stores.transactions.add(
            [
                t.model_copy(update={"status": TransactionStatus.MIGRATION_FAILED}) if t.imageId in unmoved else t
                for t in transactions
                if t.transactionId not in stored_ids
            ]
        )
        read = [
            ReadImage(images[t.imageId], t.transactionId)
            for t in transactions
            if t.imageId in images and (images[t.imageId].is_processed or t.transactionId not in stored_ids)
        ]
        unmoved |= self.stores.images.move(read, Submitted(job.intentId, job.submitted_at), date)
        self._keep_unmoved(job, unmoved)
        processed, failed = TransactionStatus.PROCESSED, TransactionStatus.MIGRATION_FAILED
        # An image without an item may have been moved earlier, so its transaction keeps its status.
        not_moved = [t for t in transactions if t.imageId in unmoved and t.imageId in images]
        self.stores.transactions.set_status(not_moved, processed, failed)
        # An earlier invocation may have stored them before their images could be moved.
        moved = [t for t in stored if t.imageId not in unmoved]
        self.stores.transactions.set_status(self.stores.transactions.with_status(moved, failed), failed, processed)
        return unmoved

    def _keep_unmoved(self, job: BatchJob, unmoved: Mapping[str, MoveFailure]) -> None:
        """End the holds of images that have a transaction and were not moved.

        An image with another upload than the one that the job has read waits for another job. No job reads the others
        again.
        """
        hold = job.hold
        found = self.stores.pending.find([*unmoved]).values()
        replaced = [image for image in found if unmoved[image.image_id].is_replaced]
        self.stores.pending.release(hold, replaced, None, self.settings.max_attempts)
        self.stores.pending.mark_unmoved(hold, (image for image in found if not unmoved[image.image_id].is_replaced))

    def _report_duplicate(self) -> None:
        self.logger.info("output already processed", event=LogEvent.BATCH_RESULT_DUPLICATE)

    def _report_chunk(self, stored: StoredChunk) -> None:
        for letter in stored.dead_letters:
            self.logger.error(
                "record became a dead letter",
                event=LogEvent.BATCH_RESULT_LINE_SKIPPED,
                line=letter.line,
                imageId=letter.imageId,
                reason=letter.reason.value,
            )
        for image_id, failure in stored.unmoved.items():
            self.logger.warning(
                "image not moved",
                event=LogEvent.BATCH_RESULT_IMAGE_MIGRATION_FAILED,
                imageId=image_id,
                operation=failure.operation,
                code=failure.code,
            )
        for transaction in stored.transactions:
            self.logger.debug(
                "transaction stored",
                event=LogEvent.BATCH_RESULT_PER_TRANSACTION,
                transactionId=transaction.transactionId,
                imageId=transaction.imageId,
            )

    def _report_completion(self, stats: OutputStats, missing: Iterable[str]) -> None:
        self.logger.info("job completed", event=LogEvent.BATCH_RESULT_COMPLETED, **stats.model_dump(exclude_none=True))
        for image_id in sorted(missing):
            self.logger.warning(
                "requested image has no record", event=LogEvent.BATCH_RESULT_IMAGE_MISSING, imageId=image_id
            )

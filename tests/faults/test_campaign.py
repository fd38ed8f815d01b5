"""Tests that the campaign passes, and that it finds violations if a safeguard is removed."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from batch_result_handler.process_output import OutputProcessor
from yorutsuke_common.aws.batch_jobs import BatchJobs
from yorutsuke_common.aws.dynamodb import ChunkedClient, to_item
from yorutsuke_common.aws.image_moves import ImageMover, MoveFailure, ReadImage, Submitted
from yorutsuke_common.aws.object_copier import ObjectCopier
from yorutsuke_common.aws.pending_images import MovedImage, PendingImages, StoredImage
from yorutsuke_common.aws.transactions import Transactions
from yorutsuke_common.names import BedrockEnd
from yorutsuke_common.records.lines import Line
from yorutsuke_common.records.parser import RecordParser
from yorutsuke_common.records.reader import RecordChunk, read_chunks
from yorutsuke_common.schema import BatchJob, JobStatus, Transaction, TransactionStatus

from .campaign import MESSAGES, run_campaign, run_without_faults
from .faulty_job import FaultyJob, UserChange, serve_faulty_job

SafeguardRemoval = Callable[[pytest.MonkeyPatch], None]
SCHEDULES = 380
"""Number of schedules: all 60 crash points, 90 meetings and 180 changes of users, and 50 random schedules.

`./nox -s faults` runs 1,200.
"""
SEED = 20261123
CLEAN_RUN_CALLS = {
    # One call per message, and two that find the images which the job still holds.
    "Query": 5,
    # The output file and the output manifest.
    "GetObject": 2,
    # Two calls follow the failed migration, and two the reconciliation and the end of the job.
    "BatchGetItem": 5,
    # The transactions, the images, and the status of the transaction without an upload.
    "BatchExecuteStatement": 3,
    # The upload of the image whose submission did not record an ETag. It does not exist.
    "HeadObject": 1,
    "CopyObject": 5,
    "DeleteObjects": 1,
    "PutObject": 1,
    # The claim, the completion, the counts, and the job end between its claim and the end of that claim. The completed
    # job's status refuses the first write of the end; a second write omits the status.
    "UpdateItem": 7,
}


@pytest.fixture
def faulty_job() -> Generator[FaultyJob]:
    """A job on in-memory AWS."""
    with serve_faulty_job() as faulty_job:
        yield faulty_job


def test_clean_run_makes_expected_calls(faulty_job: FaultyJob) -> None:
    clean = run_without_faults(faulty_job)

    assert faulty_job.aws.calls == CLEAN_RUN_CALLS
    assert clean.calls == 30


def test_campaign_schedules_end_like_clean_run(faulty_job: FaultyJob) -> None:
    result = run_campaign(faulty_job, run_without_faults(faulty_job), SCHEDULES, seed=SEED)

    assert result.failures == {}
    assert result.summary() == {
        "seed": SEED,
        "schedules": SCHEDULES,
        "crash_points": 2 * sum(CLEAN_RUN_CALLS.values()),
        "meetings": MESSAGES * sum(CLEAN_RUN_CALLS.values()),
        "changes": len(UserChange) * sum(CLEAN_RUN_CALLS.values()),
        "lost": 0,
        "doubled": 0,
        "diverged": 0,
        "images_nowhere": 0,
        "edits_lost": 0,
    }


@pytest.mark.parametrize("name", ["crash-after-23", "change-edit-before-9", "meeting-2-before-1", "7-103", "1-151"])
def test_named_schedule_runs_alone(faulty_job: FaultyJob, name: str) -> None:
    result = run_campaign(faulty_job, run_without_faults(faulty_job), SCHEDULES, seed=SEED, only=name)

    assert (result.schedules, result.failures) == (1, {})


def test_meeting_runs_concurrent_delivery(faulty_job: FaultyJob) -> None:
    run_campaign(faulty_job, run_without_faults(faulty_job), SCHEDULES, seed=SEED, only="meeting-0-before-12")

    assert faulty_job.concurrent_deliveries == 1


@pytest.mark.parametrize("name", ["unknown", "crash-after-31", "1"])
def test_unknown_schedule_name_is_refused(faulty_job: FaultyJob, name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"Schedule '{name}' does not exist\. Use one of change-delete-before-…, .*SEED"
    ):
        run_campaign(faulty_job, run_without_faults(faulty_job), SCHEDULES, seed=SEED, only=name)


def test_too_few_schedules_are_refused(faulty_job: FaultyJob) -> None:
    with pytest.raises(ValueError, match=r"329 schedules are too few\. Use at least 330"):
        run_campaign(faulty_job, run_without_faults(faulty_job), 329, seed=SEED)


def _delete_before_copy(patch: pytest.MonkeyPatch) -> None:
    move = ImageMover.move

    def delete_and_move(
        self: ImageMover, images: Sequence[ReadImage], submitted: Submitted, date: str
    ) -> dict[str, MoveFailure]:
        for read in images:
            self.s3.delete_object(Bucket=self.bucket, Key=read.image.upload_key or "")
        return move(self, images, submitted, date)

    patch.setattr(ImageMover, "move", delete_and_move)


def _delete_without_marking(patch: pytest.MonkeyPatch) -> None:
    def mark_processed(*_: object) -> dict[str, str]:
        """Leave the images pending."""
        return {}

    patch.setattr(PendingImages, "mark_processed", mark_processed)


def _move_before_storing(patch: pytest.MonkeyPatch) -> None:
    store = OutputProcessor._store_transactions  # pyright: ignore[reportPrivateUsage]

    def move_and_store(
        self: OutputProcessor,
        job: BatchJob,
        transactions: Sequence[Transaction],
        images: Mapping[str, StoredImage],
        date: str,
    ) -> dict[str, MoveFailure]:
        read = [ReadImage(images[t.imageId], t.transactionId) for t in transactions if t.imageId in images]
        self.stores.images.move(read, Submitted(job.intentId, job.submitted_at), date)
        return store(self, job, transactions, images, date)

    patch.setattr(OutputProcessor, "_store_transactions", move_and_store)


def _ignore_throttled_statements(patch: pytest.MonkeyPatch) -> None:
    def execute_once(self: ChunkedClient, statements: Sequence[Any]) -> list[str | None]:
        self.client.batch_execute_statement(Statements=statements)
        return [None] * len(statements)

    patch.setattr(ChunkedClient, "_execute_chunk", execute_once)


def _overwrite_transactions(patch: pytest.MonkeyPatch) -> None:
    def add(self: Transactions, transactions: Sequence[Transaction]) -> list[Transaction]:
        for transaction in transactions:
            self.items.client.put_item(TableName=self.table, Item=to_item(transaction.item()))
        return []

    patch.setattr(Transactions, "add", add)


def _write_complete_image_items(patch: pytest.MonkeyPatch) -> None:
    def mark_processed(self: PendingImages, moved: Sequence[MovedImage]) -> dict[str, str]:
        for each in moved:
            item = {
                "imageId": each.image.image_id,
                "userId": each.image.user_id,
                "s3Key": each.image.s3_key,
                "intentId": each.image.intent_id,
                "status": "processed",
                "processedKey": each.processed_key,
                "uploadETag": each.etag,
                "transactionId": each.transaction_id,
            }
            self.items.client.put_item(TableName=self.table, Item=to_item(item))
        return {}

    patch.setattr(PendingImages, "mark_processed", mark_processed)


def _copy_any_content(patch: pytest.MonkeyPatch) -> None:
    def copy(self: ObjectCopier, source: str, target: str, _: str) -> None:
        copy_source: Any = {"Bucket": self._bucket, "Key": source}  # pyright: ignore[reportPrivateUsage]
        self._s3.copy_object(Bucket=copy_source["Bucket"], Key=target, CopySource=copy_source)  # pyright: ignore[reportPrivateUsage]

    patch.setattr(ObjectCopier, "copy", copy)


def _delete_any_content(patch: pytest.MonkeyPatch) -> None:
    def delete(self: ImageMover, uploads: Iterable[tuple[str, str]]) -> dict[str, str]:
        objects: Any = [{"Key": key} for key, _ in set(uploads)]
        self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": objects})
        return {}

    patch.setattr(ImageMover, "_delete_objects", delete)


def _set_status_without_condition(patch: pytest.MonkeyPatch) -> None:
    def set_status(
        self: Transactions, transactions: Sequence[Transaction], _: TransactionStatus, after: TransactionStatus
    ) -> None:
        for transaction in transactions:
            self.items.client.update_item(
                TableName=self.table,
                Key=to_item({"userId": transaction.userId, "transactionId": transaction.transactionId}),
                UpdateExpression="SET #status = :after",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={":after": {"S": after.value}},
            )

    patch.setattr(Transactions, "set_status", set_status)


def _derive_ids_from_processing_time(patch: pytest.MonkeyPatch) -> None:
    def parser(job: BatchJob, extracted_at: datetime, ttl_days: int) -> RecordParser:
        return RecordParser(job.model_copy(update={"submitTime": str(time.time_ns())}), extracted_at, ttl_days)

    patch.setattr("batch_result_handler.process_output.RecordParser", parser)


def _ignore_duplicate_images(patch: pytest.MonkeyPatch) -> None:
    def read_lines_separately(lines: Iterable[Line], parser: RecordParser) -> Iterator[RecordChunk]:
        for line in lines:
            yield from read_chunks([line], parser)

    patch.setattr("batch_result_handler.process_output.read_chunks", read_lines_separately)


def _use_processing_time(patch: pytest.MonkeyPatch) -> None:
    def parser(job: BatchJob, _: datetime, ttl_days: int) -> RecordParser:
        return RecordParser(job, datetime.now(UTC), ttl_days)

    patch.setattr("batch_result_handler.process_output.RecordParser", parser)


def _overwrite_completed_status(patch: pytest.MonkeyPatch) -> None:
    def record_end(self: BatchJobs, job: BatchJob, end: BedrockEnd, message: str) -> None:
        ended = {"status": JobStatus[end.name].value, "bedrockStatus": end.value}
        self.update(job, {**ended, "bedrockMessage": message})

    patch.setattr(BatchJobs, "record_end", record_end)


@pytest.mark.parametrize(
    ("remove_safeguard", "schedule", "counter"),
    [
        (_delete_before_copy, "crash-before-1", "images_nowhere"),
        (_delete_without_marking, "crash-before-1", "diverged"),
        (_move_before_storing, "crash-before-1", "lost"),
        (_ignore_throttled_statements, "change-edit-before-2", "lost"),
        (_overwrite_transactions, "20261123-1", "edits_lost"),
        (_write_complete_image_items, "change-tag-image-before-12", "edits_lost"),
        (_copy_any_content, "change-upload-again-before-1", "edits_lost"),
        (_delete_any_content, "change-upload-again-before-14", "edits_lost"),
        (_set_status_without_condition, "20261123-4", "edits_lost"),
        (_derive_ids_from_processing_time, "crash-before-1", "doubled"),
        (_use_processing_time, "crash-before-1", "diverged"),
        (_ignore_duplicate_images, "crash-before-1", "diverged"),
        (_overwrite_completed_status, "crash-before-7", "diverged"),
    ],
)
def test_campaign_finds_a_missing_safeguard(
    faulty_job: FaultyJob,
    monkeypatch: pytest.MonkeyPatch,
    remove_safeguard: SafeguardRemoval,
    schedule: str,
    counter: str,
) -> None:
    """Each schedule is the first one that detects the removal. To replace it, run a campaign of 400 schedules."""
    clean = run_without_faults(faulty_job)
    assert run_campaign(faulty_job, clean, SCHEDULES, seed=SEED, only=schedule).failures == {}
    remove_safeguard(monkeypatch)

    result = run_campaign(faulty_job, clean, SCHEDULES, seed=SEED, only=schedule)

    assert result.violations[counter] > 0

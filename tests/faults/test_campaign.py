"""Tests that the campaign passes, and that it finds violations if a safeguard is removed."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from batch_result_handler.process_output import OutputProcessor
from yorutsuke_common.aws.batch_jobs import BatchJobs
from yorutsuke_common.aws.dynamodb import ChunkedClient
from yorutsuke_common.aws.image_moves import ImageMover, MoveFailure
from yorutsuke_common.aws.pending_images import PendingImages, StoredImage
from yorutsuke_common.names import BedrockEnd
from yorutsuke_common.records.lines import Line
from yorutsuke_common.records.parser import RecordParser
from yorutsuke_common.records.reader import RecordChunk, read_chunks
from yorutsuke_common.schema import BatchJob, JobStatus

from .campaign import MESSAGES, run_campaign, run_without_faults
from .faulty_job import FaultyJob, serve_faulty_job

SafeguardRemoval = Callable[[pytest.MonkeyPatch], None]
SCHEDULES = 160
"""Number of schedules: all 48 crash points, all 72 meetings and 40 random schedules. `./nox -s faults` runs 1,200."""
SEED = 20261123
CLEAN_RUN_CALLS = {
    # One call per message.
    "Query": 3,
    # The output file and the output manifest.
    "GetObject": 2,
    # The second call follows the failed copy.
    "BatchGetItem": 2,
    # The transactions, the images, and the transaction after its image's failed migration.
    "BatchWriteItem": 3,
    # The client repeats the copy that fails.
    "CopyObject": 7,
    "DeleteObjects": 1,
    "PutObject": 1,
    # The claim, the completion, the counts, and the job end. The completed job's status refuses the first write of the
    # end; a second write omits the status.
    "UpdateItem": 5,
}


@pytest.fixture
def faulty_job() -> Generator[FaultyJob]:
    """A job on in-memory AWS."""
    with serve_faulty_job() as faulty_job:
        yield faulty_job


def test_clean_run_makes_expected_calls(faulty_job: FaultyJob) -> None:
    clean = run_without_faults(faulty_job)

    assert faulty_job.aws.calls == CLEAN_RUN_CALLS
    assert clean.calls == 24


def test_campaign_schedules_end_like_clean_run(faulty_job: FaultyJob) -> None:
    result = run_campaign(faulty_job, run_without_faults(faulty_job), SCHEDULES, seed=SEED)

    assert result.failures == {}
    assert result.summary() == {
        "seed": SEED,
        "schedules": SCHEDULES,
        "crash_points": 2 * sum(CLEAN_RUN_CALLS.values()),
        "meetings": MESSAGES * sum(CLEAN_RUN_CALLS.values()),
        "lost": 0,
        "doubled": 0,
        "diverged": 0,
        "images_nowhere": 0,
    }


@pytest.mark.parametrize("name", ["crash-after-24", "meeting-2-before-1", "7-103", "1-151"])
def test_named_schedule_runs_alone(faulty_job: FaultyJob, name: str) -> None:
    result = run_campaign(faulty_job, run_without_faults(faulty_job), SCHEDULES, seed=SEED, only=name)

    assert (result.schedules, result.failures) == (1, {})


def test_meeting_runs_concurrent_delivery(faulty_job: FaultyJob) -> None:
    run_campaign(faulty_job, run_without_faults(faulty_job), SCHEDULES, seed=SEED, only="meeting-0-before-12")

    assert faulty_job.concurrent_deliveries == 1


@pytest.mark.parametrize("name", ["unknown", "crash-after-25", "1"])
def test_unknown_schedule_name_is_refused(faulty_job: FaultyJob, name: str) -> None:
    with pytest.raises(ValueError, match=rf"Schedule '{name}' does not exist\. Use one of crash-after-…, .*SEED"):
        run_campaign(faulty_job, run_without_faults(faulty_job), SCHEDULES, seed=SEED, only=name)


def test_too_few_schedules_are_refused(faulty_job: FaultyJob) -> None:
    with pytest.raises(ValueError, match=r"119 schedules are too few\. Use at least 120"):
        run_campaign(faulty_job, run_without_faults(faulty_job), 119, seed=SEED)


def _delete_before_copy(patch: pytest.MonkeyPatch) -> None:
    move = ImageMover.move

    def delete_and_move(self: ImageMover, images: Sequence[StoredImage], date: str) -> dict[str, MoveFailure]:
        self._delete_objects(image.upload_key for image in images if image.upload_key)  # pyright: ignore[reportPrivateUsage]
        return move(self, images, date)

    patch.setattr(ImageMover, "move", delete_and_move)


def _delete_without_marking(patch: pytest.MonkeyPatch) -> None:
    def mark_processed(*_: object) -> None:
        """Leave the images pending."""

    patch.setattr(PendingImages, "mark_processed", mark_processed)


def _move_before_storing(patch: pytest.MonkeyPatch) -> None:
    store = OutputProcessor._store_chunk  # pyright: ignore[reportPrivateUsage]

    def move_and_store(self: OutputProcessor, job: BatchJob, date: str, chunk: RecordChunk) -> Any:
        images = self.stores.pending.find([record.transaction.imageId for record in chunk.parsed])
        self.stores.images.move([*images.values()], date)
        return store(self, job, date, chunk)

    patch.setattr(OutputProcessor, "_store_chunk", move_and_store)


def _ignore_unprocessed_items(patch: pytest.MonkeyPatch) -> None:
    def put_once(self: ChunkedClient, table: str, chunk: Sequence[Any]) -> None:
        self.client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item}} for item in chunk]})

    patch.setattr(ChunkedClient, "_put_chunk", put_once)


def _derive_ids_from_processing_time(patch: pytest.MonkeyPatch) -> None:
    def parser(job: BatchJob, extracted_at: datetime, ttl_days: int) -> RecordParser:
        return RecordParser(job.model_copy(update={"submitTime": str(time.time_ns())}), extracted_at, ttl_days)

    patch.setattr("batch_result_handler.process_output.RecordParser", parser)


def _ignore_processed_outputs(patch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bool:
        return False

    patch.setattr("batch_result_handler.process_output.is_processed", never)


def _ignore_duplicate_images(patch: pytest.MonkeyPatch) -> None:
    def read_lines_separately(lines: Iterable[Line], parser: RecordParser) -> Iterator[RecordChunk]:
        for line in lines:
            yield from read_chunks([line], parser)

    patch.setattr("batch_result_handler.process_output.read_chunks", read_lines_separately)


def _use_processing_time(patch: pytest.MonkeyPatch) -> None:
    def parser(job: BatchJob, _: datetime, ttl_days: int) -> RecordParser:
        return RecordParser(job, datetime.now(UTC), ttl_days)

    patch.setattr("batch_result_handler.process_output.RecordParser", parser)


def _skip_claims(patch: pytest.MonkeyPatch) -> None:
    def claim(self: BatchJobs, job: BatchJob, _: str, __: float) -> BatchJob:
        attributes = {"claimedBy": "any function", "claimedUntil": 0}
        self.update(job, attributes)
        return job.model_copy(update=attributes)

    patch.setattr(BatchJobs, "claim", claim)


def _use_stale_job_after_claim(patch: pytest.MonkeyPatch) -> None:
    claim = BatchJobs.claim

    def stale_claim(self: BatchJobs, job: BatchJob, token: str, remaining_seconds: float) -> BatchJob:
        return job.model_copy(update={"claimedBy": claim(self, job, token, remaining_seconds).claimedBy})

    patch.setattr(BatchJobs, "claim", stale_claim)


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
        (_ignore_unprocessed_items, "20261123-20", "lost"),
        (_derive_ids_from_processing_time, "crash-before-1", "doubled"),
        (_use_processing_time, "crash-before-1", "diverged"),
        (_ignore_processed_outputs, "crash-before-1", "doubled"),
        (_ignore_duplicate_images, "crash-before-1", "diverged"),
        (_skip_claims, "20261123-55", "diverged"),
        (_use_stale_job_after_claim, "20261123-172", "diverged"),
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

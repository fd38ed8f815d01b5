"""The campaign ends in zeros, and each of the pipeline's safeguards, taken away, ends them."""

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

from .campaign import MESSAGES, campaign, clean_run
from .faulty_job import FaultyJob, serve_faulty_job

Break = Callable[[pytest.MonkeyPatch], None]
SCHEDULES = 160
"""Every crash point and meeting, and 40 random schedules. `./nox -s faults` runs 1,200."""
SEED = 20261123
CALLS_OF_A_NIGHT = {
    # One for each message.
    "Query": 3,
    # The output and its manifest.
    "GetObject": 2,
    # The second one after the copy that fails.
    "BatchGetItem": 2,
    # Transactions, images, and the transaction whose image did not move.
    "BatchWriteItem": 3,
    # The one that fails is asked for again, by the client.
    "CopyObject": 7,
    "DeleteObjects": 1,
    "PutObject": 1,
    # Claim, completion, counts, and the end of the job: refused for its status, then written without it.
    "UpdateItem": 5,
}


@pytest.fixture
def faulty_job() -> Generator[FaultyJob]:
    with serve_faulty_job() as faulty_job:
        yield faulty_job


def test_a_night_without_faults_takes_these_calls(faulty_job: FaultyJob) -> None:
    clean = clean_run(faulty_job)

    assert faulty_job.aws.calls == CALLS_OF_A_NIGHT
    assert clean.calls == 24


def test_every_crash_point_and_some_schedules_end_as_a_clean_run_does(faulty_job: FaultyJob) -> None:
    verdict = campaign(faulty_job, clean_run(faulty_job), SCHEDULES, seed=SEED)

    assert verdict.failures == {}
    assert verdict.summary() == {
        "seed": SEED,
        "schedules": SCHEDULES,
        "crash_points": 2 * sum(CALLS_OF_A_NIGHT.values()),
        "meetings": MESSAGES * sum(CALLS_OF_A_NIGHT.values()),
        "lost": 0,
        "doubled": 0,
        "diverged": 0,
        "images_nowhere": 0,
    }


@pytest.mark.parametrize("name", ["crash-after-24", "meeting-2-before-1", "7-103", "1-151"])
def test_a_schedule_runs_alone_by_its_name(faulty_job: FaultyJob, name: str) -> None:
    verdict = campaign(faulty_job, clean_run(faulty_job), SCHEDULES, seed=SEED, only=name)

    assert (verdict.schedules, verdict.failures) == (1, {})


def test_another_function_handles_a_message_in_a_meeting(faulty_job: FaultyJob) -> None:
    campaign(faulty_job, clean_run(faulty_job), SCHEDULES, seed=SEED, only="meeting-0-before-12")

    assert faulty_job.overtakes == 1


@pytest.mark.parametrize("name", ["nosuch", "crash-after-25", "1"])
def test_a_name_of_no_schedule_is_refused_with_the_names_there_are(faulty_job: FaultyJob, name: str) -> None:
    with pytest.raises(ValueError, match=f"no schedule is named '{name}': a name is one of crash-after-…, .*SEED"):
        campaign(faulty_job, clean_run(faulty_job), SCHEDULES, seed=SEED, only=name)


def test_fewer_schedules_than_crash_points_and_meetings_are_refused(faulty_job: FaultyJob) -> None:
    with pytest.raises(ValueError, match="119 schedules are too few: crash points and meetings alone are 120"):
        campaign(faulty_job, clean_run(faulty_job), 119, seed=SEED)


def _delete_before_copy(patch: pytest.MonkeyPatch) -> None:
    move = ImageMover.move

    def deleting(self: ImageMover, images: Sequence[StoredImage], date: str) -> dict[str, MoveFailure]:
        self._delete_objects(image.upload_key for image in images if image.upload_key)  # pyright: ignore[reportPrivateUsage]
        return move(self, images, date)

    patch.setattr(ImageMover, "move", deleting)


def _delete_without_marking(patch: pytest.MonkeyPatch) -> None:
    def forget(*_: object) -> None:
        """Mark nothing."""

    patch.setattr(PendingImages, "mark_processed", forget)


def _images_before_transactions(patch: pytest.MonkeyPatch) -> None:
    store = OutputProcessor._store_chunk  # pyright: ignore[reportPrivateUsage]

    def moving(self: OutputProcessor, job: BatchJob, date: str, chunk: RecordChunk) -> Any:
        images = self.stores.pending.find([record.transaction.imageId for record in chunk.parsed])
        self.stores.images.move([*images.values()], date)
        return store(self, job, date, chunk)

    patch.setattr(OutputProcessor, "_store_chunk", moving)


def _no_second_try_of_what_is_unprocessed(patch: pytest.MonkeyPatch) -> None:
    def put_once(self: ChunkedClient, table: str, chunk: Sequence[Any]) -> None:
        self.client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item}} for item in chunk]})

    patch.setattr(ChunkedClient, "_put_chunk", put_once)


def _ids_by_the_time_of_processing(patch: pytest.MonkeyPatch) -> None:
    def reader(job: BatchJob, extracted_at: datetime, ttl_days: int) -> RecordParser:
        return RecordParser(job.model_copy(update={"submitTime": str(time.time_ns())}), extracted_at, ttl_days)

    patch.setattr("batch_result_handler.process_output.RecordParser", reader)


def _no_duplicates_known(patch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bool:
        return False

    patch.setattr("batch_result_handler.process_output.is_processed", never)


def _no_repeats_known(patch: pytest.MonkeyPatch) -> None:
    def read_line_by_line(lines: Iterable[Line], parser: RecordParser) -> Iterator[RecordChunk]:
        for line in lines:
            yield from read_chunks([line], parser)

    patch.setattr("batch_result_handler.process_output.read_chunks", read_line_by_line)


def _times_of_processing(patch: pytest.MonkeyPatch) -> None:
    def reader(job: BatchJob, _: datetime, ttl_days: int) -> RecordParser:
        return RecordParser(job, datetime.now(UTC), ttl_days)

    patch.setattr("batch_result_handler.process_output.RecordParser", reader)


def _no_claims(patch: pytest.MonkeyPatch) -> None:
    def claim(self: BatchJobs, job: BatchJob, _: str, __: float) -> BatchJob:
        attributes = {"claimedBy": "everyone", "claimedUntil": 0}
        self.update(job, attributes)
        return job.model_copy(update=attributes)

    patch.setattr(BatchJobs, "claim", claim)


def _claims_by_the_index(patch: pytest.MonkeyPatch) -> None:
    claim = BatchJobs.claim

    def claimed(self: BatchJobs, job: BatchJob, token: str, remaining_seconds: float) -> BatchJob:
        return job.model_copy(update={"claimedBy": claim(self, job, token, remaining_seconds).claimedBy})

    patch.setattr(BatchJobs, "claim", claimed)


def _an_end_undoes_a_completion(patch: pytest.MonkeyPatch) -> None:
    def record_end(self: BatchJobs, job: BatchJob, end: BedrockEnd, message: str) -> None:
        ended = {"status": JobStatus[end.name].value, "bedrockStatus": end.value}
        self.update(job, {**ended, "bedrockMessage": message})

    patch.setattr(BatchJobs, "record_end", record_end)


@pytest.mark.parametrize(
    ("break_it", "schedule", "found"),
    [
        (_delete_before_copy, "crash-before-1", "images_nowhere"),
        (_delete_without_marking, "crash-before-1", "diverged"),
        (_images_before_transactions, "crash-before-1", "lost"),
        (_no_second_try_of_what_is_unprocessed, "20261123-20", "lost"),
        (_ids_by_the_time_of_processing, "crash-before-1", "doubled"),
        (_times_of_processing, "crash-before-1", "diverged"),
        (_no_duplicates_known, "crash-before-1", "doubled"),
        (_no_repeats_known, "crash-before-1", "diverged"),
        (_no_claims, "20261123-55", "diverged"),
        (_claims_by_the_index, "20261123-172", "diverged"),
        (_an_end_undoes_a_completion, "crash-before-7", "diverged"),
    ],
)
def test_campaign_finds_a_missing_safeguard(
    faulty_job: FaultyJob, monkeypatch: pytest.MonkeyPatch, break_it: Break, schedule: str, found: str
) -> None:
    """Each safeguard has the first schedule that finds its absence. `campaign` over 400 schedules finds another."""
    clean = clean_run(faulty_job)
    assert campaign(faulty_job, clean, SCHEDULES, seed=SEED, only=schedule).failures == {}
    break_it(monkeypatch)

    verdict = campaign(faulty_job, clean, SCHEDULES, seed=SEED, only=schedule)

    assert verdict.found[found] > 0

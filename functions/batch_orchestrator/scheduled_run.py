"""A scheduled run: submits the waiting images of all users, oldest first, in jobs without a user.

The intent ids follow from the scheduled time, and an intent holds its images before it reads them. So runs that are
repeated or overlap never put an image into two jobs. Each run first continues the submissions that earlier invocations
have begun, so that a crash or a timeout loses nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from yorutsuke_common.aws.batch_jobs import BatchJobs
from yorutsuke_common.aws.calls import RESERVED_SECONDS, TimeLimit
from yorutsuke_common.aws.pending_images import PendingImages
from yorutsuke_common.error_codes import error_code
from yorutsuke_common.errors import IntentConflictError, InvalidRequestError, JobOverdueError, YorutsukeError
from yorutsuke_common.logger import error_fields
from yorutsuke_common.names import BEDROCK_MAX_TIMEOUT_HOURS, MAX_FUNCTION_SECONDS, SCHEDULE_PREFIX, LogEvent
from yorutsuke_common.schema import (
    MAX_IMAGE_ID_BYTES,
    BatchJob,
    Hold,
    JobStatus,
    Submission,
    SubmitRequest,
    instant,
)

from .images import PERMANENT, Unfit
from .manifest import SECONDS_TO_SUBMIT, SecondsLeft
from .schedule_metrics import ScheduleMetrics
from .settings import Settings
from .submit_job import MAX_IDS_BYTES, JobSubmitter, SubmittedJob

SECONDS_PER_JOB = 2 * SECONDS_TO_SUBMIT
"""Seconds that must be left for another job: as many for reading its images as for the steps after that."""
JOB_DELETED = "JOB_DELETED"
"""The reason of images that were held by an intent without an item."""
OVERDUE = timedelta(hours=BEDROCK_MAX_TIMEOUT_HOURS + 24)
"""Time after which the end of a job must have been processed: Bedrock's longest timeout, and a day for its event."""
QUOTA_FULL = "ServiceQuotaExceededException"
"""Error code of CreateModelInvocationJob if the account has too many jobs in progress. Source: Amazon Bedrock API
reference, CreateModelInvocationJob."""
IN_PROGRESS = (JobStatus.SUBMITTING, JobStatus.SUBMITTED)


@dataclass
class RunResult:
    """The submitted jobs of a run, and `uploadedAt` of the images that still wait, by image id."""

    waiting: dict[str, str] = field(default_factory=dict[str, str])
    jobs: list[SubmittedJob] = field(default_factory=list[SubmittedJob])

    def add(self, job: SubmittedJob) -> None:
        """Add a job. Its images, and those that can never be sent, do not wait any more."""
        self.jobs.append(job)
        left_out = {image_id for image_id, reason in job.left_out.items() if reason in PERMANENT}
        for image_id in left_out.union(job.submission.pendingImageIds or ()):
            self.waiting.pop(image_id, None)

    def oldest_age(self, now: datetime) -> float:
        """Return the age of the oldest waiting image, in seconds. Images without a valid time are left out."""
        times = [moment for text in self.waiting.values() if (moment := instant(text))]
        return max(0.0, (now - min(times)).total_seconds()) if times else 0.0

    def answer(self) -> dict[str, Any]:
        """Return the answer of the function: `{"jobs": [{"intentId", "jobId", "imageCount"}], "waitingImages"}`."""
        fields = {"intentId", "jobId", "imageCount"}
        return {
            "jobs": [job.submission.model_dump(include=fields) for job in self.jobs],
            "waitingImages": len(self.waiting),
        }


@dataclass(frozen=True)
class ScheduledRun:
    """Submits the waiting images of all users."""

    submitter: JobSubmitter
    jobs: BatchJobs
    pending: PendingImages
    settings: Settings
    metrics: ScheduleMetrics
    time_limit: TimeLimit
    logger: Logger

    def run(self, scheduled_at: datetime, trace_id: str, seconds_left: SecondsLeft) -> RunResult:
        """Submit jobs while there are enough images, fewer jobs in progress than the limit, and enough time.

        Args:
            scheduled_at: The time for which the run is scheduled.
            trace_id: The trace id of the jobs.
            seconds_left: Returns how long the function may still run.

        Raises:
            YorutsukeError, botocore's errors: A submission needs a remedy, or a call failed. Repeating the run is safe.
                An error of an earlier submission is raised after the waiting images have been submitted.
        """
        self.time_limit.start(seconds_left() - RESERVED_SECONDS)
        self.logger.info("scheduled run started", event=LogEvent.BATCH_SCHEDULE_STARTED)
        prefix = f"{SCHEDULE_PREFIX}{scheduled_at:%Y%m%dT%H%M%SZ}-"
        result = RunResult()
        in_progress, errors = self._continue_intents(prefix, result, seconds_left)
        result.waiting |= self.pending.waiting()
        try:
            self._submit(prefix, in_progress, result, trace_id, seconds_left)
        finally:
            self.metrics.run_ended(len(result.waiting), result.oldest_age(datetime.now(UTC)))
        self.logger.append_keys(intentId=None, traceId=None, jobId=None)
        self.logger.info(
            "scheduled run ended",
            event=LogEvent.BATCH_SCHEDULE_ENDED,
            jobs=len(result.jobs),
            waitingImages=len(result.waiting),
        )
        if errors:
            raise errors[0]
        return result

    def _submit(
        self, prefix: str, in_progress: int, result: RunResult, trace_id: str, seconds_left: SecondsLeft
    ) -> None:
        queue = [image_id for image_id in result.waiting if len(image_id.encode()) <= MAX_IMAGE_ID_BYTES]
        number, size = 0, self.settings.job_size
        while (
            len(queue) >= self.settings.min_records
            and in_progress < self.settings.max_concurrent_jobs
            and seconds_left() >= SECONDS_PER_JOB
        ):
            chunk = first_chunk(queue, size)
            request = SubmitRequest(intentId=f"{prefix}{number}", pendingImageIds=chunk)
            number += 1
            self.logger.append_keys(intentId=request.intentId, jobId=None)
            try:
                job = self.submitter.submit(request, trace_id, seconds_left)
            except IntentConflictError:
                # An earlier or a concurrent run for the same time has begun this intent with other images.
                continue
            except InvalidRequestError as refusal:
                self._report_abandoned(refusal)
                queue = queue[len(chunk) :]
                continue
            except ClientError as error:
                if error_code(error) != QUOTA_FULL:
                    raise
                return self._report_full_quota()
            if job.submission.status not in IN_PROGRESS:
                # An earlier run for the same time has submitted these images, and the job has ended since.
                continue
            result.add(job)
            in_progress += 1
            no_room = [image_id for image_id in chunk if job.left_out.get(image_id) is Unfit.NO_ROOM]
            if no_room:
                # The next manifests have room for about as many images.
                size = max(job.submission.imageCount or 0, 2 * self.settings.min_records)
            queue = no_room + queue[len(chunk) :]
        return None

    def _continue_intents(
        self, prefix: str, result: RunResult, seconds_left: SecondsLeft
    ) -> tuple[int, list[Exception]]:
        """Continue the submissions that hold images, and return the number of jobs in progress and the errors."""
        in_progress = 0
        errors: list[Exception] = []
        for intent_id, image_ids in sorted(self.pending.held().items()):
            self.logger.append_keys(intentId=intent_id, traceId=None, jobId=None)
            try:
                in_progress += self._continue_intent(intent_id, image_ids, prefix, result, seconds_left)
            except (YorutsukeError, ClientError, BotoCoreError, HTTPError) as error:
                if isinstance(error, ClientError) and error_code(error) == QUOTA_FULL:
                    self._report_full_quota()
                    return self.settings.max_concurrent_jobs, errors
                # Other images must not wait for the remedy.
                self.logger.critical(
                    "batch submission failed", event=LogEvent.BATCH_SUBMIT_FAILED, **error_fields(error)
                )
                errors.append(error)
        return in_progress, errors

    def _continue_intent(
        self, intent_id: str, image_ids: Sequence[str], prefix: str, result: RunResult, seconds_left: SecondsLeft
    ) -> bool:
        """Continue the submission of an intent that holds images, and return whether its job is in progress."""
        found = self.jobs.find_intent(intent_id)
        listed = found.pendingImageIds if found else []
        if listed is not None:
            self._release_others(found, intent_id, sorted({*image_ids}.difference(listed)))
        if found is None:
            return False
        if isinstance(found, BatchJob):
            require_not_overdue(found)
            return found.status == JobStatus.SUBMITTED
        return self._continue_submission(found, image_ids, prefix, result, seconds_left)

    def _continue_submission(
        self,
        submission: Submission,
        image_ids: Sequence[str],
        prefix: str,
        result: RunResult,
        seconds_left: SecondsLeft,
    ) -> bool:
        """Continue an intent that has no job yet, and return whether it is in progress."""
        if submission.status == JobStatus.ABANDONED:
            self.submitter.abandon(submission, image_ids)
            return False
        may_continue = self._may_continue(submission, prefix) and (
            submission.manifestPublished or seconds_left() >= SECONDS_PER_JOB
        )
        if submission.status != JobStatus.SUBMITTING or not may_continue:
            return submission.status in IN_PROGRESS
        if submission.pendingImageIds is None and not submission.manifestPublished:
            # Without the ids, only its caller could continue it. An item has no room for more than 300 KB of ids.
            return not self.submitter.abandon(submission, image_ids)
        try:
            result.add(self.submitter.resume(submission, seconds_left))
        except InvalidRequestError as refusal:
            self._report_abandoned(refusal)
            return False
        return True

    @staticmethod
    def _may_continue(submission: Submission, prefix: str) -> bool:
        """Return whether an intent is of this scheduled time, or the invocation that began it has ended."""
        if submission.intentId.startswith(prefix):
            return True
        began = instant(submission.submitTime)
        return began is not None and datetime.now(UTC) - began > timedelta(seconds=MAX_FUNCTION_SECONDS)

    def _release_others(self, found: Submission | BatchJob | None, intent_id: str, image_ids: Sequence[str]) -> None:
        """Release images that an intent holds, and that its item does not list.

        An intent begins with its item. If the item is missing or of a later beginning, the first item was deleted, or
        has expired without an end of the job. Its job may have read the images. If the item is of the same beginning,
        the invocation that wrote the manifest has ended before it released the images.

        Args:
            found: The intent's item.
            intent_id: The intent.
            image_ids: The images.
        """
        images = self.pending.find(image_ids).values()
        # After the images: the intent may have begun again since the first look, and may hold them anew.
        if not images or (found is None and self.jobs.find_intent(intent_id)):
            return
        for submitted_at in sorted({image.submitted_at or "" for image in images}):
            hold = Hold(intent_id, submitted_at)
            held = [image for image in images if image.is_held(hold)]
            if found is None or submitted_at < found.submitTime:
                self.pending.release(hold, held, JOB_DELETED, self.settings.max_attempts)
            elif hold == found.hold:
                self.submitter.release_uncounted(hold, held)

    def _report_full_quota(self) -> None:
        self.logger.warning(
            "Bedrock has too many jobs in progress; the next run continues", event=LogEvent.BATCH_SCHEDULE_LIMITED
        )

    def _report_abandoned(self, refusal: InvalidRequestError) -> None:
        self.logger.warning(
            "images wait for another job", event=LogEvent.BATCH_SCHEDULE_ABANDONED, detail=refusal.problem
        )


def require_not_overdue(job: BatchJob) -> None:
    """Refuse to wait any longer for the end of a job in progress. Raises JobOverdueError."""
    began = job.submitted_at
    if job.status == JobStatus.SUBMITTED and began is not None and datetime.now(UTC) - began > OVERDUE:
        raise JobOverdueError(
            f"job {job.jobId!r} of intent {job.intentId!r} was submitted at {job.submitTime}, and "
            "its end was never processed. Look at the job in Bedrock. If it has output, replay the job. Then delete "
            "the intent's item in batch-jobs: the next run releases the images that have not been read."
        )


def first_chunk(queue: Sequence[str], size: int) -> list[str]:
    """Return the images of the next job: an even share of the queue, at most `size`, with ids that fit into an item.

    With equal shares, no job is smaller than half of `size`, so no rest is too small for a job.
    """
    jobs = -(-len(queue) // size)
    chunk: list[str] = []
    used = 0
    for image_id in queue[: -(-len(queue) // jobs)]:
        used += len(image_id.encode()) + 1
        if used > MAX_IDS_BYTES:
            break
        chunk.append(image_id)
    return chunk

"""Checks the jobs: those that are stuck, those with failures that an operator should repair, and failed images."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from yorutsuke.outputs import OutputState, job_outputs
from yorutsuke.resubmission import has_images_left
from yorutsuke.screen import list_first
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import UNREADABLE, StoredJob, all_jobs
from yorutsuke.times import age_seconds, span
from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.names import (
    BEDROCK_MAX_TIMEOUT_HOURS,
    MAX_FAILURE_PERCENT,
    MAX_FUNCTION_SECONDS,
)
from yorutsuke_common.schema import JobStatus

from .finding import Finding, State
from .images import failed_images
from .queues import redelivery_seconds

MAX_JOB_SECONDS = BEDROCK_MAX_TIMEOUT_HOURS * 3600
"""Maximum duration of a Bedrock job, in seconds."""
CONCURRENT_JOBS = 8
"""Number of jobs whose images are read at once. Limits the memory: a job may have 50,000 images."""


@dataclass(frozen=True)
class Condition:
    """A condition of single jobs that is a finding. `remedy` is filled in for the first job that meets it.

    The fields of `remedy` are those of `_fill_in`.
    """

    holds: Callable[[StoredJob], object]
    seen: str
    remedy: str


STUCK = {
    "items of jobs": Condition(
        lambda job: job.status == UNREADABLE,
        "items that are not valid. Scheduled runs may fail because of them",
        "{show} shows the reason; correct or delete the item",
    ),
    "submissions begun": Condition(
        # The invocation that began an older submission has ended.
        lambda job: (
            job.status in (JobStatus.SUBMITTING, JobStatus.ABANDONED)
            and age_seconds(job.submitted) > MAX_FUNCTION_SECONDS
        ),
        "submissions without a job, although their invocation has ended",
        "send the request of {job} again, or run {submissions} if it was invoked asynchronously",
    ),
    "claims": Condition(
        lambda job: job.claimedUntil and not job.is_claimed and not job.is_completed,
        "jobs with an expired claim of an invocation that ended during processing",
        "wait for the next delivery; if the job stays in this state, run {redrive} or {replay}",
    ),
    "jobs at Bedrock": Condition(
        lambda job: job.status == JobStatus.SUBMITTED and age_seconds(job.submitted) > MAX_JOB_SECONDS,
        f"jobs that have been SUBMITTED for more than {span(MAX_JOB_SECONDS)}, the maximum duration of a job",
        "{bedrock} shows the state at Bedrock",
    ),
}
"""Conditions in which a job of any age does not continue."""
UNMOVED = Condition(
    lambda job: job.unmoved_count,
    "jobs with images that could not be moved",
    "{retry} moves those of the first job",
)
"""The condition of recent jobs with images to move."""
NOT_READ = {
    "jobs that Bedrock ended": Condition(
        lambda job: job.is_ended_early,
        "jobs that Bedrock did not complete",
        "{show} shows the reason; {resubmit} submits the images again; runbook: failed-jobs",
    ),
    "images missing": Condition(
        lambda job: job.resultStats and job.resultStats.missingCount,
        "jobs with requested images that have no record",
        "{show} shows some; runbook: images without a record",
    ),
    "failed records": Condition(
        lambda job: (
            job.resultStats and 100 * job.resultStats.failureCount > MAX_FAILURE_PERCENT * job.resultStats.totalCount
        ),
        f"jobs with more than {MAX_FAILURE_PERCENT}% failed records",
        "{letters} shows the reasons; runbook: failure-rate",
    ),
}
"""Conditions of recent jobs that did not read all images. Nothing is left to do if newer jobs have these images."""


@dataclass(frozen=True)
class JobChecks:
    """Checks all jobs that are stuck, the results of those submitted since an instant, and all failed images."""

    since: datetime

    def __call__(self, stage: Stage) -> Iterator[Finding]:
        """Yield a finding for each condition, and one for the failed images."""
        jobs = all_jobs(stage)
        recent = [job for job in jobs if (job.submitted or self.since) >= self.since]
        limit = redelivery_seconds(stage)
        stopped = [job for job in jobs if _is_stopped_replay(job, limit)]
        late = _late_outputs(stage, [job for job in recent if job not in stopped], limit)
        waiting = {
            "replays": Condition(
                stopped.__contains__,
                "jobs with a replay that was started and is not completed",
                "wait, or run {redrive}; if that finds 0 messages, run {replay}",
            ),
            "outputs": Condition(
                late.__contains__,
                f"jobs with an output file that was not processed within {span(limit)}",
                "run {redrive}; if that finds 0 messages, run {replay}",
            ),
        }
        for check, condition in {**STUCK, **waiting}.items():
            yield _finding(stage, check, State.BAD, condition, jobs)
        yield _finding(stage, "images unmoved", State.WARNING, UNMOVED, recent)
        unread = _jobs_with_images_left(stage, recent, {job.intentId for job in jobs})
        for check, condition in NOT_READ.items():
            yield _finding(stage, check, State.WARNING, condition, unread)
        yield failed_images(stage, jobs)


def _finding(stage: Stage, check: str, state: State, condition: Condition, jobs: Sequence[StoredJob]) -> Finding:
    names = sorted(job.name for job in jobs if condition.holds(job))
    if not names:
        return Finding(check, State.OK, "0 jobs")
    seen = f"{condition.seen}: {len(names)} ({list_first(names, len(names), 5)})"
    return Finding(check, state, seen, _fill_in(stage, condition.remedy, names[0]))


def _fill_in(stage: Stage, remedy: str, job: str) -> str:
    """Return the text of a remedy for a job."""
    commands = {
        "show": stage.command("job", job),
        "letters": stage.command("dead-letters", job),
        "redrive": stage.command("redrive", "--job", job),
        "submissions": stage.command("redrive", "--submissions"),
        "replay": stage.command("replay", job),
        "resubmit": stage.command("resubmit", job),
        "retry": stage.command("retry-migrations", job),
        "bedrock": stage.aws_command("bedrock", "get-model-invocation-job", "--job-identifier", job),
    }
    return remedy.format(job=job, **{name: f"`{command}`" for name, command in commands.items()})


def _jobs_with_images_left(stage: Stage, jobs: Sequence[StoredJob], intents: Collection[str]) -> list[StoredJob]:
    """Return the jobs that did not read all images, and that still have some of them. `intents` are those of all jobs.

    An image that waits, has failed or is held belongs to the job that was the last to hold it.
    """
    unread = [job for job in jobs if any(condition.holds(job) for condition in NOT_READ.values())]
    left = CallPool().map(lambda job: has_images_left(stage, job, intents), unread, CONCURRENT_JOBS)
    return [job for job, is_left in zip(unread, left, strict=True) if is_left]


def _is_stopped_replay(job: StoredJob, limit: float) -> bool:
    """Return whether a job's output is to be processed again, and an invocation has not started it in time."""
    late = age_seconds(job.completed) > limit
    return job.is_completed and not job.processedOutputs and not job.is_claimed and late


def _late_outputs(stage: Stage, jobs: Sequence[StoredJob], limit: float) -> list[StoredJob]:
    """Return the jobs with a new or changed output that was not processed within the time of a redelivery.

    COMPLETED jobs are included: Bedrock may have written more, and the notification may be lost.
    """
    before = datetime.now(UTC) - timedelta(seconds=limit)
    waiting = {OutputState.NOT_PROCESSED, OutputState.CHANGED}

    def is_late(job: StoredJob) -> bool:
        return any(output.state in waiting and output.lastModified < before for output in job_outputs(stage, job))

    return [job for job, late in zip(jobs, CallPool().map(is_late, jobs), strict=True) if late]

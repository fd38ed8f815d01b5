"""Jobs that do not get on by themselves, and those that ended with something left to do."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from yorutsuke.clients import MAX_FUNCTION_SECONDS
from yorutsuke.jobs import JobRecord, Jobs
from yorutsuke.outputs import OutputState, job_outputs
from yorutsuke.stage import Stage
from yorutsuke.times import age_seconds, moment, span
from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.names import BedrockEnd
from yorutsuke_common.schema import JobStatus

from .finding import Finding, State
from .queues import redelivery_seconds

MAX_JOB_DAYS = 7
"""A Bedrock job may run so long."""
MAX_FAILURE_SHARE = 0.05
NAMED = 5
WAITING = {OutputState.NOT_TAKEN_IN, OutputState.OTHER_CONTENT}
ENDED = {JobStatus[end.name] for end in BedrockEnd}


@dataclass(frozen=True)
class JobChecks:
    """Looks at all jobs; at what became of them, of those submitted since."""

    since: datetime

    def __call__(self, stage: Stage) -> Iterator[Finding]:
        """Find what is stuck, and what is left to do."""
        jobs = [*Jobs(stage).every()]
        limit = redelivery_seconds(stage)
        forgotten = [job for job in jobs if _is_forgotten(job, limit)]
        recent = [job for job in jobs if (job.submitted or self.since) >= self.since]
        yield from _stuck(jobs)
        yield _found(
            "replays",
            forgotten,
            f"are COMPLETED for more than {span(limit)}, and their output is to be taken in again: a replay began",
            lambda job: f"wait for it, or redrive --job {job}; where it has no message there, replay {job}",
        )
        yield _outputs_waiting(stage, [job for job in recent if job not in forgotten], limit)
        yield from _left_to_do(recent)


def _stuck(jobs: Sequence[JobRecord]) -> Iterator[Finding]:
    now = time.time()
    yield _found(
        "submissions begun",
        # Whatever began one longer ago is gone.
        [job for job in jobs if job.status == JobStatus.SUBMITTING and _older(job, MAX_FUNCTION_SECONDS)],
        "have no job, and nobody is at them",
        lambda job: f"send the request of {job} again; redrive --submissions has it if it was invoked asynchronously",
    )
    yield _found(
        "claims",
        [job for job in jobs if job.claimedUntil and job.claimedUntil < now and not job.is_completed],
        "have a claim that ran out: a function died at them",
        lambda job: f"its message comes back by itself; if not, redrive --job {job} or replay {job}",
    )
    yield _found(
        "jobs at Bedrock",
        [job for job in jobs if job.status == JobStatus.SUBMITTED and _older(job, MAX_JOB_DAYS * 86_400)],
        f"are SUBMITTED for more than {MAX_JOB_DAYS} days, longer than a job may run",
        lambda job: f"aws bedrock get-model-invocation-job --job-identifier {job}",
    )


def _outputs_waiting(stage: Stage, jobs: Sequence[JobRecord], limit: float) -> Finding:
    """Find outputs that were not taken in, as they are, by the time that a message which failed has come back.

    Also of jobs that are COMPLETED: Bedrock may have shown more since, and nobody have been told.
    """
    before = datetime.now(UTC) - timedelta(seconds=limit)

    def is_late(job: JobRecord) -> bool:
        return any(output.state in WAITING and output.modified < before for output in job_outputs(stage, job))

    late = [job for job, found in zip(jobs, CallPool().map(is_late, jobs), strict=True) if found]
    return _found(
        "outputs",
        late,
        f"have an output that was not taken in, or not as it is, for more than {span(limit)}",
        lambda job: f"redrive --job {job}; where it has no message there, replay {job}",
    )


def _is_forgotten(job: JobRecord, limit: float) -> bool:
    """Tell whether a job's output is to be taken in again, and no function is at it."""
    settled = (age_seconds(moment(job.completedAt)) or 0) > limit
    return job.is_completed and not job.processedOutputs and not job.is_claimed and settled


def _left_to_do(jobs: Sequence[JobRecord]) -> Iterator[Finding]:
    yield _found(
        "jobs that Bedrock ended",
        [job for job in jobs if job.status in ENDED or job.bedrockStatus],
        "were not completed by Bedrock",
        lambda job: f"job {job} says why; runbook: failed-jobs",
        State.WARNING,
    )
    yield _found(
        "images unmoved",
        [job for job in jobs if job.resultStats and job.resultStats.migrationFailedCount],
        "have images that could not be moved",
        lambda job: f"retry-migrations {job}",
        State.WARNING,
    )
    yield _found(
        "images unanswered",
        [job for job in jobs if job.resultStats and job.resultStats.missingCount],
        "have images that no line answered",
        lambda job: f"job {job} names some; runbook: images without a line",
        State.WARNING,
    )
    yield _found(
        "lines that failed",
        [job for job in jobs if _failure_share(job) > MAX_FAILURE_SHARE],
        f"failed with more than {MAX_FAILURE_SHARE:.0%} of their lines",
        lambda job: f"dead-letters {job}",
        State.WARNING,
    )


def _older(job: JobRecord, seconds: float) -> bool:
    return (age_seconds(job.submitted) or 0) > seconds


def _failure_share(job: JobRecord) -> float:
    stats = job.resultStats
    return stats.failureCount / stats.totalCount if stats and stats.totalCount else 0


def _found(
    check: str,
    jobs: Sequence[JobRecord],
    trouble: str,
    remedy: Callable[[str], str],
    state: State = State.BAD,
) -> Finding:
    """Return what is wrong with some jobs, and what to do about the first of them."""
    if not jobs:
        return Finding(check, State.OK, "none is wrong")
    names = sorted(job.name for job in jobs)
    more = ", …" if len(names) > NAMED else ""
    return Finding(check, state, f"{len(names)} {trouble}: {', '.join(names[:NAMED])}{more}", remedy(names[0]))

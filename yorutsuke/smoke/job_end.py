"""Follows a job until the stage has processed its end.

A job has ended if its output is processed and Bedrock's counts agree with it, or if Bedrock has ended the job without
an output. Before that, a message about the job may still arrive, so its item must not be deleted: the message would
fail and an alarm would fire.
"""

import time
from collections.abc import Callable

from yorutsuke.errors import UnfinishedError
from yorutsuke.outputs import JobOutput, OutputState, job_outputs
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, find_job
from yorutsuke.times import age_seconds, span
from yorutsuke_common.names import BEDROCK_MAX_TIMEOUT_HOURS, BedrockEnd
from yorutsuke_common.schema import JobStatus

MAX_POLL_SECONDS = 15
LATE_SECONDS = 2 * 3600
"""Maximum time from Bedrock's first output to the processing of all of it, in seconds.

A message that fails once is delivered again after six times the function's timeout, at most 90 minutes.
"""
LOST_SECONDS = 8 * 3600
"""Age at which a job's output is not expected to be processed any more, in seconds. Five deliveries of a message take
at most 7.5 hours."""
UNSUCCESSFUL = {JobStatus[end.name] for end in BedrockEnd}
UNPROCESSED = {OutputState.NOT_PROCESSED, OutputState.CHANGED}


def follow(stage: Stage, intent_id: str, show: Callable[[str], None]) -> StoredJob:
    """Wait until the job of an intent has ended, and return it. `show` receives the job's state at each look.

    Raises UnfinishedError if the stage does not process an output in time, or if the job takes longer than any job.
    """
    while True:
        job = find_job(stage, intent_id)
        outputs = [*job_outputs(stage, job)]
        if has_ended(job, outputs):
            return job
        age = age_seconds(job.submitted)
        _require_in_time(stage, job, outputs, age)
        show(_state(job, outputs))
        # A local job takes seconds, a job on AWS hours.
        time.sleep(min(MAX_POLL_SECONDS, 1 + age / 20))


def has_ended(job: StoredJob, outputs: list[JobOutput]) -> bool:
    """Return whether all messages about a job were processed, as far as its item and its objects show."""
    if any(output.state in UNPROCESSED for output in outputs) or job.is_claimed:
        return False
    return job.bedrockCounts is not None if job.is_completed else job.status in UNSUCCESSFUL


def _state(job: StoredJob, outputs: list[JobOutput]) -> str:
    if job.is_completed:
        return "COMPLETED, waiting for the comparison with Bedrock's counts"
    if outputs:
        return f"{job.status}, Bedrock has written an output, which is not processed yet"
    return f"{job.status}, waiting for Bedrock"


def _require_in_time(stage: Stage, job: StoredJob, outputs: list[JobOutput], age: float) -> None:
    since = max((age_seconds(output.lastModified) for output in outputs), default=0)
    doctor = stage.command("doctor")
    if since > LATE_SECONDS:
        raise UnfinishedError(
            f"the stage has not processed the output of job {job.name!r} within {span(LATE_SECONDS)}.",
            f"`{doctor}` and `{stage.command('job', job.name)}` show the cause.",
        )
    if age > BEDROCK_MAX_TIMEOUT_HOURS * 3600 + LATE_SECONDS:
        raise UnfinishedError(
            f"job {job.name!r} has been {job.status} for longer than a job of Bedrock takes.",
            f"`{doctor}` shows the cause.",
        )

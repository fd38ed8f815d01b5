"""Claims on jobs, which keep other invocations from working on them."""

from collections.abc import Generator
from contextlib import contextmanager

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from yorutsuke_common.aws.batch_jobs import BatchJobs, new_token
from yorutsuke_common.error_codes import error_code
from yorutsuke_common.errors import RetryableError
from yorutsuke_common.names import LogEvent
from yorutsuke_common.schema import BatchJob


@contextmanager
def claimed(jobs: BatchJobs, found: BatchJob, remaining_seconds: float, logger: Logger) -> Generator[BatchJob]:
    """Claim a job for the duration of the block, and yield its current item. Raises the errors of `BatchJobs.claim`."""
    token = new_token()
    try:
        yield jobs.claim(found, token, remaining_seconds)
    finally:
        # Also if the claim itself failed: it may have taken effect, and its answer was lost.
        release_claim(jobs, found, token, logger)


def release_claim(jobs: BatchJobs, job: BatchJob, token: str, logger: Logger) -> None:
    """Release the claim with this token. If that fails, the claim expires."""
    try:
        jobs.release(job, token)
    except (ClientError, BotoCoreError, RetryableError) as exc:
        code = type(exc).__name__ if isinstance(exc, RetryableError) else error_code(exc)
        logger.warning("the claim was not released and will expire", event=LogEvent.BATCH_RESULT_CLAIM_KEPT, code=code)

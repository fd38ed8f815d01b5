"""The end of a claim on a job, which keeps other invocations from working on it."""

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from yorutsuke_common.aws.batch_jobs import BatchJobs
from yorutsuke_common.error_codes import error_code
from yorutsuke_common.errors import RetryableError
from yorutsuke_common.names import LogEvent
from yorutsuke_common.schema import BatchJob


def release_claim(jobs: BatchJobs, job: BatchJob, token: str, logger: Logger) -> None:
    """Release the claim with this token. If that fails, the claim expires."""
    try:
        jobs.release(job, token)
    except (ClientError, BotoCoreError, RetryableError) as exc:
        code = type(exc).__name__ if isinstance(exc, RetryableError) else error_code(exc)
        logger.warning("the claim was not released and will expire", event=LogEvent.BATCH_RESULT_CLAIM_KEPT, code=code)

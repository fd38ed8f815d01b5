"""The Lambda entry point: submits the job of a request, or the jobs of a scheduled run, and returns them."""

from yorutsuke_common import cold_start

# isort: split
import json
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from http import HTTPStatus
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext

from yorutsuke_common.aws.batch_jobs import BatchJobs
from yorutsuke_common.aws.calls import CallPool, TimeLimit
from yorutsuke_common.aws.clients import client_config
from yorutsuke_common.aws.dynamodb import ChunkedClient
from yorutsuke_common.aws.object_copier import ObjectCopier
from yorutsuke_common.aws.pending_images import PendingImages
from yorutsuke_common.errors import IntentConflictError, InvalidRequestError, PermanentError
from yorutsuke_common.logger import error_fields, make_logger
from yorutsuke_common.names import ORCHESTRATOR_SERVICE, LogEvent
from yorutsuke_common.submit_request import (
    is_http_event,
    is_schedule_event,
    parse_request,
    scheduled_time,
)

from .bedrock_jobs import CREATE_ATTEMPTS, CREATE_SECONDS, BedrockJobs
from .image_copies import CONCURRENT_COPIES, ImageCopier
from .images import READ_AHEAD, ImageReader
from .manifest import Manifests
from .schedule_metrics import ScheduleMetrics
from .scheduled_run import ScheduledRun
from .settings import load_settings
from .submit_job import JobSubmitter

SUBMISSION_KEYS = ("intentId", "traceId", "userId", "jobId")
"""The keys that each log entry about a submission has, as far as they are known."""

logger = make_logger(ORCHESTRATOR_SERVICE)


@logger.inject_lambda_context
def handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """Submit the job of a request and return it, for API Gateway as an HTTP answer. Or run the schedule.

    A direct invocation raises every error, so its caller receives `errorType` and `errorMessage`. Through API Gateway,
    a refused request is answered with 400, or 409 if a different request began the intent. Other errors are raised,
    and API Gateway answers 5xx. Each raised error counts as an error of the function. Repeating the same request is
    safe.
    """
    if is_schedule_event(event):
        return run_schedule(event, context)
    if not is_http_event(event):
        return submit(event, context)
    try:
        return _answer(HTTPStatus.OK, submit(event, context))
    except InvalidRequestError as refusal:
        return _answer(HTTPStatus.BAD_REQUEST, _refusal(refusal))
    except IntentConflictError as refusal:
        return _answer(HTTPStatus.CONFLICT, _refusal(refusal))


def submit(event: object, context: LambdaContext) -> dict[str, Any]:
    """Submit the job of the request in an event and return it. Raises if the job is not submitted."""
    trace_id = _trace_id(context)
    with _log_failure(trace_id):
        request = parse_request(event)
        logger.append_keys(intentId=request.intentId, userId=request.userId)
        return job_submitter().submit(request, trace_id, partial(_seconds_left, context)).answer()


def run_schedule(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Submit the waiting images, and return the jobs. Raises if a call fails or a begun job needs a remedy."""
    trace_id = _trace_id(context)
    with _log_failure(trace_id):
        return scheduled_run().run(scheduled_time(event), trace_id, partial(_seconds_left, context)).answer()


def _seconds_left(context: LambdaContext) -> float:
    return context.get_remaining_time_in_millis() / 1000


@cache
def scheduled_run() -> ScheduledRun:
    """Return the use case of a scheduled run, over the clients of `job_submitter`."""
    submitter = job_submitter()
    return ScheduledRun(
        submitter=submitter,
        jobs=submitter.jobs,
        pending=submitter.pending,
        settings=submitter.settings,
        metrics=ScheduleMetrics(submitter.settings.stage),
        time_limit=submitter.time_limit,
        logger=logger,
    )


@cache
def job_submitter() -> JobSubmitter:
    """Return the use case. Its clients are made once per execution environment."""
    settings = load_settings()
    # One connection for each image that is read or copied at once, and one for a part of the manifest.
    config = client_config(max(READ_AHEAD, CONCURRENT_COPIES) + 1)
    s3 = boto3.client("s3", config=config)
    dynamodb = boto3.client("dynamodb", config=config)
    time_limit = TimeLimit()
    pool = CallPool()
    items = ChunkedClient(dynamodb, pool, time_limit, logger)
    bucket = settings.images_bucket
    # The tags of an upload are for the app. A copy without them needs no permission for tags.
    copier = ObjectCopier(s3, bucket, CONCURRENT_COPIES, logger, tags=False)
    return JobSubmitter(
        jobs=BatchJobs(dynamodb, settings.batch_jobs_table),
        pending=PendingImages(items, settings.pending_images_table),
        manifests=Manifests(s3, bucket, ImageReader(s3, bucket), ImageCopier(s3, bucket, copier, pool), logger),
        bedrock=BedrockJobs(
            boto3.client("bedrock", config=client_config(1, CREATE_ATTEMPTS, read_timeout=CREATE_SECONDS)),
            settings.stage,
        ),
        settings=settings,
        time_limit=time_limit,
        logger=logger,
    )


@contextmanager
def _log_failure(trace_id: str) -> Generator[None]:
    """Log the error that keeps a job from being submitted, with the submission's keys, and raise it again."""
    with logger.append_context_keys(**{**dict.fromkeys(SUBMISSION_KEYS), "traceId": trace_id}):
        try:
            yield
        except (InvalidRequestError, IntentConflictError) as refusal:
            logger.warning(
                "batch submission refused",
                event=LogEvent.BATCH_SUBMIT_REFUSED,
                error=type(refusal).__name__,
                detail=str(refusal),
            )
            raise
        except Exception as error:
            logger.critical("batch submission failed", event=LogEvent.BATCH_SUBMIT_FAILED, **error_fields(error))
            raise


def _trace_id(context: LambdaContext) -> str:
    """Return the id of the invocation's X-Ray trace, or of the invocation if it is not traced."""
    root = re.search(r"Root=([^;]+)", os.environ.get("_X_AMZN_TRACE_ID", ""))
    return root[1] if root else context.aws_request_id


def _refusal(refusal: PermanentError) -> dict[str, Any]:
    return {"error": type(refusal).__name__, "message": str(refusal)}


def _answer(status: HTTPStatus, content: dict[str, Any]) -> dict[str, Any]:
    """Return an answer in API Gateway's form."""
    return {
        "statusCode": status.value,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(content, ensure_ascii=False),
    }


cold_start.finish_imports()

"""The Lambda entry point: read the request, submit its job, say what came of it."""

from yorutsuke_common import cold_start

# isort: split
import json
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from http import HTTPStatus
from typing import Any

import boto3
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from yorutsuke_common.aws_error import described
from yorutsuke_common.dynamodb import BatchClient
from yorutsuke_common.errors import IntentConflictError, InvalidRequestError, PermanentError
from yorutsuke_common.logger import Event, make_logger
from yorutsuke_common.overlap import CONCURRENCY, Overlap

from .bedrock_jobs import BedrockJobs
from .images import ImageReader, PendingImages
from .job import BatchJobs
from .manifest import Manifests
from .request import is_http_event, parse_request
from .settings import load_settings
from .submission import Submitter

SERVICE = "batch_orchestrator"
SUBMISSION_KEYS = ("intentId", "traceId", "userId", "jobId")
"""What a log entry tells of the submission it is about, as far as it is known by then."""

logger = make_logger(SERVICE)


@logger.inject_lambda_context
def handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """Submit the job that an event asks for and return it, or API Gateway's answer with it.

    A refusal is raised to whoever invokes the function with a bare request, as its `errorType` and `errorMessage`; API
    Gateway is answered 400, or 409 where the intent was begun with another request. All else is raised either way, so
    that it counts as the function's error, and API Gateway answers 5xx: sending the same request again is safe.
    """
    if not is_http_event(event):
        return submit(event, context)
    try:
        return _answer(HTTPStatus.OK, submit(event, context))
    except InvalidRequestError as refusal:
        return _answer(HTTPStatus.BAD_REQUEST, _refusal(refusal))
    except IntentConflictError as refusal:
        return _answer(HTTPStatus.CONFLICT, _refusal(refusal))


def submit(event: object, context: LambdaContext) -> dict[str, Any]:
    """Submit the job that an event asks for and return it. Raises what stands in the way."""
    trace_id = _trace_id(context)

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    with _outcome_logged(trace_id):
        request = parse_request(event)
        logger.append_keys(intentId=request.intentId, userId=request.userId)
        return submitter().submit(request, trace_id, seconds_left).answer()


@cache
def submitter() -> Submitter:
    """Return the submitter over this stage's stores; its clients are made once per execution environment."""
    settings = load_settings()
    # Every call that overlaps, and the part of a manifest that goes out meanwhile.
    config = Config(retries={"mode": "standard", "total_max_attempts": 5}, max_pool_connections=CONCURRENCY + 1)
    s3 = boto3.client("s3", config=config)
    dynamodb = boto3.client("dynamodb", config=config)
    overlap = Overlap()
    images = ImageReader(s3, settings.images_bucket, overlap)
    return Submitter(
        jobs=BatchJobs(dynamodb, settings.batch_jobs_table),
        pending=PendingImages(BatchClient(dynamodb, overlap, logger), settings.pending_images_table),
        manifests=Manifests(s3, settings.images_bucket, images, logger),
        bedrock=BedrockJobs(boto3.client("bedrock", config=config), settings.stage),
        settings=settings,
        logger=logger,
    )


@contextmanager
def _outcome_logged(trace_id: str) -> Generator[None]:
    """Log whatever keeps a job from being submitted, with the submission it concerns, and let it pass on."""
    with logger.append_context_keys(**{**dict.fromkeys(SUBMISSION_KEYS), "traceId": trace_id}):
        try:
            yield
        except (InvalidRequestError, IntentConflictError) as refusal:
            logger.warning(
                "batch submission refused",
                event=Event.BATCH_SUBMIT_REFUSED,
                error=type(refusal).__name__,
                detail=str(refusal),
            )
            raise
        except Exception as error:
            logger.critical("batch submission failed", event=Event.BATCH_SUBMIT_FAILED, **described(error))
            raise


def _trace_id(context: LambdaContext) -> str:
    """Return the X-Ray trace that the invocation is part of, else the invocation's own id."""
    root = re.search(r"Root=([^;]+)", os.environ.get("_X_AMZN_TRACE_ID", ""))
    return root[1] if root else context.aws_request_id


def _refusal(refusal: PermanentError) -> dict[str, Any]:
    return {"error": type(refusal).__name__, "message": str(refusal)}


def _answer(status: HTTPStatus, content: dict[str, Any]) -> dict[str, Any]:
    """Return an answer as API Gateway takes it."""
    return {
        "statusCode": status.value,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(content, ensure_ascii=False),
    }


cold_start.imported()

"""The Lambda entry point: parse the event, act on each notice in it, say which messages failed."""

from yorutsuke_common import cold_start

# isort: split
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,  # pyright: ignore[reportUnknownVariableType] - its record_handler has no return type
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config

from yorutsuke_common.aws_error import described
from yorutsuke_common.dynamodb import BatchClient
from yorutsuke_common.errors import JobClaimedError, NotReconciledError
from yorutsuke_common.logger import Event, make_logger
from yorutsuke_common.overlap import CONCURRENCY, Overlap

from .batch_result import BatchResultProcessor, Stores
from .event import (
    JobEnd,
    ManifestObject,
    Notice,
    OutputObject,
    is_sqs_event,
    notices_in_event,
    notices_in_message,
)
from .images import ImageStore, PendingImages
from .job import BatchJobs
from .job_end import JobEndRecorder
from .manifest import ManifestReconciler
from .object_copier import ObjectCopier
from .result_metrics import ResultMetrics
from .settings import load_settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse

SERVICE = "batch_result_handler"
NOTICE_KEYS = ("key", "jobId", "intentId", "traceId", "userId")
"""What a log entry tells of the notice it is about, as far as it is known by then."""

logger = make_logger(SERVICE)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> "PartialItemFailureResponse":
    """Process an SQS event, message by message, or a bare event of S3 or EventBridge as a whole.

    An SQS message that fails is returned in `batchItemFailures` and comes back by itself; a bare event that fails
    raises, so that Lambda retries it and then hands it to the on-failure destination.
    """
    if is_sqs_event(event):
        messages = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
        return process_partial_response(event, process_message, messages, context)
    with _failure_logged():
        process_notices(notices_in_event(event, load_settings().images_bucket), context)
    return {"batchItemFailures": []}


def process_message(record: SQSRecord, lambda_context: LambdaContext) -> None:
    """Act on what one SQS message tells of. Raises where any of it fails."""
    # Powertools passes both by these names.
    with _failure_logged(messageId=record.message_id):
        process_notices(notices_in_message(record.body, load_settings().images_bucket), lambda_context)


def process_notices(notices: Sequence[Notice], context: LambdaContext) -> None:
    """Act on notices one after the other. Raises at the first that fails."""
    if not notices:
        logger.info("S3 sent its test event", event=Event.BATCH_RESULT_TEST_EVENT)
    for notice in notices:
        logger.append_keys(key=None if isinstance(notice, JobEnd) else notice.key)
        match notice:
            case OutputObject():
                workers().results.process(notice, context.get_remaining_time_in_millis() / 1000)
            case ManifestObject():
                workers().manifests.reconcile(notice)
            case JobEnd():
                workers().ends.record(notice)


@dataclass(frozen=True)
class Workers:
    """What acts on each kind of notice."""

    results: BatchResultProcessor
    manifests: ManifestReconciler
    ends: JobEndRecorder


@cache
def workers() -> Workers:
    """Return the workers over this stage's stores; their clients are made once per execution environment."""
    settings = load_settings()
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 5},
        # Every call that overlaps, and the output that is being read.
        max_pool_connections=CONCURRENCY + 1,
        # What is sent was validated when it was read. Doing it once more, value by value, is a fifth of a job's work.
        parameter_validation=False,
    )
    s3 = boto3.client("s3", config=config)
    dynamodb = boto3.client("dynamodb", config=config)
    overlap = Overlap()
    copier = ObjectCopier(s3, settings.images_bucket, CONCURRENCY, logger)
    batch = BatchClient(dynamodb, overlap, logger)
    jobs = BatchJobs(dynamodb, settings.batch_jobs_table, logger)
    pending = PendingImages(batch, settings.pending_images_table)
    stores = Stores(
        s3=s3,
        batch=batch,
        jobs=jobs,
        pending=pending,
        images=ImageStore(s3, settings.images_bucket, copier, pending, overlap, logger),
    )
    metrics = ResultMetrics(settings.stage, SERVICE)
    return Workers(
        results=BatchResultProcessor(stores, settings, metrics, logger),
        manifests=ManifestReconciler(s3, jobs, metrics, logger),
        ends=JobEndRecorder(jobs, metrics, logger),
    )


@contextmanager
def _failure_logged(**keys: str) -> Generator[None]:
    """Log whatever makes the message fail, with the job it concerns where that is known, and let it pass on.

    A manifest that came before its output, and a message that met another function at work, have said so themselves,
    and are no failures until they end in the dead-letter queue.
    """
    with logger.append_context_keys(**keys, **dict.fromkeys(NOTICE_KEYS)):
        try:
            yield
        except (NotReconciledError, JobClaimedError):
            raise
        except Exception as error:
            logger.critical("batch result failed", event=Event.BATCH_RESULT_FAILED, **described(error))
            raise


cold_start.imported()

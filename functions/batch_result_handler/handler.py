"""The Lambda entry point: reads the events, finds the job of each, processes them, and reports failed messages."""

from yorutsuke_common import cold_start

# isort: split
from collections.abc import Generator, Mapping, Sequence
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

from yorutsuke_common.aws.calls import CONCURRENCY
from yorutsuke_common.aws.clients import client_config
from yorutsuke_common.aws.stores import ResultStores, result_stores
from yorutsuke_common.errors import JobClaimedError, NotReconciledError
from yorutsuke_common.events import (
    JobEnd,
    JobEvent,
    Origin,
    OutputManifestObject,
    OutputObject,
    job_events,
    job_events_in_message,
    origin_of,
)
from yorutsuke_common.logger import error_fields, make_logger
from yorutsuke_common.names import RESULT_SERVICE, LogEvent
from yorutsuke_common.settings import ResultSettings, read_settings

from .process_output import OutputProcessor
from .reconcile_output_manifest import OutputManifestReconciler
from .record_job_end import JobEndRecorder
from .release_images import ImageReleaser
from .result_metrics import ResultMetrics

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse

LOG_KEYS = ("key", "jobId", "intentId", "traceId", "userId")
"""The keys that each log entry about an event has, as far as they are known."""

logger = make_logger(RESULT_SERVICE)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> "PartialItemFailureResponse":
    """Process the messages of an SQS event, or a single event of S3 or EventBridge.

    The ids of failed SQS messages are returned in `batchItemFailures`, and SQS delivers those again. A
    single event invokes the function on a stage with `trigger: s3`. If it fails, the error is raised, so that Lambda
    retries the event and then sends it to the on-failure destination.
    """
    if is_sqs_event(event):
        processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
        return process_partial_response(event, process_message, processor, context)
    with _log_failure():
        process_events(job_events(event, _origin(context)), context)
    return {"batchItemFailures": []}


def is_sqs_event(event: Mapping[str, Any]) -> bool:
    """Return whether an event holds SQS messages."""
    match event:
        case {"Records": [{"eventSource": "aws:sqs"}, *_]}:
            return True
        case _:
            return False


def process_message(record: SQSRecord, lambda_context: LambdaContext) -> None:
    """Process the events in one SQS message. Raises if one of them fails."""
    # Powertools passes both arguments by these names.
    with _log_failure(messageId=record.message_id), _count_failed_redelivery(record):
        process_events(job_events_in_message(record.body, _origin(lambda_context)), lambda_context)


def _origin(context: LambdaContext) -> Origin:
    return origin_of(context.invoked_function_arn, load_settings().images_bucket)


def process_events(events: Sequence[JobEvent], context: LambdaContext) -> None:
    """Process events one after the other. Raises at the first that fails.

    S3's test event has no job events.
    """
    if not events:
        logger.info("S3 sent its test event", event=LogEvent.BATCH_RESULT_TEST_EVENT)
    for event in events:
        process_event(event, use_cases(), context)


def process_event(event: JobEvent, cases: "UseCases", context: LambdaContext) -> None:
    """Find the event's job and process the event."""

    def seconds_left() -> float:
        return context.get_remaining_time_in_millis() / 1000

    key = None if isinstance(event, JobEnd) else event.key
    logger.append_keys(key=key, jobId=event.job_id, intentId=None, traceId=None, userId=None)
    job = cases.stores.jobs.find(event.job_id, seconds_left)
    logger.append_keys(intentId=job.intentId, traceId=job.trace_id, userId=job.userId)
    match event:
        case OutputObject():
            cases.outputs.process(job, event, seconds_left())
        case OutputManifestObject():
            cases.output_manifests.reconcile(job, event, seconds_left())
        case JobEnd():
            cases.ends.record(job, event, seconds_left())


@dataclass(frozen=True)
class UseCases:
    """The processing of each kind of event, over the stage's stores."""

    stores: ResultStores
    outputs: OutputProcessor
    output_manifests: OutputManifestReconciler
    ends: JobEndRecorder


@cache
def load_settings() -> ResultSettings:
    """Return the settings of this execution environment, read once. Raises SettingsError."""
    return read_settings(ResultSettings)


@cache
def use_cases() -> UseCases:
    """Return the use cases. Their clients are made once per execution environment."""
    settings = load_settings()
    config = client_config(
        # All concurrent calls, and the output that is being read.
        CONCURRENCY + 1,
        # The pydantic models have validated the parameters. Botocore's validation would take a fifth of the CPU time.
        parameter_validation=False,
    )
    stores = result_stores(boto3.client("s3", config=config), boto3.client("dynamodb", config=config), settings, logger)
    metrics = ResultMetrics(settings.stage)
    releaser = ImageReleaser(stores.pending, stores.transactions, settings.max_attempts, logger)
    return UseCases(
        stores=stores,
        outputs=OutputProcessor(stores, releaser, settings, metrics, logger),
        output_manifests=OutputManifestReconciler(stores, releaser, metrics, logger),
        ends=JobEndRecorder(stores, releaser, metrics, logger),
    )


@contextmanager
def _count_failed_redelivery(record: SQSRecord) -> Generator[None]:
    """Count an error from the message's second receive on, and raise it again.

    A first failure is normal: an output manifest may arrive before its output, and another invocation may have the
    claim. SQS omits a message from the age of the oldest message after its third receive, so its age cannot show that
    it fails. Source: Amazon SQS developer guide, "Available CloudWatch metrics for Amazon SQS".
    """
    try:
        yield
    except Exception:
        if int(record.attributes.approximate_receive_count) > 1:
            # Not the use cases' metrics: an error in making the use cases counts as well.
            ResultMetrics(load_settings().stage).redelivery_failed(record.message_id)
        raise


@contextmanager
def _log_failure(**keys: str) -> Generator[None]:
    """Log the error that makes an event fail, with the event's keys, and raise it again.

    Neither a NotReconciledError, which its use case has logged, nor a JobClaimedError is logged as a failure, because a
    redelivery usually succeeds. If it does not, `_count_failed_redelivery` counts it, and an alarm fires.
    """
    with logger.append_context_keys(**keys, **dict.fromkeys(LOG_KEYS)):
        try:
            yield
        except NotReconciledError:
            raise
        except JobClaimedError as error:
            logger.warning(
                "another invocation has claimed the job",
                event=LogEvent.BATCH_RESULT_JOB_CLAIMED,
                claimedUntil=error.until,
            )
            raise
        except Exception as error:
            logger.critical("the event failed", event=LogEvent.BATCH_RESULT_FAILED, **error_fields(error))
            raise


cold_start.finish_imports()

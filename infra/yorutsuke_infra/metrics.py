"""The metrics that the alarms and the dashboard of a stage use, and their limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from pulumi import Input

from yorutsuke_common.names import (
    IMAGE_STATUS_INDEX,
    JOB_TRANSACTIONS_INDEX,
    MAX_AGE_INTERVALS,
    METRIC_NAMESPACE,
    ORCHESTRATOR_SERVICE,
    RESULT_SERVICE,
    ResultMetric,
    ScheduleMetric,
)

from .messaging import VISIBILITY_PER_TIMEOUT

DAY_SECONDS = 24 * 3600
PERIOD_SECONDS = 300
"""Period over which alarms evaluate a metric, in seconds."""
MAX_PROCESSING_MILLISECONDS = 60_000
"""Maximum processing time of a job's output, in milliseconds. The largest job that Bedrock accepts may reach it."""
MAX_TIMEOUT_SHARE = 0.8
"""Maximum share of its timeout that a function may use. Above it, a job that is a quarter larger could time out."""


@dataclass(frozen=True)
class Metric:
    """A CloudWatch metric. `label` is its name on the dashboard, and `stat` is the statistic of a period."""

    label: str
    namespace: str
    name: str
    dimensions: Mapping[str, Input[str]]
    stat: str


@dataclass(frozen=True)
class Rate:
    """A metric math expression. `operands` are the metrics in it, by their ids."""

    label: str
    expression: str
    operands: Mapping[str, Metric]


class JobMetrics:
    """The metrics that the batch_result_handler emits."""

    def __init__(self, stage: str) -> None:
        dimensions = {"service": RESULT_SERVICE, "stage": stage}

        def metric(label: str, name: ResultMetric, stat: str) -> Metric:
            return Metric(label, METRIC_NAMESPACE, name, dimensions, stat)

        self.successful_records = metric("Successful records", ResultMetric.SUCCESS_COUNT, "Sum")
        self.failed_records = metric("Failed records", ResultMetric.FAILURE_COUNT, "Sum")
        self.failure_percent = Rate(
            "Failed records, %",
            # An empty output file emits two zeros, which would cause a division by zero.
            "IF(success + failure > 0, 100 * failure / (success + failure), 0)",
            {"success": self.successful_records, "failure": self.failed_records},
        )
        self.failed_migrations = metric("Images not moved", ResultMetric.MIGRATION_FAILED_COUNT, "Sum")
        self.failed_jobs = metric("Jobs not completed by Bedrock", ResultMetric.JOB_FAILED, "Sum")
        self.failed_redeliveries = metric("Failed redeliveries", ResultMetric.REDELIVERY_FAILED, "Sum")
        self.processing_milliseconds = metric("Processing time", ResultMetric.PROCESSING_TIME, "Maximum")
        # Repeated processing emits these values again, so a sum would count them twice.
        self.missing_images = metric("Images without a record", ResultMetric.MISSING_COUNT, "Maximum")
        self.unprocessed_records = metric("Model requests not processed", ResultMetric.UNPROCESSED_COUNT, "Maximum")
        self.manifest_difference = metric(
            "Output manifest and output differ", ResultMetric.MANIFEST_DIFFERENCE, "Maximum"
        )


class ScheduleMetrics:
    """The metrics that the batch_orchestrator emits at the end of a scheduled run, and the maximum waiting time."""

    def __init__(self, stage: str, max_wait_days: int) -> None:
        dimensions = {"service": ORCHESTRATOR_SERVICE, "stage": stage}

        def metric(label: str, name: ScheduleMetric) -> Metric:
            return Metric(label, METRIC_NAMESPACE, name, dimensions, "Maximum")

        self.waiting_images = metric("Waiting images", ScheduleMetric.WAITING_IMAGES)
        self.oldest_waiting_seconds = metric("Age of the oldest waiting image", ScheduleMetric.OLDEST_WAITING_AGE)
        self.max_wait_days = max_wait_days
        self.max_waiting_seconds = max_wait_days * DAY_SECONDS


class QueueMetrics:
    """The metrics of a queue, given its name."""

    def __init__(self, queue: Input[str]) -> None:
        def metric(label: str, name: str) -> Metric:
            return Metric(label, "AWS/SQS", name, {"QueueName": queue}, "Maximum")

        self.waiting = metric("Waiting messages", "ApproximateNumberOfMessagesVisible")
        self.in_flight = metric("Messages in flight", "ApproximateNumberOfMessagesNotVisible")
        self.age_seconds = metric("Age of the oldest message", "ApproximateAgeOfOldestMessage")


class FunctionMetrics:
    """The metrics and limits of a function, given its name and its timeout.

    `periods` is the number of periods in which the metrics of an ended invocation may be.
    """

    def __init__(self, function: Input[str], timeout_seconds: int) -> None:
        def metric(label: str, name: str, stat: str) -> Metric:
            return Metric(label, "AWS/Lambda", name, {"FunctionName": function}, stat)

        self.invocations = metric("Invocations", "Invocations", "Sum")
        self.errors = metric("Errors", "Errors", "Sum")
        self.throttles = metric("Throttled invocations", "Throttles", "Sum")
        self.concurrency = metric("Concurrent invocations", "ConcurrentExecutions", "Maximum")
        self.milliseconds = metric("Duration", "Duration", "Maximum")
        self.timeout_milliseconds = 1000 * timeout_seconds
        self.max_milliseconds = MAX_TIMEOUT_SHARE * self.timeout_milliseconds
        self.max_message_age_seconds = MAX_AGE_INTERVALS * VISIBILITY_PER_TIMEOUT * timeout_seconds
        # Lambda dates the metrics of an invocation by its start and emits them at its end. One more period is for the
        # delay of the metric. Source: AWS Lambda developer guide, "Viewing metrics for Lambda functions".
        self.periods = 1 + ceil(timeout_seconds / PERIOD_SECONDS)


class TableMetrics:
    """The throttle events of the tables, given the names of the tables."""

    def __init__(self, transactions: Input[str], pending_images: Input[str]) -> None:
        def metric(label: str, name: str, table: Input[str], **index: str) -> Metric:
            return Metric(label, "AWS/DynamoDB", name, {"TableName": table, **index}, "Sum")

        # All transactions of a job share one partition key of the index. A throttled index also throttles its table.
        by_job = {"GlobalSecondaryIndexName": JOB_TRANSACTIONS_INDEX}
        # All images of a status share one partition key of this index.
        by_status = {"GlobalSecondaryIndexName": IMAGE_STATUS_INDEX}
        self.throttled = (
            metric("Writes of transactions", "WriteThrottleEvents", transactions),
            metric("Writes of their index by job", "WriteThrottleEvents", transactions, **by_job),
            metric("Writes of images", "WriteThrottleEvents", pending_images),
            metric("Writes of their index by status", "WriteThrottleEvents", pending_images, **by_status),
            metric("Reads of images", "ReadThrottleEvents", pending_images),
        )


@dataclass(frozen=True)
class StageMetrics:
    """The metrics of a stage. `lost_…` counts messages that did not reach a dead-letter queue either.

    Only a stage with a schedule has `schedule`.
    """

    jobs: JobMetrics
    queue: QueueMetrics
    dead_letters: QueueMetrics
    handler: FunctionMetrics
    orchestrator: FunctionMetrics
    failed_requests: QueueMetrics
    tables: TableMetrics
    lost_outputs: Metric
    lost_requests: Metric
    lost_job_ends: Metric
    schedule: ScheduleMetrics | None


def lost_notifications(label: str, topic: Input[str]) -> Metric:
    """Return the metric of messages that a topic, given its name, could not deliver to any queue."""
    return Metric(label, "AWS/SNS", "NumberOfNotificationsFailedToRedriveToDlq", {"TopicName": topic}, "Sum")


def lost_invocations(label: str, function: Input[str]) -> Metric:
    """Return the metric of failed asynchronous events that a function, given its name, could not send to a queue."""
    return Metric(label, "AWS/Lambda", "DestinationDeliveryFailures", {"FunctionName": function}, "Sum")


def lost_events(label: str, rule: Input[str]) -> Metric:
    """Return the metric of events that a rule, given its name, could not deliver to any queue."""
    return Metric(label, "AWS/Events", "InvocationsFailedToBeSentToDlq", {"RuleName": rule}, "Sum")

"""The metrics that the alarms and the dashboard of a stage use, and their limits. Pure: names in, metrics out."""

from collections.abc import Mapping
from dataclasses import dataclass

from pulumi import Input

from yorutsuke_common.names import (
    JOB_TRANSACTIONS_INDEX,
    MAX_REDELIVERIES,
    METRIC_NAMESPACE,
    RESULT_SERVICE,
    ResultMetric,
)

from .messaging import VISIBILITY_PER_TIMEOUT

PERIOD_SECONDS = 300
"""Period over which alarms evaluate a metric, in seconds."""
MAX_PROCESSING_MILLISECONDS = 60_000
MAX_TIMEOUT_SHARE = 0.8
"""Share of its timeout that a function may take. Above it, a job that is a quarter larger could time out."""


@dataclass(frozen=True)
class Metric:
    """A CloudWatch metric. `label` names it on the dashboard, and `stat` is the statistic of a period."""

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

        self.good_lines = metric("Good lines", ResultMetric.SUCCESS_COUNT, "Sum")
        self.failed_lines = metric("Failed lines", ResultMetric.FAILURE_COUNT, "Sum")
        self.failure_percent = Rate(
            "Failed lines, %",
            # An empty output counts 0 and 0, which must not be divided.
            "IF(success + failure > 0, 100 * failure / (success + failure), 0)",
            {"success": self.good_lines, "failure": self.failed_lines},
        )
        self.failed_migrations = metric("Images not moved", ResultMetric.MIGRATION_FAILED_COUNT, "Sum")
        self.failed_jobs = metric("Jobs not completed by Bedrock", ResultMetric.JOB_FAILED, "Sum")
        self.processing_milliseconds = metric("Processing time", ResultMetric.PROCESSING_TIME, "Maximum")
        # Each processing of an output and each reading of a manifest counts these again, so a sum has no meaning.
        self.missing_images = metric("Images without a line", ResultMetric.MISSING_COUNT, "Maximum")
        self.unprocessed_records = metric("Records not processed", ResultMetric.UNPROCESSED_COUNT, "Maximum")
        self.manifest_difference = metric("Manifest and output differ", ResultMetric.MANIFEST_DIFFERENCE, "Maximum")


class QueueMetrics:
    """The metrics of a queue, given its name."""

    def __init__(self, queue: Input[str]) -> None:
        def metric(label: str, name: str) -> Metric:
            return Metric(label, "AWS/SQS", name, {"QueueName": queue}, "Maximum")

        self.waiting = metric("Waiting messages", "ApproximateNumberOfMessagesVisible")
        self.in_flight = metric("Messages in flight", "ApproximateNumberOfMessagesNotVisible")
        self.age_seconds = metric("Age of the oldest message", "ApproximateAgeOfOldestMessage")


class FunctionMetrics:
    """The metrics and limits of a function, given its name and its timeout."""

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
        self.max_message_age_seconds = MAX_REDELIVERIES * VISIBILITY_PER_TIMEOUT * timeout_seconds


class TableMetrics:
    """The throttled requests of the tables, given their names."""

    def __init__(self, transactions: Input[str], pending_images: Input[str]) -> None:
        def metric(label: str, name: str, table: Input[str], **index: str) -> Metric:
            return Metric(label, "AWS/DynamoDB", name, {"TableName": table, **index}, "Sum")

        # All transactions of a job share one key of the index. Throttling the index also throttles the table.
        index = {"GlobalSecondaryIndexName": JOB_TRANSACTIONS_INDEX}
        self.throttled = (
            metric("Writes of transactions", "WriteThrottleEvents", transactions),
            metric("Writes of their index by job", "WriteThrottleEvents", transactions, **index),
            metric("Writes of images", "WriteThrottleEvents", pending_images),
            metric("Reads of images", "ReadThrottleEvents", pending_images),
        )


@dataclass(frozen=True)
class StageMetrics:
    """The metrics of a stage. `lost_…` counts messages that even the dead-letter queue did not receive."""

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


def lost_notifications(label: str, topic: Input[str]) -> Metric:
    """Return the number of messages that a topic, given its name, could not deliver to any queue."""
    return Metric(label, "AWS/SNS", "NumberOfNotificationsFailedToRedriveToDlq", {"TopicName": topic}, "Sum")


def lost_invocations(label: str, function: Input[str]) -> Metric:
    """Return the number of failed asynchronous events of a function, given its name, that no queue received."""
    return Metric(label, "AWS/Lambda", "DestinationDeliveryFailures", {"FunctionName": function}, "Sum")


def lost_events(label: str, rule: Input[str]) -> Metric:
    """Return the number of events that a rule, given its name, could not deliver to any queue."""
    return Metric(label, "AWS/Events", "InvocationsFailedToBeSentToDlq", {"RuleName": rule}, "Sum")

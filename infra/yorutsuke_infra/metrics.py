"""Every metric that a stage's alarms and its dashboard look at, and the limits that both hold them to.

Pure: names of resources in, metrics out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pulumi import Input

from yorutsuke_common.names import JOB_TRANSACTIONS_INDEX, METRIC_NAMESPACE, RESULT_SERVICE, ResultMetric

from .messaging import VISIBILITY_PER_TIMEOUT

PERIOD_SECONDS = 300
MAX_FAILURE_PERCENT = 5.0
MAX_PROCESSING_MILLISECONDS = 60_000
MAX_REDELIVERIES = 2
MAX_TIMEOUT_SHARE = 0.8
"""Of the function's timeout: a night that grows by a quarter would be cut off."""


@dataclass(frozen=True)
class Metric:
    """A metric of CloudWatch; `stat` is what is made of its values in a period."""

    namespace: str
    name: str
    dimensions: Mapping[str, Input[str]]
    stat: str


@dataclass(frozen=True)
class Rate:
    """Metric math; `operands` are by the ids that stand for them in the expression."""

    expression: str
    operands: Mapping[str, Metric]


class StageMetrics:
    """The metrics of one stage, by what they tell. All arguments but the timeout are names; there may be no topic."""

    def __init__(
        self,
        *,
        stage: str,
        topic: Input[str] | None,
        rule: Input[str],
        queue: Input[str],
        dead_letter_queue: Input[str],
        function: Input[str],
        orchestrator: Input[str],
        submission_dead_letter_queue: Input[str],
        transactions: Input[str],
        pending_images: Input[str],
        function_timeout_seconds: int,
    ) -> None:
        own = {"service": RESULT_SERVICE, "stage": stage}
        self.good_lines = Metric(METRIC_NAMESPACE, ResultMetric.SUCCESS_COUNT, own, "Sum")
        self.failed_lines = Metric(METRIC_NAMESPACE, ResultMetric.FAILURE_COUNT, own, "Sum")
        self.failure_percent = Rate(
            # An output without lines has counted nothing, and must not divide by it.
            "IF(success + failure > 0, 100 * failure / (success + failure), 0)",
            {"success": self.good_lines, "failure": self.failed_lines},
        )
        self.failed_migrations = Metric(METRIC_NAMESPACE, ResultMetric.MIGRATION_FAILED_COUNT, own, "Sum")
        self.failed_jobs = Metric(METRIC_NAMESPACE, ResultMetric.JOB_FAILED, own, "Sum")
        self.processing_milliseconds = Metric(METRIC_NAMESPACE, ResultMetric.PROCESSING_TIME, own, "Maximum")
        # Counted anew with each content of an output and each look at a manifest: their sum says nothing.
        self.missing_images = Metric(METRIC_NAMESPACE, ResultMetric.MISSING_COUNT, own, "Maximum")
        self.unprocessed_records = Metric(METRIC_NAMESPACE, ResultMetric.UNPROCESSED_COUNT, own, "Maximum")
        self.manifest_difference = Metric(METRIC_NAMESPACE, ResultMetric.MANIFEST_DIFFERENCE, own, "Maximum")

        self.waiting_messages = _queue_metric("ApproximateNumberOfMessagesVisible", queue)
        self.messages_in_flight = _queue_metric("ApproximateNumberOfMessagesNotVisible", queue)
        self.message_age_seconds = _queue_metric("ApproximateAgeOfOldestMessage", queue)
        self.dead_letters = _queue_metric("ApproximateNumberOfMessagesVisible", dead_letter_queue)
        # One that has come back once may be a manifest ahead of its output, or have met a function at work.
        self.max_message_age_seconds = MAX_REDELIVERIES * VISIBILITY_PER_TIMEOUT * function_timeout_seconds

        self.function_runs = _function_metric("Invocations", "Sum", function)
        self.function_errors = _function_metric("Errors", "Sum", function)
        self.function_throttles = _function_metric("Throttles", "Sum", function)
        self.functions_at_once = _function_metric("ConcurrentExecutions", "Maximum", function)
        self.function_milliseconds = _function_metric("Duration", "Maximum", function)
        self.function_timeout_milliseconds = 1000 * function_timeout_seconds
        self.max_function_milliseconds = MAX_TIMEOUT_SHARE * self.function_timeout_milliseconds

        # What is refused counts as well, where the request was no HTTP request: nobody may be waiting for the answer.
        self.submission_runs = _function_metric("Invocations", "Sum", orchestrator)
        self.submission_errors = _function_metric("Errors", "Sum", orchestrator)
        self.submission_throttles = _function_metric("Throttles", "Sum", orchestrator)
        self.failed_submissions = _queue_metric("ApproximateNumberOfMessagesVisible", submission_dead_letter_queue)

        self.throttled_transactions = _table_metric("WriteThrottleEvents", {"TableName": transactions})
        # A job's transactions all have one key there; what its partition cannot take holds up the table's own writes.
        self.throttled_by_job_index = _table_metric(
            "WriteThrottleEvents", {"TableName": transactions, "GlobalSecondaryIndexName": JOB_TRANSACTIONS_INDEX}
        )
        self.throttled_image_writes = _table_metric("WriteThrottleEvents", {"TableName": pending_images})
        self.throttled_image_reads = _table_metric("ReadThrottleEvents", {"TableName": pending_images})

        # Not even the dead-letter queue took these: nobody will ask for them again.
        self.lost_outputs = (
            Metric("AWS/SNS", "NumberOfNotificationsFailedToRedriveToDlq", {"TopicName": topic}, "Sum")
            if topic
            else _function_metric("DestinationDeliveryFailures", "Sum", function)
        )
        self.lost_submissions = _function_metric("DestinationDeliveryFailures", "Sum", orchestrator)
        self.lost_ends = Metric("AWS/Events", "InvocationsFailedToBeSentToDlq", {"RuleName": rule}, "Sum")


def _queue_metric(name: str, queue: Input[str]) -> Metric:
    return Metric("AWS/SQS", name, {"QueueName": queue}, "Maximum")


def _function_metric(name: str, stat: str, function: Input[str]) -> Metric:
    return Metric("AWS/Lambda", name, {"FunctionName": function}, stat)


def _table_metric(name: str, dimensions: Mapping[str, Input[str]]) -> Metric:
    return Metric("AWS/DynamoDB", name, dimensions, "Sum")

"""What wakes somebody: the alarms of a stage and the topic they ring."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from .config import physical_name
from .messaging import VISIBILITY_PER_TIMEOUT, Messaging
from .policies import alarm_topic_policy

NAMESPACE = "BatchResult"
SERVICE = "batch_result_handler"
PERIOD_SECONDS = 300
MAX_FAILURE_PERCENT = 5.0
MAX_PROCESSING_MILLISECONDS = 60_000
MAX_TIMEOUT_SHARE = 0.8
"""Of the function's timeout: a night that grows by a quarter would be cut off."""


@dataclass(frozen=True)
class MonitoringArgs:
    """`emails` are told when an alarm rings; each has to confirm its subscription first."""

    stage: str
    account_id: pulumi.Input[str]
    messaging: Messaging
    function: aws.lambda_.Function
    function_timeout_seconds: int
    emails: Sequence[str]


class Monitoring(pulumi.ComponentResource):
    """The alarm topic and the alarms. A night without jobs has no data, which is no reason to ring."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:monitoring:Monitoring", name, {}, opts)
        self._stage = args.stage
        self._child = pulumi.ResourceOptions(parent=self)
        self.topic = self._topic(args)
        self._failure_rate()
        self._threshold_alarm(
            "processing-time",
            "A job took longer than 60 s.",
            self._own_metric("ProcessingTime", "Maximum"),
            MAX_PROCESSING_MILLISECONDS,
        )
        self._threshold_alarm(
            "failed-jobs",
            "Bedrock ended a job otherwise than completely: receipts were not read.",
            self._own_metric("JobFailed", "Sum"),
            0,
        )
        self._threshold_alarm(
            "failed-migrations",
            "A transaction stands whose image could not be moved.",
            self._own_metric("MigrationFailedCount", "Sum"),
            0,
        )
        self._queue_alarms(args.messaging, args.function_timeout_seconds)
        self._function_alarms(args.function, args.function_timeout_seconds)
        self.register_outputs({})

    def _queue_alarms(self, messaging: Messaging, function_timeout_seconds: int) -> None:
        self._threshold_alarm(
            "dlq-depth",
            "A message failed five times and waits in the dead-letter queue.",
            _queue_metric("ApproximateNumberOfMessagesVisible", messaging.dead_letter_queue),
            0,
        )
        # What fails is in no metric of Lambda's, since the function reports its messages one by one: it comes back.
        self._threshold_alarm(
            "message-age",
            "A message has failed at least once, or nobody takes it.",
            _queue_metric("ApproximateAgeOfOldestMessage", messaging.queue),
            VISIBILITY_PER_TIMEOUT * function_timeout_seconds,
        )

    def _function_alarms(self, function: aws.lambda_.Function, timeout_seconds: int) -> None:
        self._threshold_alarm(
            "function-errors",
            "The function was ended before it could answer: by its timeout, for its memory, or at its start.",
            _function_metric("Errors", "Sum", function),
            0,
        )
        self._threshold_alarm(
            "function-throttles",
            "Lambda refused to run the function: the account's concurrency is used up.",
            _function_metric("Throttles", "Sum", function),
            0,
        )
        self._threshold_alarm(
            "function-duration",
            "The function came near its timeout, after which a job begins anew.",
            _function_metric("Duration", "Maximum", function),
            MAX_TIMEOUT_SHARE * timeout_seconds * 1000,
        )

    def _topic(self, args: MonitoringArgs) -> aws.sns.Topic:
        topic = aws.sns.Topic("alarms", name=physical_name("alarms", args.stage), opts=self._child)
        aws.sns.TopicPolicy(
            "alarms",
            arn=topic.arn,
            policy=pulumi.Output.json_dumps(alarm_topic_policy(topic.arn, args.account_id)),
            opts=self._child,
        )
        for email in args.emails:
            aws.sns.TopicSubscription(
                f"alarms-{email}", topic=topic.arn, protocol="email", endpoint=email, opts=self._child
            )
        return topic

    def _failure_rate(self) -> None:
        counts = {"success": "SuccessCount", "failure": "FailureCount"}
        queries = [
            aws.cloudwatch.MetricAlarmMetricQueryArgs(id=query, metric=self._own_metric(metric, "Sum"))
            for query, metric in counts.items()
        ]
        queries.append(
            aws.cloudwatch.MetricAlarmMetricQueryArgs(
                id="rate",
                # An output without lines has counted nothing, and must not divide by it.
                expression="IF(success + failure > 0, 100 * failure / (success + failure), 0)",
                label="Lines that failed, %",
                return_data=True,
            )
        )
        self._alarm(
            "failure-rate", "More than 5 % of the lines of a job's output failed.", queries, MAX_FAILURE_PERCENT
        )

    def _threshold_alarm(
        self,
        name: str,
        description: str,
        metric: aws.cloudwatch.MetricAlarmMetricQueryMetricArgs,
        threshold: float,
    ) -> None:
        query = aws.cloudwatch.MetricAlarmMetricQueryArgs(id="value", metric=metric, return_data=True)
        self._alarm(name, description, [query], threshold)

    def _alarm(
        self,
        name: str,
        description: str,
        queries: Sequence[aws.cloudwatch.MetricAlarmMetricQueryArgs],
        threshold: float,
    ) -> None:
        aws.cloudwatch.MetricAlarm(
            name,
            name=physical_name(name, self._stage),
            alarm_description=description,
            comparison_operator="GreaterThanThreshold",
            threshold=threshold,
            evaluation_periods=1,
            metric_queries=queries,
            treat_missing_data="notBreaching",
            alarm_actions=[self.topic.arn],
            ok_actions=[self.topic.arn],
            opts=self._child,
        )

    def _own_metric(self, name: str, stat: str) -> aws.cloudwatch.MetricAlarmMetricQueryMetricArgs:
        """Return a metric that the handler emits for this stage."""
        return aws.cloudwatch.MetricAlarmMetricQueryMetricArgs(
            namespace=NAMESPACE,
            metric_name=name,
            dimensions={"service": SERVICE, "stage": self._stage},
            stat=stat,
            period=PERIOD_SECONDS,
        )


def _queue_metric(name: str, queue: aws.sqs.Queue) -> aws.cloudwatch.MetricAlarmMetricQueryMetricArgs:
    """Return a metric that SQS keeps of a queue."""
    return aws.cloudwatch.MetricAlarmMetricQueryMetricArgs(
        namespace="AWS/SQS",
        metric_name=name,
        dimensions={"QueueName": queue.name},
        stat="Maximum",
        period=PERIOD_SECONDS,
    )


def _function_metric(
    name: str, stat: str, function: aws.lambda_.Function
) -> aws.cloudwatch.MetricAlarmMetricQueryMetricArgs:
    """Return a metric that Lambda keeps of a function; durations are in milliseconds."""
    return aws.cloudwatch.MetricAlarmMetricQueryMetricArgs(
        namespace="AWS/Lambda",
        metric_name=name,
        dimensions={"FunctionName": function.name},
        stat=stat,
        period=PERIOD_SECONDS,
    )

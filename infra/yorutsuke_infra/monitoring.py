"""What wakes somebody: the alarms of a stage and the topic they ring."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import pulumi
import pulumi_aws as aws

from .config import physical_name
from .metrics import MAX_FAILURE_PERCENT, MAX_PROCESSING_MILLISECONDS, PERIOD_SECONDS, Metric, StageMetrics
from .policies import alarm_topic_policy


@dataclass(frozen=True)
class MonitoringArgs:
    """`emails` are told when an alarm rings; each has to confirm its subscription first."""

    stage: str
    account_id: pulumi.Input[str]
    metrics: StageMetrics
    emails: Sequence[str]


class Monitoring(pulumi.ComponentResource):
    """The alarm topic and the alarms. A night without jobs has no data, which is no reason to ring.

    Of a state that lasts (`lasting`: a message lies there), they also say when it has ended, and missing data leaves it
    as it was: SQS stops counting a queue that nobody has looked into for hours. What has happened has happened; that
    it has not happened again is no news.

    Source: Amazon SQS developer guide, "Available CloudWatch metrics for Amazon SQS".
    """

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:monitoring:Monitoring", name, {}, opts)
        self._stage = args.stage
        self._child = pulumi.ResourceOptions(parent=self)
        self.topic = self._topic(args)
        self.alarms = [
            self._failure_rate(args.metrics),
            *self._job_alarms(args.metrics),
            *self._queue_alarms(args.metrics),
            *self._function_alarms(args.metrics),
            *self._submission_alarms(args.metrics),
        ]
        self.register_outputs({})

    def _job_alarms(self, metrics: StageMetrics) -> Iterator[aws.cloudwatch.MetricAlarm]:
        yield self._threshold_alarm(
            "processing-time",
            "A job took longer than 60 s.",
            metrics.processing_milliseconds,
            MAX_PROCESSING_MILLISECONDS,
        )
        yield self._threshold_alarm(
            "failed-jobs",
            "Bedrock ended a job otherwise than completely: receipts were not read.",
            metrics.failed_jobs,
            0,
        )
        yield self._threshold_alarm(
            "failed-migrations",
            "A transaction stands whose image could not be moved.",
            metrics.failed_migrations,
            0,
        )

    def _queue_alarms(self, metrics: StageMetrics) -> Iterator[aws.cloudwatch.MetricAlarm]:
        yield self._threshold_alarm(
            "dlq-depth",
            "A message could not be delivered or taken in, and waits in the dead-letter queue.",
            metrics.dead_letters,
            0,
            lasting=True,
        )
        # What fails is in no metric of Lambda's, since the function reports its messages one by one: it comes back.
        yield self._threshold_alarm(
            "message-age",
            "A message has failed at least twice, or nobody takes it.",
            metrics.message_age_seconds,
            metrics.max_message_age_seconds,
            lasting=True,
        )
        yield self._threshold_alarm(
            "lost-outputs",
            "An output or a manifest was announced, and neither the function nor the dead-letter queue got it.",
            metrics.lost_outputs,
            0,
        )
        yield self._threshold_alarm(
            "lost-job-ends",
            "A job ended otherwise than completely, and neither the queue nor the dead-letter queue was told.",
            metrics.lost_ends,
            0,
        )

    def _function_alarms(self, metrics: StageMetrics) -> Iterator[aws.cloudwatch.MetricAlarm]:
        yield self._threshold_alarm(
            "function-errors",
            "The function was ended before it could answer: by its timeout, for its memory, or at its start.",
            metrics.function_errors,
            0,
        )
        yield self._threshold_alarm(
            "function-throttles",
            "Lambda refused to run the function: the account's concurrency is used up.",
            metrics.function_throttles,
            0,
        )
        yield self._threshold_alarm(
            "function-duration",
            "The function came near its timeout, after which a job begins anew.",
            metrics.function_milliseconds,
            metrics.max_function_milliseconds,
        )

    def _submission_alarms(self, metrics: StageMetrics) -> Iterator[aws.cloudwatch.MetricAlarm]:
        yield self._threshold_alarm(
            "submit-errors",
            "A job was not submitted: the orchestrator failed, was ended, or refused what it was asked for.",
            metrics.submission_errors,
            0,
        )
        yield self._threshold_alarm(
            "submit-throttles",
            "Lambda refused to run the orchestrator: the account's concurrency is used up.",
            metrics.submission_throttles,
            0,
        )
        yield self._threshold_alarm(
            "submit-dlq-depth",
            "A request that nobody waited for was given up, and waits in the orchestrator's dead-letter queue.",
            metrics.failed_submissions,
            0,
            lasting=True,
        )
        yield self._threshold_alarm(
            "lost-submissions",
            "A request that nobody waited for was given up, and not even the dead-letter queue got it.",
            metrics.lost_submissions,
            0,
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
                # Names stand in the state, and on the screen, for all to read.
                f"alarms-{sha256(email.encode()).hexdigest()[:8]}",
                topic=topic.arn,
                protocol="email",
                endpoint=pulumi.Output.secret(email),
                opts=self._child,
            )
        return topic

    def _failure_rate(self, metrics: StageMetrics) -> aws.cloudwatch.MetricAlarm:
        rate = metrics.failure_percent
        queries = [
            aws.cloudwatch.MetricAlarmMetricQueryArgs(id=operand, metric=_queried(metric))
            for operand, metric in rate.operands.items()
        ]
        queries.append(
            aws.cloudwatch.MetricAlarmMetricQueryArgs(
                id="rate", expression=rate.expression, label="Lines that failed, %", return_data=True
            )
        )
        return self._alarm(
            "failure-rate", "More than 5 % of the lines of a job's output failed.", queries, MAX_FAILURE_PERCENT
        )

    def _threshold_alarm(
        self, name: str, description: str, metric: Metric, threshold: float, *, lasting: bool = False
    ) -> aws.cloudwatch.MetricAlarm:
        query = aws.cloudwatch.MetricAlarmMetricQueryArgs(id="value", metric=_queried(metric), return_data=True)
        return self._alarm(name, description, [query], threshold, lasting=lasting)

    def _alarm(
        self,
        name: str,
        description: str,
        queries: Sequence[aws.cloudwatch.MetricAlarmMetricQueryArgs],
        threshold: float,
        *,
        lasting: bool = False,
    ) -> aws.cloudwatch.MetricAlarm:
        return aws.cloudwatch.MetricAlarm(
            name,
            name=physical_name(name, self._stage),
            alarm_description=description,
            comparison_operator="GreaterThanThreshold",
            threshold=threshold,
            evaluation_periods=1,
            metric_queries=queries,
            treat_missing_data="ignore" if lasting else "notBreaching",
            alarm_actions=[self.topic.arn],
            ok_actions=[self.topic.arn] if lasting else [],
            opts=self._child,
        )


def _queried(metric: Metric) -> aws.cloudwatch.MetricAlarmMetricQueryMetricArgs:
    return aws.cloudwatch.MetricAlarmMetricQueryMetricArgs(
        namespace=metric.namespace,
        metric_name=metric.name,
        dimensions=metric.dimensions,
        stat=metric.stat,
        period=PERIOD_SECONDS,
    )

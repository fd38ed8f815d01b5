"""The alarms of a stage and the topic that they notify."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import alarm_topic, physical_name

from .alarms import Alarm, stage_alarms
from .metrics import PERIOD_SECONDS, Metric, Rate, StageMetrics
from .policies import alarm_topic_policy


@dataclass(frozen=True)
class MonitoringArgs:
    """Arguments of `Monitoring`. Each recipient in `emails` has to confirm the subscription before SNS notifies it."""

    stage: str
    account_id: pulumi.Input[str]
    metrics: StageMetrics
    emails: Sequence[str]


class Monitoring(pulumi.ComponentResource):
    """The alarms and their topic. Missing data does not trigger an alarm, because an idle stage emits no data.

    Resources:
        `{name}-alarms`: the topic and its policy.
        `{name}-alarms-{hash}`: a subscription per email address. The name contains a hash instead of the address,
            because the state and the CLI show names in plain text.
        `{name}-{alarm}`: the alarms in `stage_alarms`.
    """

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:monitoring:Monitoring", name, {}, opts)
        self._stage = args.stage
        self._child = pulumi.ResourceOptions(parent=self)
        self.topic = self._topic(alarm_topic(name), args)
        self.alarms = [self._alarm(f"{name}-{alarm.name}", alarm) for alarm in stage_alarms(args.metrics)]
        self.register_outputs({"topicArn": self.topic.arn})

    def _topic(self, name: str, args: MonitoringArgs) -> aws.sns.Topic:
        topic = aws.sns.Topic(name, name=physical_name(name, args.stage), opts=self._child)
        aws.sns.TopicPolicy(
            name,
            arn=topic.arn,
            policy=pulumi.Output.json_dumps(alarm_topic_policy(topic.arn, args.account_id)),
            opts=self._child,
        )
        for email in args.emails:
            aws.sns.TopicSubscription(
                f"{name}-{sha256(email.encode()).hexdigest()[:8]}",
                topic=topic.arn,
                protocol="email",
                endpoint=pulumi.Output.secret(email),
                opts=self._child,
            )
        return topic

    def _alarm(self, name: str, alarm: Alarm) -> aws.cloudwatch.MetricAlarm:
        return aws.cloudwatch.MetricAlarm(
            name,
            name=physical_name(name, self._stage),
            alarm_description=alarm.description,
            comparison_operator="GreaterThanThreshold",
            threshold=alarm.threshold,
            evaluation_periods=alarm.periods,
            datapoints_to_alarm=1,
            metric_queries=_queries(alarm.metric),
            treat_missing_data="ignore" if alarm.lasting else "notBreaching",
            alarm_actions=[self.topic.arn],
            ok_actions=[self.topic.arn] if alarm.lasting else [],
            opts=self._child,
        )


def _queries(metric: Metric | Rate) -> list[aws.cloudwatch.MetricAlarmMetricQueryArgs]:
    """Return the queries of an alarm. Exactly one of them returns data, as PutMetricAlarm requires."""
    query = aws.cloudwatch.MetricAlarmMetricQueryArgs
    if isinstance(metric, Metric):
        return [query(id="value", metric=_statistic(metric), return_data=True)]
    operands = [query(id=operand, metric=_statistic(of)) for operand, of in metric.operands.items()]
    return [*operands, query(id="rate", expression=metric.expression, label=metric.label, return_data=True)]


def _statistic(metric: Metric) -> aws.cloudwatch.MetricAlarmMetricQueryMetricArgs:
    return aws.cloudwatch.MetricAlarmMetricQueryMetricArgs(
        namespace=metric.namespace,
        metric_name=metric.name,
        dimensions=metric.dimensions,
        stat=metric.stat,
        period=PERIOD_SECONDS,
    )

"""The schedule on which EventBridge Scheduler invokes the batch_orchestrator, with a role of its own.

EventBridge Scheduler replaces `<aws.scheduler.scheduled-time>` in the input by the time of the run, such as
`2026-11-22T13:00:00Z`. It invokes the function asynchronously, so a run that fails is retried by Lambda. The retry
policy and the dead-letter queue of the schedule are for runs that Lambda does not accept. Both kinds of failed runs
reach the orchestrator's dead-letter queue.

Sources: EventBridge Scheduler user guide, "Adding context attributes in EventBridge Scheduler", "Using templated
targets in EventBridge Scheduler" and "Configuring a schedule's dead-letter queue in EventBridge Scheduler".
"""

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import physical_name

from .batch_models import Origin
from .policies import schedule_policy, schedule_trust_policy

GROUP = "default"
"""Name of the schedule group that every account has."""
INPUT = json.dumps({"scheduledTime": "<aws.scheduler.scheduled-time>"})
MAX_EVENT_AGE_SECONDS = 3600
"""Time for which EventBridge Scheduler retries an invocation, in seconds. The next run collects the same images."""


@dataclass(frozen=True)
class BatchScheduleArgs:
    """Arguments of `BatchSchedule`.

    Attributes:
        expression: The times of the runs: a `cron(...)` or `rate(...)` expression.
        timezone: The IANA time zone of the expression.
        function: The function that the schedule invokes.
        dead_letter_queue: The queue for runs that Lambda does not accept.
    """

    stage: str
    place: Origin
    expression: str
    timezone: str
    function: aws.lambda_.Function
    dead_letter_queue: aws.sqs.Queue


class BatchSchedule(pulumi.ComponentResource):
    """The schedule, and the role that EventBridge Scheduler assumes to invoke the function.

    Resources:
        `{name}`: the schedule and its role.
        `{name}-target`: the role's inline policy.
    """

    def __init__(self, name: str, args: BatchScheduleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:functions:BatchSchedule", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        group = args.place.arn("scheduler", f"schedule-group/{GROUP}")
        role = aws.iam.Role(
            name,
            name=physical_name(name, args.stage),
            assume_role_policy=pulumi.Output.json_dumps(schedule_trust_policy(args.place.account_id, group)),
            opts=child,
        )
        permission = aws.iam.RolePolicy(
            f"{name}-target",
            name="target",
            role=role.name,
            policy=pulumi.Output.json_dumps(schedule_policy(args.function.arn, args.dead_letter_queue.arn)),
            opts=child,
        )
        schedule = aws.scheduler.Schedule(
            name,
            name=physical_name(name, args.stage),
            group_name=GROUP,
            description="Submits the waiting images of this stage.",
            schedule_expression=args.expression,
            schedule_expression_timezone=args.timezone,
            flexible_time_window=aws.scheduler.ScheduleFlexibleTimeWindowArgs(mode="OFF"),
            target=aws.scheduler.ScheduleTargetArgs(
                arn=args.function.arn,
                role_arn=role.arn,
                input=INPUT,
                retry_policy=aws.scheduler.ScheduleTargetRetryPolicyArgs(
                    maximum_event_age_in_seconds=MAX_EVENT_AGE_SECONDS
                ),
                dead_letter_config=aws.scheduler.ScheduleTargetDeadLetterConfigArgs(arn=args.dead_letter_queue.arn),
            ),
            # The first run needs the role's permissions.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[permission]),
        )
        self.register_outputs({"scheduleName": schedule.name})

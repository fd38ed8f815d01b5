"""The queue that feeds the batch_result_handler.

The queue receives notifications of output files from a topic, and events of failed jobs from EventBridge. With
`trigger: s3` the bucket does not publish to the topic. The queue then receives events of failed jobs and redriven
messages.
"""

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import (
    BEDROCK_EVENT_SOURCE,
    JOB_STATE_CHANGE,
    BedrockEnd,
    dead_letter_queue,
    job_name_prefix,
    physical_name,
)

from .policies import Document, queue_policy, topic_policy
from .protection import data_options

MAX_RECEIVES = 5
"""Number of receives after which a failed message is moved to the dead-letter queue."""
DLQ_RETENTION_SECONDS = 14 * 24 * 3600
"""Retention of a dead-letter queue, in seconds. 14 days is SQS's maximum."""
VISIBILITY_PER_TIMEOUT = 6
"""Ratio of the queue's visibility timeout to the function's timeout. AWS recommends at least 6."""

NO_SOURCE_QUEUES = {"redrivePermission": "denyAll"}
"""Redrive permission of a queue that is not the dead-letter queue of another queue."""


@dataclass(frozen=True)
class MessagingArgs:
    """Arguments of `Messaging`.

    Attributes:
        bucket: The bucket that may publish to the topic.
        function_timeout_seconds: The timeout of the function that receives from the queue.
        drill_event_source: A second source of job state changes. Only Bedrock can send events as Bedrock.
    """

    stage: str
    account_id: pulumi.Input[str]
    bucket: aws.s3.Bucket
    function_timeout_seconds: int
    drill_event_source: str | None
    protect_data: bool


class Messaging(pulumi.ComponentResource):
    """The queue, its dead-letter queue, and the senders to both.

    `topic_ready` lists the resources that must exist before the bucket publishes.

    Resources:
        `{name}` and `{name}-dlq`: the queues, their policies and their redrive permissions.
        `{name}-failed-jobs`: the EventBridge rule for jobs that did not complete, and its target, the queue.
        `{name}`: the topic, its policy and its subscription.
    """

    def __init__(self, name: str, args: MessagingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:messaging:Messaging", name, {}, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        self.dead_letter_queue = aws.sqs.Queue(
            dead_letter_queue(name),
            name=physical_name(dead_letter_queue(name), args.stage),
            message_retention_seconds=DLQ_RETENTION_SECONDS,
            sqs_managed_sse_enabled=True,
            opts=data_options(self, protect=args.protect_data),
        )
        self.queue = aws.sqs.Queue(
            name,
            name=physical_name(name, args.stage),
            visibility_timeout_seconds=VISIBILITY_PER_TIMEOUT * args.function_timeout_seconds,
            redrive_policy=self._to_dead_letter_queue(maxReceiveCount=MAX_RECEIVES),
            sqs_managed_sse_enabled=True,
            opts=self._child,
        )
        only_queue = {"redrivePermission": "byQueue", "sourceQueueArns": [self.queue.arn]}
        self._permit_redrive(dead_letter_queue(name), self.dead_letter_queue, only_queue)
        self._permit_redrive(name, self.queue, NO_SOURCE_QUEUES)
        self.rule = self._rule(f"{name}-failed-jobs", args)
        # S3 cannot use the key that AWS manages for SNS, so the topic is not encrypted. Messages only name objects.
        self.topic = aws.sns.Topic(name, name=physical_name(name, args.stage), opts=self._child)
        may_send = [
            self._queue_policy(name, self.queue),
            self._queue_policy(dead_letter_queue(name), self.dead_letter_queue),
        ]
        sending = pulumi.ResourceOptions(parent=self, depends_on=may_send)
        self._send_failed_jobs(f"{name}-failed-jobs", sending)
        policy = topic_policy(self.topic.arn, args.bucket.arn, args.account_id)
        self.topic_ready = [self._topic_policy(name, policy), self._subscribe(name, sending)]
        self.register_outputs(
            {
                "queueUrl": self.queue.url,
                "deadLetterQueueUrl": self.dead_letter_queue.url,
                "ruleName": self.rule.name,
                "topicArn": self.topic.arn,
            }
        )

    def _to_dead_letter_queue(self, **settings: int) -> pulumi.Output[str]:
        """Return a redrive policy that names the dead-letter queue."""
        return pulumi.Output.json_dumps({"deadLetterTargetArn": self.dead_letter_queue.arn, **settings})

    def _permit_redrive(self, name: str, queue: aws.sqs.Queue, permission: Document) -> None:
        aws.sqs.RedriveAllowPolicy(
            name,
            queue_url=queue.url,
            redrive_allow_policy=pulumi.Output.json_dumps(permission),
            opts=self._child,
        )

    def _queue_policy(self, name: str, queue: aws.sqs.Queue) -> aws.sqs.QueuePolicy:
        document = queue_policy(queue.arn, self.rule.arn, self.topic.arn)
        return aws.sqs.QueuePolicy(
            name, queue_url=queue.url, policy=pulumi.Output.json_dumps(document), opts=self._child
        )

    def _rule(self, name: str, args: MessagingArgs) -> aws.cloudwatch.EventRule:
        pattern = {
            "source": [BEDROCK_EVENT_SOURCE, *filter(None, [args.drill_event_source])],
            "detail-type": [JOB_STATE_CHANGE],
            # The event bus receives events of all jobs in the account, also those of other stages and applications.
            "detail": {"batchJobName": [{"prefix": job_name_prefix(args.stage)}], "status": list(BedrockEnd)},
        }
        return aws.cloudwatch.EventRule(
            name,
            name=physical_name(name, args.stage),
            description="A batch inference job of this stage ended without completing.",
            event_pattern=json.dumps(pattern),
            opts=self._child,
        )

    def _send_failed_jobs(self, name: str, opts: pulumi.ResourceOptions) -> None:
        aws.cloudwatch.EventTarget(
            name,
            rule=self.rule.name,
            target_id="queue",
            arn=self.queue.arn,
            # EventBridge does not retry an event if the queue denies access. The event would be lost.
            dead_letter_config=aws.cloudwatch.EventTargetDeadLetterConfigArgs(arn=self.dead_letter_queue.arn),
            opts=opts,
        )

    def _topic_policy(self, name: str, policy: Document) -> aws.sns.TopicPolicy:
        return aws.sns.TopicPolicy(name, arn=self.topic.arn, policy=pulumi.Output.json_dumps(policy), opts=self._child)

    def _subscribe(self, name: str, opts: pulumi.ResourceOptions) -> aws.sns.TopicSubscription:
        return aws.sns.TopicSubscription(
            name,
            topic=self.topic.arn,
            protocol="sqs",
            endpoint=self.queue.arn,
            # SNS does not retry a message if the queue denies access.
            redrive_policy=self._to_dead_letter_queue(),
            opts=opts,
        )

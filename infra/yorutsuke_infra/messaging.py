"""The queue that feeds the function: with outputs, through a topic, and with failed jobs, through EventBridge.

What fails five times goes to a dead-letter queue. Where S3 invokes the function straight there is no topic; failed
jobs, and what is redriven, come through the queue all the same.
"""

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import BEDROCK_EVENT_SOURCE, JOB_STATE_CHANGE, BedrockEnd, job_name_prefix

from .config import physical_name
from .policies import queue_policy, topic_policy

MAX_RECEIVES = 5
DLQ_RETENTION_SECONDS = 14 * 24 * 3600
VISIBILITY_PER_TIMEOUT = 6
"""AWS asks for a visibility timeout of at least six times the function's timeout."""

NOBODY = {"redrivePermission": "denyAll"}


@dataclass(frozen=True)
class MessagingArgs:
    """`bucket` may publish to the topic; without one there is no topic. The timeout is the consumer's.

    `drill_event_source` is a second source of job state changes, since nobody but Bedrock can send events as Bedrock.
    """

    stage: str
    account_id: pulumi.Input[str]
    bucket: aws.s3.Bucket | None
    function_timeout_seconds: int
    drill_event_source: str | None


class Messaging(pulumi.ComponentResource):
    """The queue and its dead-letter queue, the rule for failed jobs, and the topic for outputs, or None.

    `topic_ready` is what has to be there before anything is published.
    """

    def __init__(self, name: str, args: MessagingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:messaging:Messaging", name, {}, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        self.dead_letter_queue = aws.sqs.Queue(
            "batch-output-dlq",
            name=physical_name("batch-output-dlq", args.stage),
            message_retention_seconds=DLQ_RETENTION_SECONDS,
            sqs_managed_sse_enabled=True,
            opts=self._child,
        )
        self.queue = self._queue(args)
        self.rule = self._rule(args)
        self.topic = self._topic(args.stage) if args.bucket else None
        may_send = [self._policy("batch-output", self.queue), self._policy("batch-output-dlq", self.dead_letter_queue)]
        self._sending = pulumi.ResourceOptions(parent=self, depends_on=may_send)
        self._send_failed_jobs()
        self.topic_ready = self._connect(self.topic, args.bucket, args) if self.topic and args.bucket else []
        self.register_outputs({})

    def _policy(self, name: str, queue: aws.sqs.Queue) -> aws.sqs.QueuePolicy:
        document = queue_policy(queue.arn, self.rule.arn, self.topic.arn if self.topic else None)
        return aws.sqs.QueuePolicy(
            name, queue_url=queue.url, policy=pulumi.Output.json_dumps(document), opts=self._child
        )

    def _queue(self, args: MessagingArgs) -> aws.sqs.Queue:
        queue = aws.sqs.Queue(
            "batch-output",
            name=physical_name("batch-output", args.stage),
            visibility_timeout_seconds=VISIBILITY_PER_TIMEOUT * args.function_timeout_seconds,
            redrive_policy=pulumi.Output.json_dumps(
                {"deadLetterTargetArn": self.dead_letter_queue.arn, "maxReceiveCount": MAX_RECEIVES}
            ),
            sqs_managed_sse_enabled=True,
            opts=self._child,
        )
        self._allow_redrive("batch-output-dlq", self.dead_letter_queue, queue)
        self._allow_redrive("batch-output", queue)
        return queue

    def _allow_redrive(self, name: str, queue: aws.sqs.Queue, source: aws.sqs.Queue | None = None) -> None:
        """Let one queue of the account have this one as its dead-letter queue, or none."""
        allowed = {"redrivePermission": "byQueue", "sourceQueueArns": [source.arn]} if source else NOBODY
        aws.sqs.RedriveAllowPolicy(
            name,
            queue_url=queue.url,
            redrive_allow_policy=pulumi.Output.json_dumps(allowed),
            opts=self._child,
        )

    def _topic(self, stage: str) -> aws.sns.Topic:
        # A topic is encrypted with a key of the account's own or not at all: S3 may not use the one that AWS keeps for
        # SNS. What is published here names objects, and holds nothing of them.
        return aws.sns.Topic("batch-output", name=physical_name("batch-output", stage), opts=self._child)

    def _rule(self, args: MessagingArgs) -> aws.cloudwatch.EventRule:
        sources = [BEDROCK_EVENT_SOURCE, *filter(None, [args.drill_event_source])]
        pattern = {
            "source": sources,
            "detail-type": [JOB_STATE_CHANGE],
            # Every job of the account comes by, also those of other stages and other applications.
            "detail": {"batchJobName": [{"prefix": job_name_prefix(args.stage)}], "status": list(BedrockEnd)},
        }
        return aws.cloudwatch.EventRule(
            "failed-jobs",
            name=physical_name("failed-jobs", args.stage),
            description="Bedrock ended a batch inference job of this stage otherwise than completely.",
            event_pattern=json.dumps(pattern),
            opts=self._child,
        )

    def _send_failed_jobs(self) -> None:
        aws.cloudwatch.EventTarget(
            "failed-jobs",
            rule=self.rule.name,
            target_id="queue",
            arn=self.queue.arn,
            # What EventBridge may not send, it does not try again: without this it would be gone.
            dead_letter_config=aws.cloudwatch.EventTargetDeadLetterConfigArgs(arn=self.dead_letter_queue.arn),
            opts=self._sending,
        )

    def _connect(self, topic: aws.sns.Topic, bucket: aws.s3.Bucket, args: MessagingArgs) -> list[pulumi.Resource]:
        """Let the bucket publish to the topic, and the topic send to the queue."""
        may_publish = aws.sns.TopicPolicy(
            "batch-output",
            arn=topic.arn,
            policy=pulumi.Output.json_dumps(topic_policy(topic.arn, bucket.arn, args.account_id)),
            opts=self._child,
        )
        subscription = aws.sns.TopicSubscription(
            "batch-output",
            topic=topic.arn,
            protocol="sqs",
            endpoint=self.queue.arn,
            # What SNS may not deliver, it does not try again either.
            redrive_policy=pulumi.Output.json_dumps({"deadLetterTargetArn": self.dead_letter_queue.arn}),
            opts=self._sending,
        )
        return [may_publish, subscription]

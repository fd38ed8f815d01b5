"""How a finished output reaches the function: S3 to SNS to SQS, and to a dead-letter queue after five receives."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from .config import physical_name
from .policies import queue_policy, topic_policy

MAX_RECEIVES = 5
DLQ_RETENTION_SECONDS = 14 * 24 * 3600
VISIBILITY_PER_TIMEOUT = 6
"""AWS asks for a visibility timeout of at least six times the function's timeout."""

OUTPUT_PREFIX = "batch-output/"
OUTPUT_SUFFIXES = (".jsonl", ".jsonl.out")
"""Of what Bedrock writes below the prefix, only the results are processed."""


@dataclass(frozen=True)
class MessagingArgs:
    """`bucket` is where outputs appear; `function_timeout_seconds` is the consumer's."""

    stage: str
    account_id: pulumi.Input[str]
    bucket: aws.s3.Bucket
    function_timeout_seconds: int


class Messaging(pulumi.ComponentResource):
    """The topic, the queue and its dead-letter queue, and the bucket's notification."""

    def __init__(self, name: str, args: MessagingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:messaging:Messaging", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        self.topic = aws.sns.Topic("batch-output", name=physical_name("batch-output", args.stage), opts=child)
        self.dead_letter_queue = aws.sqs.Queue(
            "batch-output-dlq",
            name=physical_name("batch-output-dlq", args.stage),
            message_retention_seconds=DLQ_RETENTION_SECONDS,
            opts=child,
        )
        self.queue = aws.sqs.Queue(
            "batch-output",
            name=physical_name("batch-output", args.stage),
            visibility_timeout_seconds=VISIBILITY_PER_TIMEOUT * args.function_timeout_seconds,
            redrive_policy=pulumi.Output.json_dumps(
                {"deadLetterTargetArn": self.dead_letter_queue.arn, "maxReceiveCount": MAX_RECEIVES}
            ),
            opts=child,
        )
        self._connect(args, child)
        self.register_outputs({})

    def _connect(self, args: MessagingArgs, child: pulumi.ResourceOptions) -> None:
        may_publish = aws.sns.TopicPolicy(
            "batch-output",
            arn=self.topic.arn,
            policy=pulumi.Output.json_dumps(topic_policy(self.topic.arn, args.bucket.arn, args.account_id)),
            opts=child,
        )
        may_send = aws.sqs.QueuePolicy(
            "batch-output",
            queue_url=self.queue.url,
            policy=pulumi.Output.json_dumps(queue_policy(self.queue.arn, self.topic.arn)),
            opts=child,
        )
        subscription = aws.sns.TopicSubscription(
            "batch-output",
            topic=self.topic.arn,
            protocol="sqs",
            endpoint=self.queue.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[may_send]),
        )
        aws.s3.BucketNotification(
            "batch-output",
            bucket=args.bucket.bucket,
            topics=[
                aws.s3.BucketNotificationTopicArgs(
                    id=f"results-{suffix.rsplit('.', 1)[-1]}",
                    topic_arn=self.topic.arn,
                    events=["s3:ObjectCreated:*"],
                    filter_prefix=OUTPUT_PREFIX,
                    filter_suffix=suffix,
                )
                for suffix in OUTPUT_SUFFIXES
            ],
            # S3 checks that it may publish; what it published before there is a subscription would be lost.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[may_publish, subscription]),
        )

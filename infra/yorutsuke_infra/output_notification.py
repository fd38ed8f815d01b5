"""The notification of output files: the bucket publishes to a topic or invokes the function directly.

A direct invocation is a shorter path, for quick validation. Lambda retries a failed event after one minute and after
two more, then sends it to the dead-letter queue. The claim of a crashed invocation can outlast these retries.

Both paths always exist, and the trigger only selects the one that the bucket uses. S3 takes about five minutes to
apply a changed notification, and uses the earlier path until then. If that path ended with the change, notifications
would be lost.

Sources: AWS Lambda developer guide, "Invoking a Lambda function asynchronously"; Amazon S3 user guide, "Enabling and
configuring event notifications using the Amazon S3 console".
"""

from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import BATCH_OUTPUT_PREFIX, OUTPUT_MANIFEST_NAME, OUTPUT_SUFFIXES

from .messaging import Messaging
from .python_function import keep_failed_events

CREATED = ["s3:ObjectCreated:*"]
SUFFIXES = (*OUTPUT_SUFFIXES, f"/{OUTPUT_MANIFEST_NAME}")
"""Suffixes of the objects below `batch-output/` that the function reads."""


@dataclass(frozen=True)
class OutputNotificationArgs:
    """Arguments of `OutputNotification`.

    Attributes:
        trigger: `sqs` if the bucket publishes to the topic of `messaging`, `s3` if it invokes `function`.
        function: Its role must be allowed to send failed events to the dead-letter queue of `messaging`.
    """

    trigger: Literal["sqs", "s3"]
    account_id: pulumi.Input[str]
    bucket: aws.s3.Bucket
    messaging: Messaging
    function: aws.lambda_.Function


class OutputNotification(pulumi.ComponentResource):
    """The bucket's only notification. S3 would replace it with a second one, so both triggers use this resource.

    Resources:
        `{name}`: the notification, S3's permission to invoke the function, and the destination of failed events.
    """

    def __init__(self, name: str, args: OutputNotificationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:messaging:OutputNotification", name, {}, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        # S3 checks its permissions when it creates the notification. Without a receiver, events would be lost.
        ready = [*args.messaging.topic_ready, *self._may_invoke(name, args)]
        aws.s3.BucketNotification(
            name,
            bucket=args.bucket.bucket,
            topics=_on_topic(args.messaging.topic) if args.trigger == "sqs" else None,
            lambda_functions=_to_function(args.function) if args.trigger == "s3" else None,
            opts=pulumi.ResourceOptions(parent=self, depends_on=ready),
        )
        self.register_outputs({})

    def _may_invoke(self, name: str, args: OutputNotificationArgs) -> list[pulumi.Resource]:
        permission = aws.lambda_.Permission(
            name,
            statement_id="BucketInvokes",
            action="lambda:InvokeFunction",
            function=args.function.name,
            principal="s3.amazonaws.com",
            source_arn=args.bucket.arn,
            # A bucket's ARN omits the account, and another account can take the name of a deleted bucket.
            source_account=args.account_id,
            opts=self._child,
        )
        kept = keep_failed_events(name, args.function, args.messaging.dead_letter_queue, self._child)
        return [permission, kept]


def _on_topic(topic: aws.sns.Topic) -> list[aws.s3.BucketNotificationTopicArgs]:
    return [
        aws.s3.BucketNotificationTopicArgs(
            id=_rule_id(suffix),
            topic_arn=topic.arn,
            events=CREATED,
            filter_prefix=BATCH_OUTPUT_PREFIX,
            filter_suffix=suffix,
        )
        for suffix in SUFFIXES
    ]


def _to_function(function: aws.lambda_.Function) -> list[aws.s3.BucketNotificationLambdaFunctionArgs]:
    return [
        aws.s3.BucketNotificationLambdaFunctionArgs(
            id=_rule_id(suffix),
            lambda_function_arn=function.arn,
            events=CREATED,
            filter_prefix=BATCH_OUTPUT_PREFIX,
            filter_suffix=suffix,
        )
        for suffix in SUFFIXES
    ]


def _rule_id(suffix: str) -> str:
    """Return the id of the rule for a suffix, such as jsonl-out for .jsonl.out."""
    return suffix.strip("./").replace(".", "-")

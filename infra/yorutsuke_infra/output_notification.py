"""How the bucket announces outputs: on a topic, or by invoking the function straight.

Straight means fewer parts, for quick validation. Lambda tries an event that the function failed with twice more, after
one minute and two, and then hands it to the dead-letter queue. That is soon: a job whose function died is claimed for
as long as that could have lived.

Source: AWS Lambda developer guide, "Invoking a Lambda function asynchronously".
"""

from dataclasses import dataclass

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
    """`bucket` announces on the topic of `messaging`, or invokes `function` where that has none.

    What the function fails with then goes to the dead-letter queue: its role has to be allowed to send there.
    """

    account_id: pulumi.Input[str]
    bucket: aws.s3.Bucket
    messaging: Messaging
    function: aws.lambda_.Function


class OutputNotification(pulumi.ComponentResource):
    """The bucket's one notification, the same resource with either trigger: a second would replace what S3 has.

    Where it invokes the function, also its leave to do so, and where failed events go.
    """

    def __init__(self, name: str, args: OutputNotificationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:messaging:OutputNotification", name, {}, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        topic = args.messaging.topic
        # S3 checks that it may send; what it sent before somebody takes it, or keeps it, would be lost.
        ready = args.messaging.topic_ready if topic else self._may_invoke(args)
        aws.s3.BucketNotification(
            "batch-output",
            bucket=args.bucket.bucket,
            topics=_on_topic(topic) if topic else None,
            lambda_functions=None if topic else _to_function(args.function),
            opts=pulumi.ResourceOptions(parent=self, depends_on=ready),
        )
        self.register_outputs({})

    def _may_invoke(self, args: OutputNotificationArgs) -> list[pulumi.Resource]:
        may_invoke = aws.lambda_.Permission(
            "batch-output",
            statement_id="BucketInvokes",
            action="lambda:InvokeFunction",
            function=args.function.name,
            principal="s3.amazonaws.com",
            source_arn=args.bucket.arn,
            # A bucket's ARN names no account, and its name is free again once it is deleted.
            source_account=args.account_id,
            opts=self._child,
        )
        kept = keep_failed_events("batch-output", args.function, args.messaging.dead_letter_queue, self._child)
        return [may_invoke, kept]


def _on_topic(topic: aws.sns.Topic) -> list[aws.s3.BucketNotificationTopicArgs]:
    return [
        aws.s3.BucketNotificationTopicArgs(
            id=suffix, topic_arn=topic.arn, events=CREATED, filter_prefix=BATCH_OUTPUT_PREFIX, filter_suffix=suffix
        )
        for suffix in SUFFIXES
    ]


def _to_function(function: aws.lambda_.Function) -> list[aws.s3.BucketNotificationLambdaFunctionArgs]:
    return [
        aws.s3.BucketNotificationLambdaFunctionArgs(
            id=suffix,
            lambda_function_arn=function.arn,
            events=CREATED,
            filter_prefix=BATCH_OUTPUT_PREFIX,
            filter_suffix=suffix,
        )
        for suffix in SUFFIXES
    ]

"""S3 invoking the function straight, without topic and queue: fewer parts, for quick validation.

Lambda tries an event that the function failed with twice more, after one minute and two, and then hands it to the
dead-letter queue. That is soon: a job whose function died is claimed for as long as that could have lived.

Source: AWS Lambda developer guide, "Invoking a Lambda function asynchronously".
"""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from .messaging import CREATED, OUTPUT_PREFIX, OUTPUT_SUFFIXES

RETRIES = 2
"""Lambda's maximum."""


@dataclass(frozen=True)
class DirectInvocationArgs:
    """`function` is invoked for each output in `bucket`; what it fails with goes to `dead_letter_queue`.

    The function's role has to be allowed to send there.
    """

    account_id: pulumi.Input[str]
    bucket: aws.s3.Bucket
    function: aws.lambda_.Function
    dead_letter_queue: aws.sqs.Queue


class DirectInvocation(pulumi.ComponentResource):
    """The bucket's notification, its leave to invoke the function, and where failed events go."""

    def __init__(self, name: str, args: DirectInvocationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:messaging:DirectInvocation", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        may_invoke = aws.lambda_.Permission(
            "batch-output",
            statement_id="BucketInvokes",
            action="lambda:InvokeFunction",
            function=args.function.name,
            principal="s3.amazonaws.com",
            source_arn=args.bucket.arn,
            # A bucket's ARN names no account, and its name is free again once it is deleted.
            source_account=args.account_id,
            opts=child,
        )
        kept = aws.lambda_.FunctionEventInvokeConfig(
            "batch-output",
            function_name=args.function.name,
            maximum_retry_attempts=RETRIES,
            destination_config=aws.lambda_.FunctionEventInvokeConfigDestinationConfigArgs(
                on_failure=aws.lambda_.FunctionEventInvokeConfigDestinationConfigOnFailureArgs(
                    destination=args.dead_letter_queue.arn
                )
            ),
            opts=child,
        )
        aws.s3.BucketNotification(
            "batch-output",
            bucket=args.bucket.bucket,
            lambda_functions=[
                aws.s3.BucketNotificationLambdaFunctionArgs(
                    id=output,
                    lambda_function_arn=args.function.arn,
                    events=[CREATED],
                    filter_prefix=OUTPUT_PREFIX,
                    filter_suffix=suffix,
                )
                for output, suffix in OUTPUT_SUFFIXES.items()
            ],
            # S3 checks that it may invoke; an event that failed before there is a destination would be lost.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[may_invoke, kept]),
        )
        self.register_outputs({})

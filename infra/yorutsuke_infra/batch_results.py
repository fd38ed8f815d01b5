"""The batch_result_handler, its permissions and its event source."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import RESULT_SERVICE

from .messaging import Messaging
from .policies import BatchResultResources, batch_result_policy, consume_policy, on_failure_policy
from .python_function import CommonArgs, PythonFunction, PythonFunctionArgs
from .storage import Storage


@dataclass(frozen=True)
class BatchResultsArgs:
    """Arguments of `BatchResults`: the parts of the stage that the function uses."""

    common: CommonArgs
    storage: Storage
    messaging: Messaging


class BatchResults(pulumi.ComponentResource):
    """The function and the mapping that feeds it.

    A message announces the output of one job, which may take minutes to process. The function receives one message at
    a time, because a timeout returns all messages of the invocation to the queue.

    Resources:
        `{name}`: the function, a `PythonFunction`, and the mapping from the queue to it.
    """

    def __init__(self, name: str, args: BatchResultsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:functions:BatchResults", name, {}, opts)
        child, config = pulumi.ResourceOptions(parent=self), args.common.config
        resources = BatchResultResources(
            bucket=args.storage.images.arn,
            transactions=args.storage.transactions.arn,
            batch_jobs=args.storage.batch_jobs.arn,
            pending_images=args.storage.pending_images.arn,
        )
        self.handler = PythonFunction(
            name,
            PythonFunctionArgs(
                common=args.common,
                package=RESULT_SERVICE,
                environment={
                    **args.storage.environment,
                    "TRANSACTIONS_TABLE": args.storage.transactions.name,
                    "TRANSACTION_TTL_DAYS": str(config.transaction_ttl_days),
                    "TIMEZONE": config.timezone,
                },
                policies={
                    "data": batch_result_policy(resources),
                    "queue": consume_policy(args.messaging.queue.arn),
                    "on-failure": on_failure_policy(args.messaging.dead_letter_queue.arn),
                },
                timeout_seconds=config.function_timeout_seconds,
            ),
            child,
        )
        aws.lambda_.EventSourceMapping(
            name,
            event_source_arn=args.messaging.queue.arn,
            function_name=self.handler.function.arn,
            batch_size=1,
            function_response_types=["ReportBatchItemFailures"],
            scaling_config=aws.lambda_.EventSourceMappingScalingConfigArgs(
                maximum_concurrency=config.function_max_concurrency
            ),
            opts=child,
        )
        self.register_outputs({"functionName": self.handler.function.name})

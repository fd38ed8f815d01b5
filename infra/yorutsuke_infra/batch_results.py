"""The batch_result_handler: what it may do, what it is told, and what wakes it."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from .artifacts import Target
from .config import StageConfig
from .messaging import Messaging
from .policies import BatchResultResources, Document, batch_result_policy, consume_policy, on_failure_policy
from .python_function import PythonFunction, PythonFunctionArgs
from .storage import Storage

PACKAGE = "batch_result_handler"


@dataclass(frozen=True)
class BatchResultsArgs:
    """The parts of the stage that the handler works between."""

    stage: str
    config: StageConfig
    target: Target
    storage: Storage
    messaging: Messaging
    layer_arn: pulumi.Input[str]


class BatchResults(pulumi.ComponentResource):
    """The function and the event source mapping that feeds it one message at a time.

    One message is one job's output and may take minutes: in a larger batch, a job that times out would send its
    neighbours back as well, and with them towards the dead-letter queue.
    """

    def __init__(self, name: str, args: BatchResultsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:functions:BatchResults", name, {}, opts)
        config, storage = args.config, args.storage
        data = BatchResultResources(
            bucket=storage.images.arn,
            transactions=storage.transactions.arn,
            batch_jobs=storage.batch_jobs.arn,
            pending_images=storage.pending_images.arn,
        )
        self.handler = PythonFunction(
            "batch-result-handler",
            PythonFunctionArgs(
                stage=args.stage,
                config=config,
                package=PACKAGE,
                target=args.target,
                layer_arn=args.layer_arn,
                environment={
                    **storage.environment,
                    "TRANSACTIONS_TABLE": storage.transactions.name,
                    "TRANSACTION_TTL_DAYS": str(config.transaction_ttl_days),
                    "TIMEZONE": config.timezone,
                },
                policies=_policies(args, data),
                timeout_seconds=config.function_timeout_seconds,
            ),
            pulumi.ResourceOptions(parent=self),
        )
        aws.lambda_.EventSourceMapping(
            "batch-output",
            event_source_arn=args.messaging.queue.arn,
            function_name=self.handler.function.arn,
            batch_size=1,
            function_response_types=["ReportBatchItemFailures"],
            scaling_config=aws.lambda_.EventSourceMappingScalingConfigArgs(
                maximum_concurrency=config.function_max_concurrency
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _policies(args: BatchResultsArgs, data: BatchResultResources) -> dict[str, Document]:
    policies = {"data": batch_result_policy(data), "queue": consume_policy(args.messaging.queue.arn)}
    if args.config.trigger == "s3":
        policies["on-failure"] = on_failure_policy(args.messaging.dead_letter_queue.arn)
    return policies

"""The batch_orchestrator, and the role that Bedrock takes on to work on the jobs that it submits.

Whoever invokes it and waits is told of a failure by its answer. An event that nobody waits for is tried twice more, and
then kept in a queue of its own, request and error together: it is for the orchestrator, and nothing that the queue of
outputs could be sent.
"""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from .artifacts import Target
from .batch_models import BatchModels, Place, batch_models
from .config import StageConfig, physical_name
from .messaging import DLQ_RETENTION_SECONDS, NOBODY
from .policies import (
    BatchSubmissionResources,
    bedrock_policy,
    bedrock_trust_policy,
    on_failure_policy,
    submission_policy,
)
from .python_function import PythonFunction, PythonFunctionArgs, keep_failed_events
from .storage import Storage

PACKAGE = "batch_orchestrator"
TIMEOUT_SECONDS = 900
"""Lambda's maximum. Reading the images of a large job takes minutes, and what is not read in time is read anew."""
MAX_MESSAGE_BYTES = 1_048_576
"""SQS's maximum."""


@dataclass(frozen=True)
class BatchSubmissionArgs:
    """The parts of the stage that the orchestrator works between, and where in AWS it is."""

    stage: str
    config: StageConfig
    target: Target
    storage: Storage
    layer_arn: pulumi.Input[str]
    place: Place


class BatchSubmission(pulumi.ComponentResource):
    """The function, the queue of what it failed with, and Bedrock's role, which this account's jobs alone take on."""

    def __init__(self, name: str, args: BatchSubmissionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:functions:BatchSubmission", name, {}, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        # Of any id: Bedrock gives it when the job is there.
        jobs = args.place.bedrock("model-invocation-job/*")
        models = batch_models(args.place, args.config.model_ids)
        self.bedrock_role = aws.iam.Role(
            "bedrock-batch",
            name=physical_name("bedrock-batch", args.stage),
            assume_role_policy=pulumi.Output.json_dumps(bedrock_trust_policy(args.place.account_id, jobs)),
            opts=self._child,
        )
        rights = aws.iam.RolePolicy(
            "bedrock-batch-data",
            name="data",
            role=self.bedrock_role.name,
            policy=pulumi.Output.json_dumps(bedrock_policy(args.storage.images.arn, models)),
            opts=self._child,
        )
        self.dead_letter_queue = self._dead_letter_queue(args.stage)
        # Bedrock takes its role on as soon as it has a job.
        self.orchestrator = self._orchestrator(args, models, jobs, rights)
        keep_failed_events("batch-orchestrator", self.orchestrator.function, self.dead_letter_queue, self._child)
        self.register_outputs({})

    def _dead_letter_queue(self, stage: str) -> aws.sqs.Queue:
        queue = aws.sqs.Queue(
            "batch-orchestrator-dlq",
            name=physical_name("batch-orchestrator-dlq", stage),
            message_retention_seconds=DLQ_RETENTION_SECONDS,
            # By default a fourth of that, and of what a request may have that nobody waits for.
            max_message_size=MAX_MESSAGE_BYTES,
            sqs_managed_sse_enabled=True,
            opts=self._child,
        )
        aws.sqs.RedriveAllowPolicy(
            "batch-orchestrator-dlq",
            queue_url=queue.url,
            redrive_allow_policy=pulumi.Output.json_dumps(NOBODY),
            opts=self._child,
        )
        return queue

    def _orchestrator(
        self, args: BatchSubmissionArgs, models: BatchModels, jobs: pulumi.Input[str], *first: pulumi.Resource
    ) -> PythonFunction:
        config, storage = args.config, args.storage
        resources = BatchSubmissionResources(
            bucket=storage.images.arn,
            batch_jobs=storage.batch_jobs.arn,
            pending_images=storage.pending_images.arn,
            bedrock_role=self.bedrock_role.arn,
            bedrock_jobs=jobs,
            models=models,
        )
        return PythonFunction(
            "batch-orchestrator",
            PythonFunctionArgs(
                stage=args.stage,
                config=config,
                package=PACKAGE,
                target=args.target,
                layer_arn=args.layer_arn,
                environment={
                    **storage.environment,
                    "BEDROCK_ROLE_ARN": self.bedrock_role.arn,
                    "MODEL_IDS": ",".join(config.model_ids),
                    "MIN_RECORDS": str(config.min_records),
                },
                policies={
                    "data": submission_policy(resources),
                    "on-failure": on_failure_policy(self.dead_letter_queue.arn),
                },
                timeout_seconds=TIMEOUT_SECONDS,
                after=first,
            ),
            self._child,
        )

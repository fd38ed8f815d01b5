"""The batch_orchestrator, and the role that Bedrock assumes to run the submitted jobs.

A synchronous caller receives an error as the response. Lambda retries a failed asynchronous request twice. It then
sends the request with its error to the orchestrator's own dead-letter queue. A redrive from the other dead-letter queue
would send the request to the batch_result_handler.
"""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import MAX_FUNCTION_SECONDS, ORCHESTRATOR_SERVICE, dead_letter_queue, physical_name

from .batch_models import Origin, batch_models
from .messaging import DLQ_RETENTION_SECONDS, NO_SOURCE_QUEUES
from .policies import (
    BatchSubmissionResources,
    bedrock_policy,
    bedrock_trust_policy,
    on_failure_policy,
    submission_policy,
)
from .protection import data_options
from .python_function import CommonArgs, PythonFunction, PythonFunctionArgs, keep_failed_events
from .storage import Storage

MAX_MESSAGE_BYTES = 1_048_576
"""Maximum size of a message, in bytes: the size that an asynchronous request can have. SQS's default is a quarter."""


@dataclass(frozen=True)
class BatchSubmissionArgs:
    """Arguments of `BatchSubmission`: the parts of the stage that the function uses, and its place in AWS."""

    common: CommonArgs
    storage: Storage
    place: Origin


class BatchSubmission(pulumi.ComponentResource):
    """The function, its dead-letter queue, and Bedrock's role.

    Resources:
        `{name}`: the function, a `PythonFunction`, and the destination of its failed events.
        `{name}-dlq`: the dead-letter queue and its redrive permission.
        `{name}-bedrock`: the role that only this account's batch inference jobs can assume, and its policy.
    """

    def __init__(self, name: str, args: BatchSubmissionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:functions:BatchSubmission", name, {}, opts)
        self._child = pulumi.ResourceOptions(parent=self)
        # Bedrock assigns the id when it creates a job.
        jobs = args.place.arn("bedrock", "model-invocation-job/*")
        models = batch_models(args.place, args.common.config.model_ids)
        self.bedrock_role = aws.iam.Role(
            f"{name}-bedrock",
            name=physical_name(f"{name}-bedrock", args.common.stage),
            assume_role_policy=pulumi.Output.json_dumps(bedrock_trust_policy(args.place.account_id, jobs)),
            opts=self._child,
        )
        bedrock_data = aws.iam.RolePolicy(
            f"{name}-bedrock-data",
            name="data",
            role=self.bedrock_role.name,
            policy=pulumi.Output.json_dumps(bedrock_policy(args.storage.images.arn, models)),
            opts=self._child,
        )
        self.dead_letter_queue = self._dead_letter_queue(dead_letter_queue(name), args.common)
        resources = BatchSubmissionResources(
            bucket=args.storage.images.arn,
            batch_jobs=args.storage.batch_jobs.arn,
            pending_images=args.storage.pending_images.arn,
            bedrock_role=self.bedrock_role.arn,
            bedrock_jobs=jobs,
            models=models,
        )
        # Bedrock assumes its role when the function submits a job, so the role's policy must exist.
        self.orchestrator = self._orchestrator(name, args, resources, bedrock_data)
        keep_failed_events(name, self.orchestrator.function, self.dead_letter_queue, self._child)
        self.register_outputs(
            {
                "functionName": self.orchestrator.function.name,
                "deadLetterQueueUrl": self.dead_letter_queue.url,
                "bedrockRoleArn": self.bedrock_role.arn,
            }
        )

    def _dead_letter_queue(self, name: str, common: CommonArgs) -> aws.sqs.Queue:
        queue = aws.sqs.Queue(
            name,
            name=physical_name(name, common.stage),
            message_retention_seconds=DLQ_RETENTION_SECONDS,
            max_message_size=MAX_MESSAGE_BYTES,
            sqs_managed_sse_enabled=True,
            opts=data_options(self, protect=common.config.protect_data),
        )
        aws.sqs.RedriveAllowPolicy(
            name,
            queue_url=queue.url,
            redrive_allow_policy=pulumi.Output.json_dumps(NO_SOURCE_QUEUES),
            opts=self._child,
        )
        return queue

    def _orchestrator(
        self, name: str, args: BatchSubmissionArgs, resources: BatchSubmissionResources, *after: pulumi.Resource
    ) -> PythonFunction:
        return PythonFunction(
            name,
            PythonFunctionArgs(
                common=args.common,
                package=ORCHESTRATOR_SERVICE,
                environment={
                    **args.storage.environment,
                    "BEDROCK_ROLE_ARN": self.bedrock_role.arn,
                    "MODEL_IDS": ",".join(args.common.config.model_ids),
                    "IMAGE_DELIVERY": args.common.config.image_delivery,
                    "MIN_RECORDS": str(args.common.config.min_records),
                    "JOB_TIMEOUT_HOURS": str(args.common.config.job_timeout_hours),
                    "JOB_SIZE": str(args.common.config.job_size),
                    "MAX_CONCURRENT_JOBS": str(args.common.config.max_concurrent_jobs),
                },
                policies={
                    "data": submission_policy(resources),
                    "on-failure": on_failure_policy(self.dead_letter_queue.arn),
                },
                # Reading the images of a large job takes minutes.
                timeout_seconds=MAX_FUNCTION_SECONDS,
                after=after,
            ),
            self._child,
        )

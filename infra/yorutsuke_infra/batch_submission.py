"""The batch_orchestrator, and the role that Bedrock takes on to work on the jobs that it submits."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from .artifacts import Target
from .config import StageConfig, physical_name
from .policies import BatchSubmissionResources, bedrock_policy, bedrock_trust_policy, submission_policy
from .python_function import PythonFunction, PythonFunctionArgs
from .storage import Storage

PACKAGE = "batch_orchestrator"


@dataclass(frozen=True)
class BatchSubmissionArgs:
    """The parts of the stage that the orchestrator works between, and where in AWS it is."""

    stage: str
    config: StageConfig
    target: Target
    storage: Storage
    layer_arn: pulumi.Input[str]
    account_id: pulumi.Input[str]
    region: pulumi.Input[str]


class BatchSubmission(pulumi.ComponentResource):
    """The function, and Bedrock's role, which nothing but this account's batch inference jobs may take on."""

    def __init__(self, name: str, args: BatchSubmissionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:functions:BatchSubmission", name, {}, opts)
        config, storage = args.config, args.storage
        jobs = pulumi.Output.concat("arn:aws:bedrock:", args.region, ":", args.account_id, ":model-invocation-job/*")
        self.bedrock_role = aws.iam.Role(
            "bedrock-batch",
            name=physical_name("bedrock-batch", args.stage),
            assume_role_policy=pulumi.Output.json_dumps(bedrock_trust_policy(args.account_id, jobs)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        rights = aws.iam.RolePolicy(
            "bedrock-batch-data",
            name="data",
            role=self.bedrock_role.name,
            policy=pulumi.Output.json_dumps(bedrock_policy(storage.images.arn)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.orchestrator = PythonFunction(
            "batch-orchestrator",
            PythonFunctionArgs(
                stage=args.stage,
                package=PACKAGE,
                target=args.target,
                layer_arn=args.layer_arn,
                environment={
                    "STAGE": args.stage,
                    "IMAGES_BUCKET": storage.images.bucket,
                    "BATCH_JOBS_TABLE": storage.batch_jobs.name,
                    "PENDING_IMAGES_TABLE": storage.pending_images.name,
                    "BEDROCK_ROLE_ARN": self.bedrock_role.arn,
                    "MODEL_IDS": ",".join(config.model_ids),
                    "MIN_RECORDS": str(config.min_records),
                    "POWERTOOLS_LOG_LEVEL": config.log_level,
                },
                policies={
                    "data": submission_policy(
                        BatchSubmissionResources(
                            bucket=storage.images.arn,
                            batch_jobs=storage.batch_jobs.arn,
                            pending_images=storage.pending_images.arn,
                            bedrock_role=self.bedrock_role.arn,
                            bedrock_jobs=jobs,
                            models=[_model_arn(args.region, model_id) for model_id in config.model_ids],
                        )
                    )
                },
                timeout_seconds=config.function_timeout_seconds,
                memory_mb=config.function_memory_mb,
                log_retention_days=config.log_retention_days,
            ),
            # Bedrock takes the role on as soon as it has a job.
            pulumi.ResourceOptions(parent=self, depends_on=[rights]),
        )
        self.register_outputs({})


def _model_arn(region: pulumi.Input[str], model_id: str) -> pulumi.Output[str]:
    return pulumi.Output.concat("arn:aws:bedrock:", region, "::foundation-model/", model_id)

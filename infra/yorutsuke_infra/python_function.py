"""One Python function with what it always needs: a role, a log group, and the right to write to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from .artifacts import Target, function_zip
from .config import StageConfig, physical_name
from .policies import Document, assume_role_policy, log_policy


@dataclass(frozen=True)
class PythonFunctionArgs:
    """`package` is the folder in `functions/`; `policies` are the role's inline policies by name.

    `environment` is what the function is told beside the stage and the level of its log. `after` is what is there
    before anybody can invoke it, its own rights aside.
    """

    stage: str
    config: StageConfig
    package: str
    target: Target
    layer_arn: pulumi.Input[str]
    environment: Mapping[str, pulumi.Input[str]]
    policies: Mapping[str, Document]
    timeout_seconds: int
    after: Sequence[pulumi.Resource] = ()


RETRIES = 2
"""Of an event that nobody waits for; Lambda's maximum."""


class PythonFunction(pulumi.ComponentResource):
    """A function, its role and its log group. `function` depends on all of its rights."""

    def __init__(self, name: str, args: PythonFunctionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:functions:PythonFunction", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        physical = physical_name(name, args.stage)
        self.log_group = aws.cloudwatch.LogGroup(
            name, name=f"/aws/lambda/{physical}", retention_in_days=args.config.log_retention_days, opts=child
        )
        self.role = aws.iam.Role(
            name,
            name=physical,
            assume_role_policy=pulumi.Output.json_dumps(assume_role_policy("lambda.amazonaws.com")),
            opts=child,
        )
        rights = [
            aws.iam.RolePolicy(
                f"{name}-{policy}",
                name=policy,
                role=self.role.name,
                policy=pulumi.Output.json_dumps(document),
                opts=child,
            )
            for policy, document in {"log": log_policy(self.log_group.arn), **args.policies}.items()
        ]
        self.function = aws.lambda_.Function(
            name,
            name=physical,
            role=self.role.arn,
            runtime=args.target.runtime,
            architectures=[args.target.architecture],
            handler=f"{args.package}.handler.handler",
            code=pulumi.FileArchive(str(function_zip(args.package))),
            layers=[args.layer_arn],
            timeout=args.timeout_seconds,
            memory_size=args.config.function_memory_mb,
            environment=aws.lambda_.FunctionEnvironmentArgs(
                variables={
                    "STAGE": args.stage,
                    "POWERTOOLS_LOG_LEVEL": args.config.log_level,
                    **args.environment,
                }
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.log_group, *rights, *args.after]),
        )
        self.register_outputs({})


def keep_failed_events(
    name: str, function: aws.lambda_.Function, queue: aws.sqs.Queue, opts: pulumi.ResourceOptions
) -> aws.lambda_.FunctionEventInvokeConfig:
    """Have Lambda keep in a queue what the function failed with each time: its role has to be allowed to send there."""
    return aws.lambda_.FunctionEventInvokeConfig(
        name,
        function_name=function.name,
        maximum_retry_attempts=RETRIES,
        destination_config=aws.lambda_.FunctionEventInvokeConfigDestinationConfigArgs(
            on_failure=aws.lambda_.FunctionEventInvokeConfigDestinationConfigOnFailureArgs(destination=queue.arn)
        ),
        opts=opts,
    )

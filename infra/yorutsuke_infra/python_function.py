"""A Lambda function with its role and its log group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import log_group, physical_name

from .artifacts import Target, function_zip
from .config import StageConfig
from .policies import Document, assume_role_policy, log_policy
from .protection import data_options

RETRIES = 2
"""Number of retries of a failed asynchronous invocation. 2 is Lambda's maximum."""


@dataclass(frozen=True)
class CommonArgs:
    """Arguments that all functions of a stage have in common."""

    stage: str
    config: StageConfig
    target: Target
    layer_arn: pulumi.Input[str]


@dataclass(frozen=True)
class PythonFunctionArgs:
    """Arguments of `PythonFunction`.

    Attributes:
        package: The name of the function's folder in `functions/`.
        environment: Environment variables in addition to those of every function: the stage, the log level and the
            number of attempts.
        policies: Inline policies of the role, by name.
        after: Resources that have to exist before the function can be invoked.
    """

    common: CommonArgs
    package: str
    environment: Mapping[str, pulumi.Input[str]]
    policies: Mapping[str, Document]
    timeout_seconds: int
    after: Sequence[pulumi.Resource] = ()


class PythonFunction(pulumi.ComponentResource):
    """A function, which Pulumi creates after its permissions.

    Resources:
        `{name}`: the function, its role and its log group.
        `{name}-log` and `{name}-{policy}`: the role's inline policies.
    """

    def __init__(self, name: str, args: PythonFunctionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:functions:PythonFunction", name, {}, opts)
        child, common = pulumi.ResourceOptions(parent=self), args.common
        physical = physical_name(name, common.stage)
        self.timeout_seconds = args.timeout_seconds
        self.log_group = aws.cloudwatch.LogGroup(
            name,
            name=log_group(physical),
            retention_in_days=common.config.log_retention_days,
            opts=data_options(self, protect=common.config.protect_data),
        )
        self.role = aws.iam.Role(
            name,
            name=physical,
            assume_role_policy=pulumi.Output.json_dumps(assume_role_policy("lambda.amazonaws.com")),
            opts=child,
        )
        permissions = [
            aws.iam.RolePolicy(
                f"{name}-{policy}",
                name=policy,
                role=self.role.name,
                policy=pulumi.Output.json_dumps(document),
                opts=child,
            )
            for policy, document in {"log": log_policy(self.log_group.arn), **args.policies}.items()
        ]
        variables = {
            "STAGE": common.stage,
            "POWERTOOLS_LOG_LEVEL": common.config.log_level,
            "MAX_ATTEMPTS": str(common.config.max_attempts),
            **args.environment,
        }
        self.function = aws.lambda_.Function(
            name,
            name=physical,
            role=self.role.arn,
            runtime=common.target.runtime,
            architectures=[common.target.architecture],
            handler=f"{args.package}.handler.handler",
            code=pulumi.FileArchive(str(function_zip(args.package))),
            layers=[common.layer_arn],
            timeout=args.timeout_seconds,
            memory_size=common.config.function_memory_mb,
            environment=aws.lambda_.FunctionEnvironmentArgs(variables=variables),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.log_group, *permissions, *args.after]),
        )
        self.register_outputs(
            {"functionName": self.function.name, "roleArn": self.role.arn, "logGroup": self.log_group.name}
        )


def keep_failed_events(
    name: str, function: aws.lambda_.Function, queue: aws.sqs.Queue, opts: pulumi.ResourceOptions
) -> aws.lambda_.FunctionEventInvokeConfig:
    """Send asynchronous events that fail after all retries to a queue. The function's role must allow it."""
    return aws.lambda_.FunctionEventInvokeConfig(
        name,
        function_name=function.name,
        maximum_retry_attempts=RETRIES,
        destination_config=aws.lambda_.FunctionEventInvokeConfigDestinationConfigArgs(
            on_failure=aws.lambda_.FunctionEventInvokeConfigDestinationConfigOnFailureArgs(destination=queue.arn)
        ),
        opts=opts,
    )

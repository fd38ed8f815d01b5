"""A deployed stage, found by its name: the settings of its function and the names of its resources."""

import logging
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import boto3
from aws_lambda_powertools import Logger
from botocore.exceptions import EndpointConnectionError

from yorutsuke_common.aws.stores import ResultStores, result_stores
from yorutsuke_common.names import (
    LOCAL_STAGE,
    ORCHESTRATOR,
    OUTPUT_QUEUE,
    PROJECT,
    RESULT_HANDLER,
    alarm_topic,
    dead_letter_queue,
    physical_name,
)
from yorutsuke_common.settings import ResultSettings, read_settings

from .clients import Clients
from .errors import StageError
from .local_stage import REMEDY, local_clients
from .queues import Queue

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import FunctionConfigurationResponseTypeDef


@dataclass(frozen=True)
class Stage:
    """A stage. `function` is the configuration of its batch_result_handler, and `settings` that function's settings."""

    name: str
    clients: Clients
    function: "FunctionConfigurationResponseTypeDef"
    settings: ResultSettings

    def physical(self, name: str) -> str:
        """Return the name in AWS of a resource of the stage."""
        return physical_name(name, self.name)

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource in the stage's account and Region."""
        # arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME
        arn, partition, _, region, account, *_ = self.function["FunctionArn"].split(":")
        return f"{arn}:{partition}:{service}:{region}:{account}:{resource}"

    @property
    def region(self) -> str:
        """The Region of the stage."""
        return self.function["FunctionArn"].split(":")[3]

    @property
    def alarm_topic_arn(self) -> str:
        """The topic that the stage's alarms notify."""
        return self.arn("sns", self.physical(alarm_topic(PROJECT)))

    @cached_property
    def stores(self) -> ResultStores:
        """The stores of the batch_result_handler, over the operator's clients."""
        return result_stores(self.clients.s3, self.clients.dynamodb, self.settings, _quiet_logger())

    @cached_property
    def queue(self) -> Queue:
        """The queue from which the batch_result_handler receives its messages."""
        return Queue(self.clients.sqs, self.physical(OUTPUT_QUEUE))

    @cached_property
    def dead_letter_queue(self) -> Queue:
        """The queue of messages that failed five times."""
        return Queue(self.clients.sqs, self.physical(dead_letter_queue(OUTPUT_QUEUE)))

    @cached_property
    def submit_dead_letter_queue(self) -> Queue:
        """The queue of requests for jobs that the orchestrator failed to process."""
        return Queue(self.clients.sqs, self.physical(dead_letter_queue(ORCHESTRATOR)))

    def log_groups(self) -> list[str]:
        """Return the log groups of both functions."""
        return [f"/aws/lambda/{self.physical(name)}" for name in (RESULT_HANDLER, ORCHESTRATOR)]


@cache
def _quiet_logger() -> Logger:
    """Return a logger that writes nothing: the stores' log entries are not for a terminal."""
    return Logger(service=PROJECT, logger_handler=logging.NullHandler())


def open_stage(name: str, region: str | None = None, profile: str | None = None) -> Stage:
    """Return a stage by its name.

    Raises:
        StageError: The account and Region have no such stage.
        SettingsError: The deployed function's environment is not valid.
        botocore's errors: A call failed.
    """
    clients = (
        local_clients() if name == LOCAL_STAGE else Clients(boto3.Session(profile_name=profile, region_name=region))
    )
    function_name = physical_name(RESULT_HANDLER, name)
    try:
        function = clients.lambda_.get_function_configuration(FunctionName=function_name)
    except clients.lambda_.exceptions.ResourceNotFoundException as exc:
        raise StageError(
            f"stage {name!r} has no function {function_name!r} in {clients.lambda_.meta.region_name} of this account: "
            "check --stage, --region and --profile, or deploy the stage."
        ) from exc
    except EndpointConnectionError as exc:
        if clients.endpoint is None:
            raise
        raise StageError(f"nobody answers at {clients.endpoint}, where stage {name!r} was: {REMEDY}.") from exc
    variables = function.get("Environment", {}).get("Variables", {})
    return Stage(name, clients, function, read_settings(ResultSettings, variables))

"""A deployed stage, as far as it is known from its name: what its function is told, and what its parts are called."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import EndpointConnectionError

from batch_result_handler.settings import Settings
from yorutsuke_common.environment import read_environment

from .clients import Clients
from .errors import StageError
from .local_stage import LOCAL_STAGE, REMEDY, local_clients
from .queues import Queue

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import FunctionConfigurationResponseTypeDef

HANDLER = "batch-result-handler"
ORCHESTRATOR = "batch-orchestrator"
QUEUE = "batch-output"
DEAD_LETTER_QUEUE = "batch-output-dlq"
SUBMIT_DEAD_LETTER_QUEUE = "batch-submit-dlq"
OUTPUT_TOPIC = "batch-output"
ALARM_TOPIC = "alarms"
FAILED_JOBS_RULE = "failed-jobs"
COMMON_LAYER = "common"


@dataclass(frozen=True)
class Stage:
    """A stage; `function` is the handler's configuration, `settings` what it is told by its environment."""

    name: str
    clients: Clients
    function: "FunctionConfigurationResponseTypeDef"
    settings: Settings

    def physical(self, name: str) -> str:
        """Return what a part of the stage is called in AWS."""
        return physical_name(name, self.name)

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a part of the stage."""
        # arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME
        arn, partition, _, region, account, *_ = self.function["FunctionArn"].split(":")
        return f"{arn}:{partition}:{service}:{region}:{account}:{resource}"

    @property
    def region(self) -> str:
        """The Region that the stage is in."""
        return self.function["FunctionArn"].split(":")[3]

    @cached_property
    def queue(self) -> Queue:
        """The queue that the function takes its messages from."""
        return Queue(self.clients.sqs, self.physical(QUEUE))

    @cached_property
    def dead_letter_queue(self) -> Queue:
        """What failed five times."""
        return Queue(self.clients.sqs, self.physical(DEAD_LETTER_QUEUE))

    @cached_property
    def submit_dead_letter_queue(self) -> Queue:
        """Requests for jobs that the orchestrator failed with."""
        return Queue(self.clients.sqs, self.physical(SUBMIT_DEAD_LETTER_QUEUE))

    def log_groups(self) -> list[str]:
        """Return the log groups of both functions."""
        return [f"/aws/lambda/{self.physical(name)}" for name in (HANDLER, ORCHESTRATOR)]


def physical_name(name: str, stage: str) -> str:
    """Return the name of a stage's resource in AWS."""
    return f"yorutsuke-{name}-{stage}"


def open_stage(name: str, region: str | None = None, profile: str | None = None) -> Stage:
    """Find a stage by its name.

    Raises StageError where it is not there; SettingsError; botocore's errors as they come.
    """
    clients = (
        local_clients() if name == LOCAL_STAGE else Clients(boto3.Session(profile_name=profile, region_name=region))
    )
    function_name = physical_name(HANDLER, name)
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
    return Stage(name, clients, function, read_environment(Settings, variables))

"""A deployed stage, found by its name: its settings, its stores and its queues."""

import logging
import os
import shlex
from dataclasses import dataclass
from functools import cached_property

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

from .clients import Clients, make_clients
from .errors import StageError
from .local_stage import REMEDY, local_clients
from .queues import Queue
from .stage_file import region_in_file

PROGRAM_VARIABLE = "YORUTSUKE_PROGRAM"
"""Variable with the words that start this program, which the nox session sets. The installed program has one word."""


def program() -> str:
    """Return the words that start this program."""
    return os.environ.get(PROGRAM_VARIABLE, "yorutsuke")


@dataclass(frozen=True)
class Stage:
    """A stage. `function_arn` and `settings` are those of its batch_result_handler.

    `queue` has the messages of the batch_result_handler, `dead_letter_queue` those that failed five times, and
    `submit_dead_letter_queue` the requests for jobs that the orchestrator failed to process. `region` and `profile` are
    the values of the options with which the stage was opened.
    """

    name: str
    clients: Clients
    function_arn: str
    settings: ResultSettings
    queue: Queue
    dead_letter_queue: Queue
    submit_dead_letter_queue: Queue
    region: str | None = None
    profile: str | None = None

    def command(self, *arguments: str) -> str:
        """Return a command of this program on the stage. It can be pasted into a shell."""
        options = {"--stage": self.name, "--region": self.region, "--profile": self.profile}
        given = [word for option, value in options.items() if value for word in (option, value)]
        return f"{program()} {shlex.join([*arguments, *given])}"

    def aws_command(self, *arguments: str) -> str:
        """Return a command of the AWS CLI in the stage's account and Region. It can be pasted into a shell."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.clients.variables.items()]
        profile = ["--profile", self.profile] if self.profile else []
        region = self.clients.lambda_.meta.region_name
        return " ".join([*variables, shlex.join(["aws", *arguments, "--region", region, *profile])])

    def physical(self, name: str) -> str:
        """Return the name in AWS of a resource of the stage."""
        return physical_name(name, self.name)

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource in the stage's account and Region."""
        # arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME
        arn, partition, _, region, account, *_ = self.function_arn.split(":")
        return f"{arn}:{partition}:{service}:{region}:{account}:{resource}"

    @property
    def alarm_topic_arn(self) -> str:
        """The topic that the stage's alarms notify."""
        return self.arn("sns", self.physical(alarm_topic(PROJECT)))

    @cached_property
    def stores(self) -> ResultStores:
        """The stores of the batch_result_handler, over the operator's clients and without log entries."""
        quiet = Logger(service=PROJECT, logger_handler=logging.NullHandler())
        return result_stores(self.clients.s3, self.clients.dynamodb, self.settings, quiet)


def open_stage(name: str, region: str | None = None, profile: str | None = None) -> Stage:
    """Return a stage by its name. Without a Region, use that of the stage's file, or else that of the profile.

    Raises the errors of `find_stage`, and StageError if the stage's file is not valid.
    """
    if name == LOCAL_STAGE:
        return find_stage(name, local_clients())
    session = boto3.Session(profile_name=profile, region_name=region or region_in_file(name))
    return find_stage(name, make_clients(session), region, profile)


def find_stage(name: str, clients: Clients, region: str | None = None, profile: str | None = None) -> Stage:
    """Return a stage by its name, from the account and Region of the clients. `region` and `profile` are the options.

    Raises StageError if the stage does not exist, SettingsError if the environment of its function is not valid, and
    botocore's errors.
    """
    function_name = physical_name(RESULT_HANDLER, name)
    try:
        function = clients.lambda_.get_function_configuration(FunctionName=function_name)
    except clients.lambda_.exceptions.ResourceNotFoundException as exc:
        raise StageError(
            f"the function {function_name!r} of stage {name!r} does not exist in {clients.lambda_.meta.region_name} of "
            "this account.",
            "Check --stage, --region and --profile, or deploy the stage.",
        ) from exc
    except EndpointConnectionError as exc:
        if clients.endpoint is None:
            raise
        raise StageError(f"stage {name!r} does not answer at {clients.endpoint}.", f"To start it, {REMEDY}.") from exc
    settings = read_settings(ResultSettings, function.get("Environment", {}).get("Variables", {}))
    names = (OUTPUT_QUEUE, dead_letter_queue(OUTPUT_QUEUE), dead_letter_queue(ORCHESTRATOR))
    queues = [Queue(clients.sqs, physical_name(queue, name)) for queue in names]
    return Stage(name, clients, function["FunctionArn"], settings, *queues, region=region, profile=profile)

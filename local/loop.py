"""The complete loop on one machine: the orchestrator submits images to the stand-in for Bedrock.

The stand-in's output then starts the result handler, as Bedrock's would.
"""

import json
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import boto3
import botocore.session
import urllib3
from urllib3.exceptions import HTTPError

from yorutsuke.clients import make_clients
from yorutsuke.stage import Stage, find_stage
from yorutsuke_common.names import BEDROCK_MIN_RECORDS, LOCAL_STAGE
from yorutsuke_infra.stage_file import read_stage_file

from .bedrock.api import STATES, serving
from .bedrock.jobs import Bedrock
from .emulator import ACCESS_KEY_ID, HOST, REGION, SECRET_ACCESS_KEY, free_port
from .errors import LocalStageError
from .job_run import USER_ID, JobRun, until

START_SECONDS = 60
"""Timeout for the start of the stand-in, and for its last state change, in seconds."""


@dataclass(frozen=True)
class StandIn:
    """The stand-in for Bedrock as a process of the local stage. It finishes jobs by itself.

    `failing_job` is the number of the job that ends as Failed, counted from 1, or 0 if none fails.
    """

    min_records: int = BEDROCK_MIN_RECORDS
    failing_job: int = 0

    @cached_property
    def port(self) -> int:
        """A port that is free when the process starts."""
        return free_port()

    @property
    def command(self) -> list[str]:
        """The command of the process."""
        event_source = read_stage_file(LOCAL_STAGE).drill_event_source
        options = {
            "port": self.port,
            "event-source": event_source,
            "min-records": self.min_records,
            "failing-job": self.failing_job,
        }
        return [sys.executable, "-m", "local.bedrock", *(f"--{name}={value}" for name, value in options.items())]

    def serve(self, stage: JobRun) -> None:
        """Point a stage at the stand-in, when the stand-in is ready. Raises NotSettledError."""
        until(lambda: self._states() is not None, START_SECONDS, "the stand-in for Bedrock to start")
        point_at(stage, self._url)

    def final_states(self, job_id: str) -> dict[str, list[str]]:
        """Return the states that each job has had, by job id, when a job has Completed. Raises NotSettledError."""

        def completed() -> dict[str, list[str]] | None:
            states = self._states() or {}
            return states if states.get(job_id, [])[-1:] == ["Completed"] else None

        return until(completed, START_SECONDS, f"job {job_id!r} to be Completed in Bedrock")

    @property
    def _url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def _states(self) -> dict[str, list[str]] | None:
        try:
            return urllib3.request("GET", f"{self._url}{STATES}", retries=False).json()
        except HTTPError:
            return None


@dataclass(frozen=True)
class Loop:
    """A stage with an orchestrator that creates jobs in a stand-in for Bedrock, which finishes them when it is told."""

    stage: JobRun
    bedrock: Bedrock

    def submit(self, image_ids: Sequence[str], intent_id: str, **changes: object) -> dict[str, Any]:
        """Invoke the orchestrator and return its answer. Raises LocalStageError if it fails."""
        request = {"intentId": intent_id, "pendingImageIds": [*image_ids], "userId": USER_ID, **changes}
        invoked = self.stage.aws.lambda_.invoke(
            FunctionName=self.stage.outputs["orchestratorName"], Payload=json.dumps(request)
        )
        answer = cast("dict[str, Any]", json.load(invoked["Payload"]))
        if "errorMessage" in answer:
            raise LocalStageError(f"{answer.get('errorType')}: {answer['errorMessage']}")
        return answer


@contextmanager
def running_loop(stage: JobRun, min_records: int = BEDROCK_MIN_RECORDS) -> Generator[Loop]:
    """Run a stand-in for Bedrock in this process, and point the stage's orchestrator at it."""
    bedrock = Bedrock(stage.aws, stage.outputs["drillEventSource"], min_records)
    with serving(bedrock) as url:
        point_at(stage, url)
        yield Loop(stage, bedrock)


def operators_stage(stage: JobRun) -> Stage:
    """Return a stage as the operator's command finds it."""
    settings = botocore.session.get_session()
    settings.set_config_variable("ca_bundle", str(stage.aws.ca_bundle))
    session = boto3.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name=REGION, botocore_session=settings)
    return find_stage(LOCAL_STAGE, make_clients(session, stage.aws.endpoint))


def point_at(stage: JobRun, url: str) -> None:
    """Let the orchestrator of a stage call Bedrock at this URL."""
    name, functions = stage.outputs["orchestratorName"], stage.aws.lambda_
    variables = functions.get_function_configuration(FunctionName=name).get("Environment", {}).get("Variables", {})
    functions.update_function_configuration(
        FunctionName=name, Environment={"Variables": {**variables, "AWS_ENDPOINT_URL_BEDROCK": url}}
    )

"""Invokes the orchestrator of a stage."""

import json
from typing import Any

from yorutsuke_common.names import ORCHESTRATOR, SCHEDULE
from yorutsuke_common.settings import SubmitSettings, read_settings

from .errors import UnfinishedError
from .stage import Stage

REFUSALS = {"InvalidRequestError", "IntentConflictError", "BedrockRefusedError"}
"""Errors of the orchestrator after which the request has no job. After any other error, it may have one."""


class RequestRefusedError(UnfinishedError):
    """The request has no job at Bedrock."""


def submit_settings(stage: Stage) -> SubmitSettings:
    """Return the settings of the orchestrator. Raises SettingsError and botocore's errors."""
    function = stage.clients.lambda_.get_function_configuration(FunctionName=stage.physical(ORCHESTRATOR))
    return read_settings(SubmitSettings, function.get("Environment", {}).get("Variables", {}))


def has_schedule(stage: Stage) -> bool:
    """Return whether a schedule submits the stage's waiting images. Raises botocore's errors."""
    scheduler = stage.clients.scheduler
    try:
        scheduler.get_schedule(Name=stage.physical(SCHEDULE))
    except scheduler.exceptions.ResourceNotFoundException:
        return False
    return True


def submit(stage: Stage, request: str) -> dict[str, Any]:
    """Send a request for a job to the orchestrator, and return its answer.

    Raises RequestRefusedError with the function's error if the request has no job, UnfinishedError with it if a job may
    exist, and botocore's errors. A repeated request never creates a second job.
    """
    answer = stage.clients.invocations.invoke(FunctionName=stage.physical(ORCHESTRATOR), Payload=request)
    result: dict[str, Any] = json.load(answer["Payload"])
    if "FunctionError" in answer:
        error = RequestRefusedError if result.get("errorType") in REFUSALS else UnfinishedError
        raise error(f"{result.get('errorType')}: {result.get('errorMessage')}")
    return result

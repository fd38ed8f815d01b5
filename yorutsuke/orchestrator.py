"""Invokes the orchestrator of a stage."""

import json
from typing import Any

from yorutsuke_common.names import ORCHESTRATOR

from .errors import UnfinishedError
from .stage import Stage

REFUSALS = {"InvalidRequestError", "IntentConflictError", "BedrockRefusedError"}
"""Errors of the orchestrator after which the request has no job. After any other error, it may have one."""


class RequestRefusedError(UnfinishedError):
    """The request has no job at Bedrock."""


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

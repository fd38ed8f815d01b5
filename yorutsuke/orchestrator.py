"""Invokes the orchestrator of a stage."""

import json
from typing import Any

from yorutsuke_common.names import ORCHESTRATOR

from .errors import UnfinishedError
from .stage import Stage


def submit(stage: Stage, request: str) -> dict[str, Any]:
    """Send a request for a job to the orchestrator, and return its answer.

    Raises UnfinishedError with the function's error if it fails, and botocore's errors. If the answer is lost, the job
    may exist.
    """
    answer = stage.clients.invocations.invoke(FunctionName=stage.physical(ORCHESTRATOR), Payload=request)
    result: dict[str, Any] = json.load(answer["Payload"])
    if "FunctionError" in answer:
        raise UnfinishedError(f"{result.get('errorType')}: {result.get('errorMessage')}")
    return result

"""The complete loop on one machine: the orchestrator submits images to the stand-in for Bedrock.

The stand-in's output then starts the result handler, as Bedrock's would.
"""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from yorutsuke_common.names import BEDROCK_MIN_RECORDS

from .bedrock.api import serving
from .bedrock.jobs import Bedrock
from .errors import LocalStageError
from .job_run import USER_ID, JobRun

INTENT_ID = "demo-intent-1"


@dataclass(frozen=True)
class Loop:
    """A stage with an orchestrator that creates jobs in a stand-in for Bedrock."""

    stage: JobRun
    bedrock: Bedrock

    def submit(self, image_ids: Sequence[str], intent_id: str = INTENT_ID, **changes: object) -> dict[str, Any]:
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
    """Run a stand-in for Bedrock beside a stage, and point the stage's orchestrator at it."""
    name, functions = stage.outputs["orchestratorName"], stage.aws.lambda_
    variables = functions.get_function_configuration(FunctionName=name).get("Environment", {}).get("Variables", {})
    bedrock = Bedrock(stage.aws, stage.outputs["drillEventSource"], min_records)
    with serving(bedrock) as url:
        functions.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**variables, "AWS_ENDPOINT_URL_BEDROCK": url}}
        )
        yield Loop(stage, bedrock)

"""The whole loop on one machine: the orchestrator submits images, the stand-in for Bedrock reads them.

Its output comes back to the stage by itself, as Bedrock's would.
"""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from .bedrock import Bedrock, Limits, running_bedrock
from .emulator import Emulator
from .errors import LocalStageError
from .night import USER_ID, Night
from .state_change import StateChange

INTENT_ID = "demo-intent-1"


@dataclass
class Loop:
    """A stage whose orchestrator has a Bedrock to ask. `changes` are those of each job's state, in order."""

    stage: Night
    bedrock: Bedrock
    changes: dict[str, list[StateChange]] = field(default_factory=dict[str, list[StateChange]])

    def submit(self, image_ids: Sequence[str], intent_id: str = INTENT_ID, **changes: object) -> dict[str, Any]:
        """Ask the orchestrator for a job, and return its answer. Raises LocalStageError where it fails."""
        request = {"intentId": intent_id, "pendingImageIds": [*image_ids], "userId": USER_ID, **changes}
        invoked = self.stage.aws.lambda_.invoke(
            FunctionName=self.stage.outputs["orchestratorName"], Payload=json.dumps(request)
        )
        answer = cast("dict[str, Any]", json.load(invoked["Payload"]))
        if "errorMessage" in answer:
            raise LocalStageError(f"{answer.get('errorType')}: {answer['errorMessage']}")
        return answer


@contextmanager
def running_loop(
    emulator: Emulator,
    stage: Night,
    *,
    seconds: float | None = 1.0,
    limits: Limits | None = None,
) -> Generator[Loop]:
    """Run a stand-in for Bedrock beside a stage, and have the stage's orchestrator ask it."""
    changes: dict[str, list[StateChange]] = {}

    def note(change: StateChange) -> None:
        changes.setdefault(change.job_id, []).append(change)

    bedrock = running_bedrock(
        stage.aws,
        event_source=stage.outputs["drillEventSource"],
        tls=emulator.server_tls(),
        seconds=seconds,
        limits=limits,
        changed=note,
    )
    with bedrock as running:
        _point(stage, running.url)
        yield Loop(stage, running, changes)


def _point(stage: Night, url: str) -> None:
    """Let the orchestrator's client of Bedrock talk to an endpoint, as its environment can say."""
    name, functions = stage.outputs["orchestratorName"], stage.aws.lambda_
    environment = functions.get_function_configuration(FunctionName=name).get("Environment", {}).get("Variables", {})
    functions.update_function_configuration(
        FunctionName=name, Environment={"Variables": {**environment, "AWS_ENDPOINT_URL_BEDROCK": url}}
    )

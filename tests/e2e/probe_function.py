"""A Lambda function that makes single AWS calls in the handler's role."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.job_run import JobRun

NAME = "probe"


@dataclass(frozen=True)
class Probe:
    """Makes AWS calls in the handler's role. A parameter that is the name of a stack output stands for its value."""

    stage: JobRun

    def __call__(self, service: str, operation: str, params: dict[str, Any]) -> str:
        """Make one call and return `allowed` or the error code."""
        named = {name: self.stage.outputs.get(str(value), value) for name, value in params.items()}
        payload = {"service": service, "operation": operation, "params": named}
        answer = self.stage.aws.lambda_.invoke(FunctionName=NAME, Payload=json.dumps(payload))
        code = json.load(answer["Payload"])
        # The response is a string unless the function itself failed.
        assert isinstance(code, str), code
        return code


def deploy_probe(stage: JobRun) -> Probe:
    """Deploy the probe function next to the stage's functions."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.write(Path(__file__).parent / "probe" / "probe.py", "probe.py")
    stage.aws.lambda_.create_function(
        FunctionName=NAME,
        Role=stage.outputs["functionRoleArn"],
        Runtime="python3.13",
        Handler="probe.handler",
        Code={"ZipFile": archive.getvalue()},
        Timeout=30,
    )
    return Probe(stage)

"""A function of the tests' own that makes single calls in the handler's very role."""

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
    """Calls in the role of the stage's handler. Parameters that name an output of the stack stand for its value."""

    stage: JobRun

    def __call__(self, service: str, operation: str, params: dict[str, Any]) -> str:
        """Make one call; return `allowed`, or the code of the error."""
        named = {name: self.stage.outputs.get(str(value), value) for name, value in params.items()}
        payload = {"service": service, "operation": operation, "params": named}
        answer = self.stage.aws.lambda_.invoke(FunctionName=NAME, Payload=json.dumps(payload))
        code = json.load(answer["Payload"])
        # What is no text is how an error of the function's own looks.
        assert isinstance(code, str), code
        return code


def deployed_probe(stage: JobRun) -> Probe:
    """Deploy the function beside the stage's own."""
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

"""Tests of the layer on the emulator, whose own environment has another version of botocore."""

import io
import json
import zipfile
from importlib.metadata import version

from local.job_run import JobRun

NAME = "layer-probe"
SOURCE = """
import boto3, botocore

def handler(event, context):
    shape = boto3.client("bedrock").meta.service_model.shape_for("CreateModelInvocationJobRequest")
    return [botocore.__file__, botocore.__version__, "modelInvocationType" in shape.members]
"""


def test_function_imports_botocore_from_the_layer(stage: JobRun) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as code:
        code.writestr("probe.py", SOURCE)
    stage.aws.lambda_.create_function(
        FunctionName=NAME,
        Role=stage.outputs["functionRoleArn"],
        Runtime="python3.13",
        Handler="probe.handler",
        Layers=[stage.outputs["commonLayerArn"]],
        Code={"ZipFile": archive.getvalue()},
        Timeout=30,
    )

    answer = stage.aws.lambda_.invoke(FunctionName=NAME)

    file, number, has_invocation_type = json.load(answer["Payload"])
    assert file.endswith("/python/botocore/__init__.py")
    assert "site-packages" not in file
    assert (number, has_invocation_type) == (version("botocore"), True)

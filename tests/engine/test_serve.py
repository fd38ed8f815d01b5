"""`./nox -s serve`, with the variables that it prints."""

import re
import subprocess
import sys

from local.emulator import free_port

from .project import Project


def test_serve_prints_the_variables_of_a_deployment(project: Project) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "local", "serve", "--port", str(free_port())], stderr=subprocess.PIPE, text=True
    ) as serve:
        try:
            printed = ""
            while "PULUMI_DEBUG_PROVIDERS" not in printed:
                line = serve.stderr.readline() if serve.stderr else ""
                assert line, printed
                printed += line
            project.environment.update(re.findall(r"(AWS_CA_BUNDLE|PULUMI_DEBUG_PROVIDERS)=(\S+)", printed))
            with project.new_operations() as operations:
                project.up()
        finally:
            serve.terminate()

    assert operations == []
    assert "https://127.0.0.1" in project.outputs()["queueUrl"]
    assert project.aws.s3.list_buckets()["Buckets"] == []

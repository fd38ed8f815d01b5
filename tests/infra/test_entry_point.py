"""Runs `infra/__main__.py` as Pulumi's Python language host does, in a separate process."""

import json
import os
import subprocess
import sys

from yorutsuke_infra.stage_file import ROOT

from .conftest import stage_config

DRIVER = """
import runpy
import pulumi

class Engine(pulumi.runtime.Mocks):
    def new_resource(self, args):
        outputs = {"arn": f"arn:{args.name}", "url": f"https://{args.name}", "name": args.name, "bucket": args.name}
        return args.name, {**outputs, **args.inputs}

    def call(self, args):
        return {"accountId": "123456789012", "region": "ap-northeast-1", "partition": "aws"}, []

pulumi.runtime.set_mocks(Engine(), project="yorutsuke", stack="dev")
pulumi.runtime.test(lambda: runpy.run_path("__main__.py", run_name="__main__") and None)()
print(pulumi.runtime.get_root_resource().outputs["jobNamePrefix"])
"""


def test_program_runs_with_only_infra_on_the_path() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PULUMI_CONFIG"] = json.dumps(stage_config())

    run = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=ROOT / "infra", env=environment, capture_output=True, text=True, check=False
    )

    assert (run.returncode, run.stdout) == (0, "yorutsuke-dev.\n"), run.stderr

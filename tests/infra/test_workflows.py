"""The GitHub workflows that call the Pulumi CLI."""

import re
from typing import Any

import yaml

from yorutsuke_infra.stage_file import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "pulumi.yml").read_text())


def _step(action: str) -> dict[str, Any]:
    """Return the step that uses an action."""
    [step] = [step for step in WORKFLOW["jobs"]["pulumi"]["steps"] if step.get("uses", "").startswith(f"{action}@")]
    return step


def test_workflow_installs_the_cli_of_the_sdk() -> None:
    [version] = re.findall(r"^pulumi==(\S+)", (ROOT / "requirements" / "local.txt").read_text(), re.MULTILINE)

    assert _step("pulumi/actions")["with"]["pulumi-version"] == version


def test_deploy_job_fetches_the_plan_of_the_preview() -> None:
    kept, fetched = _step("actions/upload-artifact"), _step("actions/download-artifact")

    assert (kept["if"], fetched["if"]) == ("inputs.session == 'preview'", "inputs.session == 'deploy'")
    assert kept["with"]["name"] == fetched["with"]["name"]
    [run] = [step["run"] for step in WORKFLOW["jobs"]["pulumi"]["steps"] if "run" in step]
    assert run.endswith(f" {kept['with']['path']}")

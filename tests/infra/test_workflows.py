"""The GitHub workflows that call the Pulumi CLI."""

import re
from typing import Any

import pytest
import yaml

from yorutsuke_infra.stage_file import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
STEPS: dict[str, list[dict[str, Any]]] = {
    name: yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text())["jobs"][job]["steps"]
    for name, job in (("pulumi", "pulumi"), ("ci", "checks"))
}
"""The steps of each workflow that calls the CLI."""


def _step(action: str, workflow: str = "pulumi") -> dict[str, Any]:
    """Return the step of a workflow that uses an action."""
    [step] = [step for step in STEPS[workflow] if step.get("uses", "").startswith(f"{action}@")]
    return step


@pytest.mark.parametrize("workflow", sorted(STEPS))
def test_workflow_installs_the_cli_of_the_sdk(workflow: str) -> None:
    [version] = re.findall(r"^pulumi==(\S+)", (ROOT / "requirements" / "local.txt").read_text(), re.MULTILINE)

    assert _step("pulumi/actions", workflow)["with"]["pulumi-version"] == version


def test_deploy_job_fetches_the_plan_of_the_preview() -> None:
    kept, fetched = _step("actions/upload-artifact"), _step("actions/download-artifact")

    assert (kept["if"], fetched["if"]) == ("inputs.session == 'preview'", "inputs.session == 'deploy'")
    assert kept["with"]["name"] == fetched["with"]["name"]
    [run] = [step["run"] for step in STEPS["pulumi"] if "run" in step]
    assert run.endswith(f" {kept['with']['path']}")

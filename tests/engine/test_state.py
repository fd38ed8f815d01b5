"""The state of a stage: its secrets, its outputs for other stacks, and deployments that were interrupted."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.infra.expected import Name

from .project import ENVIRONMENT_FOLDER, STAGE, Operation, Project, resource_name

ADDRESS = "oncall@example.com"
READER = """
import pulumi

stage = pulumi.StackReference("organization/yorutsuke/local")
pulumi.export("layer", stage.require_output("commonLayerArn"))
pulumi.export("topic", stage.get_output("outputTopicArn"))
"""


def test_encrypted_address_is_in_no_file(deployed: Project) -> None:
    setting = "yorutsuke:stage.alarmEmails[0]"
    with deployed.restored(f"Pulumi.{STAGE}.yaml"):
        deployed.pulumi("config", "set", "--secret", "--path", setting, ADDRESS, "--stack", STAGE)
        printed = deployed.up()
        files = [deployed.folder / f"Pulumi.{STAGE}.yaml", *(deployed.folder / "state").rglob("*.json*")]
        contents = [file.read_text() for file in files if file.is_file()]
    deployed.up()

    assert ADDRESS not in printed
    assert [content for content in contents if "endpoint" in content]
    assert not [content for content in contents if ADDRESS in content]


def test_other_stack_reads_the_outputs(deployed: Project, tmp_path: Path) -> None:
    (tmp_path / ENVIRONMENT_FOLDER).symlink_to(deployed.folder / ENVIRONMENT_FOLDER)
    (tmp_path / "__main__.py").write_text(READER)
    manifest = (deployed.folder / "Pulumi.yaml").read_text()
    (tmp_path / "Pulumi.yaml").write_text(
        manifest.replace("name: yorutsuke\n", "name: reader\n").replace("main: infra/\n", "")
    )
    for arguments in (["stack", "init", "test"], ["up", "--yes", "--stack", "test"]):
        subprocess.run(deployed.command(*arguments), cwd=tmp_path, env=deployed.environment, check=True)

    read = subprocess.run(
        deployed.command("stack", "output", "layer", "--stack", "test"),
        cwd=tmp_path,
        env=deployed.environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert read.stdout.strip() == deployed.outputs()["commonLayerArn"]


class EngineGoneError(Exception):
    """The engine ended before the provider called AWS."""


def _suspend_between_writes(engine: psutil.Process, state: Path) -> None:
    """Suspend the engine while it is not writing its state: a write has a temporary file until it is complete."""
    while True:
        engine.suspend()
        while engine.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        if not [*state.rglob("*.tmp")]:
            return
        engine.resume()
        time.sleep(0.01)


def _interrupt(project: Project, at: Name, sign: signal.Signals, *, before_the_call: bool) -> None:
    """Deploy, and send a signal to the CLI and the program while the provider creates a resource.

    Args:
        project: The project.
        at: The resource.
        sign: The signal.
        before_the_call: Whether the provider omits the creation. Otherwise, it still completes it.
    """
    process = subprocess.Popen(
        # One operation at a time: the engine does not start another while this one is observed.
        project.command("up", "--yes", "--skip-preview", "--parallel", "1", "--stack", STAGE),
        cwd=project.folder,
        env=project.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def observe(operation: Operation) -> None:
        if resource_name(operation[1]) == at:
            # The language host has a process group of its own.
            engine = psutil.Process(process.pid)
            children = engine.children(recursive=True)
            if sign == signal.SIGKILL:
                _suspend_between_writes(engine, project.folder / "state")
            os.killpg(process.pid, sign)
            if sign == signal.SIGKILL:
                process.wait()
                for child in children:
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            if before_the_call:
                raise EngineGoneError

    project.observe = observe
    assert process.wait() != 0
    project.observe = lambda _: None


TABLE: Name = ("Table", "transactions")


@pytest.fixture
def empty(project: Project) -> Project:
    """The project with an empty local stage."""
    project.destroy()
    return project


@pytest.mark.parametrize("at", [TABLE, ("Function", "batch-result-handler"), ("BucketNotification", "batch-output")])
def test_interrupted_deployment_continues(empty: Project, at: Name) -> None:
    _interrupt(empty, at, signal.SIGINT, before_the_call=False)

    empty.up()
    empty.up("--expect-no-changes")


def test_killed_deployment_continues_when_aws_created_nothing(empty: Project) -> None:
    _interrupt(empty, TABLE, signal.SIGKILL, before_the_call=True)
    assert "locked" in empty.up(succeeds=False)

    empty.pulumi("cancel", "--yes", "--stack", STAGE)
    empty.pulumi("refresh", "--yes", "--clear-pending-creates", "--stack", STAGE)
    empty.up()
    empty.up("--expect-no-changes")


def test_killed_deployment_continues_with_the_created_resource(empty: Project) -> None:
    _interrupt(empty, TABLE, signal.SIGKILL, before_the_call=False)
    empty.pulumi("cancel", "--yes", "--stack", STAGE)
    empty.pulumi("refresh", "--yes", "--clear-pending-creates", "--stack", STAGE)
    assert "Table already exists" in empty.up(succeeds=False)

    empty.take_back({TABLE})
    with empty.new_operations() as operations:
        empty.up()
    assert ("create", *TABLE) not in operations
    empty.up("--expect-no-changes")

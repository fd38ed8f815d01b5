"""The commands that call the Pulumi CLI."""

import os
import re
import stat
from pathlib import Path

import pytest

from yorutsuke_infra import deployment
from yorutsuke_infra.config import StageConfig
from yorutsuke_infra.errors import ConfigError, DeploymentError


@pytest.fixture
def pulumi_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stub of the Pulumi CLI on the PATH. The fixture is the path of the file in which the stub records its call."""
    call = tmp_path / "call"
    program = tmp_path / "pulumi"
    program.write_text(f'#!/bin/sh\npwd > {call}\necho "$@" >> {call}\nexit 3\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return call


def test_deploy_calls_the_cli(pulumi_cli: Path) -> None:
    assert deployment.run("deploy", "dev") == 3

    assert pulumi_cli.read_text().split("\n")[:2] == [str(deployment.ROOT), "up --stack dev"]


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["preview", "dev", "--save-plan", "plan.json"], "preview --diff --stack dev --save-plan plan.json"),
        (["deploy", "dev", "--plan", "plan.json"], "up --stack dev --plan plan.json"),
    ],
)
def test_main_passes_arguments_to_the_cli(
    pulumi_cli: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], call: str
) -> None:
    monkeypatch.setattr("sys.argv", ["deployment", *arguments])

    deployment.main()

    assert pulumi_cli.read_text().split("\n")[1] == call


def test_destroy_refuses_a_protected_stage(pulumi_cli: Path) -> None:
    with pytest.raises(DeploymentError, match="stage 'prod' is protected"):
        deployment.run("destroy", "prod")

    assert not pulumi_cli.exists()


@pytest.mark.parametrize("options", [["--stack", "prod"], ["--stack=prod"], ["-s", "prod"], ["-ysprod"]])
def test_second_stack_is_refused(
    pulumi_cli: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["deployment", "destroy", "dev", *options])

    with pytest.raises(SystemExit, match="2"):
        deployment.main()

    assert "remove the option --stack" in capsys.readouterr().err
    assert not pulumi_cli.exists()


def test_destroy_refuses_to_run_the_program(
    pulumi_cli: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["deployment", "destroy", "dev", "--run-program"])

    with pytest.raises(SystemExit, match="2"):
        deployment.main()

    assert "it would ignore the protection of the deployed stage" in capsys.readouterr().err
    assert not pulumi_cli.exists()


def test_unknown_stage_error_lists_known_stages() -> None:
    message = (
        "stage 'staging' has no file Pulumi.staging.yaml. Use one of the stages dev, local, prod, or write the file."
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        deployment.run("preview", "staging")


@pytest.mark.usefixtures("pulumi_cli")
@pytest.mark.parametrize(("emails", "warned"), [((), True), (("oncall@example.com",), False)])
def test_preview_warns_when_alarm_emails_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], emails: tuple[str, ...], *, warned: bool
) -> None:
    def read(_: str) -> StageConfig:
        return StageConfig.model_validate({"alarmEmails": emails})

    monkeypatch.setattr(deployment, "read_stage_file", read)

    deployment.run("preview", "dev")

    assert ("Stage 'dev' has no alarmEmails. Its alarms notify only" in capsys.readouterr().err) == warned

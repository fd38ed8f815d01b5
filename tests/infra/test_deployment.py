"""The commands around the Pulumi CLI."""

import os
import re
import stat
from pathlib import Path

import pytest

from yorutsuke_infra import deployment
from yorutsuke_infra.artifacts import Target, this_machine
from yorutsuke_infra.config import StageConfig
from yorutsuke_infra.errors import ConfigError, DeploymentError


@pytest.fixture
def pulumi_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named pulumi on the PATH that writes down how it was called; returns where."""
    called = tmp_path / "called"
    program = tmp_path / "pulumi"
    program.write_text(f'#!/bin/sh\npwd > {called}\necho "$@" >> {called}\nexit 3\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return called


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What would be built, which takes its time and is tested elsewhere."""
    targets: list[object] = []
    monkeypatch.setattr(deployment, "build", targets.append)
    return targets


def test_deploy_builds_for_the_stage_and_calls_the_cli(pulumi_cli: Path, built: list[object]) -> None:
    assert deployment.run("deploy", "dev") == 3

    assert pulumi_cli.read_text().split("\n")[:2] == [str(deployment.ROOT), "up --stack dev"]
    assert built == [Target("3.13", "arm64")]


def test_destroy_builds_nothing(pulumi_cli: Path, built: list[object]) -> None:
    deployment.run("destroy", "dev")

    assert pulumi_cli.read_text().split("\n")[1] == "destroy --stack dev"
    assert built == []


def test_destroy_refuses_a_protected_stage(pulumi_cli: Path) -> None:
    with pytest.raises(DeploymentError, match="stage 'prod' is protected"):
        deployment.run("destroy", "prod")

    assert not pulumi_cli.exists()


def test_the_local_stage_is_built_for_this_machine(pulumi_cli: Path, built: list[object]) -> None:
    deployment.run("deploy", "local")

    assert pulumi_cli.read_text().split("\n")[1] == "up --stack local"
    assert built == [this_machine()]


def test_without_the_cli_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["nox", "preview", "dev"])

    assert deployment.main() == 1

    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        "the Pulumi CLI is not on the PATH: install it as pulumi.com/docs/install says, then run this again."
    )


def test_an_unknown_stage_is_refused_with_the_known_ones() -> None:
    said = "stage 'staging' has no file Pulumi.staging.yaml: name one of dev, local, prod, or write that file."
    with pytest.raises(ConfigError, match=re.escape(said)):
        deployment.run("preview", "staging")


@pytest.mark.usefixtures("pulumi_cli", "built")
@pytest.mark.parametrize(("emails", "said"), [((), True), (("night@example.com",), False)])
def test_whoever_deploys_a_stage_whose_alarms_nobody_hears_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], emails: tuple[str, ...], *, said: bool
) -> None:
    def read(_: str) -> StageConfig:
        return StageConfig.model_validate({"alarmEmails": emails})

    monkeypatch.setattr(deployment, "read_stage_file", read)

    deployment.run("preview", "dev")

    assert ("Stage 'dev' has no alarmEmails: nobody hears its alarms" in capsys.readouterr().err) == said

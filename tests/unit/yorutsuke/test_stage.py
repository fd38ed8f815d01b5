"""Tests of the commands that a stage suggests."""

import shlex
from pathlib import Path

import pytest

from yorutsuke.app import main
from yorutsuke.clients import make_clients
from yorutsuke.stage import PROGRAM_VARIABLE, Stage, find_stage

from .hostile_aws import REGION, HostileAws

NOX = "./nox -s yorutsuke --"
JOB = "it's $(rm) `rm` {job} \n"


@pytest.fixture
def stage() -> Stage:
    """A stage that was opened with a Region and a profile."""
    return find_stage("dev", make_clients(HostileAws().session), REGION, "my profile")


def test_command_selects_the_same_stage(stage: Stage) -> None:
    options = ["--stage", "dev", "--region", REGION, "--profile", "my profile"]

    assert shlex.split(stage.command("replay", JOB)) == ["yorutsuke", "replay", JOB, *options]


def test_command_omits_options_that_were_not_given() -> None:
    stage = find_stage("dev", make_clients(HostileAws().session))

    assert stage.command("jobs") == "yorutsuke jobs --stage dev"


def test_command_starts_like_the_running_program(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRAM_VARIABLE, NOX)

    assert stage.command("jobs").startswith(f"{NOX} jobs --stage dev")


def test_usage_starts_like_the_running_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PROGRAM_VARIABLE, NOX)

    assert main(["jobs", "--since", "0d"]) == 2
    assert f"Try '{NOX} jobs --help' for help." in capsys.readouterr().err


def test_nox_session_names_itself() -> None:
    noxfile = Path(__file__).parents[3] / "noxfile.py"

    assert f'session.env["{PROGRAM_VARIABLE}"] = "{NOX}"' in noxfile.read_text()


def test_aws_command_uses_the_same_account_and_region(stage: Stage) -> None:
    options = ["--region", REGION, "--profile", "my profile"]

    assert shlex.split(stage.aws_command("logs", "tail", JOB)) == ["aws", "logs", "tail", JOB, *options]


def test_aws_command_sets_the_local_stages_variables() -> None:
    variables = {"AWS_ENDPOINT_URL": "https://127.0.0.1:1", "AWS_CA_BUNDLE": "/a folder/ca.pem"}
    session = HostileAws().session
    stage = find_stage("local", make_clients(session, variables=variables))

    assert stage.aws_command("s3", "ls") == (
        f"AWS_ENDPOINT_URL=https://127.0.0.1:1 AWS_CA_BUNDLE='/a folder/ca.pem' aws s3 ls --region {REGION}"
    )

"""Tests of the errors that a command prints before it calls AWS, as text and as a JSON object."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest

from yorutsuke.app import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an environment without a stage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YORUTSUKE_STAGE", raising=False)
    return tmp_path


USAGE = {
    "a missing option": (["jobs"], "Missing option '--stage' (env var: 'YORUTSUKE_STAGE')."),
    "an empty span": (["doctor", "--stage", "dev", "--since", "0d"], "'0d' is an empty time span"),
    "an unknown command": (["job-list"], "No such command 'job-list'."),
    "an unknown option": (["jobs", "--nope"], "No such option: --nope"),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_usage_error_is_a_json_object(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code = main([*arguments, "--json"])

    out, err = capsys.readouterr()
    error = json.loads(err)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in error.pop("message")
    assert error == {"error": "UsageError", "remedy": "`yorutsuke --help` lists the commands."}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE)
def test_usage_error_shows_the_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code = main(arguments)

    out, err = capsys.readouterr()
    assert (code, out, err.startswith("Usage: yorutsuke")) == (2, "", True)
    assert message in err


def test_error_has_the_same_content_in_both_forms(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Pulumi.dev.yaml").write_text("config: none")
    codes = [main(["jobs", "--stage", "dev", *option]) for option in ([], ["--json"])]

    out, err = capsys.readouterr()
    text, error = err.splitlines()
    message = "Pulumi.dev.yaml does not have a mapping `config`."
    remedy = "Correct the file, or name the stage's Region with --region."
    assert (codes, out) == ([1, 1], "")
    assert text == f"StageError: {message} {remedy}"
    assert json.loads(error) == {"error": "StageError", "message": message, "remedy": remedy}


def test_help_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--help", "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_interruption_is_not_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with patch("yorutsuke.options.open_stage", side_effect=KeyboardInterrupt):
        codes = [main(["jobs", "--stage", "dev", *option]) for option in ([], ["--json"])]

    assert (codes, capsys.readouterr()) == ([130, 130], ("", ""))

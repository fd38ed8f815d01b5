"""Tests of the Region that the command takes from the stage's file."""

from pathlib import Path

import pytest
from moto import mock_aws

from yorutsuke.errors import StageError
from yorutsuke.stage import open_stage
from yorutsuke.stage_file import region_in_file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with AWS's own configuration in the environment."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "DEFAULT_REGION": "us-west-2"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    return tmp_path


def _write(folder: Path, content: str | bytes) -> None:
    file = folder / "Pulumi.prod.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize(
    ("content", "option", "expected"),
    [
        ("config:\n  aws:region: eu-west-1\n", "ap-south-1", "ap-south-1"),
        ("config:\n  aws:region: eu-west-1\n", None, "eu-west-1"),
        ("config:\n  other: 1\n", None, "us-west-2"),
        ("secretsprovider: awskms://alias/a\n", None, "us-west-2"),
        (None, None, "us-west-2"),
        ("{", "ap-south-1", "ap-south-1"),
    ],
)
def test_region_comes_from_option_file_then_aws(
    folder: Path, content: str | None, option: str | None, expected: str
) -> None:
    if content is not None:
        _write(folder, content)

    with mock_aws(), pytest.raises(StageError, match=f"does not exist in {expected} of this account"):
        open_stage("prod", option)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("config:\n  - {\n", r"Pulumi\.prod\.yaml is not valid YAML \(line 3\)\. Correct the file, or name"),
        (b"\xff\xfe\x00", r"Pulumi\.prod\.yaml is not"),
        ("[1]", r"Pulumi\.prod\.yaml does not have a mapping `config`"),
        ("config: text", r"Pulumi\.prod\.yaml does not have a mapping `config`"),
        ("config: {'aws:region': 7}", r"aws:region in Pulumi\.prod\.yaml is 7, not the name of a Region"),
    ],
)
def test_invalid_file_is_one_error(folder: Path, content: str | bytes, problem: str) -> None:
    _write(folder, content)

    with pytest.raises(StageError, match=problem) as refused:
        region_in_file("prod")

    assert "\n" not in str(refused.value)
    assert "--region" in str(refused.value)


def test_unreadable_file_is_one_error(folder: Path) -> None:
    (folder / "Pulumi.prod.yaml").mkdir()

    with pytest.raises(StageError, match=r"Pulumi\.prod\.yaml cannot be read \(Is a directory\)"):
        region_in_file("prod")

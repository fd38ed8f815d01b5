"""A stage's file, read outside a Pulumi program: what cannot be right is refused by name."""

from pathlib import Path

import pytest
import yaml
from pulumi_aws import ProviderEndpointArgs

from local.serve import PORT
from yorutsuke_infra import stage_file
from yorutsuke_infra.errors import ConfigError
from yorutsuke_infra.stage_file import ROOT, read_stage_file


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Pulumi.mine.yaml has no mapping `config`"),
        (b"config:\n", "Pulumi.mine.yaml has no mapping `config`"),
        (b"- config\n", "Pulumi.mine.yaml has no mapping `config`"),
        (b"config: {\n", "Pulumi.mine.yaml is no YAML"),
        (b"config: \xff\n", "Pulumi.mine.yaml is no YAML"),
        (b"config:\n  yorutsuke:stge: {protectData: true}\n", "Pulumi.mine.yaml has the key 'yorutsuke:stge'"),
        (
            b"config:\n  aws:region: ap-northeast-1\n  yorutsuke:stage: {protectdata: true}\n",
            "protectdata is True: Extra inputs are not permitted",
        ),
        (b"config:\n  yorutsuke:stage: {}\n", "aws:region in Pulumi.mine.yaml is None: name the AWS Region"),
        (b"config:\n  aws:region: Tokyo\n", "aws:region in Pulumi.mine.yaml is 'Tokyo': name the AWS Region"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    (tmp_path / "Pulumi.mine.yaml").write_bytes(content)
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    with pytest.raises(ConfigError) as error:
        read_stage_file("mine")

    assert said in str(error.value)


def test_a_stage_without_choices_has_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.mine.yaml").write_text("config:\n  aws:region: ap-northeast-1\n")
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    assert read_stage_file("mine").python_version == "3.13"


def test_what_is_encrypted_is_left_to_pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.mine.yaml").write_text(
        "config:\n  aws:region: ap-northeast-1\n  yorutsuke:stage:\n    protectData: true\n"
        "    alarmEmails: [{secure: AAABAIJxQ}, night@example.com]\n    timezone: {secure: AAABAIJxQ}\n"
    )
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    config = read_stage_file("mine")

    assert (config.protect_data, config.alarm_emails, config.timezone) == (True, ("night@example.com",), "Asia/Tokyo")


def test_the_local_stage_is_sent_to_the_emulator_by_keys_that_the_provider_knows() -> None:
    config = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text())["config"]
    [endpoints] = config["aws:endpoints"]

    assert set(endpoints.values()) == {f"https://127.0.0.1:{PORT}"}
    # Python's name of lambda.
    known = {name.rstrip("_") for name in vars(ProviderEndpointArgs)}
    assert set(endpoints) <= known

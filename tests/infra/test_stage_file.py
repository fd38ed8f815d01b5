"""The configuration file of a stage, read outside a Pulumi program."""

import re
from pathlib import Path

import pytest
import yaml
from pulumi_aws import ProviderArgs, ProviderEndpointArgs

from local.resources import CREATORS
from local.serve import PORT
from yorutsuke_infra import stage_file
from yorutsuke_infra.config import StageConfig, stage_tags
from yorutsuke_infra.errors import ConfigError
from yorutsuke_infra.stage_file import ROOT, read_stage_file

HEAD = """\
config:
  aws:region: ap-northeast-1
  aws:defaultTags: {tags: {project: yorutsuke, stage: mine, managed-by: pulumi}}
"""
"""The required keys of a stage's file."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Pulumi.mine.yaml has no mapping `config`"),
        (b"config:\n", "Pulumi.mine.yaml has no mapping `config`"),
        (b"- config\n", "Pulumi.mine.yaml has no mapping `config`"),
        (b"config: {\n", "Pulumi.mine.yaml is not valid YAML"),
        (b"config: \xff\n", "Pulumi.mine.yaml is not valid YAML"),
        (b"config:\n  yorutsuke:stge: {protectData: true}\n", "Pulumi.mine.yaml has the unknown key 'yorutsuke:stge'"),
        (
            f"{HEAD}  yorutsuke:stage: {{protectdata: true}}\n".encode(),
            "protectdata is True: unknown key; did you mean protectData?",
        ),
        (b"config:\n  yorutsuke:stage: {}\n", "aws:region in Pulumi.mine.yaml is None, which is not an AWS Region"),
        (b"config:\n  aws:region: Tokyo\n", "aws:region in Pulumi.mine.yaml is 'Tokyo', which is not an AWS Region"),
        (
            HEAD.replace("ap-northeast-1", "eu-west-1").encode(),
            "modelIds.0 is 'apac.amazon.nova-lite-v1:0': must be callable from aws:region eu-west-1: begin with eu. or",
        ),
        (
            HEAD.replace("mine", "dev").encode(),
            "Write `aws:defaultTags: {tags: {project: yorutsuke, stage: mine, managed-by: pulumi}}`.",
        ),
    ],
)
def test_invalid_file_raises_config_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, message: str
) -> None:
    (tmp_path / "Pulumi.mine.yaml").write_bytes(content)
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    with pytest.raises(ConfigError) as error:
        read_stage_file("mine")

    assert message in str(error.value)


def test_stage_without_settings_has_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.mine.yaml").write_text(HEAD)
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    assert read_stage_file("mine").python_version == "3.13"


def test_encrypted_addresses_are_omitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.mine.yaml").write_text(
        f"{HEAD}  yorutsuke:stage:\n    alarmEmails: [{{secure: AAABAIJxQ}}, oncall@example.com]\n"
    )
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    assert read_stage_file("mine").alarm_emails == ("oncall@example.com",)


def test_other_encrypted_values_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this check, an encrypted `protectData` would not protect the stage from destruction."""
    (tmp_path / "Pulumi.mine.yaml").write_text(f"{HEAD}  yorutsuke:stage:\n    protectData: {{secure: AAABAIJxQ}}\n")
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    with pytest.raises(
        ConfigError, match=r"protectData in Pulumi.mine.yaml is encrypted. Only individual addresses in alarmE"
    ):
        read_stage_file("mine")


@pytest.mark.parametrize("stage", ["Dev_1", "a.b", "dev-", "1dev", "d" * 28])
def test_stage_name_that_aws_rejects_is_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    (tmp_path / f"Pulumi.{stage}.yaml").write_text("config:\n  aws:region: ap-northeast-1\n")
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    with pytest.raises(ConfigError, match=f"stage name '{stage}' is not valid"):
        read_stage_file(stage)


@pytest.mark.parametrize("stage", ["dev", "local", "prod"])
def test_stage_files_have_default_tags(stage: str) -> None:
    config = yaml.safe_load((ROOT / f"Pulumi.{stage}.yaml").read_text())["config"]

    assert config["aws:defaultTags"] == {"tags": stage_tags(stage)}


def test_example_file_has_every_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_file, "ROOT", ROOT / "docs")
    examples = {"alarm_emails", "drill_event_source", "schedule"}

    settings = yaml.safe_load((ROOT / "docs" / "Pulumi.example.yaml").read_text())["config"]["yorutsuke:stage"]
    assert [*settings] == [field.alias for field in StageConfig.model_fields.values()]
    example = read_stage_file("example").model_dump(exclude=examples)
    assert example == StageConfig().model_dump(exclude=examples)


def test_local_stage_sends_every_service_to_emulator() -> None:
    config = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text())["config"]
    [endpoints] = config["aws:endpoints"]

    # pulumi_aws spells lambda_ with an underscore. EventBridge and CloudWatch Logs have their own endpoints.
    services = {resource_type.split(":")[1].split("/")[0] for resource_type in CREATORS} | {"events", "logs", "sts"}
    assert set(endpoints) == services
    assert set(endpoints.values()) == {f"https://127.0.0.1:{PORT}"}
    known = {name.rstrip("_") for name in vars(ProviderEndpointArgs)}
    assert set(endpoints) <= known


@pytest.mark.parametrize("file", ["Pulumi.local.yaml", "docs/Pulumi.example.yaml"])
def test_provider_has_every_aws_key(file: str) -> None:
    config = yaml.safe_load((ROOT / file).read_text())["config"]
    keys = {key.removeprefix("aws:") for key in config if key.startswith("aws:")}
    known = {re.sub(r"_(\w)", lambda letter: letter[1].upper(), name) for name in vars(ProviderArgs)}

    assert keys <= known

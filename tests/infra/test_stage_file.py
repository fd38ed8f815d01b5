"""A stage's file, read outside a Pulumi program: what cannot be right is refused by name."""

import re
from pathlib import Path

import pytest
import yaml
from pulumi_aws import ProviderArgs, ProviderEndpointArgs

from local.resources import CREATORS
from local.serve import PORT
from yorutsuke_infra import stage_file
from yorutsuke_infra.config import stage_tags
from yorutsuke_infra.errors import ConfigError
from yorutsuke_infra.stage_file import ROOT, read_stage_file

HEAD = """\
config:
  aws:region: ap-northeast-1
  aws:defaultTags: {tags: {project: yorutsuke, stage: mine, managed-by: pulumi}}
"""
"""The beginning of a stage's file: everything that has no default."""


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
            f"{HEAD}  yorutsuke:stage: {{protectdata: true}}\n".encode(),
            "protectdata is True: unknown key, perhaps protectData is meant",
        ),
        (b"config:\n  yorutsuke:stage: {}\n", "aws:region in Pulumi.mine.yaml is None: name the AWS Region"),
        (b"config:\n  aws:region: Tokyo\n", "aws:region in Pulumi.mine.yaml is 'Tokyo': name the AWS Region"),
        (
            HEAD.replace("mine", "dev").encode(),
            "Write `aws:defaultTags: {tags: {project: yorutsuke, stage: mine, managed-by: pulumi}}`.",
        ),
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
    (tmp_path / "Pulumi.mine.yaml").write_text(HEAD)
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    assert read_stage_file("mine").python_version == "3.13"


def test_encrypted_addresses_are_left_to_pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.mine.yaml").write_text(
        f"{HEAD}  yorutsuke:stage:\n    alarmEmails: [{{secure: AAABAIJxQ}}, night@example.com]\n"
    )
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    assert read_stage_file("mine").alarm_emails == ("night@example.com",)


def test_nothing_else_may_be_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage whose protection cannot be read would be destroyed as one that has none."""
    (tmp_path / "Pulumi.mine.yaml").write_text(f"{HEAD}  yorutsuke:stage:\n    protectData: {{secure: AAABAIJxQ}}\n")
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    with pytest.raises(
        ConfigError, match=r"protectData in Pulumi.mine.yaml is encrypted: only the addresses in alarmE"
    ):
        read_stage_file("mine")


@pytest.mark.parametrize("stage", ["Dev_1", "a.b", "dev-", "1dev", "d" * 28])
def test_a_stage_whose_name_aws_would_not_take_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    (tmp_path / f"Pulumi.{stage}.yaml").write_text("config:\n  aws:region: ap-northeast-1\n")
    monkeypatch.setattr(stage_file, "ROOT", tmp_path)

    with pytest.raises(ConfigError, match=f"stage '{stage}' is no name for one"):
        read_stage_file(stage)


@pytest.mark.parametrize("stage", ["dev", "local", "prod"])
def test_every_stage_file_has_its_default_tags(stage: str) -> None:
    config = yaml.safe_load((ROOT / f"Pulumi.{stage}.yaml").read_text())["config"]

    assert config["aws:defaultTags"] == {"tags": stage_tags(stage)}


def test_the_local_stage_is_sent_to_the_emulator_whatever_it_uses() -> None:
    config = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text())["config"]
    [endpoints] = config["aws:endpoints"]

    # Lambda is a keyword of Python's. CloudWatch's rules and log groups are other services' by now.
    services = {resource_type.split(":")[1].split("/")[0] for resource_type in CREATORS} | {"events", "logs", "sts"}
    assert set(endpoints) == services
    assert set(endpoints.values()) == {f"https://127.0.0.1:{PORT}"}
    known = {name.rstrip("_") for name in vars(ProviderEndpointArgs)}
    assert set(endpoints) <= known


def test_the_provider_knows_every_key_of_the_local_stage() -> None:
    config = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text())["config"]
    keys = {key.removeprefix("aws:") for key in config if key.startswith("aws:")}
    known = {re.sub(r"_(\w)", lambda letter: letter[1].upper(), name) for name in vars(ProviderArgs)}

    assert keys <= known

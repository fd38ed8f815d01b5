"""A stage's file, read outside a Pulumi program: what cannot be right is refused by name."""

from pathlib import Path

import pytest

from yorutsuke_infra import stage_file
from yorutsuke_infra.errors import ConfigError
from yorutsuke_infra.stage_file import read_stage_file


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Pulumi.mine.yaml has no mapping `config`"),
        (b"config:\n", "Pulumi.mine.yaml has no mapping `config`"),
        (b"- config\n", "Pulumi.mine.yaml has no mapping `config`"),
        (b"config: {\n", "Pulumi.mine.yaml is no YAML"),
        (b"config: \xff\n", "Pulumi.mine.yaml is no YAML"),
        (b"config:\n  yorutsuke:stge: {protectData: true}\n", "Pulumi.mine.yaml has the key 'yorutsuke:stge'"),
        (b"config:\n  yorutsuke:stage: {protectdata: true}\n", "protectdata is True: Extra inputs are not permitted"),
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

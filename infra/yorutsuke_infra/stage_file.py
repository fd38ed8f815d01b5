"""Reads the configuration of a stage from its file, for commands that run outside a Pulumi program."""

from pathlib import Path
from typing import cast

import yaml

from yorutsuke_common.names import PROJECT

from .config import CONFIG_KEY, REGION_KEY, TAGS_KEY, StageConfig, decode_json, parse_config, require_well_formed
from .errors import ConfigError

EMAILS_KEY = "alarmEmails"
ROOT = Path(__file__).resolve().parents[2]


def read_stage_values(stage: str) -> dict[str, object]:
    """Return the `config` mapping of Pulumi.{stage}.yaml.

    Raises:
        ConfigError: The file is missing or not valid.
    """
    path = ROOT / f"Pulumi.{stage}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.name.split(".")[1] for file in ROOT.glob("Pulumi.*.yaml")))
        raise ConfigError(f"stage {stage!r} has no file {path.name}. Use one of the stages {known}, or write the file.")
    try:
        content: object = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path.name} is not valid YAML. Correct this problem in it:\n{exc}") from exc
    config = cast("dict[str, object]", content).get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise ConfigError(f"{path.name} has no mapping `config`. Write one with aws:region and aws:defaultTags.")
    values = cast("dict[str, object]", config)
    tags = values.get(TAGS_KEY)
    # `pulumi config set` stores an object as JSON text.
    require_well_formed(stage, values, values.get(REGION_KEY), decode_json(tags) if isinstance(tags, str) else tags)
    return values


def read_stage_file(stage: str) -> StageConfig:
    """Return the validated configuration of a stage, without its encrypted email addresses.

    Raises:
        ConfigError: The file is missing or not valid, or it has an encrypted value other than an email address.
    """
    values = read_stage_values(stage)
    settings = values.get(f"{PROJECT}:{CONFIG_KEY}", {})
    if isinstance(settings, dict):
        settings = {
            key: _remove_secrets(key, value, stage) for key, value in cast("dict[str, object]", settings).items()
        }
    return parse_config(settings, stage, str(values[REGION_KEY]))


def _remove_secrets(key: str, value: object, stage: str) -> object:
    """Return a setting without encrypted email addresses.

    Only Pulumi can decrypt a value. The commands that call this function need every setting except the addresses.

    Raises:
        ConfigError: Another value is encrypted.
    """
    if key == EMAILS_KEY and isinstance(value, list):
        return [email for email in cast("list[object]", value) if not _is_encrypted(email)]
    if _is_encrypted(value):
        raise ConfigError(
            f"{key} in Pulumi.{stage}.yaml is encrypted. Only individual addresses in {EMAILS_KEY} can be encrypted. "
            "Set it without --secret."
        )
    return value


def _is_encrypted(value: object) -> bool:
    return isinstance(value, dict) and list(cast("dict[str, object]", value)) == ["secure"]

"""A stage's config as it lies in the repository, for the commands that run outside a Pulumi program."""

from pathlib import Path
from typing import cast

import yaml

from yorutsuke_common.names import PROJECT

from .config import CONFIG_KEY, REGION_KEY, TAGS_KEY, StageConfig, decoded, parse_config, require_well_formed
from .errors import ConfigError

EMAILS_KEY = "alarmEmails"
ROOT = Path(__file__).resolve().parents[2]


def read_stage_values(stage: str) -> dict[str, object]:
    """Return the `config` mapping of Pulumi.{stage}.yaml. Raises ConfigError where that cannot be."""
    path = ROOT / f"Pulumi.{stage}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.name.split(".")[1] for file in ROOT.glob("Pulumi.*.yaml")))
        raise ConfigError(f"stage {stage!r} has no file {path.name}: name one of {known}, or write that file.")
    try:
        content: object = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path.name} is no YAML: {exc}") from exc
    config = cast("dict[str, object]", content).get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise ConfigError(f"{path.name} has no mapping `config`: write one, with aws:region at least.")
    values = cast("dict[str, object]", config)
    tags = values.get(TAGS_KEY)
    # `pulumi config set` writes an object as JSON.
    require_well_formed(stage, values, values.get(REGION_KEY), decoded(tags) if isinstance(tags, str) else tags)
    return values


def read_stage_file(stage: str) -> StageConfig:
    """Return the validated config of a stage, without the addresses in it that are encrypted. Raises ConfigError."""
    chosen = read_stage_values(stage).get(f"{PROJECT}:{CONFIG_KEY}", {})
    if isinstance(chosen, dict):
        chosen = {key: _readable(key, value, stage) for key, value in cast("dict[str, object]", chosen).items()}
    return parse_config(chosen, stage)


def _readable(key: str, value: object, stage: str) -> object:
    """Return a choice without what is encrypted in it, for Pulumi alone to read. Raises ConfigError where that matters.

    The commands around Pulumi have to know everything but whom the alarms tell.
    """
    if key == EMAILS_KEY and isinstance(value, list):
        return [email for email in cast("list[object]", value) if not _is_encrypted(email)]
    if _is_encrypted(value):
        raise ConfigError(
            f"{key} in Pulumi.{stage}.yaml is encrypted: only the addresses in {EMAILS_KEY} can be, one by one. "
            "Set it without --secret."
        )
    return value


def _is_encrypted(value: object) -> bool:
    return isinstance(value, dict) and list(cast("dict[str, object]", value)) == ["secure"]

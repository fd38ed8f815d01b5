"""A stage's config as it lies in the repository, for the commands that run outside a Pulumi program."""

from pathlib import Path
from typing import cast

import yaml

from .config import CONFIG_KEY, PROJECT, REGION_KEY, StageConfig, parse_config, require_region
from .errors import ConfigError

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
    unknown = [key for key in values if key.startswith(f"{PROJECT}:") and key != f"{PROJECT}:{CONFIG_KEY}"]
    if unknown:
        raise ConfigError(
            f"{path.name} has the key {unknown[0]!r}: everything of this project goes under {PROJECT}:{CONFIG_KEY}."
        )
    require_region(values.get(REGION_KEY), stage)
    return cast("dict[str, object]", _readable(values))


def read_stage_file(stage: str) -> StageConfig:
    """Return the validated config of a stage. Raises ConfigError."""
    return parse_config(read_stage_values(stage).get(f"{PROJECT}:{CONFIG_KEY}", {}), stage)


def _readable(value: object) -> object:
    """Return a value without what is encrypted in it: that is for Pulumi alone, and no command here needs it."""
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value).items()
        return {key: _readable(entry) for key, entry in entries if not _is_encrypted(entry)}
    if isinstance(value, list):
        return [_readable(entry) for entry in cast("list[object]", value) if not _is_encrypted(entry)]
    return value


def _is_encrypted(value: object) -> bool:
    return isinstance(value, dict) and list(cast("dict[str, object]", value)) == ["secure"]

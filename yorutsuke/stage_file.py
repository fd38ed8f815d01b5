"""The Region in a stage's file, `Pulumi.STAGE.yaml`, if the current folder has that file."""

from pathlib import Path
from typing import cast

import yaml

from .errors import StageError

REGION_KEY = "aws:region"


def region_in_file(stage: str) -> str | None:
    """Return the Region in the stage's file, or None if the file or its key `aws:region` does not exist.

    Raises StageError if the file cannot be read or is not valid.
    """
    file = Path(f"Pulumi.{stage}.yaml")
    remedy = "Correct the file, or name the stage's Region with --region."
    try:
        content: object = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StageError(f"{file} cannot be read ({exc.strerror}).", remedy) from exc
    except UnicodeDecodeError as exc:
        raise StageError(f"{file} is not UTF-8 text.", remedy) from exc
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise StageError(f"{file} is not valid YAML{place}.", remedy) from exc
    config = cast("dict[str, object]", content).get("config", {}) if isinstance(content, dict) else content
    if not isinstance(config, dict):
        raise StageError(f"{file} does not have a mapping `config`.", remedy)
    region = cast("dict[str, object]", config).get(REGION_KEY)
    if not isinstance(region, str | None):
        raise StageError(f"{REGION_KEY} in {file} is {region!r}, not the name of a Region.", remedy)
    return region

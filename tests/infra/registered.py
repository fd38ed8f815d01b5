"""Prints the resources that the program registers for a stage, so that a test can compare two runs."""

import json
import sys
from typing import Any, cast

import pulumi

from local.deployer import run_program
from tests.infra.conftest import Program, stage_config


def registered(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of every resource, by its type and name."""
    program = Program()
    run_program(program, "dev", stage_config(**settings))
    return {
        f"{resource.typ} {resource.name}": _comparable(cast("dict[str, Any]", resource.inputs))
        for resource in program.resources
    }


def _comparable(value: Any) -> Any:
    """Replace archives by their paths. test_artifacts.py compares the bytes of archives."""
    if isinstance(value, pulumi.FileArchive):
        return str(value.path)
    if isinstance(value, dict):
        return {key: _comparable(entry) for key, entry in cast("dict[str, Any]", value).items()}
    return [_comparable(entry) for entry in cast("list[Any]", value)] if isinstance(value, list) else value


if __name__ == "__main__":
    print(json.dumps([registered(json.loads(config)) for config in sys.argv[1:]], sort_keys=True, indent=1))

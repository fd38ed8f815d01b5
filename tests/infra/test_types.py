"""Types hold the program: a property that the provider does not have, or has otherwise, fails the check."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INFRA = Path(__file__).parents[2] / "infra"


def _errors(folder: Path) -> list[str]:
    """Return the errors that the type checker finds in a folder's program, strictly."""
    config = {
        "typeCheckingMode": "strict",
        "include": ["."],
        "extraPaths": [str(INFRA.parent / "layer")],
        "reportUnknownMemberType": False,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    return [
        found["message"] for found in json.loads(checked.stdout)["generalDiagnostics"] if found["severity"] == "error"
    ]


MISTAKES = [
    ("images_bucket", "force_destroy=", "force_destory=", 'No overloads for "__init__" match'),
    ("images_bucket", "noncurrent_days=", "non_current_days=", 'No parameter named "non_current_days"'),
    (
        "messaging",
        "message_retention_seconds=DLQ_RETENTION_SECONDS",
        'message_retention_seconds="14 days"',
        "'14 days'",
    ),
]
"""A module, what is right in it, what is wrong in its place, and what the checker says of that."""


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The errors that the type checker finds in the program with all mistakes at once: each run takes seconds."""
    folder = shutil.copytree(INFRA, tmp_path_factory.mktemp("mistaken") / "infra")
    for module, right, wrong, _ in MISTAKES:
        program = folder / "yorutsuke_infra" / f"{module}.py"
        source = program.read_text()
        assert source.count(right) == 1
        program.write_text(source.replace(right, wrong))
    return _errors(folder)


@pytest.mark.parametrize("said", [said for *_, said in MISTAKES])
def test_a_misspelt_or_ill_typed_property_fails_the_check(errors: list[str], said: str) -> None:
    assert [error for error in errors if said in error]


def test_the_program_as_it_is_passes(tmp_path: Path) -> None:
    shutil.copytree(INFRA, tmp_path / "infra")

    assert _errors(tmp_path / "infra") == []

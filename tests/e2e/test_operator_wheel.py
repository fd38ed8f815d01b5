"""Tests of the wheel with the operator's command, as `pipx install .` builds it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from local.emulator import Emulator
from local.job_run import JobRun

from .operator_stage import make_operator

ROOT = Path(__file__).parents[2]
UV = (sys.executable, "-m", "uv", "--quiet")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder)]
    subprocess.run([*UV, "build", *options, str(ROOT)], check=True)
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel. Only the wheel and the locked requirements are importable."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--python", sys.executable, "--target", str(folder)]
    subprocess.run([*UV, "pip", "install", *options, str(wheel)], check=True)
    return folder


def _run(installed: Path, folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the installed command in a folder outside the repository."""
    return subprocess.run(
        [sys.executable, str(installed / "bin" / "yorutsuke"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_wheel_contains_the_command_and_the_layer(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    packages = {name.partition("/")[0] for name in names if not name.partition("/")[0].endswith(".dist-info")}
    assert packages == {"yorutsuke", "yorutsuke_common"}
    sources = {
        str(path.relative_to(root))
        for root, package in ((ROOT, "yorutsuke"), (ROOT / "layer", "yorutsuke_common"))
        for path in (root / package).rglob("*.py")
    }
    assert {name for name in names if name.endswith(".py")} == sources


def test_wheel_installs_a_command(installed: Path, tmp_path: Path) -> None:
    done = _run(installed, tmp_path, "--help")

    assert done.returncode == 0, done.stderr
    assert "retry-migrations" in done.stdout


def test_installed_command_examines_a_stage(installed: Path, emulator: Emulator, stage: JobRun, tmp_path: Path) -> None:
    operator = make_operator(emulator, stage, tmp_path)

    done = _run(installed, tmp_path, "doctor", "--stage", "local", **operator.environment)

    assert done.returncode == 0, done.stderr
    assert "Stage local: 0 bad" in done.stdout


def test_installed_command_finds_the_local_stage_file(
    installed: Path, emulator: Emulator, stage: JobRun, tmp_path: Path
) -> None:
    folder = tmp_path / ".local"
    folder.mkdir()
    make_operator(emulator, stage, folder)

    done = _run(installed, tmp_path, "jobs", "--stage", "local", "--json")

    assert done.returncode == 0, done.stderr

"""The script `nox`, which creates its environment, on a machine that lacks a requirement, and when interrupted."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.job_run import until

from .demo_command import ROOT

SECONDS = 60
DEFAULT_SIGNALS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv("/bin/sh", ["sh", *sys.argv[1:]])
"""
"""A program that starts a shell. A shell cannot handle SIGINT if it was started with SIGINT ignored."""


def _start(folder: Path, modules: str = "") -> "subprocess.Popen[str]":
    """Start the script in a folder. The modules in the folder `modules` replace those of Python."""
    shutil.copy(ROOT / "nox", folder)
    (folder / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "nox.txt", folder / "requirements")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        [sys.executable, "-c", DEFAULT_SIGNALS, "nox", "-l"],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": modules},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("module", "content", "message"),
    [
        (
            "ensurepip.py",
            "raise ImportError",
            "python3 cannot create virtual environments. On Debian or Ubuntu, run: sudo apt install python3-venv\n",
        ),
        (
            "sitecustomize.py",
            "import sys; sys.version_info = (3, 10, 4, 'final', 0)",
            "python3 is Python 3.10.4. Install Python 3.11 or newer.\n",
        ),
    ],
)
def test_missing_requirement_is_a_one_line_error(tmp_path: Path, module: str, content: str, message: str) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / module).write_text(content)

    process = _start(tmp_path, str(modules))

    assert (process.communicate(timeout=SECONDS)[1], process.returncode) == (message, 1)
    assert not (tmp_path / ".nox").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_first_call_removes_the_environment(tmp_path: Path, number: signal.Signals) -> None:
    process = _start(tmp_path)
    until(lambda: [*tmp_path.glob(".nox/nox.*/pyvenv.cfg")], SECONDS, "the environment")

    os.killpg(process.pid, number)

    printed = process.communicate(timeout=SECONDS)[1]
    assert printed.startswith("Installing nox into .nox/nox.")
    assert printed.endswith("\nInterrupted. The incomplete environment was removed.\n")
    assert "Traceback" not in printed
    assert process.returncode == 130
    assert not [*tmp_path.glob(".nox/*")]


@pytest.mark.parametrize("session", ["preview", "deploy", "destroy"])
def test_missing_cli_is_reported_before_an_installation(tmp_path: Path, session: str) -> None:
    for program in ("cmp", "dirname", "sh"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))

    process = subprocess.run(
        [ROOT / "nox", "-s", session, "--", "dev"],
        env={"PATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert process.returncode == 1
    [running, error, *_] = process.stderr.splitlines()
    assert running.endswith(f"Running session {session}")
    assert "the Pulumi CLI is not on the PATH. Install the Pulumi CLI (https://www.pulumi.com/docs/install)" in error

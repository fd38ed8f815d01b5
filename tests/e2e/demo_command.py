"""The demo's command, as a person gives it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_demo(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end, and return how that was."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / path) for path in ("infra", "layer", ""))}
    command = [sys.executable, "-m", "local.demo", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)

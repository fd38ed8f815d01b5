"""The demo's command line, run as a process."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_demo(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the demo with these arguments and return the completed process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / path) for path in ("infra", "layer", ""))}
    command = [sys.executable, "-m", "local", "demo", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)

"""Calls policy_decision.py on the emulator's interpreter."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from local.emulator import EMULATOR_PYTHON_VARIABLE


def decide(question: dict[str, Any]) -> str:
    """Return the decision of the emulator's policy evaluator: Allow, Deny or ImplicitDeny."""
    command = [os.environ[EMULATOR_PYTHON_VARIABLE], str(Path(__file__).parent / "policy_decision.py")]
    process = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=True)
    return process.stdout.strip()

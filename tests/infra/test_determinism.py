"""The program registers the same resources in every run, so deploying unchanged source changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _register(*configs: str, hash_seed: str) -> str:
    """Return the resources that a new process registers for each configuration. The hash seed orders its sets."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.infra.registered", *configs],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout


def test_two_runs_register_the_same_inputs() -> None:
    emails = ["oncall@example.com", "ops@example.com"]
    configs = [json.dumps({"trigger": trigger, "alarmEmails": emails}) for trigger in ("sqs", "s3")]
    first = _register(*configs, hash_seed="1")

    assert [len(resources) > 40 for resources in json.loads(first)] == [True, True]
    assert _register(*configs, hash_seed="2") == first

"""A deployment of what is deployed already has nothing to do: the program registers the same in every run."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _registered(*configs: str, hash_seed: str) -> str:
    """Return what a process of its own registers for each configuration. The seed orders its sets."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.infra.registered", *configs],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_two_runs_on_the_same_source_register_the_same_inputs() -> None:
    emails = ["night@example.com", "day@example.com"]
    configs = [json.dumps({"trigger": trigger, "alarmEmails": emails}) for trigger in ("sqs", "s3")]
    first = _registered(*configs, hash_seed="1")

    assert [len(resources) > 40 for resources in json.loads(first)] == [True, True]
    assert _registered(*configs, hash_seed="2") == first

"""A deployment of what is deployed already has nothing to do: the program registers the same in every run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _registered(config: str, hash_seed: str) -> str:
    """Return what a process of its own registers; the seed orders its sets."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.infra.registered", config],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("trigger", ["sqs", "s3"])
def test_two_runs_on_the_same_source_register_the_same_inputs(trigger: str) -> None:
    config = json.dumps({"trigger": trigger, "alarmEmails": ["night@example.com", "day@example.com"]})
    first = _registered(config, hash_seed="1")

    assert len(json.loads(first)) > 40
    assert _registered(config, hash_seed="2") == first

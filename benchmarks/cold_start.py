"""What a cold start takes beside the least that it could: to import boto3 and make the same clients.

Each start is a process of its own; what the interpreter itself takes to start is in neither. CPU time is taken, since
imports do not wait; the two take turns, and their medians are compared, since machines are not quiet.
"""

import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .ways import ENVIRONMENT

STARTS = 11
BARE = "import boto3; boto3.client('s3'); boto3.client('dynamodb')"
HANDLER = "from batch_result_handler.handler import use_cases; use_cases()"


@dataclass(frozen=True)
class ColdStart:
    """Medians, in seconds of CPU."""

    bare: float
    handler: float


def measure_cold_start() -> ColdStart:
    """Start both, several times, in turn."""
    started = [(_started(BARE), _started(HANDLER)) for _ in range(STARTS)]
    bare, handler = (statistics.median(times) for times in zip(*started, strict=True))
    return ColdStart(bare, handler)


def _started(code: str) -> float:
    timed = f"import time; started = time.process_time(); {code}; print(time.process_time() - started)"
    command = [sys.executable, "-c", timed]
    root = Path(__file__).parents[1]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)

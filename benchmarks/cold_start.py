"""Compares a cold start with the minimum: importing boto3 and creating the same clients.

Each start runs in a separate process. The figure excludes the start of the interpreter. The figure is CPU time, because
imports do not wait for I/O. The two kinds of start alternate, and their medians are compared, because other load on the
machine varies.
"""

import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .ways import ENVIRONMENT

STARTS = 11
"""Number of starts of each kind."""
BARE = "import boto3; boto3.client('s3'); boto3.client('dynamodb')"
HANDLER = "from batch_result_handler.handler import use_cases; use_cases()"


@dataclass(frozen=True)
class ColdStart:
    """The median CPU time of each kind of start, in seconds."""

    bare: float
    handler: float


def measure_cold_start() -> ColdStart:
    """Run both kinds of start alternately and return their median CPU times."""
    started = [(_start(BARE), _start(HANDLER)) for _ in range(STARTS)]
    bare, handler = (statistics.median(times) for times in zip(*started, strict=True))
    return ColdStart(bare, handler)


def _start(code: str) -> float:
    timed_code = f"import time; started = time.process_time(); {code}; print(time.process_time() - started)"
    environment, root = {**os.environ, **ENVIRONMENT}, Path(__file__).parents[1]
    command = [sys.executable, "-c", timed_code]
    process = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return float(process.stdout)

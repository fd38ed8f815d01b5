"""The duration of a cold start, beside the minimum: importing boto3 and creating the same clients.

Each start is a process of its own, without the start of the interpreter. CPU time is measured, because imports do not
wait. The two kinds of starts take turns, and their medians are compared, because other load on the machine varies.
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
    """Start both kinds in turn, several times."""
    started = [(_start(BARE), _start(HANDLER)) for _ in range(STARTS)]
    bare, handler = (statistics.median(times) for times in zip(*started, strict=True))
    return ColdStart(bare, handler)


def _start(code: str) -> float:
    timed = f"import time; started = time.process_time(); {code}; print(time.process_time() - started)"
    environment, root = {**os.environ, **ENVIRONMENT}, Path(__file__).parents[1]
    command = [sys.executable, "-c", timed]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)

"""Compares a cold start with the minimum: importing boto3 and creating the same clients.

A cold start runs from the built zips, with the layer's boto3. The minimum uses the complete boto3 of this environment.
Each start runs in a separate process. The figure excludes the start of the interpreter and the compilation of modules.
The figure is CPU time, because imports do not wait for I/O. The two kinds of start alternate, and their medians are
compared, because other load on the machine varies.
"""

import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from yorutsuke_infra.artifacts import this_machine
from yorutsuke_infra.build import build

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
    with TemporaryDirectory() as name:
        folder = Path(name)
        for path in build(this_machine()):
            shutil.unpack_archive(path, folder)
        # The first start compiles the modules.
        _start(HANDLER, folder, folder / "python")
        started = [(_start(BARE), _start(HANDLER, folder, folder / "python")) for _ in range(STARTS)]
    bare, handler = (statistics.median(times) for times in zip(*started, strict=True))
    return ColdStart(bare, handler)


def _start(code: str, *search_path: Path) -> float:
    """Run code in a process that searches these folders before the packages of this environment."""
    timed_code = f"import time; started = time.process_time(); {code}; print(time.process_time() - started)"
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(map(str, search_path))}
    # -P keeps the current folder out of the search path.
    command = [sys.executable, "-P", "-c", timed_code]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(process.stdout)

"""Runs the stand-in for Bedrock as the emulator's companion. It finishes every job by itself, within seconds.

The environment variables are those of the emulator.
"""

import argparse
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from local.aws import Aws
from local.emulator import HOST, PORT_VARIABLE

from .api import serving
from .jobs import Bedrock

POLL_SECONDS = 1
PAUSE_SECONDS = 10
"""Seconds between the output file and the output manifest. The stage then processes the output first. Otherwise the
message about the manifest would return after six times the function's timeout."""


def main() -> None:
    """Serve the API, and finish jobs, until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--event-source", required=True)
    arguments = parser.parse_args()
    ca_bundle = Path(os.environ["AWS_CA_BUNDLE"])
    aws = Aws(f"https://{HOST}:{os.environ[PORT_VARIABLE]}", ca_bundle)
    bedrock = Bedrock(aws, arguments.event_source)
    threading.Thread(target=_finish_jobs, args=[bedrock], daemon=True).start()
    with serving(bedrock, arguments.port):
        sys.stdin.read()


def _finish_jobs(bedrock: Bedrock) -> None:
    tried: set[str] = set()
    while True:
        # The orchestrator stores the job's id meanwhile, as it does long before a job of AWS ends.
        time.sleep(POLL_SECONDS)
        for job_id in {*bedrock.waiting()} - tried:
            tried.add(job_id)
            try:
                bedrock.finish(job_id, PAUSE_SECONDS)
            except Exception:  # noqa: BLE001 - other jobs continue, and the emulator's log has the error
                traceback.print_exc()


if __name__ == "__main__":
    main()

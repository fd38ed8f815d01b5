"""Runs the stand-in for Bedrock as the emulator's companion. It finishes all jobs by itself, within seconds.

The environment variables are those of the emulator.
"""

import argparse
import os
import sys
import threading
import time
from pathlib import Path

from local.aws import Aws
from local.emulator import HOST, PORT_VARIABLE

from .api import serving
from .jobs import Bedrock

POLL_SECONDS = 1
PAUSE_SECONDS = 10
"""Seconds between the output file and the output manifest. The stage then processes the output first. Otherwise the
message about the manifest would return after six times the function's timeout."""
FAILURE = "The model could not be reached."


def main() -> None:
    """Serve the API, and finish jobs, until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--event-source", required=True)
    parser.add_argument("--min-records", type=int, required=True, help="minimum number of records of a job")
    parser.add_argument("--failing-job", type=int, required=True, help="the job that ends as Failed, from 1, or 0")
    arguments = parser.parse_args()
    ca_bundle = Path(os.environ["AWS_CA_BUNDLE"])
    aws = Aws(f"https://{HOST}:{os.environ[PORT_VARIABLE]}", ca_bundle)
    bedrock = Bedrock(aws, arguments.event_source, arguments.min_records)
    threading.Thread(target=_finish_jobs, args=[bedrock, arguments.failing_job], daemon=True).start()
    with serving(bedrock, arguments.port):
        sys.stdin.read()


def _finish_jobs(bedrock: Bedrock, failing_job: int) -> None:
    started: set[str] = set()
    while True:
        # The orchestrator stores the job's id meanwhile, as it does long before a job of AWS ends.
        time.sleep(POLL_SECONDS)
        for job_id in bedrock.waiting():
            if job_id not in started:
                started.add(job_id)
                failure = FAILURE if len(started) == failing_job else ""
                # An error in a thread goes to the emulator's log, and other jobs continue.
                threading.Thread(target=bedrock.finish, args=[job_id, PAUSE_SECONDS, failure], daemon=True).start()


if __name__ == "__main__":
    main()

"""The markers of smoke runs: objects in the images bucket that name a run with data that may still exist.

A run writes its marker before everything else and deletes it after everything else. A later run therefore finds the
data of a killed run. A live run writes its marker again and again.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, ValidationError

from yorutsuke.errors import RefusedError
from yorutsuke.stage import Stage

from .run import MARKERS_PREFIX, SmokeRun, run_of_marker

HEARTBEAT_SECONDS = 15
"""Interval between two writes of the marker of a live run, in seconds. A day of them costs three cents."""
SILENT_SECONDS = 3 * HEARTBEAT_SECONDS
"""Time without a write after which a run counts as dead, in seconds."""


class _Content(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    startedAt: datetime
    requestedAt: datetime | None = None
    jobId: str | None = None
    beat: int = 0


@dataclass(frozen=True)
class Marker:
    """The marker of an earlier run. `requested` is the time before the request for its job, or None before that.

    `job_id` is the id of the job, if the run received it.
    """

    run: SmokeRun
    started: datetime
    requested: datetime | None
    job_id: str | None = None


class Heartbeat:
    """Writes the marker of this process's run."""

    def __init__(self, stage: Stage, run: SmokeRun) -> None:
        self._stage, self._run = stage, run
        self._content = _Content(startedAt=datetime.now(UTC))
        self._turn = threading.Lock()
        self._stopped = False

    @property
    def started(self) -> datetime:
        """The start of the run."""
        return self._content.startedAt

    @property
    def requested(self) -> datetime | None:
        """The time before the request for the job, or None before that."""
        return self._content.requestedAt

    @property
    def job_id(self) -> str | None:
        """The id of the job, or None before the answer to the request."""
        return self._content.jobId

    def announce_request(self) -> None:
        """Record that the request for the job is about to be sent. Raises botocore's errors."""
        self.write(requestedAt=datetime.now(UTC))

    def announce_job(self, job_id: str) -> None:
        """Record the job. Another program may delete the job's item. Raises botocore's errors."""
        self.write(jobId=job_id)

    def stop(self) -> None:
        """Stop writing. A write after the deletion of the marker would leave it behind."""
        with self._turn:
            self._stopped = True

    def write(self, **changes: datetime | str) -> None:
        """Write the marker. Each content differs from the one before, and so does its ETag."""
        with self._turn:
            if self._stopped:
                return
            self._content = self._content.model_copy(update={**changes, "beat": self._content.beat + 1})
            self._stage.clients.s3.put_object(
                Bucket=self._stage.settings.images_bucket,
                Key=self._run.marker_key,
                Body=self._content.model_dump_json(exclude_none=True).encode(),
            )


@contextmanager
def beating(stage: Stage, run: SmokeRun) -> Generator[Heartbeat]:
    """Write the marker of a run, and write it again regularly until the context is left. Raises botocore's errors."""
    heartbeat, left = Heartbeat(stage, run), threading.Event()
    heartbeat.write()

    def beat() -> None:
        while not left.wait(HEARTBEAT_SECONDS):
            # A later write may succeed. If all fail, another run may clean up.
            with suppress(ClientError, BotoCoreError):
                heartbeat.write()

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield heartbeat
    finally:
        heartbeat.stop()
        left.set()


def earlier_runs(stage: Stage, say: Callable[[str], None]) -> list[Marker]:
    """Return the markers of earlier runs, all of which are dead. `say` receives the reason for the wait.

    Raises RefusedError if one is alive: it has written its marker within SILENT_SECONDS.
    """
    before = _etags(stage)
    if not before:
        return []
    names = ", ".join(sorted(run.run_id for run in before))
    say(f"Found data of {names}. Waiting {SILENT_SECONDS} s to see whether the run is in progress.")
    time.sleep(SILENT_SECONDS)
    after = _etags(stage)
    if alive := sorted(run.run_id for run, etag in before.items() if after.get(run, etag) != etag):
        raise RefusedError(
            f"smoke run {alive[0]} of this stage is in progress. Both runs would change the same metrics.",
            "Wait for its end, or stop it.",
        )
    return [_read(stage, run) for run in before if run in after]


def _etags(stage: Stage) -> dict[SmokeRun, str]:
    """Return the ETag of each run's marker. Other objects below the prefix are ignored."""
    pages = stage.clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=stage.settings.images_bucket, Prefix=MARKERS_PREFIX
    )
    entries = [entry for page in pages for entry in page.get("Contents", [])]
    found = {run_of_marker(entry.get("Key", "")): entry.get("ETag", "") for entry in entries}
    return {run: etag for run, etag in found.items() if run}


def _read(stage: Stage, run: SmokeRun) -> Marker:
    """Return a marker. If its content is damaged, the time of its last write replaces the times in it."""
    answer = stage.clients.s3.get_object(Bucket=stage.settings.images_bucket, Key=run.marker_key)
    try:
        content = _Content.model_validate_json(answer["Body"].read())
    except ValidationError:
        return Marker(run, answer["LastModified"], answer["LastModified"])
    return Marker(run, content.startedAt, content.requestedAt, content.jobId)

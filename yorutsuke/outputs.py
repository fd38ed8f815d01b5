"""The objects that Bedrock left of a job, held against what was taken in of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from yorutsuke_common.object_keys import is_output_key, is_output_manifest_key, output_prefix

from .jobs import JobRecord
from .stage import Stage


class OutputState(StrEnum):
    """What became of an object under a job's prefix."""

    TAKEN_IN = "taken in"
    OTHER_CONTENT = "other content than was taken in"
    NOT_TAKEN_IN = "not taken in"
    MANIFEST = "manifest"
    NOT_READ = "not read by the function"


@dataclass(frozen=True)
class JobOutput:
    """An object under a job's prefix; `etag` is without quotes."""

    key: str
    size: int
    modified: datetime
    etag: str
    state: OutputState

    @property
    def is_output(self) -> bool:
        """Tell whether the function takes it in as a job's output."""
        return is_output_key(self.key)


def job_outputs(stage: Stage, job: JobRecord) -> Iterator[JobOutput]:
    """Yield the objects under a job's prefix."""
    if job.jobId is None:
        return
    pages = stage.clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=stage.settings.images_bucket, Prefix=output_prefix(job.jobId)
    )
    for page in pages:
        for entry in page.get("Contents", []):
            # S3 says all of these of every object; its stubs know it of none.
            key, etag = entry.get("Key", ""), entry.get("ETag", "").strip('"')
            modified = entry.get("LastModified", datetime.now(UTC))
            yield JobOutput(key, entry.get("Size", 0), modified, etag, _state(job, key, etag))


def _state(job: JobRecord, key: str, etag: str) -> OutputState:
    if is_output_manifest_key(key):
        return OutputState.MANIFEST
    if not is_output_key(key):
        return OutputState.NOT_READ
    match job.processedOutputs.get(key):
        case None:
            return OutputState.NOT_TAKEN_IN
        case taken_in if taken_in == etag:
            return OutputState.TAKEN_IN
        case _:
            return OutputState.OTHER_CONTENT

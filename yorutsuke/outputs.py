"""The objects that Bedrock wrote for a job, compared with the job's item."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from yorutsuke_common.object_keys import is_output_key, is_output_manifest_key, output_prefix

from .stage import Stage
from .stored_jobs import StoredJob


class OutputState(StrEnum):
    """The states of an object under a job's prefix."""

    PROCESSED = "processed"
    CHANGED = "changed since it was processed"
    NOT_PROCESSED = "not processed"
    OUTPUT_MANIFEST = "output manifest"
    OTHER = "not an output file"


@dataclass(frozen=True)
class JobOutput:
    """An object under a job's prefix, as in the JSON answer. `etag` is without quotes."""

    key: str
    bytes: int
    lastModified: datetime
    etag: str
    state: OutputState


def job_outputs(stage: Stage, job: StoredJob) -> Iterator[JobOutput]:
    """Yield the objects under a job's prefix."""
    if job.jobId is None:
        return
    pages = stage.clients.s3.get_paginator("list_objects_v2").paginate(
        Bucket=stage.settings.images_bucket, Prefix=output_prefix(job.jobId)
    )
    for page in pages:
        for entry in page.get("Contents", []):
            # S3 returns these for every object, but boto3's stubs declare them as optional.
            key, etag = entry.get("Key", ""), entry.get("ETag", "").strip('"')
            modified = entry.get("LastModified", datetime.now(UTC))
            yield JobOutput(key, entry.get("Size", 0), modified, etag, _state(job, key, etag))


def _state(job: StoredJob, key: str, etag: str) -> OutputState:
    if is_output_manifest_key(key):
        return OutputState.OUTPUT_MANIFEST
    if not is_output_key(key):
        return OutputState.OTHER
    processed = job.processedOutputs.get(key)
    if processed is None:
        return OutputState.NOT_PROCESSED
    return OutputState.PROCESSED if processed == etag else OutputState.CHANGED

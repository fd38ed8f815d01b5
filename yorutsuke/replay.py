"""Replays an output file or a manifest: the effects that a replay would have, and the message that starts it.

The effects come from parsing the output with the layer's own parser and comparing the result with the tables.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from yorutsuke_common.aws.batch_jobs import NOT_CLAIMED, BatchJobs, outputs_unchanged
from yorutsuke_common.aws.dynamodb import Item, from_item
from yorutsuke_common.aws.output_files import open_output
from yorutsuke_common.aws.pending_images import StoredImage
from yorutsuke_common.errors import JobClaimedError
from yorutsuke_common.records.parser import RecordParser
from yorutsuke_common.records.reader import RecordChunk, read_chunks
from yorutsuke_common.schema import BatchJob, Reason, Transaction, TransactionStatus

from .errors import NotFoundError, RefusedError
from .jobs import JobRecord
from .outputs import JobOutput, OutputState, job_outputs
from .stage import Stage

NAMED = 10
"""Of transactions that would be put back, and of those that are gone."""
OF_THE_RUN = {"status", "extractedAt", "ttl"}
"""Attributes that differ from one taking-in to the next by themselves: they are no person's edit."""


@dataclass
class Effects:
    """What taking an output in again would do.

    `changed` counts transactions that somebody has edited since, or that other content made: they would be put back;
    `gone`, those of an output that was taken in that are not there: somebody has deleted them, or their lines failed.
    """

    etag: str = ""
    was_taken_in: bool = False
    new: int = 0
    gone: int = 0
    gone_ids: list[str] = field(default_factory=list[str])
    same: int = 0
    changed: int = 0
    changed_ids: list[str] = field(default_factory=list[str])
    to_move: int = 0
    moved_before: int = 0
    unknown: int = 0
    failures: Counter[Reason] = field(default_factory=Counter[Reason])

    def compare(self, transaction: Transaction, stored: Item | None) -> None:
        """Count a transaction by what stands in its place."""
        if stored is None and self.was_taken_in:
            self.gone += 1
            if len(self.gone_ids) < NAMED:
                self.gone_ids.append(transaction.transactionId)
        elif stored is None:
            self.new += 1
        elif _substance(transaction.item()) == _substance(from_item(stored)):
            self.same += 1
        else:
            self.changed += 1
            if len(self.changed_ids) < NAMED:
                self.changed_ids.append(transaction.transactionId)

    def move(self, image: StoredImage | None) -> None:
        """Count an image by where it is."""
        if image is None:
            self.unknown += 1
        elif image.is_processed:
            self.moved_before += 1
        else:
            self.to_move += 1


def _substance(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return what a person would call the transaction; a status of their own is a part of it."""
    run = OF_THE_RUN if attributes.get("status") in [*TransactionStatus] else OF_THE_RUN - {"status"}
    return {name: value for name, value in attributes.items() if name not in run}


def choose_output(stage: Stage, job: JobRecord, named: str | None) -> JobOutput:
    """Return the job's output that is to be taken in again: the one there is, or the one that is named.

    Raises NotFoundError where there is none, or several and none is named.
    """
    outputs = [output for output in job_outputs(stage, job) if output.is_output]
    if named:
        outputs = [output for output in outputs if named in {output.key, output.key.rpartition("/")[2]}]
    if len(outputs) == 1:
        return outputs[0]
    if outputs:
        keys = ", ".join(repr(output.key) for output in outputs)
        raise NotFoundError(f"job {job.name!r} has {len(outputs)} outputs ({keys}): name one with --output.")
    what = f"no output {named!r}" if named else "no output"
    raise NotFoundError(
        f"job {job.name!r} has {what} in batch-output/{job.jobId}/: Bedrock has written none, or it has expired (after "
        "30 days)."
    )


def choose_manifest(stage: Stage, job: JobRecord) -> JobOutput:
    """Return the job's manifest. Raises NotFoundError where there is none."""
    for output in job_outputs(stage, job):
        if output.state is OutputState.MANIFEST:
            return output
    raise NotFoundError(f"job {job.name!r} has no manifest.json.out in batch-output/{job.jobId}/: Bedrock writes it.")


def preview_effects(stage: Stage, job: BatchJob, found: JobOutput, read: Callable[[int], object]) -> Effects:
    """Return the effects of processing an output file again, without writing anything."""
    settings = stage.settings
    with open_output(stage.clients.s3, settings.images_bucket, found.key) as output:
        effects = Effects(output.etag, was_taken_in=job.processedOutputs.get(found.key) == output.etag)
        parser = RecordParser(job, output.last_modified, settings.transaction_ttl_days)
        for chunk in read_chunks(output.lines(), parser):
            _add_chunk(stage, job, chunk, effects)
            read(len(chunk.parsed))
    return effects


def require_unchanged(stage: Stage, key: str, effects: Effects) -> None:
    """Refuse an output whose content is not what its effects were foreseen of. Raises RefusedError."""
    etag = stage.clients.s3.head_object(Bucket=stage.settings.images_bucket, Key=key)["ETag"].strip('"')
    if etag != effects.etag:
        raise RefusedError(
            f"{key!r} was written again since it was looked at (ETag {effects.etag!r}, now {etag!r}): what it would "
            "change is not what was said. Run this again."
        )


def _add_chunk(stage: Stage, job: BatchJob, chunk: RecordChunk, effects: Effects) -> None:
    effects.failures.update(letter.reason for letter in chunk.rejected)
    images = stage.stores.pending.find([record.transaction.imageId for record in chunk.parsed])
    own = [r.transaction for r in chunk.parsed if _is_the_jobs(images.get(r.transaction.imageId), job)]
    effects.failures[Reason.OWNER_MISMATCH] += len(chunk.parsed) - len(own)
    stored = stage.stores.transactions.find(own)
    for transaction in own:
        effects.compare(transaction, stored.get(transaction.transactionId))
        effects.move(images.get(transaction.imageId))


def _is_the_jobs(image: StoredImage | None, job: BatchJob) -> bool:
    return image is None or image.user_id == job.userId


def notification(bucket: str, key: str) -> str:
    """Return the message in which S3 would say that an object was created, as far as the function reads it."""
    # Form-encoded, as S3 does it.
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/")}}
    return json.dumps({"Records": [{"s3": s3}]})


def forget_outputs(jobs: BatchJobs, job: BatchJob) -> None:
    """Remove the ETags of the job's processed outputs, so that the next message about one is not a duplicate.

    Raises:
        JobClaimedError: A function has claimed the job, or has processed another output since `job` was read.
        RetryableError: The record was deleted.
        botocore's errors: The call failed.
    """
    unchanged, seen = outputs_unchanged(job)
    compared = {**seen, ":now": int(time.time())}
    forgotten, _ = jobs.update(job, {}, f"{unchanged} AND ({NOT_CLAIMED})", compared, remove=("processedOutputs",))
    if not forgotten:
        raise JobClaimedError(
            f"job {job.jobId!r} is being worked on: a function has claimed it, or has taken an output in just now. "
            "Look at it again when that is over."
        )


def restore_outputs(jobs: BatchJobs, job: BatchJob) -> bool:
    """Undo `forget_outputs`. Return False if a function has claimed the job or has processed an output since.

    Raises:
        RetryableError: The record was deleted.
        botocore's errors: The call failed.
    """
    absent = f"attribute_not_exists(processedOutputs) AND ({NOT_CLAIMED})"
    attributes = {"processedOutputs": job.processedOutputs}
    restored, _ = jobs.update(job, attributes, absent, {":now": int(time.time())})
    return restored

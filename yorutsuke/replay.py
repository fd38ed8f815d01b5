"""Replays output files or an output manifest: the effects that a replay would have, and the messages that start it.

The effects come from parsing the output files with the layer's parser and comparing the result with the tables.
"""

import json
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from yorutsuke_common.aws.batch_jobs import NOT_CLAIMED, BatchJobs
from yorutsuke_common.aws.output_files import open_output
from yorutsuke_common.aws.pending_images import StoredImage
from yorutsuke_common.aws.record_images import requested_images, split_by_hold, without_transaction
from yorutsuke_common.object_keys import is_output_key, output_name, output_prefix
from yorutsuke_common.records.job_images import split_by_job
from yorutsuke_common.records.parser import RecordParser
from yorutsuke_common.records.reader import RecordChunk, read_chunks
from yorutsuke_common.schema import BatchJob, Reason

from .errors import NotFoundError, RefusedError
from .outputs import JobOutput, OutputState, job_outputs
from .stage import Stage
from .stored_jobs import StoredJob
from .transactions import stored_ids


@dataclass
class Effects:
    """The effects of processing output files again, as in the JSON answer.

    `new` counts transactions that are added. `unchanged` counts stored transactions, edited or not: only their `status`
    may follow the move of their image. `deleted` counts transactions that were deleted after the move of their image,
    and stay deleted.
    """

    new: int = 0
    unchanged: int = 0
    deleted: int = 0
    imagesToMove: int = 0
    imagesMovedBefore: int = 0
    imagesUnknown: int = 0
    failures: Counter[Reason] = field(default_factory=Counter[Reason])

    def add(self, transaction_id: str, image: StoredImage | None, *, is_stored: bool) -> None:
        """Count a transaction and its image."""
        if is_stored:
            self.unchanged += 1
        elif image and image.transaction_id == transaction_id:
            self.deleted += 1
        else:
            self.new += 1
        if image is None:
            self.imagesUnknown += 1
        elif image.is_processed or image.transaction_id == transaction_id:
            self.imagesMovedBefore += 1
        else:
            self.imagesToMove += 1


def choose_outputs(stage: Stage, job: StoredJob, named: str | None) -> list[JobOutput]:
    """Return the job's output file with this name or key, or all its output files. Raises NotFoundError without any."""
    outputs = [output for output in job_outputs(stage, job) if is_output_key(output.key)]
    if named:
        outputs = [output for output in outputs if named in {output.key, output_name(output.key)}]
    if outputs:
        return outputs
    file = f"the output file {named!r}" if named else "an output file"
    raise NotFoundError(
        f"job {job.name!r} does not have {file} in {output_prefix(job.name)}. Bedrock has not written it, or it "
        "expired after 30 days."
    )


def choose_output_manifest(stage: Stage, job: StoredJob) -> JobOutput:
    """Return the job's output manifest. Raises NotFoundError if it does not exist."""
    for output in job_outputs(stage, job):
        if output.state is OutputState.OUTPUT_MANIFEST:
            return output
    raise NotFoundError(
        f"job {job.name!r} does not have manifest.json.out in {output_prefix(job.name)}. Bedrock has not written it, "
        "or it expired after 30 days."
    )


def preview_effects(stage: Stage, job: BatchJob, key: str, effects: Effects) -> str:
    """Add the effects of processing an output file again, without writing anything. Return the file's ETag."""
    requested = None if job.pendingImageIds is None else frozenset(job.pendingImageIds)
    with open_output(stage.clients.s3, stage.settings.images_bucket, key) as output:
        parser = RecordParser(job, output.last_modified, stage.settings.transaction_ttl_days)
        for chunk in read_chunks(output.lines(), parser):
            _add_chunk(stage, job, requested, chunk, effects)
    return output.etag


def _add_chunk(
    stage: Stage, job: BatchJob, requested: frozenset[str] | None, chunk: RecordChunk, effects: Effects
) -> None:
    effects.failures.update(letter.reason for letter in chunk.rejected)
    images = stage.stores.pending.find([record.transaction.imageId for record in chunk.parsed])
    owners = {image_id: image.user_id for image_id, image in images.items()}
    held_elsewhere, _ = split_by_hold(job, [*images.values()])
    taken = without_transaction(job, stage.stores.transactions, held_elsewhere)
    requested_here = requested_images(job, requested, images)
    own, dead_letters = split_by_job(job, requested_here, chunk.parsed, owners, taken)
    effects.failures.update(letter.reason for letter in dead_letters)
    stored = stored_ids(stage, own)
    for transaction in own:
        transaction_id = transaction.transactionId
        effects.add(transaction_id, images.get(transaction.imageId), is_stored=transaction_id in stored)


def require_unchanged(stage: Stage, key: str, etag: str) -> None:
    """Check that an output still has the content of the preview. Raises RefusedError."""
    current = stage.clients.s3.head_object(Bucket=stage.settings.images_bucket, Key=key)["ETag"].strip('"')
    if current != etag:
        raise RefusedError(
            f"{key!r} was written again after the preview (ETag {etag!r}, now {current!r}), so the preview is out of "
            "date.",
            "Run the command again.",
        )


def notification(bucket: str, key: str) -> str:
    """Return the message in which S3 would announce an object, with the parts that the function reads."""
    # S3 form-encodes keys in notifications.
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/")}}
    return json.dumps({"Records": [{"s3": s3}]})


def forget_outputs(jobs: BatchJobs, job: BatchJob, keys: Collection[str]) -> BatchJob:
    """Remove the ETags and the counts of output files, so that the next message about one is not a duplicate.

    Returns the job without them. Raises RefusedError if an invocation has claimed the job, or has processed an output
    since `job` was read, and the errors of `BatchJobs.update`.
    """
    rest = job.model_copy(
        update={
            "processedOutputs": {key: etag for key, etag in job.processedOutputs.items() if key not in keys},
            "outputStats": {key: stats for key, stats in job.outputStats.items() if key not in keys},
        }
    )
    if not _replace_outputs(jobs, job, rest):
        raise RefusedError(
            f"an invocation has claimed job {job.jobId!r}, or has just processed an output of it.",
            "Run the command again later.",
        )
    return rest


def restore_outputs(jobs: BatchJobs, job: BatchJob, rest: BatchJob) -> bool:
    """Undo `forget_outputs`. Return False if an invocation has claimed the job or has processed an output since.

    Raises the errors of `BatchJobs.update`.
    """
    return _replace_outputs(jobs, rest, job)


def _replace_outputs(jobs: BatchJobs, before: BatchJob, after: BatchJob) -> bool:
    """Store the ETags and the counts of `after` if the job has those of `before` and is not claimed."""
    names = ("processedOutputs", "outputStats")
    attributes, seen = (
        {name: value for name, value in job.model_dump(include={*names}, exclude_none=True).items() if value}
        for job in (after, before)
    )
    unchanged = [f"{name} = :seen{name}" if name in seen else f"attribute_not_exists({name})" for name in names]
    compared = {**{f":seen{name}": value for name, value in seen.items()}, ":now": int(time.time())}
    condition = " AND ".join([*unchanged, f"({NOT_CLAIMED})"])
    remove = [name for name in names if name not in attributes]
    replaced, _ = jobs.update(before, attributes, condition, compared, remove=remove)
    return replaced

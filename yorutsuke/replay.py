"""Replays an output file or an output manifest: the effects that a replay would have, and the message that starts it.

The effects come from parsing the output with the layer's parser and comparing the result with the tables.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from yorutsuke_common.aws.batch_jobs import NOT_CLAIMED, BatchJobs, outputs_unchanged
from yorutsuke_common.aws.dynamodb import Item, from_item
from yorutsuke_common.aws.output_files import open_output
from yorutsuke_common.aws.pending_images import StoredImage
from yorutsuke_common.object_keys import is_output_key, output_prefix
from yorutsuke_common.records.parser import RecordParser
from yorutsuke_common.records.reader import RecordChunk, read_chunks
from yorutsuke_common.schema import BatchJob, Reason, Transaction, TransactionStatus

from .errors import NotFoundError, RefusedError
from .outputs import JobOutput, OutputState, job_outputs
from .stage import Stage
from .stored_jobs import StoredJob
from .transactions import stored_transactions

NAMED = 10
"""Maximum number of transactions that the effects name."""
OWN_ATTRIBUTES = {"status", "extractedAt", "ttl"}
"""Attributes of a transaction in which two runs differ although the transaction was not edited."""


@dataclass
class Effects:
    """The effects of processing an output again, as in the JSON answer.

    `changed` counts transactions that were edited since, or that come from other content: a replay overwrites them.
    `gone` counts transactions of a processed output that are not stored: they were deleted, or their lines failed.
    """

    new: int = 0
    gone: int = 0
    goneIds: list[str] = field(default_factory=list[str])
    same: int = 0
    changed: int = 0
    changedIds: list[str] = field(default_factory=list[str])
    imagesToMove: int = 0
    imagesMovedBefore: int = 0
    imagesUnknown: int = 0
    failures: Counter[Reason] = field(default_factory=Counter[Reason])

    def compare(self, transaction: Transaction, stored: Item | None, *, was_processed: bool) -> None:
        """Count a transaction, by the item that is stored in its place."""
        if stored is None and was_processed:
            self.gone += 1
            self.goneIds = [*self.goneIds, transaction.transactionId][:NAMED]
        elif stored is None:
            self.new += 1
        elif _content(transaction.item()) == _content(from_item(stored)):
            self.same += 1
        else:
            self.changed += 1
            self.changedIds = [*self.changedIds, transaction.transactionId][:NAMED]

    def move(self, image: StoredImage | None) -> None:
        """Count an image, by its place."""
        if image is None:
            self.imagesUnknown += 1
        elif image.is_processed:
            self.imagesMovedBefore += 1
        else:
            self.imagesToMove += 1


def _content(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes in which a difference is an edit. A status that the app has set is one of them."""
    own = OWN_ATTRIBUTES if attributes.get("status") in [*TransactionStatus] else OWN_ATTRIBUTES - {"status"}
    return {name: value for name, value in attributes.items() if name not in own}


def choose_output(stage: Stage, job: StoredJob, named: str | None) -> JobOutput:
    """Return the job's output file with this name or key, or its only one. Raises NotFoundError."""
    outputs = [output for output in job_outputs(stage, job) if is_output_key(output.key)]
    if named:
        outputs = [output for output in outputs if named in {output.key, output.key.rpartition("/")[2]}]
    if len(outputs) == 1:
        return outputs[0]
    if outputs:
        keys = ", ".join(repr(output.key) for output in outputs)
        raise NotFoundError(f"job {job.name!r} has {len(outputs)} output files: {keys}. Name one with --output.")
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


def preview_effects(stage: Stage, job: BatchJob, key: str) -> tuple[str, Effects]:
    """Return the ETag of an output file and the effects of processing it again, without writing anything."""
    effects = Effects()
    with open_output(stage.clients.s3, stage.settings.images_bucket, key) as output:
        was_processed = job.processedOutputs.get(key) == output.etag
        parser = RecordParser(job, output.last_modified, stage.settings.transaction_ttl_days)
        for chunk in read_chunks(output.lines(), parser):
            _add_chunk(stage, job, chunk, effects, was_processed=was_processed)
    return output.etag, effects


def _add_chunk(stage: Stage, job: BatchJob, chunk: RecordChunk, effects: Effects, *, was_processed: bool) -> None:
    effects.failures.update(letter.reason for letter in chunk.rejected)
    images = stage.stores.pending.find([record.transaction.imageId for record in chunk.parsed])
    own: list[Transaction] = []
    for record in chunk.parsed:
        image = images.get(record.transaction.imageId)
        if image and image.user_id != job.userId:
            effects.failures[Reason.OWNER_MISMATCH] += 1
        else:
            own.append(record.transaction)
            effects.move(image)
    stored = stored_transactions(stage, own)
    for transaction in own:
        effects.compare(transaction, stored.get(transaction.transactionId), was_processed=was_processed)


def require_unchanged(stage: Stage, key: str, etag: str) -> None:
    """Check that an output still has the content of the preview. Raises RefusedError."""
    current = stage.clients.s3.head_object(Bucket=stage.settings.images_bucket, Key=key)["ETag"].strip('"')
    if current != etag:
        raise RefusedError(
            f"{key!r} was written again after the preview (ETag {etag!r}, now {current!r}), so the preview is out of "
            "date. Run the command again."
        )


def notification(bucket: str, key: str) -> str:
    """Return the message in which S3 would announce an object, with the parts that the function reads."""
    # S3 form-encodes keys in notifications.
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/")}}
    return json.dumps({"Records": [{"s3": s3}]})


def forget_outputs(jobs: BatchJobs, job: BatchJob) -> None:
    """Remove the ETags of the job's processed outputs, so that the next message about one is not a duplicate.

    Raises RefusedError if an invocation has claimed the job, or has processed an output since `job` was read, and the
    errors of `BatchJobs.update`.
    """
    unchanged, seen = outputs_unchanged(job)
    compared = {**seen, ":now": int(time.time())}
    forgotten, _ = jobs.update(job, {}, f"{unchanged} AND ({NOT_CLAIMED})", compared, remove=("processedOutputs",))
    if not forgotten:
        raise RefusedError(
            f"an invocation has claimed job {job.jobId!r}, or has just processed an output of it. Run the command "
            "again later."
        )


def restore_outputs(jobs: BatchJobs, job: BatchJob) -> bool:
    """Undo `forget_outputs`. Return False if an invocation has claimed the job or has processed an output since.

    Raises the errors of `BatchJobs.update`.
    """
    absent = f"attribute_not_exists(processedOutputs) AND ({NOT_CLAIMED})"
    attributes = {"processedOutputs": job.processedOutputs}
    restored, _ = jobs.update(job, attributes, absent, {":now": int(time.time())})
    return restored

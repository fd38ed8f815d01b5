"""An output, or a manifest, once more: what that would change, and the message that has the function do it.

What would change is found out by the handler's own reading of the output, held against what stands in the tables now.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from batch_result_handler.images import Image
from batch_result_handler.output import opened_output
from batch_result_handler.reading import Reading
from batch_result_handler.records import GoodLine, LineReader
from yorutsuke_common.dynamodb import Item, from_item, to_item
from yorutsuke_common.schema import BatchJob, DeadLetter, Reason, Transaction, TransactionStatus

from .errors import NotFoundError, RefusedError
from .jobs import JobRecord
from .outputs import JobOutput, OutputState, job_outputs
from .stage import Stage
from .stores import Stores

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

    def skip(self, letter: DeadLetter) -> None:
        """Count a line that cannot be used."""
        self.failures[letter.reason] += 1

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

    def move(self, image: Image | None) -> None:
        """Count an image by where it is."""
        if image is None:
            self.unknown += 1
        elif image.processed:
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


def foresee(stores: Stores, job: BatchJob, found: JobOutput, read: Callable[[int], object]) -> Effects:
    """Read an output as the handler would, and tell what taking it in would do; nothing is written."""
    settings = stores.stage.settings
    with opened_output(stores.stage.clients.s3, settings.images_bucket, found.key) as output:
        effects = Effects(output.etag, was_taken_in=job.processedOutputs.get(found.key) == output.etag)
        reader = LineReader(job, output.last_modified, settings.transaction_ttl_days)
        for block in Reading(output, reader, effects.skip, unanswered=set()).blocks():
            _foresee_block(stores, job, block, effects)
            read(len(block))
    return effects


def require_unchanged(stage: Stage, key: str, effects: Effects) -> None:
    """Refuse an output whose content is not what its effects were foreseen of. Raises RefusedError."""
    etag = stage.clients.s3.head_object(Bucket=stage.settings.images_bucket, Key=key)["ETag"].strip('"')
    if etag != effects.etag:
        raise RefusedError(
            f"{key!r} was written again since it was looked at (ETag {effects.etag!r}, now {etag!r}): what it would "
            "change is not what was said. Run this again."
        )


def _foresee_block(stores: Stores, job: BatchJob, block: Sequence[GoodLine], effects: Effects) -> None:
    images = stores.pending.find([good.transaction.imageId for good in block])
    own = [good.transaction for good in block if _is_the_jobs(images.get(good.transaction.imageId), job)]
    effects.failures[Reason.OWNER_MISMATCH] += len(block) - len(own)
    keys = [to_item({"userId": t.userId, "transactionId": t.transactionId}) for t in own]
    stored = {
        item["transactionId"]["S"]: item
        for item in stores.batch.get_items(stores.stage.settings.transactions_table, keys)
    }
    for transaction in own:
        effects.compare(transaction, stored.get(transaction.transactionId))
        effects.move(images.get(transaction.imageId))


def _is_the_jobs(image: Image | None, job: BatchJob) -> bool:
    return image is None or image.user_id == job.userId


def notification(bucket: str, key: str) -> str:
    """Return the message in which S3 would say that an object was created, as far as the function reads it."""
    # Form-encoded, as S3 does it.
    s3 = {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/")}}
    return json.dumps({"Records": [{"s3": s3}]})

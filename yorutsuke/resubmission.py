"""The choice of a job's images that another job may read, and the request for that job."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from yorutsuke_common.aws.pending_images import StoredImage
from yorutsuke_common.schema import ImageStatus, JobStatus, Reason

from .errors import NotFoundError
from .job_images import JobImage, JobRecords, job_images, requested_ids
from .stage import Stage
from .stored_jobs import StoredJob, find_item, find_job

INTENT_PREFIX = "resubmit-"


class FixableReason(StrEnum):
    """The reasons for which a job did not read an image, and which another reading may not have.

    `NO_RECORD`: the output does not have a record of the image. The others are those of dead letters.
    """

    INVALID_JSON = Reason.INVALID_JSON.value
    INVALID_RECORD = Reason.INVALID_RECORD.value
    LINE_TOO_LONG = Reason.LINE_TOO_LONG.value
    MODEL_ERROR = Reason.MODEL_ERROR.value
    TRUNCATED_OUTPUT = Reason.TRUNCATED_OUTPUT.value
    INVALID_AI_JSON = Reason.INVALID_AI_JSON.value
    INVALID_TRANSACTION = Reason.INVALID_TRANSACTION.value
    NO_RECORD = "NO_RECORD"


class LeftOut(StrEnum):
    """The reasons for which an image without a transaction is not submitted again."""

    DELETED = "deleted"
    OTHER_JOB = "in another job"
    HELD = "held by this job"
    PROCESSED = "neither pending nor failed"
    OTHER_REASON = "another reason"
    NO_RECORD_YET = "output not complete"


@dataclass(frozen=True)
class Resubmission:
    """The images of a job that can be submitted again, by id, and the numbers of the others.

    `reasons` counts the images by the reason why the job did not read them. `read` is the number of images with a
    transaction. `is_begun` is set if an earlier command has sent this request, and its intent does not have a job.
    """

    intent_id: str
    images: Mapping[str, StoredImage]
    reasons: Counter[str]
    left_out: Counter[LeftOut]
    read: int
    is_begun: bool

    def request(self, job: StoredJob, model_ids: Collection[str]) -> str:
        """Return the request for the new job.

        It has the user of the old job. If the stage still has the old job's model, it also has the model and the image
        delivery. Otherwise, or if the intent has begun with its own, the orchestrator chooses them.

        Args:
            job: The old job.
            model_ids: The models of the stage.
        """
        fields = {"intentId": self.intent_id, "pendingImageIds": [*self.images], "userId": job.userId}
        if job.modelId in model_ids and not self.is_begun:
            fields |= {"modelId": job.modelId, "imageDelivery": "s3" if job.inputUri else "inline"}
        return json.dumps({name: value for name, value in fields.items() if value is not None})

    def answer(self, job: StoredJob) -> dict[str, Any]:
        """Return the choice as in the JSON answer."""
        return {
            "jobId": job.jobId,
            "intentId": self.intent_id,
            "images": len(self.images),
            "reasons": self.reasons,
            "leftOut": self.left_out,
            "read": self.read,
        }


def choose_images(
    stage: Stage, job: StoredJob, images: Sequence[JobImage], reasons: Collection[FixableReason]
) -> Resubmission:
    """Return the images of a job that can be submitted again.

    An image that another job has held since is left out. An intent without an item was abandoned and does not count.

    Args:
        stage: The stage.
        job: The job, which has ended.
        images: The images of the job.
        reasons: Only images with one of these reasons are chosen. Without any, all fixable reasons count, and for a job
            that Bedrock did not complete, every reason.
    """
    intents = {image.stored.intent_id or "" for image in images if image.stored and not image.transaction}
    others = {
        intent_id: found.status
        for intent_id in sorted(intents - {"", job.intentId})
        if (found := _find_intent(stage, intent_id))
    }
    for intent_id, status in others.items():
        if status == JobStatus.SUBMITTING and intent_id.startswith(INTENT_PREFIX):
            begun = _choose(job, images, reasons, others, intent_id)
            # The id follows from the request, so the request is the one that has begun the intent.
            if begun.intent_id == intent_id:
                return begun
    return _choose(job, images, reasons, others, None)


def has_images_left(stage: Stage, job: StoredJob, others: Collection[str]) -> bool:
    """Return whether an image of a job waits, has failed, or is held by the job.

    Args:
        stage: The stage.
        job: The job.
        others: The ids of the intents with an item.
    """
    requested = requested_ids(find_item(stage, job.intentId))
    images = job_images(stage, job, requested, JobRecords())
    if requested is None and not images:
        # The images of this job are not known. It may be a job of another program.
        return True
    return any(image.stored and _item_obstacle(job, image.stored, others) in (None, LeftOut.HELD) for image in images)


def _find_intent(stage: Stage, intent_id: str) -> StoredJob | None:
    try:
        return find_job(stage, intent_id)
    except NotFoundError:
        return None


def _choose(
    job: StoredJob,
    images: Sequence[JobImage],
    reasons: Collection[FixableReason],
    others: Collection[str],
    begun: str | None,
) -> Resubmission:
    """Return the images that can be submitted again, including those of the intent `begun`."""
    chosen: dict[str, StoredImage] = {}
    attempts: dict[str, int] = {}
    counts: Counter[str] = Counter()
    left_out: Counter[LeftOut] = Counter()
    unread = [image for image in images if not image.transaction]
    for image in unread:
        stored = image.stored
        if stored is None:
            left_out[LeftOut.DELETED] += 1
            continue
        is_begun = begun is not None and stored.intent_id == begun
        obstacle = None if is_begun else _item_obstacle(job, stored, others)
        if obstacle := obstacle or _reason_obstacle(job, image.reason, reasons):
            left_out[obstacle] += 1
            continue
        chosen[image.image_id] = stored
        # The hold of the intent has counted an attempt.
        attempts[image.image_id] = stored.attempts - (is_begun and stored.is_indexed)
        counts[image.reason or FixableReason.NO_RECORD] += 1
    intent_id = resubmission_id(job.intentId, attempts)
    return Resubmission(intent_id, chosen, counts, left_out, len(images) - len(unread), begun is not None)


def resubmission_id(intent_id: str, attempts: Mapping[str, int]) -> str:
    """Return the id of the intent that submits images of a job again.

    `attempts` has the number of jobs that have held each image, by image id. So repeating a request does not create a
    second job, and the same images can be submitted again after the new job has failed.
    """
    digest = hashlib.sha256(json.dumps([intent_id, sorted(attempts.items())]).encode()).hexdigest()
    return f"{INTENT_PREFIX}{digest[:32]}"


def _item_obstacle(job: StoredJob, stored: StoredImage, others: Collection[str]) -> LeftOut | None:
    """Return the reason why the item of an image does not let another job read it, or None."""
    if stored.intent_id != job.intentId and stored.intent_id in others:
        return LeftOut.OTHER_JOB
    if stored.status == ImageStatus.SUBMITTED:
        return LeftOut.HELD
    return None if stored.status in (ImageStatus.PENDING, ImageStatus.FAILED) else LeftOut.PROCESSED


def _reason_obstacle(job: StoredJob, reason: Reason | None, reasons: Collection[FixableReason]) -> LeftOut | None:
    """Return the reason why the outcome of an image does not need another reading, or None."""
    is_wanted = (reason or FixableReason.NO_RECORD) in (reasons or {*FixableReason})
    if not is_wanted and (reasons or not job.is_ended_early):
        return LeftOut.OTHER_REASON
    counts = job.bedrockCounts
    is_complete = job.is_ended_early or (counts is not None and counts.processedRecordCount == counts.totalRecordCount)
    return None if reason or is_complete else LeftOut.NO_RECORD_YET

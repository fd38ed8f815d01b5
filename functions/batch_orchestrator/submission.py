"""An intent's story: from a request to a job that Bedrock works on, and a record that its results find.

The order is what makes it safe to die anywhere and run again. Whatever may be refused is found out before anything is
to be seen: the images are read, and the manifest has all its lines, in an upload that nobody sees. Then the intent is
claimed, which fixes the time, the images and all that Bedrock is told of its job for ever. Then the manifest is
published, and the record says so; then Bedrock is asked for the job, and last the record gets the job's id. A run that
finds a claim without a job goes on from it: with the manifest if the record has it published, else with the same images
again. Every run asks Bedrock with the claim's token, and so for one job.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger

from yorutsuke_common.errors import IntentConflictError, InvalidRequestError, SubmissionLostError
from yorutsuke_common.hashing import images_digest, selected, selection
from yorutsuke_common.logger import Event
from yorutsuke_common.schema import JobStatus, Submission, SubmitRequest, iso_utc

from .bedrock_jobs import BedrockJobs
from .images import PendingImages, Unfit
from .job import BatchJobs
from .manifest import Draft, Manifests, SecondsLeft
from .request import require_allowed
from .settings import Settings

MAX_IDS_BYTES = 300_000
"""Ids that are kept in the record: an item has up to 400 KB, and what comes of the job goes there as well."""
REPORTED_IDS = 50
"""Images left out that an answer names, and a log entry: a log entry has up to 256 KB, an image id up to 1."""


@dataclass(frozen=True)
class Outcome:
    """The record of a job that Bedrock has, how many images were asked for, and which were left out.

    Why is known to the run that left them out alone.
    """

    submission: Submission
    requested: int
    left_out: Mapping[str, Unfit | None]

    def answer(self) -> dict[str, Any]:
        """Return what the caller is told.

        `{"intentId", "jobId", "status", "submitTime", "modelId", "manifestUri", "traceId", "imageCount",
        "leftOutCount", "leftOut": [{"imageId", "reason"}]}`; `leftOut` names up to 50, with `reason` where this run
        begun the intent.
        """
        told = {"intentId", "jobId", "status", "submitTime", "modelId", "manifestUri", "traceId", "imageCount"}
        named = sorted(self.left_out.items())[:REPORTED_IDS]
        return {
            **self.submission.model_dump(include=told),
            "leftOutCount": self.requested - self.submission.imageCount,
            "leftOut": [{"imageId": image_id, **({"reason": why.value} if why else {})} for image_id, why in named],
        }


@dataclass(frozen=True)
class Submitter:
    """Submits batch jobs."""

    jobs: BatchJobs
    pending: PendingImages
    manifests: Manifests
    bedrock: BedrockJobs
    settings: Settings
    logger: Logger

    def submit(self, request: SubmitRequest, trace_id: str, seconds_left: SecondsLeft) -> Outcome:
        """Have Bedrock work on the request's images, unless it was asked to for this intent, and return the job.

        `trace_id` becomes the job's, if this run begins it; `seconds_left` tells how long the function may still run.

        Raises InvalidRequestError or IntentConflictError where the request is not to be met; other YorutsukeErrors or
        botocore's where sending it again goes on from where it stopped.
        """
        found = self.jobs.find(request.intentId)
        if found:
            require_same_request(found, request)
            self.logger.append_keys(traceId=found.traceId, jobId=found.jobId)
            if found.jobId:
                self.logger.info("batch job already submitted", event=Event.BATCH_SUBMIT_DUPLICATE)
                return Outcome(found, len(request.pendingImageIds), left_out_before(request, found))
            self.logger.info("batch submission resumed", event=Event.BATCH_SUBMIT_RESUMED)
        else:
            # Not of an intent that is begun: what a stage allows may have changed since.
            require_allowed(request, self.settings)
            self.logger.info("batch submission started", event=Event.BATCH_SUBMIT_STARTED)
        left_out: Mapping[str, Unfit | None]
        if found:
            claimed, left_out = found, left_out_before(request, found)
            if not found.manifestPublished:
                self._write_again(request, found, seconds_left)
        else:
            claimed, left_out = self._begun(request, trace_id, seconds_left)
        submitted = self.jobs.record(claimed, self.bedrock.create(claimed))
        self.logger.append_keys(jobId=submitted.jobId)
        outcome = Outcome(submitted, len(request.pendingImageIds), left_out)
        self.logger.info(
            "batch job submitted",
            event=Event.BATCH_SUBMITTED,
            modelId=submitted.modelId,
            imageCount=submitted.imageCount,
            leftOutCount=outcome.requested - submitted.imageCount,
        )
        return outcome

    def _begun(
        self, request: SubmitRequest, trace_id: str, seconds_left: SecondsLeft
    ) -> tuple[Submission, dict[str, Unfit]]:
        """Claim the intent, publish its manifest, and return the claim, and the images that are left out."""
        images, left_out = self.pending.find(request.pendingImageIds, request.userId)
        self._require_enough(len(images), left_out)
        with self.manifests.drafted(request.intentId, images, seconds_left) as draft:
            left_out |= draft.left_out
            self._report(left_out)
            self._require_enough(len(draft.image_ids), left_out)
            # Another function may have been first.
            claimed = self.jobs.claim(self._claim(request, draft.image_ids, trace_id))
            self.logger.append_keys(traceId=claimed.traceId)
            require_same_request(claimed, request)
            require_same_images(claimed, request, draft.image_ids)
            self._publish(draft, claimed)
        return claimed, left_out

    def _write_again(self, request: SubmitRequest, claimed: Submission, seconds_left: SecondsLeft) -> None:
        """Publish the manifest of a claim's images. Raises SubmissionLostError where they are not all there."""
        claimed_ids = selected(request.pendingImageIds, claimed.submittedImages)
        images, left_out = self.pending.find(claimed_ids, request.userId)
        try:
            with self.manifests.drafted(request.intentId, images, seconds_left) as draft:
                self._report(left_out | draft.left_out)
                require_same_images(claimed, request, draft.image_ids)
                self._publish(draft, claimed)
        except InvalidRequestError as refusal:
            # Nothing was done, it says: true of what is begun, not of what is resumed.
            raise lost(claimed, f"whose manifest cannot be written ({str(refusal).removesuffix('.')})") from refusal

    def _publish(self, draft: Draft, claimed: Submission) -> None:
        draft.publish()
        # By a word of our own: S3 dates an object of several parts by when its first one was begun, before the claim.
        self.jobs.manifest_published(claimed)

    def _claim(self, request: SubmitRequest, image_ids: list[str], trace_id: str) -> Submission:
        now = datetime.now(UTC)
        fit = sum(len(image_id.encode()) + 1 for image_id in image_ids) <= MAX_IDS_BYTES
        return Submission(
            intentId=request.intentId,
            userId=request.userId,
            status=JobStatus.SUBMITTING.value,
            # To the microsecond: an intent that is begun anew gets a token of its own, however soon.
            submitTime=iso_utc(now, "microseconds"),
            modelId=request.modelId or self.settings.model_ids[0],
            manifestUri=self.manifests.uri(request.intentId),
            outputUri=f"s3://{self.settings.images_bucket}/batch-output/",
            roleArn=self.settings.bedrock_role_arn,
            traceId=trace_id,
            requestedImages=images_digest(request.pendingImageIds),
            submittedImages=selection(request.pendingImageIds, image_ids),
            imageCount=len(image_ids),
            pendingImageIds=image_ids if fit else None,
            ttl=int((now + timedelta(days=self.settings.job_ttl_days)).timestamp()),
        )

    def _require_enough(self, count: int, left_out: Mapping[str, Unfit]) -> None:
        """Refuse to begin a job that Bedrock would not take. Raises InvalidRequestError."""
        if count < self.settings.min_records:
            reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(Counter(left_out.values()).items()))
            raise InvalidRequestError(
                f"{count} of {count + len(left_out)} images can be sent (left out: {reasons}), a batch job takes at "
                f"least {self.settings.min_records}: name more that are the user's, pending and in the bucket."
            )

    def _report(self, left_out: Mapping[str, Unfit]) -> None:
        for reason in sorted(set(left_out.values())):
            image_ids = sorted(image_id for image_id, why in left_out.items() if why == reason)
            self.logger.warning(
                "images left out",
                event=Event.BATCH_SUBMIT_IMAGE_LEFT_OUT,
                reason=reason.value,
                count=len(image_ids),
                imageIds=image_ids[:REPORTED_IDS],
            )


def require_same_request(record: Submission, request: SubmitRequest) -> None:
    """Refuse another request under an intent that is begun: it stands for one wish. Raises IntentConflictError.

    The order of images means nothing, nor does a model that is not asked for.
    """
    differs = {
        "userId": record.userId != request.userId,
        "modelId": request.modelId not in (None, record.modelId),
        "pendingImageIds": record.requestedImages != images_digest(request.pendingImageIds),
    }
    if any(differs.values()):
        names = ", ".join(name for name, other in differs.items() if other)
        raise IntentConflictError(
            f"intent {record.intentId!r} was begun at {record.submitTime} with another {names}: send this request "
            "under an intentId of its own."
        )


def left_out_before(request: SubmitRequest, record: Submission) -> dict[str, Unfit | None]:
    """Return the images that an earlier run left out of a request."""
    submitted = selected(request.pendingImageIds, record.submittedImages)
    return dict.fromkeys({*request.pendingImageIds}.difference(submitted))


def require_same_images(record: Submission, request: SubmitRequest, image_ids: Iterable[str]) -> None:
    """Refuse a manifest of other images than were claimed. Raises SubmissionLostError."""
    if record.submittedImages != selection(request.pendingImageIds, image_ids):
        raise lost(record, "others than can be sent by now")


def lost(record: Submission, why: str) -> SubmissionLostError:
    """Return the error of a run that cannot write the manifest of an intent that is begun, and says what to do."""
    return SubmissionLostError(
        f"intent {record.intentId!r} was begun at {record.submitTime} with {record.imageCount} images, {why}: another "
        "function may still be at it, so send the request again. Where the record is older than a function lives (15 "
        "minutes) and has no manifestPublished, that one died before Bedrock was asked for a job: delete the record "
        "first."
    )

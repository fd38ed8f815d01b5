"""Submits the job of a request: one job per intent, however often the request is repeated.

The order of the steps makes a retry after a crash at any call safe. All checks come before the first visible effect:
the images are read, and all lines of the manifest go into an unpublished draft. Then the intent's item is written,
which fixes the submit time, the images and the parameters of the job. Then the manifest is published, and the item is
updated. Then Bedrock creates the job, and the item receives the job's id. An invocation that finds an item without a
job continues from it, with the published manifest or with the same images. Every invocation sends Bedrock the token
that follows from the item, and so creates the same job.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger

from yorutsuke_common.aws.batch_jobs import BatchJobs
from yorutsuke_common.aws.calls import RESERVED_SECONDS, TimeLimit
from yorutsuke_common.aws.pending_images import PendingImages
from yorutsuke_common.errors import IntentConflictError, InvalidRequestError, SubmissionLostError
from yorutsuke_common.hashing import contents_digest, images_digest, selected, selection
from yorutsuke_common.names import BATCH_OUTPUT_PREFIX, LogEvent
from yorutsuke_common.schema import InvocationType, JobStatus, Submission, SubmitRequest, iso_utc

from .bedrock_jobs import BedrockJobs
from .images import Image, Unfit, select_images
from .manifest import Draft, Manifests, SecondsLeft
from .prompt import invocation_type
from .settings import Settings

MAX_IDS_BYTES = 300_000
"""Maximum size of the image ids in a job's item, in bytes. An item has at most 400 KB and also holds the job's results.
Larger lists of ids are not stored."""
REPORTED_IDS = 50
"""Maximum number of ids in an answer or a log entry. A log entry has up to 256 KB, an image id up to 1 KB."""


@dataclass(frozen=True)
class SubmittedJob:
    """The item of a job that Bedrock has, the number of requested images, and the images that were left out.

    An invocation that finds the intent's item before it reads the images has no reasons.
    """

    submission: Submission
    requested: int
    left_out: Mapping[str, Unfit | None]

    def answer(self) -> dict[str, Any]:
        """Return the answer to the caller.

        `{"intentId", "jobId", "status", "submitTime", "modelId", "manifestUri", "traceId", "imageCount",
        "leftOutCount", "leftOut": [{"imageId", "reason"}]}`. `leftOut` names up to 50 images. An invocation that finds
        the intent's item before it reads the images returns no reasons.
        """
        fields = {"intentId", "jobId", "status", "submitTime", "modelId", "manifestUri", "traceId", "imageCount"}
        named = sorted(self.left_out.items())[:REPORTED_IDS]
        return {
            **self.submission.model_dump(include=fields),
            "leftOutCount": self.requested - self.submission.imageCount,
            "leftOut": [{"imageId": image_id, **({"reason": why.value} if why else {})} for image_id, why in named],
        }


@dataclass(frozen=True)
class JobSubmitter:
    """Submits batch jobs."""

    jobs: BatchJobs
    pending: PendingImages
    manifests: Manifests
    bedrock: BedrockJobs
    settings: Settings
    time_limit: TimeLimit
    logger: Logger

    def submit(self, request: SubmitRequest, trace_id: str, seconds_left: SecondsLeft) -> SubmittedJob:
        """Submit the job of a request, unless its intent has one, and return the job.

        Args:
            request: The request.
            trace_id: The trace id of the job, if this invocation begins the intent.
            seconds_left: Returns how long the function may still run.

        Raises:
            InvalidRequestError, IntentConflictError: The request is refused.
            SubmissionLostError, BedrockRefusedError, JobConflictError: The intent has begun, and a remedy is needed.
            Other errors: A call failed. Repeating the request is safe.
        """
        self.time_limit.start(seconds_left() - RESERVED_SECONDS)
        found = self.jobs.find_submission(request.intentId)
        if found and found.jobId:
            require_same_request(found, request)
            self.logger.append_keys(traceId=found.traceId, jobId=found.jobId)
            self.logger.info("batch job already submitted", event=LogEvent.BATCH_SUBMIT_DUPLICATE)
            return SubmittedJob(found, len(request.pendingImageIds), left_out_before(request, found))
        if found:
            submission, left_out = self._resume(request, found, seconds_left)
        else:
            submission, left_out = self._begin(request, trace_id, seconds_left)
        submitted = self.jobs.record_job_id(submission, self.bedrock.create(submission))
        self.logger.append_keys(jobId=submitted.jobId)
        job = SubmittedJob(submitted, len(request.pendingImageIds), left_out)
        self.logger.info(
            "batch job submitted",
            event=LogEvent.BATCH_SUBMITTED,
            modelId=submitted.modelId,
            imageCount=submitted.imageCount,
            leftOutCount=job.requested - submitted.imageCount,
        )
        return job

    def _begin(
        self, request: SubmitRequest, trace_id: str, seconds_left: SecondsLeft
    ) -> tuple[Submission, Mapping[str, Unfit | None]]:
        """Begin the intent, publish its manifest, and return the intent's item and the images that are left out."""
        require_allowed(request, self.settings)
        self.logger.info("batch submission started", event=LogEvent.BATCH_SUBMIT_STARTED)
        # Before the first read. The result handler takes an upload that is newer than this time for one that was not
        # read, unless the image's item names its ETag.
        submit_time = datetime.now(UTC)
        images, left_out = self._select(request.pendingImageIds, request.userId)
        self._require_enough(len(images), left_out)
        model_id = request.modelId or self.settings.model_ids[0]
        with self.manifests.draft(request.intentId, images, seconds_left, invocation_type(model_id)) as draft:
            left_out |= draft.left_out
            self._report(left_out)
            self._require_enough(len(draft.etags), left_out)
            # If another invocation began the intent first, this is its item.
            new = self._new_submission(request, model_id, draft, trace_id, submit_time)
            submission = self.jobs.begin_intent(new)
            self.logger.append_keys(traceId=submission.traceId)
            require_same_request(submission, request)
            require_same_form(submission, draft.invocation_type)
            require_same_images(submission, request, draft.etags)
            self._publish(draft, images, submission)
        return submission, left_out

    def _resume(
        self, request: SubmitRequest, submission: Submission, seconds_left: SecondsLeft
    ) -> tuple[Submission, Mapping[str, Unfit | None]]:
        """Publish the manifest of an intent that an earlier invocation began, unless it is published.

        The stage's settings are not checked: they may have changed since the intent began.

        Raises:
            SubmissionLostError: The manifest cannot be written with the images in the intent's item.
            IntentConflictError: A different request began the intent.
        """
        require_same_request(submission, request)
        self.logger.append_keys(traceId=submission.traceId)
        self.logger.info("batch submission resumed", event=LogEvent.BATCH_SUBMIT_RESUMED)
        if not submission.manifestPublished:
            images, unfit = self._select(selected(request.pendingImageIds, submission.submittedImages), request.userId)
            try:
                form = submission.modelInvocationType
                with self.manifests.draft(request.intentId, images, seconds_left, form) as draft:
                    self._report(unfit | draft.left_out)
                    require_same_images(submission, request, draft.etags)
                    self._publish(draft, images, submission)
            except InvalidRequestError as refusal:
                # The refusal would report that the request had no effect, but the earlier invocation has begun the
                # intent. The remedy of the refusal, another request, would be refused under this intent.
                problem = f"the manifest cannot be written ({refusal.problem})"
                raise submission_lost(submission, problem) from refusal
        return submission, left_out_before(request, submission)

    def _select(self, image_ids: Sequence[str], user_id: str) -> tuple[list[Image], dict[str, Unfit]]:
        return select_images(image_ids, self.pending.find(image_ids), user_id)

    def _publish(self, draft: Draft, images: Sequence[Image], submission: Submission) -> None:
        """Publish the manifest, and record in the images' items the contents that it has."""
        draft.publish()
        read = [(image.stored, draft.etags[image.image_id]) for image in images if image.image_id in draft.etags]
        self.pending.mark_submitted(submission.intentId, read)
        # The date of the object cannot prove the publication: S3 dates a multipart upload by its start, which is before
        # the intent begins.
        self.jobs.mark_manifest_published(submission)

    def _new_submission(
        self, request: SubmitRequest, model_id: str, draft: Draft, trace_id: str, submit_time: datetime
    ) -> Submission:
        image_ids = list(draft.etags)
        ids_fit = sum(len(image_id.encode()) + 1 for image_id in image_ids) <= MAX_IDS_BYTES
        return Submission(
            intentId=request.intentId,
            userId=request.userId,
            status=JobStatus.SUBMITTING.value,
            # The token of the job follows from this time. With microseconds, an intent that begins again at once after
            # its item was deleted has a new token.
            submitTime=iso_utc(submit_time, "microseconds"),
            modelId=model_id,
            modelInvocationType=draft.invocation_type,
            manifestUri=self.manifests.uri(request.intentId),
            outputUri=f"s3://{self.settings.images_bucket}/{BATCH_OUTPUT_PREFIX}",
            roleArn=self.settings.bedrock_role_arn,
            jobTimeoutHours=self.settings.job_timeout_hours,
            traceId=trace_id,
            requestedImages=images_digest(request.pendingImageIds),
            submittedImages=selection(request.pendingImageIds, image_ids),
            submittedContents=contents_digest(draft.etags),
            imageCount=len(image_ids),
            pendingImageIds=image_ids if ids_fit else None,
            ttl=int((submit_time + timedelta(days=self.settings.job_ttl_days)).timestamp()),
        )

    def _require_enough(self, count: int, left_out: Mapping[str, Unfit]) -> None:
        """Refuse a job that is too small for Bedrock. Raises InvalidRequestError."""
        if count < self.settings.min_records:
            reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(Counter(left_out.values()).items()))
            raise InvalidRequestError(
                f"only {count} of {count + len(left_out)} images can be sent (left out: {reasons}). A batch job needs "
                f"at least {self.settings.min_records}",
                "Add pending images of the user that are in the bucket.",
            )

    def _report(self, left_out: Mapping[str, Unfit]) -> None:
        for reason in sorted(set(left_out.values())):
            image_ids = sorted(image_id for image_id, why in left_out.items() if why == reason)
            self.logger.warning(
                "images left out",
                event=LogEvent.BATCH_SUBMIT_IMAGE_LEFT_OUT,
                reason=reason.value,
                count=len(image_ids),
                imageIds=image_ids[:REPORTED_IDS],
            )


def require_allowed(request: SubmitRequest, settings: Settings) -> None:
    """Refuse a request that this stage does not accept. Raises InvalidRequestError."""
    if request.modelId is not None and request.modelId not in settings.model_ids:
        raise InvalidRequestError(
            "modelId is not a model of this stage", f"Use one of {', '.join(settings.model_ids)}, or leave it out."
        )
    if len(request.pendingImageIds) < settings.min_records:
        raise InvalidRequestError(
            f"pendingImageIds names {len(request.pendingImageIds)} images. A batch job needs at least "
            f"{settings.min_records}",
            "Send the request when the user has more.",
        )


def require_same_request(submission: Submission, request: SubmitRequest) -> None:
    """Refuse a request that differs from the one that began the intent. Raises IntentConflictError.

    The order of the images may differ, and the model may be omitted.
    """
    differs = {
        "userId": submission.userId != request.userId,
        "modelId": request.modelId not in (None, submission.modelId),
        "pendingImageIds": submission.requestedImages != images_digest(request.pendingImageIds),
    }
    if any(differs.values()):
        names = ", ".join(name for name, other in differs.items() if other)
        raise IntentConflictError(
            f"intent {submission.intentId!r} began at {submission.submitTime} with another {names}. "
            "All requests of an intent are the same. Send this request with a new intentId."
        )


def left_out_before(request: SubmitRequest, submission: Submission) -> dict[str, Unfit | None]:
    """Return the images that an earlier invocation left out of a request, without reasons."""
    submitted = selected(request.pendingImageIds, submission.submittedImages)
    return dict.fromkeys({*request.pendingImageIds}.difference(submitted))


def require_same_images(submission: Submission, request: SubmitRequest, etags: Mapping[str, str]) -> None:
    """Refuse a manifest with other images than those that began the intent, or other contents of them.

    Bedrock may already read the manifest of another invocation, so all manifests of an intent must be equal.

    Raises:
        SubmissionLostError: The images or their contents differ.
    """
    if submission.submittedImages != selection(request.pendingImageIds, etags):
        raise submission_lost(submission, "the images that can be sent have changed since then")
    if submission.submittedContents not in (None, contents_digest(etags)):
        raise submission_lost(submission, "an image was replaced since then")


def require_same_form(submission: Submission, form: InvocationType | None) -> None:
    """Refuse a manifest with model requests of another form than the intent's job. Raises SubmissionLostError.

    The stage's default model may change between two invocations at once.
    """
    if submission.modelInvocationType != form:
        raise submission_lost(submission, f"the manifest does not have the form for its model {submission.modelId!r}")


def submission_lost(submission: Submission, problem: str) -> SubmissionLostError:
    """Return the error of an invocation that cannot write the manifest of an intent that has begun."""
    return SubmissionLostError(
        f"intent {submission.intentId!r} began at {submission.submitTime} with {submission.imageCount} images, and "
        f"{problem}. Another invocation may be continuing it, so send the same request again. If this error lasts for "
        "15 minutes and the intent's item in batch-jobs has no manifestPublished, Bedrock has no job. Delete the item, "
        "correct the cause, and send the request again."
    )

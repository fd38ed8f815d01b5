"""Submits the job of a request: one job per intent, however often the request is repeated.

The order of the steps makes a retry after a crash at any call safe. The intent's item is written first. It fixes the
submit time and the parameters of the job. Then the intent holds the images, so that no other intent reads them, and all
lines of the manifest go into an unpublished draft. Then the item fixes the images, the manifest is published, and the
item records that. Then Bedrock creates the job, and the item receives the job's id. An invocation that finds an item
without a job continues from it. Every invocation sends Bedrock the token that follows from the item, and so creates the
same job.

A refused request abandons its intent, unless the manifest is published: the images are released and the item is
deleted.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda_powertools import Logger

from yorutsuke_common.aws.batch_jobs import BatchJobs
from yorutsuke_common.aws.calls import RESERVED_SECONDS, TimeLimit
from yorutsuke_common.aws.pending_images import PendingImages, StoredImage
from yorutsuke_common.errors import IntentConflictError, IntentEndedError, InvalidRequestError, SubmissionLostError
from yorutsuke_common.hashing import contents_digest, images_digest, selected, selection, submission_token
from yorutsuke_common.names import BATCH_OUTPUT_PREFIX, LogEvent
from yorutsuke_common.object_keys import input_key, submission_folder
from yorutsuke_common.schema import Hold, JobStatus, Submission, SubmitRequest, iso_utc

from .bedrock_jobs import BedrockJobs
from .delivery import choose_delivery
from .images import PERMANENT, Image, Unfit, select_images
from .manifest import SECONDS_TO_SUBMIT, Draft, Manifests, SecondsLeft
from .prompt import invocation_type
from .settings import Settings

MAX_IDS_BYTES = 300_000
"""Maximum size of the image ids in a job's item, in bytes. An item has at most 400 KB and also holds the job's results.
Larger lists of ids are not stored."""
MAX_ATTEMPTS_OF_ANY_IMAGE = 1_000_000
"""More attempts than any image has."""
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

    @property
    def left_out_count(self) -> int:
        """The number of requested images that are not in the job."""
        return self.requested - (self.submission.imageCount or 0)

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
            "leftOutCount": self.left_out_count,
            "leftOut": [{"imageId": image_id, **({"reason": why.value} if why else {})} for image_id, why in named],
        }


@dataclass(frozen=True)
class Choice:
    """The images that an intent can read, and the reasons of the others, by image id.

    `unsupported` has the items of images that it can hold but not read.
    """

    images: Sequence[Image]
    unsupported: Sequence[StoredImage]
    left_out: Mapping[str, Unfit]


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
        image_ids = request.pendingImageIds
        found = self.jobs.find_submission(request.intentId)
        if found and found.status == JobStatus.ABANDONED:
            self.abandon(found, image_ids)
            found = None
        if found:
            require_same_request(found, request)
            self.logger.append_keys(traceId=found.traceId)
            if found.jobId:
                self.logger.append_keys(jobId=found.jobId)
                self.logger.info("batch job already submitted", event=LogEvent.BATCH_SUBMIT_DUPLICATE)
                return SubmittedJob(found, len(image_ids), left_out_before(request, found))
            self.logger.info("batch submission resumed", event=LogEvent.BATCH_SUBMIT_RESUMED)
            if found.submittedImages is not None:
                image_ids = selected(image_ids, found.submittedImages)
            others = {*request.pendingImageIds}.difference(image_ids)
            submission, reasons = self._continue(found, image_ids, seconds_left, others=others)
        else:
            require_allowed(request, self.settings)
            new = self._new_submission(request, trace_id)
            self.logger.info("batch submission started", event=LogEvent.BATCH_SUBMIT_STARTED)
            choice = self._choose(new, image_ids)
            # Another invocation that has begun the intent since may hold the images.
            holdable = len(choice.images) + len(choice.unsupported)
            if holdable < self.settings.min_records and not self.jobs.find_submission(request.intentId):
                self._require_enough(len(choice.images), choice.left_out)
            stored = self.jobs.begin_intent(new)
            if stored.submitTime != new.submitTime:
                # Another invocation began the intent a moment before.
                return self.submit(request, trace_id, seconds_left)
            self.logger.append_keys(traceId=stored.traceId)
            submission, reasons = self._continue(stored, image_ids, seconds_left, choice)
        left_out = {**left_out_before(request, submission), **reasons}
        return self._create(submission, len(request.pendingImageIds), left_out)

    def resume(self, submission: Submission, seconds_left: SecondsLeft) -> SubmittedJob:
        """Submit the job of an intent without its request. The intent's item lists its images.

        If the images have changed since the item fixed them, the intent is abandoned. The images wait for another one.

        Args:
            submission: The intent's item.
            seconds_left: Returns how long the function may still run.

        Raises:
            InvalidRequestError: The intent is abandoned: too few of its images can be sent, or they have changed.
            BedrockRefusedError, JobConflictError: A remedy is needed.
            Other errors: A call failed. Repeating the call is safe.
        """
        image_ids = submission.pendingImageIds or []
        self.logger.info("batch submission resumed", event=LogEvent.BATCH_SUBMIT_RESUMED)
        try:
            continued, reasons = self._continue(submission, image_ids, seconds_left)
        except SubmissionLostError as lost:
            if not self.abandon(submission, image_ids):
                raise
            raise InvalidRequestError(str(lost), "The images wait for another job.") from lost
        # Without the ids, only an intent with a published manifest is continued.
        return self._create(continued, len(image_ids) or continued.imageCount or 0, reasons)

    def abandon(
        self,
        submission: Submission,
        image_ids: Sequence[str],
        left_out: Mapping[str, Unfit] | None = None,
    ) -> bool:
        """End an intent that has no published manifest: release its images and delete its item.

        Args:
            submission: The intent's item.
            image_ids: The requested images. The item may list fewer of them.
            left_out: The reasons of images that cannot be sent. The attempts of the others do not count.

        Returns:
            Whether the intent has ended. Otherwise, its manifest is published.
        """
        if not self.jobs.abandon(submission):
            return False
        reasons = left_out or {}
        found = self.pending.find(sorted({*image_ids, *(submission.pendingImageIds or ())}))
        held = {image_id: image for image_id, image in found.items() if image.is_held(submission.hold)}
        self._release(submission, held, reasons)
        rest = [image for image_id, image in held.items() if image_id not in reasons]
        self.release_uncounted(submission.hold, rest)
        self.jobs.delete_abandoned(submission)
        return True

    def _create(self, submission: Submission, requested: int, left_out: Mapping[str, Unfit | None]) -> SubmittedJob:
        """Create the job of an intent with a published manifest."""
        submitted = self.jobs.record_job_id(submission, self.bedrock.create(submission))
        self.logger.append_keys(jobId=submitted.jobId)
        job = SubmittedJob(submitted, requested, left_out)
        self.logger.info(
            "batch job submitted",
            event=LogEvent.BATCH_SUBMITTED,
            modelId=submitted.modelId,
            imageCount=submitted.imageCount,
            leftOutCount=job.left_out_count,
        )
        return job

    def _continue(
        self,
        submission: Submission,
        image_ids: Sequence[str],
        seconds_left: SecondsLeft,
        choice: Choice | None = None,
        others: Collection[str] = (),
    ) -> tuple[Submission, Mapping[str, Unfit]]:
        """Hold the images of an intent, fix them in its item and publish its manifest, unless that is done.

        The model is not checked against the stage's settings, which may have changed since the intent began.

        Args:
            submission: The intent's item.
            image_ids: The requested images, or those that the item has fixed.
            seconds_left: Returns how long the function may still run.
            choice: The images as they were read before the intent began, or None if it was begun earlier.
            others: Images that the intent may hold besides. They are released.

        Returns:
            The intent's item, and the images that are left out.

        Raises:
            InvalidRequestError: The images cannot be sent. The intent is abandoned.
            SubmissionLostError: The manifest cannot be written with the images that the item has fixed.
        """
        if submission.manifestPublished:
            return submission, {}
        choice = choice or self._choose(submission, image_ids)
        left_out = dict(choice.left_out)
        is_fixed = submission.submittedImages is not None
        # An earlier invocation of the intent may have held images to which this one does not come.
        held = {image.image_id: image.stored for image in choice.images if image.stored.is_held(submission.hold)}

        def hold(images: Sequence[Image]) -> list[Image]:
            # `held` has these images even if nothing takes the result any more.
            etags = {image.image_id: image.upload.etag for image in images if image.upload}
            held.update(self.pending.hold(submission.hold, [image.stored for image in images], etags))
            left_out.update({image.image_id: Unfit.NOT_PENDING for image in images if image.image_id not in held})
            return [image for image in images if image.image_id in held]

        try:
            held |= self.pending.hold(submission.hold, choice.unsupported)
            # Throttled holds end before the time that the steps after the draft need.
            self.time_limit.start(seconds_left() - SECONDS_TO_SUBMIT)
            with self.manifests.draft(
                submission, choice.images, hold, seconds_left, partial=submission.hold.is_scheduled and not is_fixed
            ) as draft:
                self.time_limit.start(seconds_left() - RESERVED_SECONDS)
                left_out = {**draft.left_out, **left_out}
                self._report(left_out)
                if not is_fixed:
                    self._require_enough(len(draft.etags), left_out)
                    submission = self.jobs.fix_images(submission, manifest_images(image_ids, draft.etags))
                fixed = image_ids if is_fixed else selected(image_ids, submission.submittedImages or "")
                # Another invocation may have fixed the images, and ended before it released the others.
                rest = self.pending.find(sorted({*others, *held}.difference(fixed, left_out)))
                self.release_uncounted(submission.hold, rest.values())
                require_same_images(submission, fixed, draft.etags)
                self._release(submission, held, left_out)
                self._publish(draft, held, submission)
        except IntentEndedError:
            # Another invocation or an operator has ended the intent, and does not know of the holds since then.
            self.release_uncounted(submission.hold, held.values())
            raise
        except InvalidRequestError as refusal:
            self.time_limit.start(seconds_left() - RESERVED_SECONDS)
            if is_fixed:
                # The refusal would report that the request had no effect, but an earlier invocation has fixed the
                # images. The remedy of the refusal, another request, would be refused under this intent.
                problem = f"the manifest cannot be written ({refusal.problem})"
                raise submission_lost(submission, problem) from refusal
            if not self.abandon(submission, image_ids, left_out):
                raise submission_lost(submission, refusal.problem) from refusal
            raise
        return submission, left_out

    def _choose(self, submission: Submission, image_ids: Sequence[str]) -> Choice:
        """Read the items of images, and choose those that an intent may read."""
        known = self.pending.find(image_ids)
        images, unfit = select_images(image_ids, known, submission, accept_failed=not submission.hold.is_scheduled)
        unsupported = [known[image_id] for image_id, reason in unfit.items() if reason is Unfit.UNSUPPORTED]
        return Choice(images, [image for image in unsupported if image.is_indexed], unfit)

    def _release(self, submission: Submission, held: Mapping[str, StoredImage], left_out: Mapping[str, Unfit]) -> None:
        """Release the images that an intent holds and that cannot be sent."""
        # If no image could be read, the function rather than the images lacks something, such as a permission.
        tried = {why for image_id, why in left_out.items() if image_id in held and why not in PERMANENT}
        is_general = tried == {Unfit.UNREADABLE} and held.keys() <= left_out.keys()
        for reason in sorted(set(left_out.values())):
            images = [held[image_id] for image_id, why in left_out.items() if why is reason and image_id in held]
            if reason is Unfit.NO_ROOM or (reason is Unfit.UNREADABLE and is_general):
                self.release_uncounted(submission.hold, images)
            else:
                attempts = 0 if reason in PERMANENT else self.settings.max_attempts
                self.pending.release(submission.hold, images, reason.value, attempts)

    def release_uncounted(self, hold: Hold, images: Iterable[StoredImage]) -> None:
        """Release images that an intent holds, without counting the attempt.

        A request may have named images that had failed before, which then have failed again. The schedule takes only
        images that wait, even if an app has let them wait again after their last attempt.
        """
        limit = MAX_ATTEMPTS_OF_ANY_IMAGE if hold.is_scheduled else self.settings.max_attempts
        self.pending.release(hold, images, None, limit)

    def _publish(self, draft: Draft, held: Mapping[str, StoredImage], submission: Submission) -> None:
        """Publish the manifest, and record in the images' items the contents that it has."""
        draft.publish()
        read = [(held[image_id], etag) for image_id, etag in draft.etags.items()]
        self.pending.mark_submitted(submission.intentId, read)
        # The date of the object cannot prove the publication: S3 dates a multipart upload by its start, which is before
        # the intent fixes its images.
        self.jobs.mark_manifest_published(submission)

    def _new_submission(self, request: SubmitRequest, trace_id: str) -> Submission:
        # Before the first read. The result handler takes an upload that is newer than this time for one that was not
        # read, unless the image's item names its ETag.
        submit_time = datetime.now(UTC)
        model_id = request.modelId or self.settings.model_ids[0]
        delivery = choose_delivery(request.imageDelivery, model_id, self.settings.image_delivery)
        # The token of the job follows from this time. With microseconds, an intent that begins again at once after its
        # item was deleted has a new token.
        began = iso_utc(submit_time, "microseconds")
        bucket = f"s3://{self.settings.images_bucket}"
        folder = submission_folder(request.intentId, submission_token(request.intentId, began))
        return Submission(
            intentId=request.intentId,
            userId=request.userId,
            status=JobStatus.SUBMITTING.value,
            submitTime=began,
            modelId=model_id,
            modelInvocationType=invocation_type(model_id),
            manifestUri=f"{bucket}/{input_key(folder)}",
            inputUri=f"{bucket}/{folder}" if delivery == "s3" else None,
            outputUri=f"{bucket}/{BATCH_OUTPUT_PREFIX}",
            roleArn=self.settings.bedrock_role_arn,
            jobTimeoutHours=self.settings.job_timeout_hours,
            traceId=trace_id,
            requestedImages=images_digest(request.pendingImageIds),
            pendingImageIds=ids_that_fit(request.pendingImageIds),
            ttl=int((submit_time + timedelta(days=self.settings.job_ttl_days)).timestamp()),
        )

    def _require_enough(self, count: int, left_out: Mapping[str, Unfit]) -> None:
        """Refuse a job that is too small for Bedrock. Raises InvalidRequestError."""
        if count < self.settings.min_records:
            reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(Counter(left_out.values()).items()))
            raise InvalidRequestError(
                f"only {count} of {count + len(left_out)} images can be sent (left out: {reasons}). A batch job needs "
                f"at least {self.settings.min_records}",
                "Add pending images that are in the bucket.",
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

    The order of the images may differ, and the model and the delivery of the images may be omitted.
    """
    differs = {
        "userId": submission.userId != request.userId,
        "modelId": request.modelId not in (None, submission.modelId),
        "imageDelivery": request.imageDelivery not in (None, submission.image_delivery),
        "pendingImageIds": submission.requestedImages != images_digest(request.pendingImageIds),
    }
    if any(differs.values()):
        names = ", ".join(name for name, other in differs.items() if other)
        raise IntentConflictError(
            f"intent {submission.intentId!r} began at {submission.submitTime} with another {names}. "
            "All requests of an intent are the same. Send this request with a new intentId."
        )


def left_out_before(request: SubmitRequest, submission: Submission) -> dict[str, Unfit | None]:
    """Return the images that were left out of a request, without reasons."""
    submitted = selected(request.pendingImageIds, submission.submittedImages or "0")
    return dict.fromkeys({*request.pendingImageIds}.difference(submitted))


def require_same_images(submission: Submission, fixed: Iterable[str], etags: Mapping[str, str]) -> None:
    """Refuse a manifest with other images than those that the intent's item has fixed, or other contents of them.

    Bedrock may already read the manifest of another invocation, so all manifests of an intent must be equal.

    Args:
        submission: The intent's item.
        fixed: The images that the item has fixed.
        etags: The ETags of the images in the manifest, by image id.

    Raises:
        SubmissionLostError: The images or their contents differ.
    """
    if {*fixed} != {*etags}:
        raise submission_lost(submission, "the images that can be sent have changed since then")
    if submission.submittedContents not in (None, contents_digest(etags)):
        raise submission_lost(submission, "an image was replaced since then")


def manifest_images(image_ids: Sequence[str], etags: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes of an intent's item that describe the images in its manifest.

    Args:
        image_ids: The requested images, which the item lists already if they fit into it.
        etags: The ETags of the images in the manifest, by image id.
    """
    ids = [*etags]
    return {
        "submittedImages": selection(image_ids, ids),
        "submittedContents": contents_digest(etags),
        "imageCount": len(ids),
        **({} if ids == [*image_ids] else {"pendingImageIds": ids_that_fit(ids)}),
    }


def ids_that_fit(image_ids: Sequence[str]) -> list[str] | None:
    """Return image ids that fit into a job's item, or None."""
    size = sum(len(image_id.encode()) + 1 for image_id in image_ids)
    return list(image_ids) if size <= MAX_IDS_BYTES else None


def submission_lost(submission: Submission, problem: str) -> SubmissionLostError:
    """Return the error of an invocation that cannot write the manifest of an intent that has begun."""
    return SubmissionLostError(
        f"intent {submission.intentId!r} began at {submission.submitTime} with {submission.imageCount} images, and "
        f"{problem}. Another invocation may be continuing it, so send the same request again. If this error lasts for "
        "15 minutes and the intent's item in batch-jobs has no manifestPublished, Bedrock has no job. Delete the item, "
        "correct the cause, and send the request again."
    )

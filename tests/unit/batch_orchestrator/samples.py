"""A request, one of its images, the settings of its stage, and the submission that it creates."""

from collections.abc import Callable

import pytest

from batch_orchestrator.image_copies import Reference
from batch_orchestrator.images import Content, Image
from batch_orchestrator.manifest import SECONDS_TO_SUBMIT, manifest_line
from batch_orchestrator.settings import Settings
from yorutsuke_common.aws.pending_images import StoredImage
from yorutsuke_common.hashing import images_digest, selection
from yorutsuke_common.schema import InvocationType, Submission, SubmitRequest

ENVIRONMENT = {
    "STAGE": "dev",
    "IMAGES_BUCKET": "yorutsuke-images-dev-123456789012",
    "BATCH_JOBS_TABLE": "yorutsuke-batch-jobs-dev",
    "PENDING_IMAGES_TABLE": "yorutsuke-pending-images-dev",
    "BEDROCK_ROLE_ARN": "arn:aws:iam::123456789012:role/yorutsuke-bedrock-dev",
    "MODEL_IDS": "amazon.nova-lite-v1:0, apac.amazon.nova-pro-v1:0",
}
FOLDER = "batch-input/intent-1/0123456789abcdef/"
SETTINGS = Settings.model_validate({**ENVIRONMENT, "MIN_RECORDS": "2"})
REQUEST = SubmitRequest(intentId="intent-1", pendingImageIds=["image-2", "image-1", "image-3"], userId="user-1")
SUBMISSION = Submission(
    intentId="intent-1",
    userId="user-1",
    status="SUBMITTED",
    submitTime="2026-11-22T15:00:00.000000Z",
    modelId="amazon.nova-lite-v1:0",
    manifestUri="s3://yorutsuke-images-dev-123456789012/batch-input/intent-1/manifest.jsonl",
    outputUri="s3://yorutsuke-images-dev-123456789012/batch-output/",
    roleArn="arn:aws:iam::123456789012:role/yorutsuke-bedrock-dev",
    jobTimeoutHours=72,
    traceId="trace-1",
    requestedImages=images_digest(["image-1", "image-2", "image-3"]),
    submittedImages=selection(["image-1", "image-2", "image-3"], ["image-1", "image-2"]),
    imageCount=2,
    pendingImageIds=["image-1", "image-2"],
    jobId="abcdefgh1234",
    ttl=1_798_000_000,
)


def image(image_id: str = "image-1", key: str = "uploads/user-1/a.jpg", image_format: str = "jpeg") -> Image:
    """Return a pending image of user-1."""
    return Image(StoredImage(image_id, "user-1", key, "pending", None, None, None, None), key, image_format)


def running_out(patch: pytest.MonkeyPatch, lines: int, at_first: float) -> Callable[[], float]:
    """Return a function that returns the seconds left, which drop to SECONDS_TO_SUBMIT during the manifest.

    Args:
        patch: Replaces the function that makes a line, in order to count lines.
        lines: Number of lines after which the seconds drop.
        at_first: Seconds left before that.
    """
    written: list[str] = []

    def line(sent: Image, content: Content | Reference, form: InvocationType | None) -> bytes:
        written.append(sent.image_id)
        return manifest_line(sent, content, form)

    patch.setattr("batch_orchestrator.manifest.manifest_line", line)
    return lambda: at_first if len(written) < lines else SECONDS_TO_SUBMIT

"""`batch-input/{intentId}/{token}/manifest.jsonl`: one model request per line, the input of Bedrock's job.

A line holds its image in base64, or names a copy of the image in the same folder. The content depends only on the
images, in order of their ids, so writing it again for the same images gives the same bytes. The file is written while
the images are read or copied, and is never held completely.

Sources: Amazon Bedrock user guide, "Format and upload your batch inference data"; AWS General Reference, "Amazon
Bedrock endpoints and quotas" (the maximum size of an input file is 1 GB and cannot be raised).
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pydantic_core
from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from yorutsuke_common.aws.calls import OutOfTimeError, chunks
from yorutsuke_common.aws.object_writer import ObjectWriter
from yorutsuke_common.error_codes import error_code
from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.names import LogEvent
from yorutsuke_common.object_keys import input_key
from yorutsuke_common.schema import InvocationType, Submission

from .image_copies import ImageCopier, Reference
from .images import (
    HELD_AT_A_TIME,
    MAX_CONVERSE_IMAGE_BYTES,
    MAX_IMAGE_BYTES,
    Content,
    HoldImages,
    Image,
    ImageReader,
    Unfit,
    hold_ahead,
)
from .prompt import model_input

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_MANIFEST_BYTES = 1_000_000_000
"""Maximum size of a manifest, in bytes: 1 GB as 10^9 bytes. A job has one manifest, so the limit per job does not
matter."""
SECONDS_TO_SUBMIT = 75
"""Seconds that the function reserves for the steps after the images.

The function completes the upload, records up to 50,000 ETags, writes three times to DynamoDB, and creates the job. A
service that does not answer takes up to 65 seconds.
"""

SecondsLeft = Callable[[], float]
"""Returns how long the function may still run, in seconds."""


def manifest_line(image: Image, content: Content | Reference, invocation_type: InvocationType | None = None) -> bytes:
    """Return the line that asks the model of a job of this type to read one image, with its newline."""
    line = {"recordId": image.image_id, "modelInput": model_input(image.format, content.source, invocation_type)}
    return pydantic_core.to_json(line) + b"\n"


@dataclass(frozen=True)
class Draft:
    """A manifest that is not visible in the bucket yet, the ETag of each image in it, and the images left out.

    The submission determines the form of its model requests, and whether they hold the images or name copies of them.
    """

    file: ObjectWriter
    submission: Submission
    etags: dict[str, str] = field(default_factory=dict[str, str])
    left_out: dict[str, Unfit] = field(default_factory=dict[str, Unfit])

    def publish(self) -> None:
        """Make the complete manifest visible in the bucket. Raises botocore's errors."""
        self.file.close()


@dataclass(frozen=True)
class Manifests:
    """The manifests in the bucket."""

    s3: "S3Client"
    bucket: str
    images: ImageReader
    copies: ImageCopier
    logger: Logger

    @contextmanager
    def draft(
        self,
        submission: Submission,
        images: Sequence[Image],
        hold: HoldImages,
        seconds_left: SecondsLeft,
        *,
        partial: bool = False,
    ) -> Generator[Draft]:
        """Write the manifest of these images as a draft. Publish it inside the context; an error discards it.

        The copies of images that the manifest names stay after an error. The bucket's lifecycle rule removes them.

        Args:
            submission: The intent's item.
            images: The images, in order of their ids.
            hold: Holds the images before they are read. The draft is written without those that it does not return.
            seconds_left: Returns how long the function may still run.
            partial: Whether to leave out the images after the manifest is full or the time is used up.

        Raises:
            InvalidRequestError: The manifest is too large for Bedrock, or takes longer than the function has, and is
                not `partial`.
            botocore's or urllib3's errors: A call failed.
        """
        draft = Draft(ObjectWriter(self.s3, self.bucket, input_key(submission.input_folder)), submission)
        try:
            self._write(draft, images, hold, seconds_left, partial=partial)
            yield draft
        except Exception:
            self._discard(draft)
            raise

    def _contents(
        self, submission: Submission, images: Sequence[Image], hold: HoldImages, seconds_left: SecondsLeft
    ) -> Generator[tuple[Image, Content | Reference | Unfit]]:
        """Yield each image that could be held with its part of the draft, or the reason why it is left out."""
        if submission.image_delivery == "s3":
            yield from self.copies.copy(submission.input_folder, images, hold, seconds_left)
            return
        is_converse = submission.modelInvocationType == "Converse"
        max_bytes = MAX_CONVERSE_IMAGE_BYTES if is_converse else MAX_IMAGE_BYTES
        with closing(hold_ahead(hold, chunks(images, HELD_AT_A_TIME), seconds_left)) as held:
            yield from self.images.read(held, seconds_left, max_bytes)

    def _write(
        self, draft: Draft, images: Sequence[Image], hold: HoldImages, seconds_left: SecondsLeft, *, partial: bool
    ) -> None:
        try:
            self._write_all(draft, images, hold, seconds_left)
        except InvalidRequestError:
            if not partial:
                raise
            rest = {image.image_id for image in images}.difference(draft.etags, draft.left_out)
            draft.left_out.update(dict.fromkeys(rest, Unfit.NO_ROOM))

    def _write_all(self, draft: Draft, images: Sequence[Image], hold: HoldImages, seconds_left: SecondsLeft) -> None:
        seconds_at_start, to_read = seconds_left(), lambda: seconds_left() - SECONDS_TO_SUBMIT
        try:
            with closing(self._contents(draft.submission, images, hold, to_read)) as contents:
                self._write_lines(draft, contents, len(images))
        except OutOfTimeError as exc:
            # Refuse before the timeout: a function that Lambda ends leaves its upload behind, and is retried.
            read = len(draft.etags) + len(draft.left_out)
            raise InvalidRequestError(
                f"only {read} of {len(images)} images were read in {seconds_at_start - seconds_left():.0f} seconds; "
                f"the function reserves its last {SECONDS_TO_SUBMIT} seconds for the submission",
                "Request fewer images.",
            ) from exc

    def _write_lines(
        self, draft: Draft, contents: Iterable[tuple[Image, Content | Reference | Unfit]], count: int
    ) -> None:
        size = 0
        for image, content in contents:
            if isinstance(content, Unfit):
                draft.left_out[image.image_id] = content
                continue
            line = manifest_line(image, content, draft.submission.modelInvocationType)
            size += len(line)
            if size > MAX_MANIFEST_BYTES:
                raise InvalidRequestError(
                    f"the manifest of {count} images is larger than Bedrock's limit of {MAX_MANIFEST_BYTES} bytes; "
                    f"only {len(draft.etags)} images fit",
                    "Request fewer images.",
                )
            draft.file.write(line)
            draft.etags[image.image_id] = content.etag

    def _discard(self, draft: Draft) -> None:
        """Discard the draft. If that fails, the bucket's lifecycle rule discards it."""
        try:
            draft.file.abort()
        except (ClientError, BotoCoreError) as exc:
            self.logger.warning(
                "the manifest's multipart upload was not aborted, and expires after a day",
                event=LogEvent.BATCH_SUBMIT_UPLOAD_KEPT,
                code=error_code(exc),
            )

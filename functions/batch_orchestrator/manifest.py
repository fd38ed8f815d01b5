"""`batch-input/{intentId}/manifest.jsonl`: one request a line, which Bedrock reads.

The file follows from the images alone, in order of their ids: whoever writes it again for the same images writes the
same bytes. It is written while they are read, and held nowhere whole.

Sources: Amazon Bedrock user guide, "Format and upload your batch inference data"; AWS General Reference, "Amazon
Bedrock endpoints and quotas" (an input file of a batch inference job has up to 1 GB, which cannot be raised).
"""

import base64
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pydantic_core
from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from yorutsuke_common.aws_error import error_code
from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.logger import Event
from yorutsuke_common.object_writer import ObjectWriter
from yorutsuke_common.overlap import OutOfTimeError

from .images import Image, ImageReader, Unfit
from .prompt import model_input

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_MANIFEST_BYTES = 1_000_000_000
"""The smaller reading of 1 GB. A job may have more in several files, but a job of ours has one, and so one output."""
SECONDS_TO_SUBMIT = 30
"""What the function keeps of its time for what follows the images: the last part and the upload's completion, three
writes to DynamoDB, and Bedrock's answer, before which a client that is throttled waits up to 15 seconds."""

SecondsLeft = Callable[[], float]
"""Tells how long the function may still run."""


def manifest_key(intent_id: str) -> str:
    """Return the object key of an intent's manifest."""
    return f"batch-input/{intent_id}/manifest.jsonl"


def manifest_line(image: Image, content: bytes) -> bytes:
    """Return the request for one image as Bedrock reads it, its newline included."""
    encoded = base64.b64encode(content).decode("ascii")
    record = {"recordId": image.image_id, "modelInput": model_input(image.format, encoded)}
    return pydantic_core.to_json(record) + b"\n"


@dataclass(frozen=True)
class Draft:
    """A manifest that has all its lines, and is not to be seen yet: the images in it, and those that it lacks."""

    file: ObjectWriter
    image_ids: list[str] = field(default_factory=list[str])
    left_out: dict[str, Unfit] = field(default_factory=dict[str, Unfit])

    def publish(self) -> None:
        """Let the manifest be seen. Raises botocore's errors."""
        self.file.close()


@dataclass(frozen=True)
class Manifests:
    """The manifests in the bucket."""

    s3: "S3Client"
    bucket: str
    images: ImageReader
    logger: Logger

    def uri(self, intent_id: str) -> str:
        """Return where Bedrock finds an intent's manifest."""
        return f"s3://{self.bucket}/{manifest_key(intent_id)}"

    @contextmanager
    def drafted(self, intent_id: str, images: Sequence[Image], seconds_left: SecondsLeft) -> Generator[Draft]:
        """Write a draft of these images, to be published or else given up: nothing is to be seen of it then.

        Raises InvalidRequestError where it is too large for Bedrock, or takes longer than the function has;
        botocore's errors as they come.
        """
        draft = Draft(ObjectWriter(self.s3, self.bucket, manifest_key(intent_id)))
        try:
            self._write(draft, images, seconds_left)
            yield draft
        except Exception:
            self._give_up(draft)
            raise

    def _write(self, draft: Draft, images: Sequence[Image], seconds_left: SecondsLeft) -> None:
        at_first = seconds_left()
        try:
            with closing(self.images.read(images, lambda: seconds_left() - SECONDS_TO_SUBMIT)) as contents:
                self._write_lines(draft, contents, len(images))
        except OutOfTimeError as exc:
            # Refused in time: a function that is killed leaves its upload, tells nobody, and is run again.
            read = len(draft.image_ids) + len(draft.left_out)
            raise InvalidRequestError(
                f"{read} of {len(images)} images were read in {at_first - seconds_left():.0f} seconds, and the last "
                f"{SECONDS_TO_SUBMIT} that the function has are for submitting their job: ask for fewer under another "
                "intentId."
            ) from exc

    def _write_lines(self, draft: Draft, contents: Iterable[tuple[Image, bytes | Unfit]], count: int) -> None:
        size = 0
        for image, content in contents:
            if isinstance(content, Unfit):
                draft.left_out[image.image_id] = content
                continue
            line = manifest_line(image, content)
            size += len(line)
            if size > MAX_MANIFEST_BYTES:
                raise InvalidRequestError(
                    f"the manifest of {count} images is larger than {MAX_MANIFEST_BYTES} bytes, which Bedrock does not "
                    f"take: {len(draft.image_ids)} of them fit, ask for fewer under another intentId."
                )
            draft.file.write(line)
            draft.image_ids.append(image.image_id)

    def _give_up(self, draft: Draft) -> None:
        """Give the draft up; where that fails, the bucket's lifecycle does it."""
        try:
            draft.file.abort()
        except (ClientError, BotoCoreError) as exc:
            self.logger.warning(
                "the manifest's upload was not aborted", event=Event.BATCH_SUBMIT_UPLOAD_KEPT, code=error_code(exc)
            )

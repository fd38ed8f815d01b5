"""The images of a request: which of them can be sent, and their content."""

import base64
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from yorutsuke_common.aws.calls import OutOfTimeError, map_ahead
from yorutsuke_common.aws.pending_images import StoredImage
from yorutsuke_common.error_codes import error_code
from yorutsuke_common.schema import ImageStatus, Submission

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READ_AHEAD = 32
"""Maximum number of images that are read or held at once. Limits memory: 32 images may have 576 MB."""
READ_ATTEMPTS = 3
"""Maximum number of attempts to read an image if the connection breaks. The client itself retries only until the body
of the response begins."""
HELD_AT_A_TIME = 100
"""Number of images that are held before the first of them is read."""
HOLDS_AHEAD = 4
"""Number of times HELD_AT_A_TIME that are held ahead of the images that are read."""
MAX_IMAGE_BYTES = 18_000_000
"""Maximum size of an image in an InvokeModel job, in bytes: 24 MB in base64, of a Nova request's 25 MB.

Source: Amazon Nova user guide, "Image understanding".
"""
MAX_CONVERSE_IMAGE_BYTES = 3_750_000
"""Maximum size of an image in a Converse job, in bytes: 3.75 MB. The limit of 8,000 pixels is not checked.

Source: Amazon Bedrock API reference, Message.
"""
FORMATS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "gif": "gif", "webp": "webp"}
"""The names of the image formats in a model request, by the extension of the object key.

Sources: Amazon Nova user guide, "Image understanding"; Amazon Bedrock API reference, ImageBlock.
"""
UNREADABLE_CODES = frozenset(
    {"NoSuchKey", "AccessDenied", "InvalidObjectState", "InvalidRequest"}
    | {"KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException"}
)
"""Error codes of GetObject and CopyObject for an object that is missing, archived, or encrypted with a key that the
function may not use. The function may not list all keys, so S3 returns AccessDenied for a missing object."""

_T = TypeVar("_T")
HoldImages = Callable[[Sequence["Image"]], Iterable["Image"]]
"""Holds images for an intent, and returns those that it now holds."""


class Unfit(StrEnum):
    """The reasons for which an image is left out of a job.

    `UNKNOWN`: not in pending-images. `FOREIGN`: another user's. `NOT_PENDING`: already processed, or in another job.
    `UNSUPPORTED`: the extension of its key is not jpg, jpeg, png, gif or webp, or its owner may not have this key.
    `UNREADABLE`: missing from the bucket, or not readable. `UNFIT_SIZE`: empty, or too large for a model request of the
    job's type. `NO_ROOM`: it does not fit into the manifest of a scheduled job, or into the time of the function. It
    waits for another job.
    """

    UNKNOWN = "UNKNOWN"
    FOREIGN = "FOREIGN"
    NOT_PENDING = "NOT_PENDING"
    UNSUPPORTED = "UNSUPPORTED"
    UNREADABLE = "UNREADABLE"
    UNFIT_SIZE = "UNFIT_SIZE"
    NO_ROOM = "NO_ROOM"


PERMANENT = frozenset({Unfit.UNSUPPORTED})
"""The reasons of images that no later job can read either. A size may fit another model or delivery."""


@dataclass(frozen=True)
class Upload:
    """An object in `uploads/` as a listing shows it."""

    etag: str
    size: int


@dataclass(frozen=True)
class Image:
    """An image to be read.

    `format` is the name of its format in a model request. `upload` is None if it is missing or not listed.
    """

    stored: StoredImage
    key: str
    format: str
    upload: Upload | None = None

    @property
    def image_id(self) -> str:
        """The id of the image."""
        return self.stored.image_id


@dataclass(frozen=True)
class Content:
    """The content of an image, and its ETag as S3 returned it."""

    body: bytes
    etag: str

    @property
    def source(self) -> dict[str, object]:
        """The image in a model request."""
        return {"bytes": base64.b64encode(self.body).decode("ascii")}


def select_images(
    image_ids: Sequence[str], known: Mapping[str, StoredImage], submission: Submission, *, accept_failed: bool
) -> tuple[list[Image], dict[str, Unfit]]:
    """Split the requested images into those that an intent can send, in order of their ids, and the unfit ones."""
    usable = {ImageStatus.PENDING, *([ImageStatus.FAILED] if accept_failed else [])}
    judged = {image_id: _judge(known.get(image_id), submission, usable) for image_id in sorted(image_ids)}
    images = [image for image in judged.values() if isinstance(image, Image)]
    return images, {image_id: reason for image_id, reason in judged.items() if isinstance(reason, Unfit)}


def _judge(stored: StoredImage | None, submission: Submission, usable: Collection[str]) -> Image | Unfit:
    if stored is None:
        return Unfit.UNKNOWN
    if submission.userId not in (None, stored.user_id):
        return Unfit.FOREIGN
    # The intent may hold the image since an earlier invocation, or since before its item was deleted. If the intent has
    # begun again meanwhile, the image belongs to the later beginning.
    is_earlier = (stored.submitted_at or "") <= submission.submitTime
    is_own = stored.status == ImageStatus.SUBMITTED and stored.intent_id == submission.intentId and is_earlier
    if not is_own and stored.status not in usable:
        return Unfit.NOT_PENDING
    key = stored.upload_key
    image_format = FORMATS.get((key or "").rpartition(".")[2].lower())
    return Image(stored, key, image_format) if key and image_format else Unfit.UNSUPPORTED


def map_images(
    executor: Executor,
    call: Callable[[Image], _T],
    images: Iterable[Image],
    ahead: int,
    seconds_left: Callable[[], float],
) -> Generator[tuple[Image, _T]]:
    """Yield each image with the result of its call, in order, and shut the executor down at the end.

    Close the iterator to stop early: it waits for the calls that have started.

    Args:
        executor: Runs the calls.
        call: The function.
        images: Its arguments, taken from the iterable when their call starts.
        ahead: Maximum number of results that are computed or held at once.
        seconds_left: Returns how long to wait for a result.

    Raises:
        OutOfTimeError: `seconds_left` returned 0 or less. The calls that have started are not waited for.
        The errors of the calls.
    """
    wait = True
    try:
        yield from map_ahead(executor, lambda image: (image, call(image)), images, ahead, seconds_left)
    except OutOfTimeError:
        wait = False
        raise
    finally:
        executor.shutdown(wait=wait, cancel_futures=True)


def hold_ahead(
    hold: HoldImages, blocks: Iterable[Sequence[Image]], seconds_left: Callable[[], float]
) -> Generator[Image]:
    """Yield the images that could be held, in order, while the next ones are being held.

    An index partition takes 1,000 writes a second, so holding the images of a large job takes as long as reading them.
    Close the iterator to stop early: it waits for the holds that have started.

    Args:
        hold: Holds some of the images.
        blocks: The images that are held with each call.
        seconds_left: Returns how long to wait for the next images.

    Raises:
        OutOfTimeError: `seconds_left` returned 0 or less. The holds that have started have ended.
        The errors of `hold`, even of a hold whose images are not taken any more. It may have held some of them.
    """
    errors: list[Exception] = []

    def hold_some(some: Sequence[Image]) -> Iterable[Image]:
        try:
            return hold(some)
        except Exception as error:
            errors.append(error)
            raise

    executor = ThreadPoolExecutor(1)
    try:
        for held in map_ahead(executor, hold_some, blocks, HOLDS_AHEAD, seconds_left):
            yield from held
    finally:
        executor.shutdown(cancel_futures=True)
        if errors:
            raise errors[0]


@dataclass(frozen=True)
class ImageReader:
    """Reads images from the bucket."""

    s3: "S3Client"
    bucket: str

    def read(
        self, images: Iterable[Image], seconds_left: Callable[[], float], max_bytes: int = MAX_IMAGE_BYTES
    ) -> Generator[tuple[Image, Content | Unfit]]:
        """Yield each image with its content or the reason why it cannot be sent, in order, and read ahead.

        Close the iterator to stop early: it waits for the reads that have started.

        Args:
            images: The images to read.
            seconds_left: Returns how long the function may still read.
            max_bytes: Maximum size of an image. Larger images are UNFIT_SIZE.

        Raises:
            OutOfTimeError: `seconds_left` returned 0 or less. The reads that have started are not waited for.
            botocore's or urllib3's errors: S3 does not answer, or its answers break off.
        """
        executor = ThreadPoolExecutor(READ_AHEAD)
        yield from map_images(executor, partial(self._content, max_bytes=max_bytes), images, READ_AHEAD, seconds_left)

    def _content(self, image: Image, max_bytes: int, attempts: int = READ_ATTEMPTS) -> Content | Unfit:
        try:
            response = self.s3.get_object(Bucket=self.bucket, Key=image.key)
        except ClientError as exc:
            if error_code(exc) in UNREADABLE_CODES:
                return Unfit.UNREADABLE
            raise
        with closing(response["Body"]) as body:
            # Only the headers have been read so far.
            if not 0 < response["ContentLength"] <= max_bytes:
                return Unfit.UNFIT_SIZE
            try:
                return Content(body.read(), response["ETag"])
            # Botocore wraps urllib3's errors of reading a body, except those of TLS.
            except (BotoCoreError, HTTPError):
                if attempts == 1:
                    raise
        return self._content(image, max_bytes, attempts - 1)

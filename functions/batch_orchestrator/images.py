"""The images that a job is asked for: whose they are, and what is in them."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from yorutsuke_common.aws_error import error_code
from yorutsuke_common.dynamodb import BatchClient, Item
from yorutsuke_common.object_keys import upload_key
from yorutsuke_common.overlap import Overlap, TakeRoom
from yorutsuke_common.schema import ImageStatus

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READ_AHEAD_BYTES = 128_000_000
"""Of images that are read and not in the manifest yet: a job has up to a gigabyte of them."""
READ_ATTEMPTS = 3
"""Of an image whose content breaks off: the client tries again only until an answer begins."""
MAX_IMAGE_BYTES = 18_000_000
"""24 MB in base64: Nova takes a request of 25 MB, the image in it (Amazon Nova user guide, "Image understanding")."""
FORMATS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "gif": "gif", "webp": "webp"}
"""What Nova calls the formats that it reads, by the extension of an object key."""
UNREADABLE_CODES = frozenset({"NoSuchKey", "AccessDenied"})
"""Of a GetObject: whoever may not list the bucket is not told that a key is gone, but denied."""


class Unfit(StrEnum):
    """Why an image is left out of a job.

    `UNKNOWN`: not in pending-images. `FOREIGN`: another user's. `NOT_PENDING`: read before. `UNSUPPORTED`: its key has
    none of the extensions jpg, jpeg, png, gif and webp, or none that S3 takes. `UNREADABLE`: gone from the bucket, or
    not to be read. `UNFIT_SIZE`: empty, or too large for a request.
    """

    UNKNOWN = "UNKNOWN"
    FOREIGN = "FOREIGN"
    NOT_PENDING = "NOT_PENDING"
    UNSUPPORTED = "UNSUPPORTED"
    UNREADABLE = "UNREADABLE"
    UNFIT_SIZE = "UNFIT_SIZE"


@dataclass(frozen=True)
class Image:
    """An image to be read: its object key, and its format as Nova calls it."""

    image_id: str
    key: str
    format: str


@dataclass(frozen=True)
class PendingImages:
    """The pending-images table."""

    batch: BatchClient
    table: str

    def find(self, image_ids: Sequence[str], user_id: str) -> tuple[list[Image], dict[str, Unfit]]:
        """Return the user's pending ones of these images, by image id, and why each of the others is none.

        In order of their ids, whatever the order they are asked for in. Raises RetryableError or botocore's errors
        where the table cannot be read.
        """
        items = {item["imageId"]["S"]: item for item in self.batch.get(self.table, "imageId", image_ids)}
        found = {image_id: _image(image_id, items.get(image_id), user_id) for image_id in sorted(image_ids)}
        images = [image for image in found.values() if isinstance(image, Image)]
        return images, {image_id: image for image_id, image in found.items() if isinstance(image, Unfit)}


@dataclass(frozen=True)
class ImageReader:
    """The images in the bucket."""

    s3: "S3Client"
    bucket: str
    overlap: Overlap

    def read(
        self, images: Sequence[Image], seconds_left: Callable[[], float]
    ) -> Generator[tuple[Image, bytes | Unfit]]:
        """Yield each image with its content, or with why it has none to be sent, in order, while others are read.

        Whoever leaves early closes it. Raises OutOfTimeError once there are no `seconds_left`; botocore's errors where
        S3 does not answer, or its answers break off.
        """
        with closing(self.overlap.stream(self._content, images, READ_AHEAD_BYTES, seconds_left)) as contents:
            yield from zip(images, contents, strict=True)

    def _content(self, image: Image, take_room: TakeRoom, attempts: int = READ_ATTEMPTS) -> bytes | Unfit:
        try:
            response = self.s3.get_object(Bucket=self.bucket, Key=image.key)
        except ClientError as exc:
            if error_code(exc) in UNREADABLE_CODES:
                return Unfit.UNREADABLE
            raise
        with closing(response["Body"]) as body:
            size = response["ContentLength"]
            if not 0 < size <= MAX_IMAGE_BYTES:
                return Unfit.UNFIT_SIZE
            # Only the answer's headers are read so far: nothing is held of its content.
            take_room(size)
            try:
                return body.read()
            # Botocore has a name for each of urllib3's errors here, but for one of TLS.
            except (BotoCoreError, HTTPError):
                if attempts == 1:
                    raise
        return self._content(image, _has_room, attempts - 1)


def _has_room(_: int) -> None:
    """Take no room for what has it."""


def _image(image_id: str, item: Item | None, user_id: str) -> Image | Unfit:
    if item is None:
        return Unfit.UNKNOWN
    if item.get("userId", {}).get("S") != user_id:
        return Unfit.FOREIGN
    if item.get("status", {}).get("S", ImageStatus.PENDING) != ImageStatus.PENDING:
        return Unfit.NOT_PENDING
    key = upload_key(item.get("s3Key", {}).get("S", ""))
    image_format = FORMATS.get((key or "").rpartition(".")[2].lower())
    return Image(image_id, key, image_format) if key and image_format else Unfit.UNSUPPORTED

"""Copies the images of a job into its input folder. The manifest names the copies, and the model reads them.

The copies are a snapshot: the model reads the recorded content even if the upload is replaced or deleted. S3 makes the
copies, so the function does not hold the content of an image. A listing has the ETag and the size of a thousand
uploads. One HeadObject for each image would double the number of calls.

Sources: Amazon Bedrock user guide, "Format and upload your batch inference data" (images by S3 URI are in the folder
that the job names as its input); Amazon S3 API reference, ListObjectsV2 and CopyObject.
"""

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from yorutsuke_common.aws.calls import CallPool, OutOfTimeError, chunks
from yorutsuke_common.aws.image_moves import REPLACED
from yorutsuke_common.aws.object_copier import ObjectCopier
from yorutsuke_common.error_codes import error_code
from yorutsuke_common.names import UPLOADS_PREFIX
from yorutsuke_common.object_keys import snapshot_key

from .images import HELD_AT_A_TIME, UNREADABLE_CODES, HoldImages, Image, Unfit, Upload, hold_ahead, map_images

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONCURRENT_COPIES = 128
"""Maximum number of concurrent copies. A copy of 40 ms then makes 3,200 a second. S3 takes 3,500 a second for each
partition of a bucket.

Source: Amazon S3 user guide, "Best practices design patterns: optimizing Amazon S3 performance".
"""
COPIES_AHEAD = 1_000
"""Maximum number of images that are copied before their line is written. Copies continue while a part of the manifest
is sent. A result is a URI, so it takes little memory."""
COPY_ATTEMPTS = 3
"""Maximum number of attempts to copy an image if its upload is replaced between the listing and the copy."""
LISTED_KEYS = 1_000
"""Maximum number of keys in one page of a listing."""
MAX_REFERENCED_IMAGE_BYTES = 2_000_000_000
"""Maximum size of an image that Nova reads from S3, in bytes: 2 GB for all images of a request. The limit of 8,000
pixels is not checked.

Sources: Amazon Nova 2 user guide, "Multimodal understanding"; the Nova 1 user guide, "Image understanding", states only
that the limit of 25 MB does not apply.
"""


@dataclass(frozen=True)
class Reference:
    """The S3 URI of the copy of an image, and the ETag of the upload that was copied."""

    uri: str
    etag: str

    @property
    def source(self) -> dict[str, object]:
        """The image in a model request. Source: Amazon Nova user guide, "Complete request schema"."""
        return {"s3Location": {"uri": self.uri}}


@dataclass(frozen=True)
class Listing:
    """Images, and their uploads by object key as soon as they are listed."""

    images: Sequence[Image]
    uploads: Future[dict[str, Upload]]

    def blocks(self) -> Iterator[Sequence[Image]]:
        """Yield the images in blocks to hold, with their uploads if these are listed by then."""
        for block in chunks(self.images, HELD_AT_A_TIME):
            yield [self.listed(image) for image in block] if self.uploads.done() else block

    def listed(self, image: Image) -> Image:
        """Wait for the listing, and return an image with its upload. Raises the errors of the listing."""
        return replace(image, upload=self.uploads.result().get(image.key))


@dataclass(frozen=True)
class ImageCopier:
    """Copies images from `uploads/` to the input folders of jobs."""

    s3: "S3Client"
    bucket: str
    copier: ObjectCopier
    pool: CallPool

    def copy(
        self, folder: str, images: Sequence[Image], hold: HoldImages, seconds_left: Callable[[], float]
    ) -> Generator[tuple[Image, Reference | Unfit]]:
        """Yield each held image with its copy or the reason why it cannot be sent, in order, and copy ahead.

        Repeating a copy is safe: the key of a copy follows from the image and its content.

        Args:
            folder: The prefix of the copies' keys.
            images: The images to hold and to copy.
            hold: Holds images before they are copied.
            seconds_left: Returns how long the function may still copy.

        Raises:
            OutOfTimeError: `seconds_left` returned 0 or less. The copies that have started are not waited for.
            botocore's errors: A call failed.
        """
        executor = ThreadPoolExecutor(CONCURRENT_COPIES)
        listing = Listing(images, executor.submit(self._find_uploads, images, seconds_left))
        copy = partial(self._copy, folder, listing, seconds_left)
        with closing(hold_ahead(hold, listing.blocks(), seconds_left)) as held:
            yield from map_images(executor, copy, held, COPIES_AHEAD, seconds_left)

    def _find_uploads(self, images: Sequence[Image], seconds_left: Callable[[], float]) -> dict[str, Upload]:
        """Return the uploads of images by object key, without those that do not exist."""
        ordered = sorted(images, key=lambda image: (_folder(image), image.key))
        listings = [
            (folder, [image.key for image in chunk])
            for folder, group in groupby(ordered, _folder)
            for chunk in chunks([*group], LISTED_KEYS)
        ]
        found: dict[str, Upload] = {}
        for uploads in self.pool.map(lambda listing: self._list(*listing, seconds_left), listings):
            found |= uploads
        return found

    def _list(self, folder: str, keys: Sequence[str], seconds_left: Callable[[], float]) -> dict[str, Upload]:
        """Return the uploads with these keys, which are sorted and in one folder.

        A user may have any number of other uploads. Each page therefore starts at the next key, so there are about as
        many pages as keys at most. Python compares strings as S3 does: by their UTF-8 bytes.
        """
        wanted, found = {*keys}, dict[str, Upload]()
        position, last = 0, ""
        while position < len(keys):
            if seconds_left() <= 0:
                raise OutOfTimeError
            # A listing begins after a key. The key without its last character is before it, with hardly any others
            # between the two.
            start = max(last, keys[position][:-1])
            page = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=folder, StartAfter=start)
            entries = page.get("Contents", [])
            found |= {
                key: Upload(entry.get("ETag", ""), entry.get("Size", 0))
                for entry in entries
                if (key := entry.get("Key", "")) in wanted
            }
            if not page["IsTruncated"]:
                break
            last = entries[-1].get("Key", "")
            position = bisect_right(keys, last)
        return found

    def _copy(
        self,
        folder: str,
        listing: Listing,
        seconds_left: Callable[[], float],
        image: Image,
        attempts: int = COPY_ATTEMPTS,
    ) -> Reference | Unfit:
        upload = image.upload or listing.listed(image).upload
        if upload is None:
            return Unfit.UNREADABLE
        if not 0 < upload.size <= MAX_REFERENCED_IMAGE_BYTES:
            return Unfit.UNFIT_SIZE
        target = snapshot_key(folder, image.image_id, upload.etag, image.format)
        try:
            self.copier.copy(image.key, target, upload.etag)
        except ClientError as exc:
            code = error_code(exc)
            if code in UNREADABLE_CODES:
                return Unfit.UNREADABLE
            if code != REPLACED or attempts == 1:
                raise
            current = self._list(_folder(image), [image.key], seconds_left).get(image.key)
            if current is None:
                return Unfit.UNREADABLE
            return self._copy(folder, listing, seconds_left, replace(image, upload=current), attempts - 1)
        return Reference(f"s3://{self.bucket}/{target}", upload.etag)


def _folder(image: Image) -> str:
    """Return the folder of an image's upload, the one of its owner."""
    return f"{UPLOADS_PREFIX}{image.stored.user_id}/"

"""The pending-images table: the owner, the object key and the status of each image.

The app writes the items, and may change or delete them at any time. Every update therefore changes only this project's
attributes. It requires that the item still has the owner and the object key that were read.

An intent holds an image from before its job reads it until the image is moved or released. The item then has the status
`submitted`, the intent and its submit time. An image is therefore in one job at a time. An item without `uploadedAt` is
not in the index of the waiting images, and is neither held nor released.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from yorutsuke_common.names import IMAGE_STATUS_INDEX
from yorutsuke_common.object_keys import upload_key
from yorutsuke_common.schema import Hold, ImageStatus

from .calls import chunks
from .dynamodb import ChunkedClient, Item, Statement, update
from .write_rate import WriteRate

ATTRIBUTES = (
    "imageId",
    "userId",
    "s3Key",
    "status",
    "uploadedAt",
    "intentId",
    "submittedAt",
    "attempts",
    "failureReason",
    "uploadETag",
    "processedKey",
    "transactionId",
)
"""The attributes that this project reads. The app may add others, up to 400 KB."""
FOUND_AT_A_TIME = 2_000
"""Number of items that are read before they are converted. Limits memory: a raw item takes over 2 KB."""
_ETAG = re.compile(r'"?[!#-~]+"?')


@dataclass(frozen=True)
class StoredImage:
    """An item of pending-images.

    `s3_key` is the stored key. `upload_key` is the complete one, or None if the image's owner may not have this key.
    `intent_id` names the last submission that held or read the image. `etag` is the ETag of the content that its job
    reads, once the submission has a job.
    `processed_key` belongs to the last move, and `transaction_id` to the transaction for which the image was moved. The
    transaction was stored before, and the upload from which it was read was copied. `uploaded_at` is None if the item
    is not in the index of the waiting images. `submitted_at` is the submit time of the last intent that held the image,
    and `attempts` counts the intents that have. `failure_reason` is the reason of the last status `failed`.
    `not_text` has the stored values of text attributes that are empty or of another type, such as NULL. They count as
    missing, but a condition must compare them, because IS MISSING does not hold for them.
    """

    image_id: str
    user_id: str
    s3_key: str
    status: str
    intent_id: str | None
    etag: str | None
    processed_key: str | None
    transaction_id: str | None
    uploaded_at: str | None = None
    submitted_at: str | None = None
    attempts: int = 0
    failure_reason: str | None = None
    not_text: Item = field(default_factory=Item, hash=False)

    @property
    def upload_key(self) -> str | None:
        """The key in `uploads/`, or None if it is not usable."""
        return upload_key(self.s3_key, self.user_id)

    @property
    def is_processed(self) -> bool:
        """Whether the image was moved to `processed/`. An item that does not name the new key was not moved."""
        return self.status == ImageStatus.PROCESSED and self.processed_key is not None

    @property
    def is_indexed(self) -> bool:
        """Whether the index of the waiting images has the item. Only such an image is held."""
        return self.uploaded_at is not None

    def is_held(self, hold: Hold) -> bool:
        """Return whether an intent holds the image."""
        return self.status == ImageStatus.SUBMITTED and self._was_last_held(hold)

    def is_released(self, hold: Hold) -> bool:
        """Return whether an intent has released the image, and no other intent has held it since."""
        return self.status in (ImageStatus.PENDING, ImageStatus.FAILED) and self._was_last_held(hold)

    def _was_last_held(self, hold: Hold) -> bool:
        # Another program may have written the status and the intent without a submit time.
        return (self.intent_id, self.submitted_at or "") == (hold.intent_id, hold.submit_time)


@dataclass(frozen=True)
class MovedImage:
    """An image that was copied: the ETag of the copied content, its new key, and the transaction made from it."""

    image: StoredImage
    etag: str
    processed_key: str
    transaction_id: str


@dataclass(frozen=True)
class PendingImages:
    """The pending-images table. Every method raises the errors of `ChunkedClient`."""

    items: ChunkedClient
    table: str

    @cached_property
    def _unindexed(self) -> ChunkedClient:
        """The client for updates that do not write the index, whose partitions limit the rate of the others."""
        return replace(self.items, rate=WriteRate())

    def find(self, image_ids: Sequence[str]) -> dict[str, StoredImage]:
        """Return the images that the table has, by image id."""
        found: dict[str, StoredImage] = {}
        for ids in chunks(image_ids, FOUND_AT_A_TIME):
            items = self.items.get(self.table, [{"imageId": {"S": image_id}} for image_id in ids], ATTRIBUTES)
            found |= {image.image_id: image for image in map(_stored_image, items)}
        return found

    def waiting(self) -> list[tuple[str, str]]:
        """Return the ids of the images that wait for a job, with `uploadedAt`, the oldest first.

        The index lags behind the table.
        """
        found = self.items.query(self.table, IMAGE_STATUS_INDEX, "status", ImageStatus.PENDING.value)
        return [(item["imageId"]["S"], item["uploadedAt"]["S"]) for item in found]

    def held(self) -> dict[str, list[str]]:
        """Return the ids of the images that are held, by intent. The index lags behind the table."""
        return self.last_held(ImageStatus.SUBMITTED)

    def last_held(self, status: ImageStatus) -> dict[str, list[str]]:
        """Return the ids of the images with a status, by the intent that holds them or was the last to hold them.

        The index lags behind the table.
        """
        found = self.items.query(self.table, IMAGE_STATUS_INDEX, "status", status.value)
        intents: dict[str, list[str]] = {}
        for item in found:
            # Another program may have written the status. An intent writes its id with it.
            if intent_id := item.get("intentId", {}).get("S"):
                intents.setdefault(intent_id, []).append(item["imageId"]["S"])
        return intents

    def hold(
        self, hold: Hold, images: Sequence[StoredImage], etags: Mapping[str, str] | None = None, *, again: bool = False
    ) -> dict[str, StoredImage]:
        """Hold images for an intent, and return those that it now holds, by image id.

        An image is not held if its item has changed since it was read, unless the same intent holds it. Images outside
        the index are returned as they are.

        Args:
            hold: The intent.
            images: The images, which no other intent held when they were read.
            etags: The ETags of the contents that the intent is about to read, as far as they are known, by image id.
                They are recorded at once, so that `mark_submitted` rarely has to.
            again: Whether the intent has held the images before, so that this attempt does not count.
        """
        held = {image.image_id: image for image in images if not image.is_indexed or image.is_held(hold)}
        free = [image for image in images if image.image_id not in held]
        targets = [
            replace(
                image,
                status=ImageStatus.SUBMITTED.value,
                intent_id=hold.intent_id,
                submitted_at=hold.submit_time,
                attempts=image.attempts + (not again),
                etag=(etags or {}).get(image.image_id, image.etag),
            )
            for image in free
        ]
        codes = self.items.execute(
            [
                self._update(before, _hold_attributes(before, after), as_read=True)
                for before, after in zip(free, targets, strict=True)
            ]
        )
        refused = [image.image_id for image, code in zip(targets, codes, strict=True) if code]
        held |= {image.image_id: image for image, code in zip(targets, codes, strict=True) if not code}
        # A refused image may be held: the client repeats a call if the answer was lost, and its condition then fails.
        return held | {id_: image for id_, image in self.find(refused).items() if image.is_held(hold)}

    def release(self, hold: Hold, images: Iterable[StoredImage], reason: str | None, max_attempts: int) -> int:
        """Release images that an intent holds, and return how many of them have failed.

        A released image waits for another job, or has failed if its attempts are used up. An image that the intent has
        released before and that has failed gets the new reason. Other images are left out.

        Args:
            hold: The intent.
            images: The images.
            reason: The reason for which the job did not read the images. Without one, the attempt does not count. An
                image that had failed before the attempt has then failed again.
            max_attempts: The number of attempts after which an image has failed. 0 if another attempt cannot help.
        """
        statements: list[Statement] = []
        failed = 0
        for image in images:
            has_failed = image.is_released(hold) and image.status == ImageStatus.FAILED
            if not image.is_held(hold) and (reason is None or not has_failed):
                continue
            attempts = image.attempts - (reason is None)
            is_last = attempts >= max_attempts
            failed += is_last
            status = ImageStatus.FAILED if is_last else ImageStatus.PENDING
            changes = {"status": {"S": status.value}, "attempts": {"N": str(attempts)}}
            if is_last and reason is not None:
                changes["failureReason"] = {"S": reason}
            statements.append(self._update(image, changes, as_read=True))
        self.items.execute(statements)
        return failed

    def mark_unmoved(self, hold: Hold, images: Iterable[StoredImage]) -> None:
        """Record that images of an intent have transactions and were not moved, so that no other job reads them."""
        changes = {"status": {"S": ImageStatus.MIGRATION_FAILED.value}}
        self.items.execute([self._update(image, changes, as_read=True) for image in images if image.is_held(hold)])

    def retry_failed(self, images: Iterable[StoredImage]) -> int:
        """Let images wait that have failed, and return their number. Images that have changed are left out."""
        codes = self.items.execute(
            [
                self._update(image, {"status": {"S": ImageStatus.PENDING.value}}, as_read=True)
                for image in images
                if image.status == ImageStatus.FAILED
            ]
        )
        return codes.count(None)

    def mark_submitted(self, intent_id: str, read: Iterable[tuple[StoredImage, str]]) -> None:
        """Record for each image that an intent has read it, and the ETag of the content. Changed items are left out.

        Items that have this record already are not written again.
        """
        self._unindexed.execute(
            [
                self._update(image, {"intentId": {"S": intent_id}, "uploadETag": {"S": etag}}, as_read=image.is_indexed)
                for image, etag in read
                if (image.intent_id, image.etag) != (intent_id, etag)
            ]
        )

    def mark_processed(self, moved: Sequence[MovedImage]) -> dict[str, str]:
        """Record for each image that it is processed, and its new object key.

        An item that has received another new key meanwhile is left unchanged: another job has moved the image.

        Returns:
            The error code of each image whose item could not be updated, by image id.
        """
        codes = self.items.execute(
            [
                self._update(
                    each.image,
                    {
                        "status": {"S": ImageStatus.PROCESSED.value},
                        "processedKey": {"S": each.processed_key},
                        "uploadETag": {"S": each.etag},
                        "transactionId": {"S": each.transaction_id},
                    },
                )
                for each in moved
            ]
        )
        return {each.image.image_id: code for each, code in zip(moved, codes, strict=True) if code}

    def _update(self, image: StoredImage, changes: Item, *, as_read: bool = False) -> Statement:
        """Return the statement that changes an item unless its owner, its key or its new key have changed.

        With `as_read`, its status and its hold must not have changed either.
        """
        texts = {"s3Key": image.s3_key, "userId": image.user_id, "processedKey": image.processed_key}
        if as_read:
            texts |= {"status": image.status, "intentId": image.intent_id, "submittedAt": image.submitted_at}
        values = {name: {"S": text} if text else image.not_text.get(name) for name, text in texts.items()}
        where = {"imageId": {"S": image.image_id}} | {name: value for name, value in values.items() if value}
        missing = [name for name, value in values.items() if not value]
        return update(self.table, changes, where, missing)


def _hold_attributes(before: StoredImage, image: StoredImage) -> Item:
    return {
        "status": {"S": image.status},
        "intentId": {"S": image.intent_id},
        "submittedAt": {"S": image.submitted_at},
        "attempts": {"N": str(image.attempts)},
        **({} if image.etag == before.etag else {"uploadETag": {"S": image.etag}}),
    }


def _stored_image(item: Item) -> StoredImage:
    def text(name: str) -> str | None:
        return item.get(name, {}).get("S")

    etag = text("uploadETag") or ""
    attempts = item.get("attempts", {}).get("N", "")
    return StoredImage(
        image_id=item["imageId"]["S"],
        user_id=text("userId") or "",
        s3_key=text("s3Key") or "",
        status=text("status") or ImageStatus.PENDING.value,
        # Without `status`, an item is not in the index.
        uploaded_at=text("uploadedAt") if text("status") else None,
        intent_id=text("intentId"),
        submitted_at=text("submittedAt"),
        # Another program may have written the item. A request cannot carry every text as an ETag.
        attempts=int(attempts) if attempts.isdecimal() else 0,
        failure_reason=text("failureReason"),
        etag=etag if _ETAG.fullmatch(etag) else None,
        processed_key=text("processedKey"),
        transaction_id=text("transactionId"),
        not_text={name: value for name, value in item.items() if not value.get("S") and name != "attempts"},
    )

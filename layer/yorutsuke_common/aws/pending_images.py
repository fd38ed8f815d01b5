"""The pending-images table: the owner, the object key and the status of each image.

The app writes the items, and may change or delete them at any time. Every update therefore changes only this project's
attributes. It requires that the item still has the owner and the object key that were read.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yorutsuke_common.object_keys import upload_key
from yorutsuke_common.schema import ImageStatus

from .dynamodb import ChunkedClient, Item, Statement, update

ATTRIBUTES = ("imageId", "userId", "s3Key", "status", "intentId", "uploadETag", "processedKey", "transactionId")
"""The attributes that this project reads. The app may add others, up to 400 KB."""
_ETAG = re.compile(r'"?[!#-~]+"?')


@dataclass(frozen=True)
class StoredImage:
    """An item of pending-images.

    `s3_key` is the stored key. `upload_key` is the complete one, or None if the image's owner may not have this key.
    `intent_id` and `etag` name the last submission that read the image, and the ETag of the content that it read.
    `processed_key` belongs to the last move, and `transaction_id` to the transaction for which the image was moved. The
    transaction was stored before, and the upload from which it was read was copied.
    """

    image_id: str
    user_id: str
    s3_key: str
    status: str
    intent_id: str | None
    etag: str | None
    processed_key: str | None
    transaction_id: str | None

    @property
    def upload_key(self) -> str | None:
        """The key in `uploads/`, or None if it is not usable."""
        return upload_key(self.s3_key, self.user_id)

    @property
    def is_processed(self) -> bool:
        """Whether the image was moved to `processed/`. An item that does not name the new key was not moved."""
        return self.status == ImageStatus.PROCESSED and self.processed_key is not None


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

    def find(self, image_ids: Sequence[str]) -> dict[str, StoredImage]:
        """Return the images that the table has, by image id."""
        keys = [{"imageId": {"S": image_id}} for image_id in image_ids]
        found = self.items.get(self.table, keys, ATTRIBUTES)
        return {image.image_id: image for image in map(_stored_image, found)}

    def mark_submitted(self, intent_id: str, read: Iterable[tuple[StoredImage, str]]) -> None:
        """Record for each image that an intent has read it, and the ETag of the content. Changed items are left out."""
        self.items.execute(
            [self._update(image, {"intentId": {"S": intent_id}, "uploadETag": {"S": etag}}) for image, etag in read]
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

    def _update(self, image: StoredImage, changes: Item) -> Statement:
        """Return the statement that changes an item unless its owner, its key or its new key have changed."""
        where = {"imageId": {"S": image.image_id}, "s3Key": {"S": image.s3_key}, "userId": {"S": image.user_id}}
        if image.processed_key is None:
            return update(self.table, changes, where, missing=("processedKey",))
        return update(self.table, changes, {**where, "processedKey": {"S": image.processed_key}})


def _stored_image(item: Item) -> StoredImage:
    def text(name: str) -> str | None:
        return item.get(name, {}).get("S")

    etag = text("uploadETag") or ""
    return StoredImage(
        image_id=item["imageId"]["S"],
        user_id=text("userId") or "",
        s3_key=text("s3Key") or "",
        status=text("status") or ImageStatus.PENDING.value,
        intent_id=text("intentId"),
        # Another program may have written the item. A request cannot carry every text as an ETag.
        etag=etag if _ETAG.fullmatch(etag) else None,
        processed_key=text("processedKey"),
        transaction_id=text("transactionId"),
    )

"""The pending-images table: the owner, the object key and the status of each image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yorutsuke_common.object_keys import upload_key
from yorutsuke_common.schema import ImageStatus

from .dynamodb import ChunkedClient, Item


@dataclass(frozen=True)
class StoredImage:
    """An item of pending-images.

    `upload_key` is None if the item has no key that S3's requests can carry. `item` keeps every attribute, including
    unknown ones.
    """

    image_id: str
    user_id: str
    upload_key: str | None
    status: str
    item: Item

    @property
    def is_processed(self) -> bool:
        """Whether the image was moved to `processed/`."""
        return self.status == ImageStatus.PROCESSED


@dataclass(frozen=True)
class PendingImages:
    """The pending-images table."""

    items: ChunkedClient
    table: str

    def find(self, image_ids: Sequence[str]) -> dict[str, StoredImage]:
        """Return the images that the table has, by image id. Raises the errors of `ChunkedClient.get`."""
        keys = [{"imageId": {"S": image_id}} for image_id in image_ids]
        return {image.image_id: image for image in map(_stored_image, self.items.get(self.table, keys))}

    def mark_processed(self, moved: Iterable[tuple[StoredImage, str]]) -> None:
        """Record for each image that it is processed, and its new object key.

        Raises the errors of `ChunkedClient.put`.
        """
        self.items.put(
            self.table,
            [
                {**image.item, "status": {"S": ImageStatus.PROCESSED.value}, "processedKey": {"S": processed_key}}
                for image, processed_key in moved
            ],
        )


def _stored_image(item: Item) -> StoredImage:
    return StoredImage(
        image_id=item["imageId"]["S"],
        user_id=item.get("userId", {}).get("S", ""),
        upload_key=upload_key(item.get("s3Key", {}).get("S", "")),
        status=item.get("status", {}).get("S", ImageStatus.PENDING.value),
        item=item,
    )

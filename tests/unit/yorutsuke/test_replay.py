from dataclasses import asdict

import pytest

from yorutsuke.replay import Effects
from yorutsuke_common.aws.pending_images import StoredImage


def _image(status: str, processed_key: str | None, transaction_id: str | None) -> StoredImage:
    return StoredImage(
        image_id="image-1",
        user_id="user-1",
        s3_key="uploads/user-1/image-1.png",
        status=status,
        intent_id="intent-1",
        etag="etag",
        processed_key=processed_key,
        transaction_id=transaction_id,
    )


PENDING = _image("pending", None, None)
MOVED = _image("processed", "processed/2026-11-23/user-1/image-1.png", "transaction-1")
MOVED_FOR_ANOTHER = _image("processed", "processed/2026-11-23/user-1/image-1.png", "transaction-2")


@pytest.mark.parametrize(
    ("image", "is_stored", "counted"),
    [
        (None, False, {"new", "imagesUnknown"}),
        (None, True, {"unchanged", "imagesUnknown"}),
        (PENDING, False, {"new", "imagesToMove"}),
        (PENDING, True, {"unchanged", "imagesToMove"}),
        (MOVED, False, {"deleted", "imagesMovedBefore"}),
        (MOVED, True, {"unchanged", "imagesMovedBefore"}),
        (MOVED_FOR_ANOTHER, False, {"new", "imagesMovedBefore"}),
    ],
)
def test_effects_count_a_transaction_and_its_image(
    image: StoredImage | None, *, is_stored: bool, counted: set[str]
) -> None:
    effects = Effects()

    effects.add("transaction-1", image, is_stored=is_stored)

    assert asdict(effects) == {name: int(name in counted) for name in asdict(effects)} | {"failures": {}}

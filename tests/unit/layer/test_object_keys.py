"""The keys of uploaded images and of their copies."""

import pytest

from yorutsuke_common.object_keys import input_folder, snapshot_key, submission_folder, upload_key


@pytest.mark.parametrize("name", ["a\x00.png", "a\uffff.png", "é" * 492])
def test_upload_key_refuses_an_invalid_key(name: str) -> None:
    assert upload_key(f"uploads/user-1/{name}", "user-1") is None


def test_upload_key_length_is_counted_in_bytes() -> None:
    key = "uploads/user-1/" + "é" * 491 + "a"

    assert len(key.encode()) == 998
    assert upload_key(key, "user-1") == key


FOLDER = submission_folder("intent-1", "0123456789abcdef0123")


def test_submission_folder_is_in_the_input_folder() -> None:
    assert f"{input_folder('intent-1')}0123456789abcdef/" == FOLDER


def test_snapshot_key_is_in_the_input_folder() -> None:
    key = snapshot_key(FOLDER, "領収書/1?", '"0cc175b9"', "jpeg")

    digest = "b26da1945613cf5d90c99cb76b3d2262e5bde8f561cab7ad17ec92c27c6454a4"
    assert key == f"batch-input/intent-1/0123456789abcdef/{digest}.jpeg"


@pytest.mark.parametrize(("image_id", "etag"), [("image-2", '"a"'), ("image-1", '"b"')])
def test_snapshot_key_depends_on_image_and_content(image_id: str, etag: str) -> None:
    assert snapshot_key(FOLDER, "image-1", '"a"', "png") != snapshot_key(FOLDER, image_id, etag, "png")
    assert snapshot_key(FOLDER, "image-1", '"a"', "png") == snapshot_key(FOLDER, "image-1", "a", "png")

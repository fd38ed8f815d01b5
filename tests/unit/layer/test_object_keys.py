"""The keys of uploaded images."""

import pytest

from yorutsuke_common.object_keys import upload_key


@pytest.mark.parametrize("name", ["a\x00.png", "a\uffff.png", "é" * 492])
def test_upload_key_refuses_an_invalid_key(name: str) -> None:
    assert upload_key(f"uploads/user-1/{name}", "user-1") is None


def test_upload_key_length_is_counted_in_bytes() -> None:
    key = "uploads/user-1/" + "é" * 491 + "a"

    assert len(key.encode()) == 998
    assert upload_key(key, "user-1") == key

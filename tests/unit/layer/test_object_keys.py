"""The keys of uploaded images."""

import pytest

from yorutsuke_common.object_keys import upload_key


@pytest.mark.parametrize("s3_key", ["user-1/a.png", "uploads/user-1/a.png"])
def test_upload_key_adds_a_missing_prefix(s3_key: str) -> None:
    assert upload_key(s3_key) == "uploads/user-1/a.png"


@pytest.mark.parametrize("s3_key", ["", "uploads/", "a\x00.png", "a\uffff.png", "x" * 1017, "é" * 509])
def test_upload_key_refuses_an_invalid_key(s3_key: str) -> None:
    assert upload_key(s3_key) is None


def test_upload_key_accepts_1024_bytes() -> None:
    assert upload_key("x" * 1016) == "uploads/" + "x" * 1016

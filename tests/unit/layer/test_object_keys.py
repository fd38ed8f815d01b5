"""Where objects are in the bucket."""

import pytest

from yorutsuke_common.object_keys import upload_key


@pytest.mark.parametrize("s3_key", ["user-1/a.png", "uploads/user-1/a.png"])
def test_an_upload_is_found_whether_or_not_its_key_says_where(s3_key: str) -> None:
    assert upload_key(s3_key) == "uploads/user-1/a.png"


@pytest.mark.parametrize("s3_key", ["", "uploads/", "a\x00.png", "a\uffff.png", "x" * 1017, "é" * 509])
def test_a_key_that_no_request_can_carry_is_none(s3_key: str) -> None:
    assert upload_key(s3_key) is None


def test_a_key_of_the_longest_is_one() -> None:
    assert upload_key("x" * 1016) == "uploads/" + "x" * 1016

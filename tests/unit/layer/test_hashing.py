"""Ids and digests that follow from their input."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yorutsuke_common.hashing import (
    derived_trace_id,
    images_digest,
    selected,
    selection,
    submission_token,
    transaction_id,
)


def test_transaction_id_is_a_truncated_sha256() -> None:
    documented = hashlib.sha256(b"abcdefgh1234#image-1#2026-11-22T15:00:00.000Z").hexdigest()[:24]

    assert transaction_id("abcdefgh1234", "image-1", "2026-11-22T15:00:00.000Z") == documented


def test_transaction_id_is_the_same_in_every_release() -> None:
    """Stored items have this id. With another id for the same record, a replay would duplicate each item."""
    assert transaction_id("job", "画像", "1795466527") == "17d7e6b6751056a863bc09f7"


@given(st.text(), st.text(), st.text())
def test_transaction_id_is_24_deterministic_hex_digits(job_id: str, image_id: str, timestamp: str) -> None:
    first = transaction_id(job_id, image_id, timestamp)

    assert re.fullmatch("[0-9a-f]{24}", first)
    assert transaction_id(job_id, image_id, timestamp) == first


def test_transaction_id_depends_on_each_input() -> None:
    ids = [
        transaction_id("job", "image", "time"),
        transaction_id("job2", "image", "time"),
        transaction_id("job", "image2", "time"),
        transaction_id("job", "image", "time2"),
    ]

    assert sorted(set(ids)) == sorted(ids)


def test_derived_trace_id_follows_from_the_job_id() -> None:
    assert derived_trace_id("abcdefgh1234") == "job-abcdefgh1234"


def test_images_digest_ignores_the_order() -> None:
    documented = hashlib.sha256(b'["a", "b"]').hexdigest()

    assert (images_digest(["b", "a"]), images_digest(iter(["a", "b"]))) == (documented, documented)


@given(st.sets(st.text()), st.sets(st.text()))
def test_images_digest_differs_for_other_images(images: set[str], others: set[str]) -> None:
    assert (images_digest(images) == images_digest(others)) is (images == others)


def test_selection_has_one_bit_for_each_id() -> None:
    ids = ["d", "b", "e", "a", "c"]

    assert selection(ids, ["e", "b"]) == f"{0b01001:x}"
    assert selection(ids, iter(ids)) == f"{0b11111:x}"
    assert selected(iter(ids), "9") == ["b", "e"]


@given(
    st.sets(st.text(), min_size=1).flatmap(lambda ids: st.tuples(st.just(ids), st.sets(st.sampled_from(sorted(ids)))))
)
def test_selected_reverses_selection(ids: tuple[set[str], set[str]]) -> None:
    all_ids, chosen = ids

    assert selected(all_ids, selection(all_ids, chosen)) == sorted(chosen)


def test_selection_among_50000_ids_has_12500_characters() -> None:
    ids = [str(number) for number in range(50_000)]

    assert len(selection(ids, ids)) == 12_500
    assert selected(ids, selection(ids, ids[::2])) == sorted(ids[::2])


def test_selected_refuses_a_selection_among_more_ids() -> None:
    with pytest.raises(ValueError, match="longer"):
        selected(["a", "b"], "7")


def test_submission_token_is_a_sha256() -> None:
    """Bedrock stores the token. Another token for the same submission would create a second job."""
    documented = hashlib.sha256(b"intent-1#2026-11-22T15:00:00Z").hexdigest()

    assert submission_token("intent-1", "2026-11-22T15:00:00Z") == documented


def test_submission_token_differs_for_another_submit_time() -> None:
    """For a repeated token, Bedrock returns the earlier job, which may have failed."""
    assert submission_token("intent-1", "2026-11-22T15:00:00.000001Z") != submission_token(
        "intent-1", "2026-11-22T15:00:00.000002Z"
    )

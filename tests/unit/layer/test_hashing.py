"""Ids that follow from facts."""

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


def test_a_transaction_id_is_the_beginning_of_the_sha256_of_job_image_and_submit_time() -> None:
    documented = hashlib.sha256(b"abcdefgh1234#image-1#2026-11-22T15:00:00.000Z").hexdigest()[:24]

    assert transaction_id("abcdefgh1234", "image-1", "2026-11-22T15:00:00.000Z") == documented


def test_a_transaction_id_never_changes_between_releases() -> None:
    """Stored items carry it: another id for the same fact would double them at the next replay."""
    assert transaction_id("job", "画像", "1795466527") == "17d7e6b6751056a863bc09f7"


@given(st.text(), st.text(), st.text())
def test_a_transaction_id_is_24_hex_digits_and_the_same_each_time(job_id: str, image_id: str, timestamp: str) -> None:
    first = transaction_id(job_id, image_id, timestamp)

    assert re.fullmatch("[0-9a-f]{24}", first)
    assert transaction_id(job_id, image_id, timestamp) == first


def test_job_image_and_submit_time_each_change_the_id() -> None:
    ids = [
        transaction_id("job", "image", "time"),
        transaction_id("job2", "image", "time"),
        transaction_id("job", "image2", "time"),
        transaction_id("job", "image", "time2"),
    ]

    assert sorted(set(ids)) == sorted(ids)


def test_a_job_without_a_trace_gets_one_that_follows_from_its_id() -> None:
    assert derived_trace_id("abcdefgh1234") == "job-abcdefgh1234"


def test_images_are_the_same_in_any_order() -> None:
    documented = hashlib.sha256(b'["a", "b"]').hexdigest()

    assert (images_digest(["b", "a"]), images_digest(iter(["a", "b"]))) == (documented, documented)


@given(st.sets(st.text()), st.sets(st.text()))
def test_other_images_have_another_digest(images: set[str], others: set[str]) -> None:
    assert (images_digest(images) == images_digest(others)) is (images == others)


def test_a_selection_has_a_bit_for_each_id_in_order() -> None:
    ids = ["d", "b", "e", "a", "c"]

    assert selection(ids, ["e", "b"]) == f"{0b01001:x}"
    assert selection(ids, iter(ids)) == f"{0b11111:x}"
    assert selected(iter(ids), "9") == ["b", "e"]


@given(
    st.sets(st.text(), min_size=1).flatmap(lambda ids: st.tuples(st.just(ids), st.sets(st.sampled_from(sorted(ids)))))
)
def test_what_was_selected_is_what_is_selected(of: tuple[set[str], set[str]]) -> None:
    among, chosen = of

    assert selected(among, selection(among, chosen)) == sorted(chosen)


def test_a_selection_among_the_most_ids_fits_into_an_item_with_the_others() -> None:
    ids = [str(number) for number in range(50_000)]

    assert len(selection(ids, ids)) == 12_500
    assert selected(ids, selection(ids, ids[::2])) == sorted(ids[::2])


def test_a_selection_among_more_ids_is_none_among_these() -> None:
    with pytest.raises(ValueError, match="longer"):
        selected(["a", "b"], "7")


def test_a_submission_token_is_the_sha256_of_intent_and_submit_time() -> None:
    """Bedrock knows it: another token for the same claim would be another job."""
    documented = hashlib.sha256(b"intent-1#2026-11-22T15:00:00Z").hexdigest()

    assert submission_token("intent-1", "2026-11-22T15:00:00Z") == documented


def test_an_intent_that_is_begun_anew_has_another_token() -> None:
    """Bedrock would answer the token of before with the job of before, which may have failed."""
    assert submission_token("intent-1", "2026-11-22T15:00:00.000001Z") != submission_token(
        "intent-1", "2026-11-22T15:00:00.000002Z"
    )

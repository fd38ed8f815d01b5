"""The comparison of repeated requests, the answer to the caller, and the limits of a stage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_orchestrator.images import Unfit
from batch_orchestrator.submit_job import (
    SubmittedJob,
    require_allowed,
    require_same_images,
    require_same_request,
)
from yorutsuke_common.errors import IntentConflictError, InvalidRequestError, SubmissionLostError
from yorutsuke_common.schema import SubmitRequest

from .samples import REQUEST, SETTINGS, SUBMISSION


@given(st.permutations(REQUEST.pendingImageIds), st.sampled_from([None, SUBMISSION.modelId]))
def test_same_request_ignores_order_and_missing_model(image_ids: list[str], model_id: str | None) -> None:
    require_same_request(SUBMISSION, REQUEST.model_copy(update={"pendingImageIds": image_ids, "modelId": model_id}))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"userId": "user-2"}, "userId"),
        ({"modelId": "apac.amazon.nova-pro-v1:0"}, "modelId"),
        ({"imageDelivery": "s3"}, "imageDelivery"),
        ({"pendingImageIds": ["image-1", "image-2"]}, "pendingImageIds"),
        (
            {"userId": "user-2", "modelId": "other", "pendingImageIds": ["image-4"]},
            "userId, modelId, pendingImageIds",
        ),
    ],
)
def test_different_request_with_same_intent_is_refused(changes: dict[str, object], names: str) -> None:
    with pytest.raises(IntentConflictError) as raised:
        require_same_request(SUBMISSION, REQUEST.model_copy(update=changes))

    assert str(raised.value) == (
        f"intent 'intent-1' began at 2026-11-22T15:00:00.000000Z with another {names}. All requests of an "
        "intent are the same. Send this request with a new intentId."
    )


def test_submission_is_refused_when_its_images_changed() -> None:
    fixed = ["image-1", "image-2"]
    require_same_images(SUBMISSION, fixed, {"image-1": '"a"', "image-2": '"b"'})

    with pytest.raises(SubmissionLostError) as raised:
        require_same_images(SUBMISSION, fixed, {"image-1": '"a"'})

    assert str(raised.value) == (
        "intent 'intent-1' began at 2026-11-22T15:00:00.000000Z with 2 images, and the images that can be sent have "
        "changed since then. Another invocation may be continuing it, so send the same request again. If this error "
        "lasts for 15 minutes and the intent's item in batch-jobs has no manifestPublished, Bedrock has no job. Delete "
        "the item, correct the cause, and send the request again."
    )


def test_answer_has_the_job_and_omitted_images() -> None:
    outcome = SubmittedJob(SUBMISSION, 4, {"image-4": Unfit.FOREIGN, "image-3": Unfit.UNKNOWN})

    assert outcome.answer() == {
        "intentId": "intent-1",
        "jobId": "abcdefgh1234",
        "status": "SUBMITTED",
        "submitTime": "2026-11-22T15:00:00.000000Z",
        "modelId": "amazon.nova-lite-v1:0",
        "manifestUri": "s3://yorutsuke-images-dev-123456789012/batch-input/intent-1/manifest.jsonl",
        "traceId": "trace-1",
        "imageCount": 2,
        "leftOutCount": 2,
        "leftOut": [{"imageId": "image-3", "reason": "UNKNOWN"}, {"imageId": "image-4", "reason": "FOREIGN"}],
    }


def test_answer_names_at_most_fifty_omitted_images() -> None:
    answer = SubmittedJob(SUBMISSION, 1_002, {f"image-{number:04}": Unfit.UNKNOWN for number in range(1_000)}).answer()

    assert (answer["leftOutCount"], len(answer["leftOut"])) == (1_000, 50)
    assert answer["leftOut"][49] == {"imageId": "image-0049", "reason": "UNKNOWN"}


@pytest.mark.parametrize("model_id", [None, "amazon.nova-lite-v1:0", "apac.amazon.nova-pro-v1:0"])
def test_request_accepts_an_allowed_or_default_model(model_id: str | None) -> None:
    require_allowed(REQUEST.model_copy(update={"modelId": model_id}), SETTINGS)


def test_other_model_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(InvalidRequestError) as raised:
        require_allowed(REQUEST.model_copy(update={"modelId": "secret"}), SETTINGS)

    assert str(raised.value) == (
        "modelId is not a model of this stage. Use one of amazon.nova-lite-v1:0, apac.amazon.nova-pro-v1:0, or leave "
        "it out."
    )


def test_request_with_too_few_images_is_refused() -> None:
    def request(count: int) -> SubmitRequest:
        return REQUEST.model_copy(update={"pendingImageIds": [str(number) for number in range(count)]})

    require_allowed(request(2), SETTINGS)
    with pytest.raises(InvalidRequestError) as raised:
        require_allowed(request(1), SETTINGS)

    assert str(raised.value) == (
        "pendingImageIds names 1 images. A batch job needs at least 2. Send the request when the user has more."
    )

"""The choice of the images that a job did not read and another job may read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from yorutsuke import resubmission
from yorutsuke.errors import NotFoundError
from yorutsuke.job_images import JobImage, Outcome
from yorutsuke.resubmission import FixableReason, Resubmission, choose_images, has_images_left, resubmission_id
from yorutsuke.stored_jobs import StoredJob
from yorutsuke_common.aws.dynamodb import Item
from yorutsuke_common.aws.pending_images import StoredImage
from yorutsuke_common.schema import Reason, RecordCounts

INTENT = "intent-1"
COUNTS = RecordCounts(totalRecordCount=9, processedRecordCount=9, successRecordCount=9, errorRecordCount=0)
COMPLETE = StoredJob(intentId=INTENT, jobId="job1", status="COMPLETED", bedrockCounts=COUNTS)
INCOMPLETE = StoredJob(intentId=INTENT, jobId="job1", status="COMPLETED")
FAILED = StoredJob(intentId=INTENT, jobId="job1", status="FAILED", bedrockStatus="Failed")


def _stored(image_id: str = "img", **changes: Any) -> StoredImage:
    facts: dict[str, Any] = {
        "status": "pending",
        "intent_id": INTENT,
        "uploaded_at": "2026-11-22T01:00:00Z",
        "attempts": 1,
        **changes,
    }
    return StoredImage(image_id, "user-1", "user-1/a.jpg", etag=None, processed_key=None, transaction_id=None, **facts)


def _image(stored: StoredImage | None, reason: Reason | None = Reason.MODEL_ERROR) -> JobImage:
    return JobImage(stored.image_id if stored else "img", Outcome.DEAD_LETTER, stored, reason=reason)


def _choose(
    monkeypatch: pytest.MonkeyPatch,
    job: StoredJob,
    *images: JobImage,
    reasons: tuple[FixableReason, ...] = (),
    intents: Mapping[str, str] | None = None,
) -> Resubmission:
    """Choose images on a stage with these other intents, by id, with their statuses."""

    def find_job(_: object, name: str) -> StoredJob:
        if name not in (intents or {}):
            raise NotFoundError(name)
        return StoredJob(intentId=name, status=(intents or {})[name])

    monkeypatch.setattr(resubmission, "find_job", find_job)
    stage: Any = None
    return choose_images(stage, job, images, reasons)


@pytest.mark.parametrize(
    ("changes", "left_out"),
    [
        ({}, {}),
        ({"status": "failed"}, {}),
        ({"intent_id": None}, {}),
        ({"status": "submitted"}, {"held by this job": 1}),
        ({"status": "processed"}, {"neither pending nor failed": 1}),
        ({"intent_id": "other"}, {"in another job": 1}),
        ({"intent_id": "other", "status": "submitted"}, {"in another job": 1}),
        ({"intent_id": "abandoned"}, {}),
        ({"intent_id": "abandoned", "status": "submitted"}, {"held by this job": 1}),
    ],
)
def test_choice_follows_the_item_of_the_image(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], left_out: dict[str, int]
) -> None:
    chosen = _choose(monkeypatch, COMPLETE, _image(_stored(**changes)), intents={"other": "SUBMITTED"})

    assert chosen.left_out == left_out
    assert len(chosen.images) == 1 - len(left_out)


@pytest.mark.parametrize("reason", Reason)
def test_choice_of_completed_job_has_fixable_reasons(monkeypatch: pytest.MonkeyPatch, reason: Reason) -> None:
    never = {Reason.DUPLICATE_IMAGE, Reason.OWNER_MISMATCH, Reason.UNKNOWN_IMAGE, Reason.OTHER_JOB}

    completed = _choose(monkeypatch, COMPLETE, _image(_stored(), reason))
    failed = _choose(monkeypatch, FAILED, _image(_stored(), reason))

    assert (len(completed.images), len(failed.images)) == (int(reason not in never), 1)
    assert completed.left_out == ({"another reason": 1} if reason in never else {})


@pytest.mark.parametrize(("job", "left_out"), [(COMPLETE, {}), (FAILED, {}), (INCOMPLETE, {"output not complete": 1})])
def test_image_without_record_needs_the_complete_output(
    monkeypatch: pytest.MonkeyPatch, job: StoredJob, left_out: dict[str, int]
) -> None:
    chosen = _choose(monkeypatch, job, _image(_stored(), None))

    assert (chosen.left_out, chosen.reasons) == (left_out, {} if left_out else {"NO_RECORD": 1})


@pytest.mark.parametrize("job", [COMPLETE, FAILED])
def test_given_reasons_narrow_the_choice(monkeypatch: pytest.MonkeyPatch, job: StoredJob) -> None:
    images = [_image(_stored("a")), _image(_stored("b"), Reason.INVALID_JSON), _image(_stored("c"), None)]

    chosen = _choose(monkeypatch, job, *images, reasons=(FixableReason.INVALID_JSON, FixableReason.NO_RECORD))

    assert ([*chosen.images], chosen.left_out) == (["b", "c"], {"another reason": 1})


def test_transactions_and_deleted_images_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    read = JobImage("read", Outcome.TRANSACTION, _stored("read"), transaction=("t", "processed"))

    chosen = _choose(monkeypatch, FAILED, read, _image(None))

    assert (chosen.images, chosen.read, chosen.left_out) == ({}, 1, {"deleted": 1})


def test_intent_id_follows_from_images_and_attempts() -> None:
    ids = {
        resubmission_id("intent-1", {"a": 1, "b": 1}),
        resubmission_id("intent-1", {"b": 1, "a": 1}),
        resubmission_id("intent-1", {"a": 1}),
        resubmission_id("intent-1", {"a": 2, "b": 1}),
        resubmission_id("intent-2", {"a": 1, "b": 1}),
    }

    assert len(ids) == 4
    assert {len(intent_id) for intent_id in ids} == {41}


def test_begun_submission_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its intent holds one image, could not send another, and another item is not in the index."""
    before = [_stored("a"), _stored("b"), _stored("c", uploaded_at=None, attempts=0)]
    begun = _choose(monkeypatch, FAILED, *map(_image, before)).intent_id
    after = [
        _stored("a", intent_id=begun, status="submitted", attempts=2),
        _stored("b", intent_id=begun, attempts=2),
        _stored("c", intent_id=begun, uploaded_at=None, attempts=0),
    ]

    chosen = _choose(monkeypatch, FAILED, *map(_image, after), intents={begun: "SUBMITTING"})
    submitted = _choose(monkeypatch, FAILED, *map(_image, after), intents={begun: "SUBMITTED"})
    more = _choose(monkeypatch, FAILED, *map(_image, after), _image(_stored("d")), intents={begun: "SUBMITTING"})

    assert (chosen.intent_id, [*chosen.images], chosen.is_begun) == (begun, ["a", "b", "c"], True)
    assert (submitted.images, submitted.left_out) == ({}, {"in another job": 3})
    assert ([*more.images], more.is_begun) == (["d"], False)


def test_request_has_only_known_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = _choose(monkeypatch, FAILED, _image(_stored("a")))
    job = FAILED.model_copy(update={"userId": "user-1", "modelId": "model", "inputUri": "s3://b/i/"})

    shared = f'{{"intentId": "{chosen.intent_id}", "pendingImageIds": ["a"]'
    assert chosen.request(FAILED, ["model"]) == f"{shared}}}"
    user = f'{shared}, "userId": "user-1"'
    assert chosen.request(job, ["other", "model"]) == f'{user}, "modelId": "model", "imageDelivery": "s3"}}'
    assert chosen.request(job, ["other"]) == f"{user}}}"
    assert replace(chosen, is_begun=True).request(job, ["model"]) == f"{user}}}"


def test_job_with_unknown_images_may_have_some_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The item of the job lists no images, and no image names its intent: another program has written both."""

    def find_item(*_: object) -> Item:
        return {"intentId": {"S": INTENT}}

    def job_images(*_: object) -> list[JobImage]:
        return []

    monkeypatch.setattr(resubmission, "find_item", find_item)
    monkeypatch.setattr(resubmission, "job_images", job_images)
    stage: Any = None

    assert has_images_left(stage, COMPLETE, {INTENT})

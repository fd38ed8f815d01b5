"""Tests of changes that the app makes for its users: the functions never overwrite or undo them."""

import base64
from datetime import timedelta
from typing import Any

import pytest

from local.in_memory import FunctionDiedError
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.errors import SubmissionLostError

from .aws_calls import crash
from .orchestrator_stage import IMAGE_IDS, Clock, Orchestrator, request, submissions_of
from .stage import BUCKET, PENDING_IMAGES, TRANSACTIONS, Stage, simple_record

MANY_IMAGE_IDS = [f"img-{number:02}" for number in range(60)]


def _seed(stage: Stage) -> str:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    return stage.put_output(*map(simple_record, IMAGE_IDS))


def _replay(stage: Stage, message: str) -> None:
    """Process the output again with calls that succeed."""
    stage.calls.reset()
    stage.remove_processed_outputs()
    assert stage.deliver(message) == []
    assert stage.job()["status"] == "COMPLETED"


def _delete(stage: Stage, transaction: dict[str, Any]) -> dict[str, Any]:
    """Replace a transaction with the mark of a deleted one, and return the mark."""
    mark = {name: transaction[name] for name in ("userId", "transactionId", "imageId")} | {"status": "deleted"}
    stage.aws.dynamodb.put_item(TableName=TRANSACTIONS, Item=to_item(mark))
    return mark


def _fail_copies(stage: Stage, *image_ids: str) -> None:
    def of_image(params: dict[str, Any]) -> bool:
        return any(f"-{image_id}.png" in params["Key"] for image_id in image_ids)

    stage.calls.fail("CopyObject", "SlowDown", when=of_image)


@pytest.mark.parametrize(
    ("operation", "number"),
    [("BatchExecuteStatement", 1), ("CopyObject", 0), ("DeleteObjects", 0), ("PutObject", 0), ("UpdateItem", 1)],
)
def test_edit_between_crash_and_redelivery_survives(stage: Stage, operation: str, number: int) -> None:
    """The function dies before this call, which follows the first write of transactions."""
    message = _seed(stage)
    stage.calls.before_call(operation, crash, number)
    with pytest.raises(FunctionDiedError):
        stage.deliver(message)
    stage.change(TRANSACTIONS, stage.transactions()["img-1"], amount=1, album="taxes")
    edited = stage.transactions()["img-1"]
    stage.calls.reset()
    stage.expire_claims()

    assert stage.deliver(message) == []

    assert stage.transactions()["img-1"] == edited
    assert {item["status"] for item in stage.transactions().values()} == {"processed"}
    assert stage.job()["resultStats"]["successCount"] == 3


@pytest.mark.parametrize("unmoved_at", [[], ["first"], ["first", "replay"]])
def test_deleted_transaction_stays_deleted_after_replay(stage: Stage, unmoved_at: list[str]) -> None:
    message = _seed(stage)
    if "first" in unmoved_at:
        _fail_copies(stage, "img-1")
    stage.deliver(message)
    mark = _delete(stage, stage.transactions()["img-1"])
    stage.calls.reset()
    if "replay" in unmoved_at:
        _fail_copies(stage, "img-1")
    stage.remove_processed_outputs()

    assert stage.deliver(message) == []

    assert stage.transactions()["img-1"] == mark
    assert stage.job()["resultStats"]["migrationFailedCount"] == ("replay" in unmoved_at)


def test_item_with_another_upload_keeps_its_deletion(stage: Stage) -> None:
    """The app points the item of a moved image to another upload, and deletes the transaction."""
    message = _seed(stage)
    stage.deliver(message)
    stage.delete(TRANSACTIONS, stage.transactions()["img-1"])
    upload = {"s3Key": "user-1/another.png", "status": "pending"}
    stage.aws.s3.put_object(Bucket=BUCKET, Key="uploads/user-1/another.png", Body=b"another photograph")
    stage.change(PENDING_IMAGES, stage.images()["img-1"], **upload)

    _replay(stage, message)

    assert sorted(stage.transactions()) == ["img-2", "img-3"]
    assert stage.images()["img-1"].items() >= upload.items()
    assert "uploads/user-1/another.png" in stage.objects()
    assert stage.job()["resultStats"]["migrationFailedCount"] == 0


def test_filed_transaction_keeps_its_status_after_new_upload(stage: Stage) -> None:
    message = _seed(stage)
    stage.deliver(message)
    stage.aws.s3.put_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png", Body=b"another photograph")
    stage.change(PENDING_IMAGES, stage.images()["img-1"], status="pending")

    _replay(stage, message)

    assert stage.transactions()["img-1"]["status"] == "processed"
    assert "uploads/user-1/img-1.png" in stage.objects()


def test_deleted_item_does_not_change_a_filed_transaction(stage: Stage) -> None:
    message = _seed(stage)
    stage.put_job(pendingImageIds=IMAGE_IDS)
    stage.deliver(message)
    before = stage.transactions()
    stage.delete(PENDING_IMAGES, stage.images()["img-1"])

    _replay(stage, message)

    assert stage.transactions() == before


@pytest.mark.parametrize("moved", [True, False])
def test_longer_output_keeps_edits_and_deletions(stage: Stage, *, moved: bool) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)
    if not moved:
        _fail_copies(stage, "img-1", "img-2")
    stage.deliver(stage.put_output(*map(simple_record, IMAGE_IDS[:2])))
    first = stage.transactions()
    stage.change(TRANSACTIONS, first["img-1"], amount=1, merchant="Kissa Tsuki")
    edited, mark = stage.transactions()["img-1"], _delete(stage, first["img-2"])
    stage.calls.reset()

    stage.deliver(stage.put_output(*map(simple_record, IMAGE_IDS)))

    transactions = stage.transactions()
    assert transactions["img-1"] == {**edited, "status": "processed"}
    assert transactions["img-2"] == mark
    assert transactions["img-3"]["amount"] == 1280


@pytest.mark.parametrize("moved", [True, False])
def test_removed_transaction_returns_only_before_its_move(stage: Stage, *, moved: bool) -> None:
    message = _seed(stage)
    if not moved:
        _fail_copies(stage, "img-1")
    stage.deliver(message)
    stage.delete(TRANSACTIONS, stage.transactions()["img-1"])

    _replay(stage, message)

    assert ("img-1" in stage.transactions()) is not moved
    assert {"img-2", "img-3"} <= stage.transactions().keys()


def test_status_of_app_survives_a_failed_move(stage: Stage) -> None:
    """The app sets the status after the function has stored the transaction and before it copies the image."""
    message = _seed(stage)

    def review() -> None:
        stage.change(TRANSACTIONS, stage.transactions()["img-1"], status="reviewed")

    stage.calls.before_call("CopyObject", review)
    _fail_copies(stage, "img-1", "img-2")

    assert stage.deliver(message) == []

    statuses = {image_id: item["status"] for image_id, item in stage.transactions().items()}
    assert statuses == {"img-1": "reviewed", "img-2": "migrationFailed", "img-3": "processed"}


def test_replay_completes_only_statuses_of_failed_moves(stage: Stage) -> None:
    message = _seed(stage)
    _fail_copies(stage, "img-1", "img-2")
    stage.deliver(message)
    failed = {image_id for image_id, item in stage.transactions().items() if item["status"] == "migrationFailed"}
    assert failed == {"img-1", "img-2"}
    stage.change(TRANSACTIONS, stage.transactions()["img-2"], status="reviewed")
    before = stage.transactions()

    _replay(stage, message)

    assert stage.transactions() == before | {"img-1": {**before["img-1"], "status": "processed"}}
    assert stage.job()["resultStats"]["migrationFailedCount"] == 0
    assert {image["status"] for image in stage.images().values()} == {"processed"}


def test_attribute_of_app_survives_the_move(stage: Stage) -> None:
    """The app adds one attribute before the function reads the item, and one after that."""
    message = _seed(stage)
    stage.change(PENDING_IMAGES, {"imageId": "img-1"}, album="taxes")
    stage.calls.before_call(
        "CopyObject", lambda: stage.change(PENDING_IMAGES, {"imageId": "img-1"}, note="for the office", md5="new")
    )

    assert stage.deliver(message) == []

    image = stage.images()["img-1"]
    assert (image["album"], image["note"], image["md5"]) == ("taxes", "for the office", "new")
    assert (image["status"], image["processedKey"][:10]) == ("processed", "processed/")


def test_attribute_of_app_survives_the_submission(orchestrator: Orchestrator) -> None:
    stage = orchestrator.stage
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    stage.change(PENDING_IMAGES, {"imageId": "img-1"}, album="taxes")
    stage.calls.before_call(
        "GetObject", lambda: stage.change(PENDING_IMAGES, {"imageId": "img-1"}, note="for the office", md5="new")
    )
    before = stage.images()["img-1"]

    orchestrator.invoke(request())

    intent_id, etag = submissions_of()["img-1"]
    after = before | {"note": "for the office", "md5": "new", "intentId": intent_id, "uploadETag": etag}
    hold = {"status": "submitted", "submittedAt": orchestrator.item()["submitTime"], "attempts": 1}
    assert stage.images()["img-1"] == after | hold


def test_submission_leaves_changed_items_as_they_are(orchestrator: Orchestrator) -> None:
    """The app deletes an image, and points another one to a new upload, after the function has read the items."""
    stage = orchestrator.stage
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    def change() -> None:
        stage.delete(PENDING_IMAGES, {"imageId": "img-1"})
        stage.change(PENDING_IMAGES, {"imageId": "img-2"}, s3Key="uploads/user-1/new.png")

    stage.calls.before_call("PutObject", change)

    orchestrator.invoke(request())

    assert orchestrator.submissions() == {"img-2": ("intent-1", None), "img-3": submissions_of()["img-3"]}
    assert orchestrator.item()["pendingImageIds"] == IMAGE_IDS


def test_photo_replaced_during_submission_is_not_filed(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app points an image to a new photo after the old one was read, and before the job begins."""
    stage, clock = orchestrator.stage, Clock(monkeypatch)
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    # The images are read one after the other.
    monkeypatch.setattr("batch_orchestrator.images.READ_AHEAD", 1)

    def replace() -> None:
        key = "uploads/user-1/new.png"
        stage.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=b"another receipt")
        stage.set_last_modified(key, clock.now + timedelta(seconds=10))
        stage.change(PENDING_IMAGES, {"imageId": "img-1"}, s3Key=key)
        clock.now += timedelta(seconds=20)

    stage.calls.before_call("GetObject", replace, when=lambda params: "img-3" in params["Key"])
    job_id = orchestrator.invoke(request())["jobId"]
    output = stage.put_output(*map(simple_record, IMAGE_IDS), key=f"batch-output/{job_id}/output.jsonl")

    assert stage.deliver(output) == []

    assert stage.objects()["uploads/user-1/new.png"] == b"another receipt"
    assert {image_id: item["status"] for image_id, item in stage.transactions().items()} == {
        "img-1": "migrationFailed",
        "img-2": "processed",
        "img-3": "processed",
    }


def test_rerun_inserts_only_transactions_without_moved_image(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.calls.CONCURRENCY", 1)
    stage.put_job()
    stage.put_images(MANY_IMAGE_IDS)
    message = stage.put_output(*map(simple_record, MANY_IMAGE_IDS))

    def marks_images(params: dict[str, Any]) -> bool:
        return f'UPDATE "{PENDING_IMAGES}"' in params["Statements"][0]["Statement"]

    # The function dies after it has marked 25 + 25 of the 60 images.
    stage.calls.before_call("BatchExecuteStatement", crash, number=2, when=marks_images)
    with pytest.raises(FunctionDiedError):
        stage.deliver(message)
    before = stage.transactions()
    assert len(before) == 60
    stage.calls.reset()
    stage.expire_claims()

    assert stage.deliver(message) == []

    inserts = [statement for call in stage.statements(TRANSACTIONS) for statement in call if "INSERT" in statement]
    assert (len(inserts), len(stage.calls.parameters_of("CopyObject"))) == (10, 10)
    assert [len(call) for call in stage.statements(PENDING_IMAGES)] == [10]
    assert stage.transactions() == before
    assert stage.job()["resultStats"]["successCount"] == 60


@pytest.mark.parametrize("resumed", [False, True])
def test_overlapping_requests_record_the_submitted_photograph(
    orchestrator: Orchestrator, stage: Stage, *, resumed: bool
) -> None:
    """A repeated request reads an image after its user replaced it, and before the first request ends."""
    key, first, second = "uploads/user-1/img-1.png", b"img-1", b"another photograph"
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    if resumed:
        stage.calls.crash_before("PutObject")
        with pytest.raises(FunctionDiedError):
            orchestrator.invoke(request())
        stage.calls.reset()
    etags = {stage.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"]: body for body in (first, second)}

    def submit_the_first() -> None:
        stage.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=first)
        orchestrator.invoke_in_second_environment(request())
        stage.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=second)

    stage.calls.before_call("GetObject" if resumed else "UpdateItem", submit_the_first)

    with pytest.raises(SubmissionLostError, match="an image was replaced since then"):
        orchestrator.invoke(request())

    # The retry of the request finds the job.
    stage.calls.reset()
    assert orchestrator.invoke(request())["jobId"] == orchestrator.job().job_id
    assert base64.b64encode(first) in orchestrator.job().manifest
    assert [base64.b64encode(first) in manifest for manifest in orchestrator.manifests().values()] == [True]
    assert etags[stage.images()["img-1"]["uploadETag"]] == first

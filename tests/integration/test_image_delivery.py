"""Tests of images in S3: the manifest names copies of the images in the input folder of the job."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from batch_orchestrator.prompt import model_input
from batch_orchestrator.settings import load_settings
from local.in_memory import FunctionDiedError
from tests.faults.invocations import InlineExecutor
from yorutsuke_common.errors import IntentConflictError, InvalidRequestError
from yorutsuke_common.object_keys import snapshot_key

from .aws_calls import crash
from .orchestrator_stage import (
    CLAUDE,
    IMAGE_IDS,
    MANIFEST,
    Orchestrator,
    clear_orchestrator_caches,
    manifest_of,
    request,
    submissions_of,
    without_folder,
)
from .stage import BATCH_JOBS, BUCKET, PENDING_IMAGES, Stage, nova_record

FOLDER = "batch-input/intent-1/"
VOLATILE = {"submitTime", "ttl", "jobId"}
"""The attributes of a job's item that differ between two submissions of one request."""


@pytest.fixture(autouse=True)
def images_in_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver images by S3 URI, one call at a time, and upload each line of the manifest as its own part.

    The uploads are listed first. The images are held one by one, while the images before them are copied.
    """
    monkeypatch.setattr("batch_orchestrator.image_copies.ThreadPoolExecutor", InlineExecutor)
    monkeypatch.setenv("IMAGE_DELIVERY", "s3")
    monkeypatch.setattr("batch_orchestrator.image_copies.HELD_AT_A_TIME", 1)
    monkeypatch.setattr("batch_orchestrator.image_copies.COPIES_AHEAD", 1)
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 1)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    monkeypatch.setattr("yorutsuke_common.aws.calls.CONCURRENCY", 1)


def _copies() -> dict[str, bytes]:
    """Return the copies of the images, as `Stage.put_images` stores the images, by key without the folder."""
    etags = {image_id: etag or "" for image_id, (_, etag) in submissions_of().items()}
    return {snapshot_key(FOLDER, image_id, etags[image_id], "png"): image_id.encode() for image_id in IMAGE_IDS}


def _manifest() -> bytes:
    """Return the manifest that names the copies."""
    lines: list[str] = []
    for image_id, key in zip(IMAGE_IDS, _copies(), strict=True):
        source = {"s3Location": {"uri": f"s3://{BUCKET}/{key}"}}
        record = {"recordId": image_id, "modelInput": model_input("png", source)}
        lines.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
    return "".join(f"{line}\n" for line in lines).encode()


def _state(orchestrator: Orchestrator) -> dict[str, Any]:
    """Return everything that a submission writes, without the volatile attributes of its item."""
    items = [
        {name: value for name, value in item.items() if name not in VOLATILE}
        | {name: without_folder(item[name]) for name in ("manifestUri", "inputUri")}
        for item in orchestrator.stage.items(BATCH_JOBS)
    ]
    times = [item["submitTime"] for item in orchestrator.stage.items(BATCH_JOBS)]
    inputs = [without_folder(json.dumps(job.request["inputDataConfig"])) for job in orchestrator.bedrock.jobs.values()]
    return {
        "items": items,
        "inputs": inputs,
        "objects": orchestrator.manifests(),
        "images": {
            # The holds have the submit time of the intent.
            image_id: {**image, "submittedAt": image.get("submittedAt") in times}
            for image_id, image in orchestrator.stage.images().items()
        },
    }


def test_job_reads_its_images_from_the_input_folder(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    response = orchestrator.invoke(request())

    uri = orchestrator.item()["inputUri"]
    assert without_folder(uri) == f"s3://{BUCKET}/{FOLDER}"
    assert orchestrator.manifests() == {MANIFEST: _manifest(), **_copies()}
    assert orchestrator.job().request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"] == uri
    assert response["manifestUri"] == f"{uri}manifest.jsonl"
    assert orchestrator.submissions() == submissions_of()


def test_submission_does_not_read_images(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    orchestrator.invoke(request())

    calls = orchestrator.stage.calls.counts()
    assert (calls["ListObjectsV2"], calls["CopyObject"]) == (1, 3)
    assert calls.keys().isdisjoint({"GetObject", "HeadObject"})


def test_hold_records_the_content_to_be_read(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    orchestrator.invoke(request())

    # One call holds each image. No other call records its ETag.
    assert orchestrator.stage.calls.counts()["BatchExecuteStatement"] == len(IMAGE_IDS)
    assert orchestrator.submissions() == submissions_of()


def test_image_held_by_another_job_is_not_copied(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images([*IMAGE_IDS, "img-4"])
    hold = {"status": "submitted", "intentId": "another", "submittedAt": "2026-11-22T13:00:00.000000Z"}
    take = partial(orchestrator.stage.change, PENDING_IMAGES, {"imageId": "img-4"}, **hold)
    # The fourth hold.
    orchestrator.stage.calls.before_call("BatchExecuteStatement", take, 3)

    response = orchestrator.invoke(request([*IMAGE_IDS, "img-4"]))

    assert response["leftOut"] == [{"imageId": "img-4", "reason": "NOT_PENDING"}]
    assert orchestrator.stage.calls.counts()["CopyObject"] == len(IMAGE_IDS)
    assert orchestrator.stage.images()["img-4"].items() >= hold.items()


def test_names_of_copies_are_safe(orchestrator: Orchestrator) -> None:
    hostile = ["領収書 1", "a?b#c%2F", "..\\*'\""]
    orchestrator.put_unsubmitted_images(hostile)

    orchestrator.invoke(request(hostile))

    names = [key.removeprefix(FOLDER) for key in orchestrator.manifests() if key != MANIFEST]
    assert len(names) == 3
    assert all(name.removesuffix(".png").isalnum() and name.isascii() for name in names)
    assert [json.loads(line)["recordId"] for line in orchestrator.job().manifest.splitlines()] == sorted(hostile)


def test_copies_do_not_have_the_tags_of_uploads(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    s3 = orchestrator.stage.aws.s3
    for image_id in IMAGE_IDS:
        tagging: Any = {"TagSet": [{"Key": "scan", "Value": "clean"}]}
        s3.put_object_tagging(Bucket=BUCKET, Key=f"uploads/user-1/{image_id}.png", Tagging=tagging)

    orchestrator.invoke(request())

    copies = [key for key in orchestrator.stage.objects() if key.startswith(FOLDER) and key.endswith(".png")]
    assert [s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"] for key in copies] == [[], [], []]


def test_unreadable_and_empty_images_are_left_out(orchestrator: Orchestrator) -> None:
    s3 = orchestrator.stage.aws.s3
    orchestrator.put_unsubmitted_images([*IMAGE_IDS, "img-empty", "img-gone"])
    s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-gone.png")
    s3.put_object(Bucket=BUCKET, Key="uploads/user-1/img-empty.png", Body=b"")

    response = orchestrator.invoke(request([*IMAGE_IDS, "img-empty", "img-gone"]))

    assert response["leftOut"] == [
        {"imageId": "img-empty", "reason": "UNFIT_SIZE"},
        {"imageId": "img-gone", "reason": "UNREADABLE"},
    ]
    assert without_folder(orchestrator.job().manifest.decode()).encode() == _manifest()


def test_image_too_large_for_a_manifest_is_sent(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    def replace() -> None:
        key = "uploads/user-1/img-1.png"
        orchestrator.stage.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=bytes(18_000_001))

    replace()

    in_s3 = orchestrator.invoke(request())

    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    replace()
    with pytest.raises(InvalidRequestError, match="left out: UNFIT_SIZE 1"):
        orchestrator.invoke(request(intentId="intent-2", imageDelivery="inline"))
    assert in_s3["leftOut"] == []


def test_request_replaces_the_setting(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    orchestrator.invoke(request(imageDelivery="inline"))

    assert orchestrator.manifests() == {MANIFEST: manifest_of()}
    assert "inputUri" not in orchestrator.item()


def test_other_models_get_their_images_inline(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    orchestrator.invoke(request(modelId=CLAUDE))

    assert orchestrator.manifests() == {MANIFEST: manifest_of(invocation_type="Converse")}


def test_request_for_s3_is_refused_for_other_models(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    before = _state(orchestrator)

    with pytest.raises(InvalidRequestError, match="does not read images from S3"):
        orchestrator.invoke(request(modelId=CLAUDE, imageDelivery="s3"))

    assert _state(orchestrator) == before


def test_repeated_request_with_another_delivery_is_refused(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    response = orchestrator.invoke(request(imageDelivery="s3"))

    with pytest.raises(IntentConflictError, match="with another imageDelivery"):
        orchestrator.invoke(request(imageDelivery="inline"))
    assert orchestrator.invoke(request()) == response


def test_model_reads_the_snapshot_of_a_replaced_upload(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.invoke(request())

    orchestrator.stage.aws.s3.put_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png", Body=b"another")
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-2.png")

    assert orchestrator.manifests() == {MANIFEST: _manifest(), **_copies()}


def test_handler_completes_a_job_with_images_in_s3(orchestrator: Orchestrator, stage: Stage) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    job_id = orchestrator.invoke(request())["jobId"]
    output = stage.put_output(*map(nova_record, IMAGE_IDS), key=f"batch-output/{job_id}/manifest.jsonl.out")

    assert stage.deliver(output) == []

    assert {image["status"] for image in stage.images().values()} == {"processed"}
    assert [key for key in stage.objects() if key.startswith("uploads/")] == []
    assert orchestrator.manifests() == {MANIFEST: _manifest(), **_copies()}


def _calls_of_a_clean_run(orchestrator: Orchestrator) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Submit a job, and return its calls (operation, and the number of its call) and the resulting state."""
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.reset()
    orchestrator.invoke(request())
    operations = [operation for operation, _ in orchestrator.stage.calls.history]
    return [(name, operations[:at].count(name)) for at, name in enumerate(operations)], _state(orchestrator)


def _crash_and_retry(orchestrator: Orchestrator, *crashes: Callable[[], None]) -> dict[str, Any]:
    """Invoke once for each crash and once without one, and return the state."""
    orchestrator.reset()
    for prepare in crashes:
        prepare()
        with pytest.raises(FunctionDiedError):
            orchestrator.invoke(request())
        orchestrator.stage.calls.reset()
    orchestrator.invoke(request())
    return _state(orchestrator)


def test_any_crash_ends_like_a_clean_run(orchestrator: Orchestrator, subtests: pytest.Subtests) -> None:
    calls, clean = _calls_of_a_clean_run(orchestrator)
    assert {"ListObjectsV2", "CopyObject", "UploadPart", "CreateModelInvocationJob"} <= {name for name, _ in calls}
    for operation, number in calls:
        with subtests.test(operation=operation, number=number):
            prepare = partial(orchestrator.stage.calls.before_call, operation, crash, number)
            assert _crash_and_retry(orchestrator, prepare) == clean
    for operation in dict(calls):
        with subtests.test(after=operation):
            prepare = partial(orchestrator.stage.calls.crash_after, operation)
            assert _crash_and_retry(orchestrator, prepare) == clean


def test_any_crash_of_a_resumed_intent_ends_cleanly(orchestrator: Orchestrator, subtests: pytest.Subtests) -> None:
    calls, clean = _calls_of_a_clean_run(orchestrator)
    begun = partial(orchestrator.stage.calls.crash_after, "PutItem")
    for operation, number in calls:
        if operation != "PutItem":
            with subtests.test(operation=operation, number=number):
                prepare = partial(orchestrator.stage.calls.before_call, operation, crash, number)
                assert _crash_and_retry(orchestrator, begun, prepare) == clean


def test_concurrent_identical_requests_create_one_job(orchestrator: Orchestrator, subtests: pytest.Subtests) -> None:
    calls, clean = _calls_of_a_clean_run(orchestrator)
    for operation, number in calls:
        with subtests.test(operation=operation, number=number):
            orchestrator.reset()
            submit = partial(orchestrator.invoke_in_second_environment, request())
            orchestrator.stage.calls.before_call(operation, lambda submit=submit: (submit(), None)[1], number)

            orchestrator.invoke(request())

            assert _state(orchestrator) == clean


@pytest.mark.parametrize(("first", "later"), [("s3", "inline"), ("inline", "s3")])
def test_begun_intent_keeps_its_delivery(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, first: str, later: str
) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    monkeypatch.setenv("IMAGE_DELIVERY", first)
    clear_orchestrator_caches()
    orchestrator.stage.calls.crash_after("PutItem")
    with pytest.raises(FunctionDiedError):
        orchestrator.invoke(request())
    orchestrator.stage.calls.reset()
    monkeypatch.setenv("IMAGE_DELIVERY", later)
    clear_orchestrator_caches()

    orchestrator.invoke(request())

    inputs = {"s3": ({MANIFEST: _manifest(), **_copies()}, FOLDER), "inline": ({MANIFEST: manifest_of()}, MANIFEST)}
    s3_uri = orchestrator.job().request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
    assert (orchestrator.manifests(), without_folder(s3_uri).removeprefix(f"s3://{BUCKET}/")) == inputs[first]


def test_changed_setting_keeps_the_first_manifest(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    def submit_first() -> None:
        monkeypatch.setenv("IMAGE_DELIVERY", "inline")
        load_settings.cache_clear()
        orchestrator.invoke_in_second_environment(request())

    orchestrator.stage.calls.before_call("PutItem", submit_first)

    assert orchestrator.invoke(request())["status"] == "SUBMITTED"

    assert orchestrator.manifests() == {MANIFEST: manifest_of()}


@pytest.mark.parametrize("operation", ["ListObjectsV2", "CopyObject"])
def test_retry_succeeds_after_persistent_call_failure(orchestrator: Orchestrator, operation: str) -> None:
    _, clean = _calls_of_a_clean_run(orchestrator)
    orchestrator.reset()
    orchestrator.stage.calls.fail(operation, "SlowDown")

    with pytest.raises(Exception, match="SlowDown"):
        orchestrator.invoke(request())

    assert (orchestrator.open_uploads(), orchestrator.bedrock.jobs) == (0, {})
    orchestrator.stage.calls.reset()
    orchestrator.invoke(request())
    assert _state(orchestrator) == clean

"""Tests of scheduled runs: the waiting images of all users are submitted, each in one job."""

import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batch_orchestrator.manifest import SECONDS_TO_SUBMIT
from local.in_memory import FunctionDiedError
from local.lambda_context import lambda_context
from yorutsuke_common.errors import (
    BedrockRefusedError,
    InvalidRequestError,
    JobOverdueError,
    SubmissionLostError,
    ThrottledError,
    UnknownJobError,
)
from yorutsuke_common.names import MAX_FUNCTION_SECONDS

from .aws_calls import crash
from .conftest import LogReader
from .orchestrator_stage import Clock, Orchestrator, clear_orchestrator_caches, manifest_of, request
from .stage import BATCH_JOBS, BUCKET, PENDING_IMAGES, Stage, job_end, nova_record

INTENT = "schedule-20261126T020000Z-0"
NEXT_NIGHT = "2026-11-27T02:00:00Z"


@pytest.fixture(autouse=True)
def small_jobs(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit a job to six images, and an image to two attempts. A job has at least three images."""
    assert orchestrator
    monkeypatch.setenv("JOB_SIZE", "6")
    monkeypatch.setenv("MAX_ATTEMPTS", "2")
    clear_orchestrator_caches()


def _ids(numbers: Iterable[int]) -> list[str]:
    return [f"img-{number}" for number in numbers]


def _put_images(orchestrator: Orchestrator, numbers: Iterable[int], user_id: str = "user-1") -> None:
    """Store images that were uploaded one minute after the other."""
    for number in numbers:
        orchestrator.put_unsubmitted_images([f"img-{number}"], user_id)
        uploaded_at = f"2026-11-25T09:{number:02}:00Z"
        orchestrator.stage.change(PENDING_IMAGES, {"imageId": f"img-{number}"}, uploadedAt=uploaded_at)


def _jobs(orchestrator: Orchestrator) -> list[list[str]]:
    """Return the images of each job in Bedrock."""
    items = {item.get("jobId"): item["pendingImageIds"] for item in orchestrator.stage.items(BATCH_JOBS)}
    return [items[job.job_id] for job in orchestrator.bedrock.jobs.values()]


def _crash_after_first_update(orchestrator: Orchestrator) -> None:
    """Invoke the schedule, and crash after the intent has fixed its images, or after it is marked as abandoned."""
    orchestrator.stage.calls.crash_after("UpdateItem")
    with pytest.raises(FunctionDiedError):
        orchestrator.run()
    orchestrator.stage.calls.reset()


def _run_elsewhere(orchestrator: Orchestrator, scheduled_time: str) -> None:
    orchestrator.invoke_in_second_environment({"scheduledTime": scheduled_time})


def _metrics(entries: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(entry["WaitingImages"][0], entry["OldestWaitingAge"][0]) for entry in entries if "WaitingImages" in entry]


def test_run_submits_all_users_in_one_job(orchestrator: Orchestrator, read_logs: LogReader) -> None:
    _put_images(orchestrator, [1, 3])
    _put_images(orchestrator, [2, 4], "user-2")

    response = orchestrator.run()

    job, item = orchestrator.job(), orchestrator.item(INTENT)
    assert response == {
        "jobs": [{"intentId": INTENT, "jobId": job.job_id, "imageCount": 4}],
        "waitingImages": 0,
    }
    assert ("userId" in item, item["status"], item["pendingImageIds"]) == (False, "SUBMITTED", _ids([1, 2, 3, 4]))
    assert job.manifest == manifest_of(_ids([1, 2, 3, 4]))
    for image in orchestrator.stage.images().values():
        hold = (image["status"], image["intentId"], image["submittedAt"], image["attempts"])
        assert hold == ("submitted", INTENT, item["submitTime"], 1)
    entries = read_logs()
    assert _metrics(entries) == [(0, 0)]
    events = [entry["event"] for entry in entries if "_aws" not in entry]
    assert events == ["BATCH_SCHEDULE_STARTED", "BATCH_SUBMIT_STARTED", "BATCH_SUBMITTED", "BATCH_SCHEDULE_ENDED"]


def test_too_few_images_wait(orchestrator: Orchestrator, read_logs: LogReader, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    clock.now = datetime(2026, 11, 26, 9, 1, tzinfo=UTC)
    _put_images(orchestrator, [1, 2])

    assert orchestrator.run() == {"jobs": [], "waitingImages": 2}

    assert (orchestrator.bedrock.jobs, orchestrator.stage.items(BATCH_JOBS)) == ({}, [])
    assert set(orchestrator.image_statuses().values()) == {"pending"}
    assert _metrics(read_logs()) == [(2, 24 * 3600)]


def test_run_divides_images_evenly(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 9))

    assert orchestrator.run()["waitingImages"] == 0

    assert _jobs(orchestrator) == [_ids(range(1, 5)), _ids(range(5, 9))]


def test_oldest_images_are_first_below_the_job_limit(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAX_CONCURRENT_JOBS", "1")
    clear_orchestrator_caches()
    _put_images(orchestrator, reversed(range(1, 13)))

    assert orchestrator.run()["waitingImages"] == 6
    assert orchestrator.run(NEXT_NIGHT) == {"jobs": [], "waitingImages": 6}
    assert _jobs(orchestrator) == [_ids(range(1, 7))]

    orchestrator.stage.deliver(job_end("Failed", job_id=orchestrator.job().job_id))
    assert orchestrator.run("2026-11-28T02:00:00Z")["waitingImages"] == 6
    assert _jobs(orchestrator) == [_ids(range(1, 7))] * 2


def test_repeated_run_creates_no_second_job(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 5))
    orchestrator.run()

    assert orchestrator.run() == {"jobs": [], "waitingImages": 0}
    assert orchestrator.run(NEXT_NIGHT) == {"jobs": [], "waitingImages": 0}

    assert _jobs(orchestrator) == [_ids(range(1, 5))]


def test_repeated_run_submits_later_images_under_another_intent(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 5))
    orchestrator.run()
    _put_images(orchestrator, range(5, 9))

    [job] = orchestrator.run()["jobs"]

    assert job["intentId"] == "schedule-20261126T020000Z-1"
    assert _jobs(orchestrator) == [_ids(range(1, 5)), _ids(range(5, 9))]


def test_overlapping_runs_submit_each_image_once(orchestrator: Orchestrator, subtests: pytest.Subtests) -> None:
    """Another run, for the same time or another one, happens at each call of a run."""
    operations = ["Query", "PutItem", "BatchExecuteStatement", "UpdateItem", "CreateModelInvocationJob"]
    _put_images(orchestrator, range(1, 5))
    for operation in operations:
        for scheduled_time in ("2026-11-26T02:00:00Z", NEXT_NIGHT):
            with subtests.test(operation=operation, scheduled_time=scheduled_time):
                orchestrator.reset()
                orchestrator.stage.calls.before_call(operation, partial(_run_elsewhere, orchestrator, scheduled_time))

                orchestrator.run()

                assert _jobs(orchestrator) == [_ids(range(1, 5))]
                assert set(orchestrator.image_statuses().values()) == {"submitted"}


def test_next_run_continues_after_crash(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    calls = [("Query", 0), ("GetItem", 0), ("BatchGetItem", 0), ("PutItem", 0), ("BatchExecuteStatement", 0)]
    calls += [("GetObject", 0), ("UpdateItem", 0), ("PutObject", 0), ("BatchExecuteStatement", 1)]
    calls += [("UpdateItem", 1), ("CreateModelInvocationJob", 0), ("UpdateItem", 2)]
    clock = Clock(monkeypatch)
    _put_images(orchestrator, range(1, 5))
    for operation, number in calls:
        for is_same_time in (True, False):
            with subtests.test(operation=operation, number=number, is_same_time=is_same_time):
                orchestrator.reset()
                orchestrator.stage.calls.before_call(operation, crash, number)
                with pytest.raises(FunctionDiedError):
                    orchestrator.run()
                orchestrator.stage.calls.reset()

                if is_same_time:
                    orchestrator.run()
                else:
                    clock.advance(MAX_FUNCTION_SECONDS + 1)
                    orchestrator.run(NEXT_NIGHT)

                assert _jobs(orchestrator) == [_ids(range(1, 5))]
                assert set(orchestrator.image_statuses().values()) == {"submitted"}
                assert {item["attempts"] for item in orchestrator.stage.images().values()} == {1}


def test_run_spares_recent_submission_of_other_caller(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 5))
    orchestrator.stage.calls.crash_after("UpdateItem")
    with pytest.raises(FunctionDiedError):
        orchestrator.invoke(request(_ids(range(1, 5))))
    orchestrator.stage.calls.reset()

    assert orchestrator.run() == {"jobs": [], "waitingImages": 0}
    assert orchestrator.bedrock.jobs == {}

    assert orchestrator.invoke(request(_ids(range(1, 5))))["imageCount"] == 4


def test_run_without_time_leaves_images_waiting(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 5))

    response = orchestrator.invoke({"scheduledTime": NEXT_NIGHT}, lambda_context(seconds=149))

    assert response == {"jobs": [], "waitingImages": 4}
    assert len(orchestrator.run(NEXT_NIGHT)["jobs"]) == 1


def test_images_above_manifest_limit_are_in_next_job(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_images(orchestrator, range(1, 7))
    monkeypatch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", len(manifest_of(_ids([1, 2, 3]))))

    assert orchestrator.run()["waitingImages"] == 0

    assert _jobs(orchestrator) == [_ids([1, 2, 3]), _ids([4, 5, 6])]
    assert {item["attempts"] for item in orchestrator.stage.images().values()} == {1}


def test_full_manifest_leaves_later_images_unheld(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    _put_images(orchestrator, range(1, 10))
    monkeypatch.setenv("MAX_CONCURRENT_JOBS", "1")
    clear_orchestrator_caches()
    monkeypatch.setattr("batch_orchestrator.manifest.HELD_AT_A_TIME", 1)
    monkeypatch.setattr("batch_orchestrator.images.READ_AHEAD", 1)
    monkeypatch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", len(manifest_of(_ids([1, 2, 3]))))

    assert orchestrator.run()["waitingImages"] == 6

    assert _jobs(orchestrator) == [_ids([1, 2, 3])]
    images = orchestrator.stage.images()
    assert {(images[name]["status"], images[name].get("attempts", 0)) for name in _ids(range(4, 10))} == {
        ("pending", 0)
    }
    # The fourth image does not fit. The run has held it, one more that it was reading, and two ahead of them at most.
    assert {name for name in images if "intentId" not in images[name]} >= {"img-8", "img-9"}


def test_unreadable_image_fails_after_last_attempt(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 5))
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png")

    orchestrator.run()
    assert orchestrator.image_statuses()["img-1"] == "pending"
    _put_images(orchestrator, range(5, 8))
    orchestrator.run(NEXT_NIGHT)

    image = orchestrator.stage.images()["img-1"]
    assert (image["status"], image["failureReason"], image["attempts"]) == ("failed", "UNREADABLE", 2)
    assert _jobs(orchestrator) == [_ids([2, 3, 4]), _ids([5, 6, 7])]


def test_denied_reads_do_not_count_beside_other_reasons(orchestrator: Orchestrator) -> None:
    """No image can be read. One has an unsupported key, and another intent takes one of the others meanwhile."""
    _put_images(orchestrator, range(1, 7))
    orchestrator.stage.change(PENDING_IMAGES, {"imageId": "img-1"}, s3Key="user-1/img-1.heic")
    hold = {"status": "submitted", "intentId": "another", "submittedAt": "2026-11-25T13:00:00.000000Z"}
    take = partial(orchestrator.stage.change, PENDING_IMAGES, {"imageId": "img-2"}, **hold)
    orchestrator.stage.calls.before_call("BatchExecuteStatement", take)
    orchestrator.stage.calls.fail("GetObject", "AccessDenied")

    orchestrator.run()

    images = orchestrator.stage.images()
    assert {(images[name]["status"], images[name]["attempts"]) for name in _ids(range(3, 7))} == {("pending", 0)}
    assert images["img-1"]["status"] == "failed"


def test_unsupported_images_never_block_the_others(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 10))
    for image_id in _ids(range(1, 6)):
        orchestrator.stage.change(PENDING_IMAGES, {"imageId": image_id}, s3Key=f"user-1/{image_id}.heic")

    orchestrator.run()

    failed = {image_id for image_id, status in orchestrator.image_statuses().items() if status == "failed"}
    assert failed == {*_ids(range(1, 6))}
    assert orchestrator.stage.images()["img-1"]["failureReason"] == "UNSUPPORTED"
    assert _jobs(orchestrator) == [_ids(range(6, 10))]


def test_refused_images_wait_without_counting(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 4))
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png")

    assert orchestrator.run() == {"jobs": [], "waitingImages": 3}

    assert orchestrator.stage.items(BATCH_JOBS) == []
    attempts = {image_id: item["attempts"] for image_id, item in orchestrator.stage.images().items()}
    assert attempts == {"img-1": 1, "img-2": 0, "img-3": 0}
    assert set(orchestrator.image_statuses().values()) == {"pending"}


def test_image_without_upload_time_is_not_collected(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 4))
    orchestrator.put_unsubmitted_images(["img-4"])
    orchestrator.stage.aws.dynamodb.update_item(
        TableName=PENDING_IMAGES, Key={"imageId": {"S": "img-4"}}, UpdateExpression="REMOVE uploadedAt"
    )

    orchestrator.run()

    assert _jobs(orchestrator) == [_ids([1, 2, 3])]
    assert orchestrator.image_statuses()["img-4"] == "pending"


def test_changed_images_of_begun_intent_are_submitted_again(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user replaces a photograph after a crashed run has fixed its content."""
    clock = Clock(monkeypatch)
    _put_images(orchestrator, range(1, 5))
    _crash_after_first_update(orchestrator)
    orchestrator.stage.aws.s3.put_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png", Body=b"another photograph")
    clock.advance(MAX_FUNCTION_SECONDS + 1)

    [job] = orchestrator.run(NEXT_NIGHT)["jobs"]

    assert job["intentId"] == "schedule-20261127T020000Z-0"
    assert _jobs(orchestrator) == [_ids(range(1, 5))]
    assert [item["intentId"] for item in orchestrator.stage.items(BATCH_JOBS)] == [job["intentId"]]
    assert {item["attempts"] for item in orchestrator.stage.images().values()} == {1}


def test_images_of_deleted_intent_wait_again(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 5))
    orchestrator.run()
    orchestrator.stage.delete(BATCH_JOBS, orchestrator.item(INTENT))

    [job] = orchestrator.run(NEXT_NIGHT)["jobs"]

    assert job["imageCount"] == 4
    assert {item["attempts"] for item in orchestrator.stage.images().values()} == {2}


def _hold_elsewhere(orchestrator: Orchestrator, **job: str) -> None:
    """Write the hold of an image and the item of its job as another program may do."""
    _put_images(orchestrator, range(1, 6))
    hold = {"status": "submitted", "intentId": "other-1"}
    orchestrator.stage.change(PENDING_IMAGES, {"imageId": "img-1"}, **hold)
    if job:
        item = {name: {"S": value} for name, value in {"intentId": "other-1", **job}.items()}
        orchestrator.stage.aws.dynamodb.put_item(TableName=BATCH_JOBS, Item=item)


def test_hold_without_intent_is_released(orchestrator: Orchestrator) -> None:
    _hold_elsewhere(orchestrator)

    orchestrator.run()

    assert _jobs(orchestrator) == [_ids(range(1, 6))]


@pytest.mark.parametrize("status", ["SUBMITTED", "COMPLETED"])
def test_run_accepts_job_of_other_program(orchestrator: Orchestrator, status: str) -> None:
    _hold_elsewhere(
        orchestrator, jobId="otherjob1234", status=status, submitTime=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    )

    [job] = orchestrator.run()["jobs"]

    assert job["imageCount"] == 4
    assert orchestrator.image_statuses()["img-1"] == "submitted"


def test_invalid_intent_does_not_stop_other_images(orchestrator: Orchestrator, read_logs: LogReader) -> None:
    """Another program has written an item without a job. After the images are submitted, the run fails."""
    _hold_elsewhere(orchestrator, status="SUBMITTED")

    with pytest.raises(UnknownJobError, match="Correct the item"):
        orchestrator.run()

    assert orchestrator.item(INTENT)["pendingImageIds"] == _ids(range(2, 6))
    failures = [entry.get("intentId") for entry in read_logs() if entry.get("event") == "BATCH_SUBMIT_FAILED"]
    assert failures == ["other-1", None]
    orchestrator.stage.delete(BATCH_JOBS, {"intentId": "other-1"})
    _put_images(orchestrator, [6, 7])
    orchestrator.run(NEXT_NIGHT)
    assert _jobs(orchestrator)[1] == _ids([1, 6, 7])


def test_abandoned_intent_is_cleaned_up(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 4))
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png")
    # The second statements release the images of the abandoned intent.
    orchestrator.stage.calls.before_call("BatchExecuteStatement", crash, 1)
    with pytest.raises(FunctionDiedError):
        orchestrator.run()
    assert orchestrator.item(INTENT)["status"] == "ABANDONED"
    orchestrator.stage.calls.reset()

    assert orchestrator.run(NEXT_NIGHT)["jobs"] == []

    assert orchestrator.stage.items(BATCH_JOBS) == []
    assert set(orchestrator.image_statuses().values()) == {"pending"}


def test_refused_job_does_not_block_other_images(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, read_logs: LogReader
) -> None:
    clock = Clock(monkeypatch)
    _put_images(orchestrator, range(1, 5))
    orchestrator.bedrock.errors += [(400, "ValidationException")] * 2
    with pytest.raises(BedrockRefusedError):
        orchestrator.run()
    _put_images(orchestrator, range(5, 9))
    clock.advance(MAX_FUNCTION_SECONDS + 1)

    with pytest.raises(BedrockRefusedError):
        orchestrator.run(NEXT_NIGHT)

    assert _jobs(orchestrator) == [_ids(range(5, 9))]
    assert [entry["event"] for entry in read_logs() if "_aws" not in entry][-2:] == [
        "BATCH_SCHEDULE_ENDED",
        "BATCH_SUBMIT_FAILED",
    ]
    orchestrator.run("2026-11-28T02:00:00Z")
    assert _jobs(orchestrator) == [_ids(range(5, 9)), _ids(range(1, 5))]


def test_crash_before_release_of_left_out_images_recovers(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_images(orchestrator, range(1, 7))
    monkeypatch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", len(manifest_of(_ids([1, 2, 3]))))
    # The item has fixed three images, and the intent still holds the other three.
    _crash_after_first_update(orchestrator)

    orchestrator.run()

    assert _jobs(orchestrator) == [_ids([1, 2, 3]), _ids([4, 5, 6])]
    assert {item["attempts"] for item in orchestrator.stage.images().values()} == {1}


@pytest.mark.parametrize("crashes", [0, 1])
def test_changed_intent_releases_left_out_images(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, crashes: int
) -> None:
    _put_images(orchestrator, range(1, 7))
    monkeypatch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", len(manifest_of(_ids([1, 2, 3]))))
    _crash_after_first_update(orchestrator)
    orchestrator.stage.aws.s3.put_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png", Body=b"img-7")
    for _ in range(crashes):
        # The next run abandons the intent, and ends before it releases the images.
        _crash_after_first_update(orchestrator)
        assert orchestrator.item(INTENT)["status"] == "ABANDONED"

    orchestrator.run()

    assert _jobs(orchestrator) == [_ids([1, 2, 3]), _ids([4, 5, 6])]
    assert {item["attempts"] for item in orchestrator.stage.images().values()} == {1}


def test_images_of_earlier_beginning_wait_again(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 5))
    orchestrator.run()
    _put_images(orchestrator, range(5, 9))
    # After a repeated run has seen the intent, an operator deletes its item. So the run begins it again.
    delete = partial(orchestrator.stage.delete, BATCH_JOBS, {"intentId": INTENT})
    orchestrator.stage.calls.before_call("GetItem", delete, 1)
    assert [job["intentId"] for job in orchestrator.run()["jobs"]] == [INTENT]

    [job] = orchestrator.run(NEXT_NIGHT)["jobs"]

    assert orchestrator.item(INTENT)["pendingImageIds"] == _ids(range(5, 9))
    assert orchestrator.item(job["intentId"])["pendingImageIds"] == _ids(range(1, 5))


def _hold_in_threes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold three images at a time, read one, and put all waiting images into one job if they fit."""
    monkeypatch.setenv("JOB_SIZE", "20")
    clear_orchestrator_caches()
    monkeypatch.setattr("batch_orchestrator.manifest.HELD_AT_A_TIME", 3)
    monkeypatch.setattr("batch_orchestrator.images.HOLDS_AHEAD", 1)
    monkeypatch.setattr("batch_orchestrator.images.READ_AHEAD", 1)


def test_overtaken_run_releases_its_other_images(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run for the same time fixes the first three images. After that, this one holds the last three."""
    _put_images(orchestrator, range(1, 10))
    _hold_in_threes(monkeypatch)
    monkeypatch.setenv("MAX_CONCURRENT_JOBS", "1")
    clear_orchestrator_caches()

    def overtake() -> None:
        with monkeypatch.context() as patch:
            patch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", len(manifest_of(_ids([1, 2, 3]))))
            _run_elsewhere(orchestrator, "2026-11-26T02:00:00Z")

    orchestrator.stage.calls.before_call("GetObject", overtake)

    with pytest.raises(SubmissionLostError):
        orchestrator.run()

    assert _jobs(orchestrator) == [_ids([1, 2, 3])]
    images = orchestrator.stage.images()
    assert {(images[name]["status"], images[name].get("attempts", 0)) for name in _ids(range(4, 10))} == {
        ("pending", 0)
    }


def test_failed_hold_ahead_ends_the_run(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest is full, so nothing takes the images of the hold that fails."""
    _put_images(orchestrator, range(1, 10))
    _hold_in_threes(monkeypatch)
    monkeypatch.setattr("batch_orchestrator.images.HOLDS_AHEAD", 2)
    monkeypatch.setattr("yorutsuke_common.aws.dynamodb.WRITE_CHUNK", 1)
    monkeypatch.setattr("yorutsuke_common.aws.dynamodb.CONCURRENT_CALLS", 1)
    monkeypatch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", len(manifest_of(_ids([1, 2, 3]))))
    has_failed = threading.Event()

    def is_image_8(parameters: dict[str, Any]) -> bool:
        if "img-8" in str(parameters["Statements"]):
            has_failed.set()
        return "img-8" in str(parameters["Statements"])

    def wait_for_the_failure() -> None:
        assert has_failed.wait(30)

    orchestrator.stage.calls.fail("BatchExecuteStatement", "InternalServerError", is_image_8)
    # The image that does not fit.
    orchestrator.stage.calls.before_call("GetObject", wait_for_the_failure, 3)

    with pytest.raises(ClientError, match="InternalServerError"):
        orchestrator.run()

    assert orchestrator.bedrock.jobs == {}
    orchestrator.stage.calls.reset()
    # The next run does not come to the last three images, of which the first one has held one.
    monkeypatch.setattr("batch_orchestrator.images.HOLDS_AHEAD", 1)
    orchestrator.run()
    assert _jobs(orchestrator) == [_ids([1, 2, 3]), _ids([4, 5, 6]), _ids([7, 8, 9])]
    assert {item["attempts"] for item in orchestrator.stage.images().values()} == {1}


def test_throttled_holds_fail_the_run(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holds end before the time for the other steps is used up. The images do not count as too many."""
    _put_images(orchestrator, range(1, 5))
    monkeypatch.setattr("batch_orchestrator.scheduled_run.SECONDS_PER_JOB", 0)
    context, holds = lambda_context(seconds=0), list[float]()

    def milliseconds_left() -> float:
        """The time runs from the first hold on."""
        return 1000 * (SECONDS_TO_SUBMIT + 0.5 - (time.monotonic() - holds[0] if holds else 0))

    monkeypatch.setattr(context, "get_remaining_time_in_millis", milliseconds_left)
    orchestrator.stage.calls.fail(
        "BatchExecuteStatement", "ThrottlingException", lambda _: not holds.append(time.monotonic())
    )

    with pytest.raises(ThrottledError):
        orchestrator.invoke({"scheduledTime": NEXT_NIGHT}, context)

    orchestrator.stage.calls.reset()
    orchestrator.run(NEXT_NIGHT)
    assert _jobs(orchestrator) == [_ids(range(1, 5))]


def test_run_leaves_out_image_that_failed_meanwhile(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 5))
    orchestrator.stage.calls.before_call(
        "BatchGetItem",
        lambda: orchestrator.stage.change(PENDING_IMAGES, {"imageId": "img-1"}, status="failed"),
    )

    orchestrator.run()

    assert _jobs(orchestrator) == [_ids([2, 3, 4])]
    assert orchestrator.image_statuses()["img-1"] == "failed"


def test_full_quota_ends_run_without_error(orchestrator: Orchestrator, read_logs: LogReader) -> None:
    _put_images(orchestrator, range(1, 5))
    orchestrator.bedrock.errors += [(400, "ServiceQuotaExceededException")]
    assert orchestrator.run() == {"jobs": [], "waitingImages": 4}
    orchestrator.bedrock.errors += [(400, "ServiceQuotaExceededException")]
    _put_images(orchestrator, range(5, 9))

    assert orchestrator.run() == {"jobs": [], "waitingImages": 4}

    events = [entry["event"] for entry in read_logs() if "_aws" not in entry]
    assert events.count("BATCH_SCHEDULE_LIMITED") == 2
    assert len(orchestrator.run()["jobs"]) == 2
    assert _jobs(orchestrator) == [_ids(range(1, 5)), _ids(range(5, 9))]


def test_item_without_owner_or_key_fails(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 6))
    for image_id, name in (("img-1", "userId"), ("img-2", "s3Key")):
        orchestrator.stage.aws.dynamodb.update_item(
            TableName=PENDING_IMAGES, Key={"imageId": {"S": image_id}}, UpdateExpression=f"REMOVE {name}"
        )

    orchestrator.run()

    assert _jobs(orchestrator) == [_ids([3, 4, 5])]
    assert [orchestrator.image_statuses()[image_id] for image_id in ("img-1", "img-2")] == ["failed", "failed"]


@pytest.mark.parametrize("value", [{"NULL": True}, {"S": ""}, {"N": "1"}])
def test_attribute_without_text_counts_as_missing(orchestrator: Orchestrator, value: Any) -> None:
    """Another program may have written these attributes."""
    _put_images(orchestrator, range(1, 7))
    names = ("intentId", "submittedAt", "processedKey", "userId", "s3Key")
    for image_id, name in zip(_ids(range(1, 6)), names, strict=True):
        orchestrator.stage.aws.dynamodb.update_item(
            TableName=PENDING_IMAGES,
            Key={"imageId": {"S": image_id}},
            UpdateExpression=f"SET {name} = :value",
            ExpressionAttributeValues={":value": value},
        )

    orchestrator.run()

    assert _jobs(orchestrator) == [_ids([1, 2, 3, 6])]
    failed = {image_id for image_id, status in orchestrator.image_statuses().items() if status == "failed"}
    assert failed == {"img-4", "img-5"}


def test_overdue_job_is_reported_and_does_not_count(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setenv("MAX_CONCURRENT_JOBS", "1")
    clear_orchestrator_caches()
    _put_images(orchestrator, range(1, 5))
    orchestrator.run()
    clock.advance(timedelta(days=8, seconds=1).total_seconds())
    _put_images(orchestrator, range(5, 9))

    with pytest.raises(JobOverdueError, match="its end was never processed"):
        orchestrator.run(NEXT_NIGHT)

    assert _jobs(orchestrator) == [_ids(range(1, 5)), _ids(range(5, 9))]


def test_repeated_run_after_failed_job_submits_images_again(orchestrator: Orchestrator) -> None:
    _put_images(orchestrator, range(1, 5))
    orchestrator.run()
    orchestrator.stage.deliver(job_end("Failed", job_id=orchestrator.job().job_id))

    assert [job["intentId"] for job in orchestrator.run()["jobs"]] == ["schedule-20261126T020000Z-1"]

    assert _jobs(orchestrator) == [_ids(range(1, 5))] * 2


def test_resume_without_time_waits_for_the_next_run(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    _put_images(orchestrator, range(1, 5))
    _crash_after_first_update(orchestrator)
    clock.advance(MAX_FUNCTION_SECONDS + 1)

    orchestrator.invoke({"scheduledTime": NEXT_NIGHT}, lambda_context(seconds=149))

    assert orchestrator.item(INTENT)["status"] == "SUBMITTING"
    orchestrator.run(NEXT_NIGHT)
    assert _jobs(orchestrator) == [_ids(range(1, 5))]


@pytest.mark.parametrize("scheduled_time", ["", "tomorrow", None, 7])
def test_invalid_scheduled_time_is_refused(orchestrator: Orchestrator, scheduled_time: object) -> None:
    with pytest.raises(InvalidRequestError, match="scheduledTime is not a time"):
        orchestrator.invoke({"scheduledTime": scheduled_time})


def test_transactions_of_scheduled_job_have_their_owners(orchestrator: Orchestrator, stage: Stage) -> None:
    _put_images(orchestrator, [1, 2])
    _put_images(orchestrator, [3], "user-2")
    [job] = orchestrator.run()["jobs"]
    key = f"batch-output/{job['jobId']}/manifest.jsonl.out"

    assert stage.deliver(stage.put_output(*map(nova_record, _ids([1, 2, 3])), key=key)) == []

    owners = {image_id: item["userId"] for image_id, item in stage.transactions().items()}
    assert owners == {"img-1": "user-1", "img-2": "user-1", "img-3": "user-2"}
    assert set(orchestrator.image_statuses().values()) == {"processed"}

"""Tests of crashes and concurrent requests: an intent always ends with one job, one item and one manifest."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from batch_orchestrator.handler import job_submitter
from batch_orchestrator.settings import load_settings
from local.in_memory import FunctionDiedError
from local.lambda_context import lambda_context
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.errors import (
    IntentConflictError,
    IntentEndedError,
    InvalidRequestError,
    JobConflictError,
    RetryableError,
    SubmissionLostError,
    ThrottledError,
)

from .aws_calls import crash
from .conftest import LogReader
from .orchestrator_stage import (
    CLAUDE,
    IMAGE_IDS,
    MANIFEST,
    ORCHESTRATOR_CONTEXT,
    Orchestrator,
    clear_orchestrator_caches,
    manifest_of,
    request,
    submissions_of,
)
from .stage import BATCH_JOBS, BUCKET, PENDING_IMAGES

KEY = {"intentId": {"S": "intent-1"}}
OPERATIONS = [
    "GetItem",
    "BatchGetItem",
    "PutItem",
    "BatchExecuteStatement",
    "GetObject",
    "CreateMultipartUpload",
    "UploadPart",
    "UpdateItem",
    "CompleteMultipartUpload",
    "CreateModelInvocationJob",
]
"""The operations of a submission with a multipart upload, in the order of their first calls.

GetObject and UploadPart are called once per image, BatchExecuteStatement twice, and UpdateItem three times.
"""
CALLS = [(operation, 0) for operation in OPERATIONS] + [
    *((operation, number) for operation in ("GetObject", "UploadPart") for number in (1, 2)),
    *(("BatchExecuteStatement", number) for number in (1, 2, 3)),
    *(("UpdateItem", number) for number in (1, 2)),
]
"""All calls of a submission: each operation, and the number of its call, counted from 0."""
RESUMED_OPERATIONS = ["GetItem", "CreateModelInvocationJob", "UpdateItem"]
"""The operations of a submission that continues after the manifest is published."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upload each line of the manifest as its own part, and hold and read one image at a time."""
    monkeypatch.setattr("batch_orchestrator.manifest.HELD_AT_A_TIME", 1)
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 1)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    monkeypatch.setattr("yorutsuke_common.aws.calls.CONCURRENCY", 1)


def _require_one_job(orchestrator: Orchestrator, response: dict[str, Any]) -> None:
    job = orchestrator.job()
    assert job.manifest == manifest_of()
    assert orchestrator.manifests() == {MANIFEST: manifest_of()}
    [item] = orchestrator.stage.items(BATCH_JOBS)
    assert (item["jobId"], item["status"], item["pendingImageIds"]) == (job.job_id, "SUBMITTED", IMAGE_IDS)
    assert (response["jobId"], response["submitTime"]) == (job.job_id, item["submitTime"])
    expected, recorded = submissions_of(), orchestrator.submissions()
    assert {image_id: recorded[image_id] for image_id in expected} == expected


def test_submission_makes_expected_calls(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    orchestrator.invoke(request())

    operations = [operation for operation, _ in orchestrator.stage.calls.history]
    assert sorted(operations) == sorted(operation for operation, _ in CALLS)
    assert list(dict.fromkeys(operations)) == OPERATIONS


def _crash_and_retry(orchestrator: Orchestrator, *crashes: Callable[[], None]) -> None:
    """Invoke once for each crash, and check the result of a last invocation without a crash."""
    orchestrator.reset()
    for prepare in crashes:
        prepare()
        with pytest.raises(FunctionDiedError):
            orchestrator.invoke(request())
        orchestrator.stage.calls.reset()
    _require_one_job(orchestrator, orchestrator.invoke(request()))


def test_retry_succeeds_after_crash_before_any_call(orchestrator: Orchestrator, subtests: pytest.Subtests) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    for operation, number in CALLS:
        with subtests.test(operation=operation, number=number):
            _crash_and_retry(orchestrator, partial(orchestrator.stage.calls.before_call, operation, crash, number))


def test_retry_succeeds_after_crash_after_any_operation(orchestrator: Orchestrator, subtests: pytest.Subtests) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    for operation in OPERATIONS:
        with subtests.test(operation=operation):
            _crash_and_retry(orchestrator, partial(orchestrator.stage.calls.crash_after, operation))


def test_retry_succeeds_after_resumed_submission_crashes(orchestrator: Orchestrator, subtests: pytest.Subtests) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    calls = orchestrator.stage.calls
    for operation in RESUMED_OPERATIONS:
        for crash_at in (calls.crash_before, calls.crash_after):
            with subtests.test(operation=operation, crash=crash_at.__name__):
                published = partial(calls.before_call, "CreateModelInvocationJob", crash)
                _crash_and_retry(orchestrator, published, partial(crash_at, operation))
    for operation in OPERATIONS:
        if operation != "PutItem":
            with subtests.test(operation=operation, begun=True):
                begun = partial(calls.crash_after, "PutItem")
                _crash_and_retry(orchestrator, begun, partial(calls.crash_before, operation))
                fixed = partial(calls.crash_after, "UpdateItem")
                _crash_and_retry(orchestrator, fixed, partial(calls.crash_before, operation))


def test_concurrent_identical_requests_create_one_job(orchestrator: Orchestrator, subtests: pytest.Subtests) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    for operation, number in CALLS:
        with subtests.test(operation=operation, number=number):
            orchestrator.reset()
            responses: list[dict[str, Any]] = []
            submit = partial(_append_response, responses, orchestrator.invoke_in_second_environment, request())
            orchestrator.stage.calls.before_call(operation, submit, number)

            responses.append(orchestrator.invoke(request()))

            assert responses[0] == responses[1]
            _require_one_job(orchestrator, responses[0])


def test_concurrent_different_requests_create_one_job(orchestrator: Orchestrator, subtests: pytest.Subtests) -> None:
    orchestrator.put_unsubmitted_images([*IMAGE_IDS, "img-4"])
    for operation, number in CALLS:
        with subtests.test(operation=operation, number=number):
            orchestrator.reset()
            responses: list[dict[str, Any]] = []
            other = request([*IMAGE_IDS, "img-4"])
            submit = partial(_append_response, responses, orchestrator.invoke_in_second_environment, other)
            orchestrator.stage.calls.before_call(operation, submit, number)

            _append_response(responses, orchestrator.invoke, request())

            assert sorted(response.get("jobId", "409") for response in responses) == ["409", "job000000000"]
            assert orchestrator.job().manifest == manifest_of(orchestrator.item()["pendingImageIds"])
            assert orchestrator.manifests() == {MANIFEST: orchestrator.job().manifest}


def _append_response(
    responses: list[dict[str, Any]], invoke: Callable[[dict[str, Any]], dict[str, Any]], event: dict[str, Any]
) -> None:
    """Append the response of an invocation, or an empty one if the intent belongs to another request."""
    try:
        responses.append(invoke(event))
    except IntentConflictError:
        responses.append({})


def test_submission_preserves_concurrent_completion(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    def complete() -> None:
        orchestrator.invoke_in_second_environment(request())
        orchestrator.stage.aws.dynamodb.update_item(
            TableName=BATCH_JOBS,
            Key=KEY,
            UpdateExpression="SET #status = :completed",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":completed": {"S": "COMPLETED"}},
        )

    orchestrator.stage.calls.before_call("UpdateItem", complete, 2)

    assert orchestrator.invoke(request())["status"] == "COMPLETED"
    assert orchestrator.item()["status"] == "COMPLETED"


def test_conflicting_job_id_raises_error(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    def replace_job_id() -> None:
        orchestrator.stage.aws.dynamodb.update_item(
            TableName=BATCH_JOBS,
            Key=KEY,
            UpdateExpression="SET jobId = :other",
            ExpressionAttributeValues={":other": {"S": "otherjob0000"}},
        )

    orchestrator.stage.calls.before_call("UpdateItem", replace_job_id, 2)

    with pytest.raises(JobConflictError) as raised:
        orchestrator.invoke(request())

    assert str(raised.value) == (
        "Bedrock has created job 'job000000000' for intent 'intent-1', but the intent's item names job 'otherjob0000'. "
        "An intent has one job. Stop job 'job000000000' in Bedrock."
    )
    assert orchestrator.item()["jobId"] == "otherjob0000"


def test_recreated_item_does_not_get_earlier_job(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    def recreate_item() -> None:
        [item] = orchestrator.stage.items(BATCH_JOBS)
        orchestrator.stage.aws.dynamodb.put_item(
            TableName=BATCH_JOBS, Item=to_item({**item, "submitTime": "2026-11-24T00:00:00.000000Z"})
        )

    orchestrator.stage.calls.before_call("UpdateItem", recreate_item, 2)

    with pytest.raises(RetryableError, match=r"was deleted .* Stop that job, then send the request again"):
        orchestrator.invoke(request())

    item = orchestrator.item()
    assert (item["submitTime"], item.get("jobId")) == ("2026-11-24T00:00:00.000000Z", None)


def test_losing_invocation_keeps_the_first_manifest(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images([*IMAGE_IDS, "img-4"])
    all_images = request([*IMAGE_IDS, "img-4"])

    def submit_first() -> None:
        # The second environment cannot read an image that the first one has already read.
        orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-4.png")
        orchestrator.invoke_in_second_environment(all_images)

    orchestrator.stage.calls.before_call("UpdateItem", submit_first)

    with pytest.raises(SubmissionLostError, match="the images that can be sent have changed"):
        orchestrator.invoke(all_images)

    assert orchestrator.manifests() == {MANIFEST: manifest_of()}
    assert orchestrator.open_uploads() == 0
    orchestrator.stage.calls.reset()
    _require_one_job(orchestrator, orchestrator.invoke(all_images))


def test_begun_intent_leaves_out_deleted_image(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images([*IMAGE_IDS, "img-4"])
    all_images = request([*IMAGE_IDS, "img-4"])
    orchestrator.stage.calls.crash_after("BatchExecuteStatement")
    with pytest.raises(FunctionDiedError):
        orchestrator.invoke(all_images)
    orchestrator.stage.calls.reset()
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-4.png")

    response = orchestrator.invoke(all_images)

    assert response["leftOut"] == [{"imageId": "img-4", "reason": "UNREADABLE"}]
    _require_one_job(orchestrator, response)
    statuses = {image_id: item["status"] for image_id, item in orchestrator.stage.images().items()}
    assert statuses == {**dict.fromkeys(IMAGE_IDS, "submitted"), "img-4": "pending"}


def test_fixed_intent_with_deleted_images_raises_error(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images([*IMAGE_IDS, "img-4"])
    all_images = request([*IMAGE_IDS, "img-4"])
    _fix_and_crash(orchestrator, all_images)
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-4.png")

    with pytest.raises(SubmissionLostError, match="Delete the item, correct the cause"):
        orchestrator.invoke(all_images)

    assert (orchestrator.manifests(), orchestrator.bedrock.jobs) == ({}, {})
    orchestrator.stage.aws.dynamodb.delete_item(TableName=BATCH_JOBS, Key=KEY)
    _require_one_job(orchestrator, orchestrator.invoke(all_images))


def test_published_manifest_is_reused_without_images(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.stage.calls.crash_after("CreateModelInvocationJob")
    with pytest.raises(FunctionDiedError):
        orchestrator.invoke(request())
    orchestrator.stage.calls.reset()
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png")

    response = orchestrator.invoke(request())

    assert list(orchestrator.stage.calls.counts()) == RESUMED_OPERATIONS
    _require_one_job(orchestrator, response)


@pytest.mark.parametrize(("max_ids_bytes", "stored_ids"), [(300_000, IMAGE_IDS), (0, None)])
def test_image_added_after_fixing_is_left_out(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, max_ids_bytes: int, stored_ids: list[str] | None
) -> None:
    monkeypatch.setattr("batch_orchestrator.submit_job.MAX_IDS_BYTES", max_ids_bytes)
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    event = request(["img-0", *IMAGE_IDS, "img-4"])
    _fix_and_crash(orchestrator, event)
    orchestrator.put_unsubmitted_images(["img-0", "img-4"])

    response = orchestrator.invoke(event)

    left_out = [{"imageId": "img-0"}, {"imageId": "img-4"}]
    assert (response["imageCount"], response["leftOutCount"], response["leftOut"]) == (3, 2, left_out)
    assert orchestrator.item().get("pendingImageIds") == stored_ids
    assert orchestrator.job().manifest == manifest_of()


def _begin_and_crash(orchestrator: Orchestrator, event: dict[str, Any]) -> None:
    """Invoke once, and crash after the intent has begun and before its images are held."""
    _crash_after(orchestrator, "PutItem", event)


def _fix_and_crash(orchestrator: Orchestrator, event: dict[str, Any]) -> None:
    """Invoke once, and crash after the intent has fixed its images and before the manifest is published."""
    _crash_after(orchestrator, "UpdateItem", event)


def _crash_after(orchestrator: Orchestrator, operation: str, event: dict[str, Any]) -> None:
    orchestrator.stage.calls.crash_after(operation)
    with pytest.raises(FunctionDiedError):
        orchestrator.invoke(event)
    orchestrator.stage.calls.reset()


def test_resumed_intent_without_time_raises_error(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    _fix_and_crash(orchestrator, request())
    begun, uploads = orchestrator.item(), orchestrator.open_uploads()

    with pytest.raises(SubmissionLostError) as raised:
        orchestrator.invoke(request(), lambda_context(seconds=29))

    assert str(raised.value) == (
        f"intent 'intent-1' began at {begun['submitTime']} with 3 images, and the manifest cannot be written (only 0 "
        "of 3 images were read in 0 seconds; the function reserves its last 75 seconds for the submission). Another "
        "invocation may be continuing it, so send the same request again. If this error lasts for 15 minutes and the "
        "intent's item in batch-jobs has no manifestPublished, Bedrock has no job. Delete the item, correct the cause, "
        "and send the request again."
    )
    assert (orchestrator.item(), orchestrator.manifests(), orchestrator.open_uploads()) == (begun, {}, uploads)
    _require_one_job(orchestrator, orchestrator.invoke(request()))


def test_resumed_intent_with_oversized_manifest_raises_error(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    _fix_and_crash(orchestrator, request())
    uploads = orchestrator.open_uploads()
    monkeypatch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", len(manifest_of()) - 1)

    with pytest.raises(SubmissionLostError, match=r"; only 2 images fit\)\. Another.*Delete the item"):
        orchestrator.invoke(request())

    assert (orchestrator.manifests(), orchestrator.open_uploads()) == ({}, uploads)


def test_job_uses_role_of_begun_intent(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    role, other = (f"arn:aws:iam::123456789012:role/{name}" for name in ("before", "after"))
    for operation in OPERATIONS:
        with subtests.test(operation=operation):
            orchestrator.reset()
            monkeypatch.setenv("BEDROCK_ROLE_ARN", role)
            clear_orchestrator_caches()
            orchestrator.stage.calls.crash_after(operation)
            with pytest.raises(FunctionDiedError):
                orchestrator.invoke(request())
            orchestrator.stage.calls.reset()
            begun = [item["roleArn"] for item in orchestrator.stage.items(BATCH_JOBS)]
            monkeypatch.setenv("BEDROCK_ROLE_ARN", other)
            clear_orchestrator_caches()

            _require_one_job(orchestrator, orchestrator.invoke(request()))

            assert orchestrator.job().request["roleArn"] == orchestrator.item()["roleArn"] == (begun or [other])[0]


def test_job_uses_timeout_of_begun_intent(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    _begin_and_crash(orchestrator, request())
    monkeypatch.setenv("JOB_TIMEOUT_HOURS", "168")
    clear_orchestrator_caches()

    _require_one_job(orchestrator, orchestrator.invoke(request()))

    assert orchestrator.job().request["timeoutDurationInHours"] == orchestrator.item()["jobTimeoutHours"] == 48


def test_older_intent_without_timeout_is_resumed(orchestrator: Orchestrator) -> None:
    """A function of an earlier version has created the job, but did not record it."""
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    _begin_and_crash(orchestrator, request())
    orchestrator.stage.aws.dynamodb.update_item(
        TableName=BATCH_JOBS, Key=KEY, UpdateExpression="REMOVE jobTimeoutHours"
    )

    _require_one_job(orchestrator, orchestrator.invoke(request()))

    assert "timeoutDurationInHours" not in orchestrator.job().request
    assert "jobTimeoutHours" not in orchestrator.item()


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "CreateModelInvocationJob"])
def test_begun_intent_keeps_its_invocation_type(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """The default model of the stage changes after the intent has begun."""
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    monkeypatch.setenv("MODEL_IDS", CLAUDE)
    clear_orchestrator_caches()
    orchestrator.stage.calls.crash_after(operation)
    with pytest.raises(FunctionDiedError):
        orchestrator.invoke(request())
    orchestrator.stage.calls.reset()
    monkeypatch.setenv("MODEL_IDS", "amazon.nova-lite-v1:0")
    clear_orchestrator_caches()

    orchestrator.invoke(request())

    [job] = orchestrator.bedrock.jobs.values()
    assert (job.request["modelId"], job.request["modelInvocationType"]) == (CLAUDE, "Converse")
    assert job.manifest == manifest_of(invocation_type="Converse")


def test_changed_default_model_keeps_the_first_manifest(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    def submit_first() -> None:
        monkeypatch.setenv("MODEL_IDS", CLAUDE)
        load_settings.cache_clear()
        orchestrator.invoke_in_second_environment(request())

    orchestrator.stage.calls.before_call("PutItem", submit_first)

    assert orchestrator.invoke(request())["modelId"] == CLAUDE

    assert orchestrator.manifests() == {MANIFEST: manifest_of(invocation_type="Converse")}
    assert orchestrator.open_uploads() == 0
    assert orchestrator.job().request["modelInvocationType"] == "Converse"


def test_manifest_of_deleted_item_is_not_reused(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images([*IMAGE_IDS, "img-4"])
    orchestrator.invoke(request([*IMAGE_IDS, "img-4"]))
    orchestrator.stage.aws.dynamodb.delete_item(TableName=BATCH_JOBS, Key=KEY)
    orchestrator.bedrock.jobs.clear()
    _begin_and_crash(orchestrator, request())

    response = orchestrator.invoke(request())

    assert (response["jobId"], response["imageCount"]) == (orchestrator.job().job_id, 3)
    assert orchestrator.job().manifest == manifest_of()


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("GetItem", "ProvisionedThroughputExceededException"),
        ("BatchGetItem", "InternalServerError"),
        ("GetObject", "SlowDown"),
        ("UploadPart", "InternalError"),
        ("PutItem", "ThrottlingException"),
        ("CompleteMultipartUpload", "SlowDown"),
        ("BatchExecuteStatement", "InternalServerError"),
        ("CreateModelInvocationJob", "ThrottlingException"),
        ("UpdateItem", "InternalServerError"),
    ],
)
def test_retry_succeeds_after_persistent_call_failure(
    orchestrator: Orchestrator, read_logs: LogReader, operation: str, code: str
) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.stage.calls.fail(operation, code)

    with pytest.raises(Exception, match=code):
        orchestrator.invoke(request())

    assert read_logs()[-1]["detail"] == f"{operation}: {code}"
    assert orchestrator.open_uploads() == 0
    orchestrator.stage.calls.reset()
    _require_one_job(orchestrator, orchestrator.invoke(request()))


@pytest.mark.parametrize("operation", ["BatchGetItem", "BatchExecuteStatement"])
def test_retry_succeeds_after_persistent_throttling(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, read_logs: LogReader, operation: str
) -> None:
    # The function has no time for retries.
    seconds = ORCHESTRATOR_CONTEXT.get_remaining_time_in_millis() / 1000
    monkeypatch.setattr("batch_orchestrator.submit_job.RESERVED_SECONDS", seconds)
    monkeypatch.setattr("batch_orchestrator.submit_job.SECONDS_TO_SUBMIT", seconds)
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    throttled = iter(range(50))
    orchestrator.stage.calls.fail(operation, "ThrottlingException", when=lambda _: next(throttled, None) is not None)

    with pytest.raises(ThrottledError, match=r"was used up\. After 1 attempts"):
        orchestrator.invoke(request())

    assert [entry["event"] for entry in read_logs()][-2:] == ["DYNAMODB_THROTTLED_FINAL", "BATCH_SUBMIT_FAILED"]
    assert orchestrator.bedrock.jobs == {}
    orchestrator.stage.calls.reset()
    _require_one_job(orchestrator, orchestrator.invoke(request()))


def test_intent_that_ends_meanwhile_releases_its_images(orchestrator: Orchestrator) -> None:
    """Another invocation abandons the intent, while this one holds and reads the images one by one."""
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    def abandon() -> None:
        submitter = job_submitter()
        submission = submitter.jobs.find_submission("intent-1")
        assert submission
        assert submitter.abandon(submission, IMAGE_IDS)

    orchestrator.stage.calls.before_call("GetObject", abandon, 1)

    with pytest.raises(IntentEndedError, match="Send the request again"):
        orchestrator.invoke(request())

    assert {(image["status"], image["attempts"]) for image in orchestrator.stage.images().values()} == {("pending", 0)}
    orchestrator.stage.calls.reset()
    _require_one_job(orchestrator, orchestrator.invoke(request()))


def test_unprocessed_keys_are_read_again(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    unprocessed: list[str] = []

    def respond(params: dict[str, Any]) -> dict[str, Any] | None:
        if len(unprocessed) == 3:
            return None
        unprocessed.append(PENDING_IMAGES)
        return {"Responses": {}, "UnprocessedKeys": params["RequestItems"]}

    orchestrator.stage.calls.replace_response("BatchGetItem", respond)

    _require_one_job(orchestrator, orchestrator.invoke(request()))


def test_bedrock_throttling_is_retried(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.bedrock.errors += [(429, "ThrottlingException"), (500, "InternalServerException")]

    _require_one_job(orchestrator, orchestrator.invoke(request()))

    assert orchestrator.bedrock.errors == []


def test_corrected_request_succeeds_after_refusal(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS[:2])
    with pytest.raises(InvalidRequestError):
        orchestrator.invoke(request())
    orchestrator.put_unsubmitted_images(IMAGE_IDS[2:])

    _require_one_job(orchestrator, orchestrator.invoke(request()))

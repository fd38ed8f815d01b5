"""Whatever dies or meets another, an intent ends with one job, one record, and the manifest of its images."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from local.in_memory import FunctionDiedError
from local.lambda_context import lambda_context
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.errors import (
    IntentConflictError,
    InvalidRequestError,
    JobConflictError,
    RetryableError,
    SubmissionLostError,
)

from .conftest import LogReader
from .orchestrator_stage import IMAGE_IDS, MANIFEST, Orchestrator, forget_environment, manifest_of, request
from .stage import BATCH_JOBS, BUCKET, PENDING_IMAGES

KEY = {"intentId": {"S": "intent-1"}}
OPERATIONS = [
    "GetItem",
    "BatchGetItem",
    "GetObject",
    "CreateMultipartUpload",
    "UploadPart",
    "PutItem",
    "CompleteMultipartUpload",
    "UpdateItem",
    "CreateModelInvocationJob",
]
"""What is called, in order, for a manifest in parts: GetObject and UploadPart for each image, and UpdateItem again."""
CALLS = [(operation, 0) for operation in OPERATIONS] + [
    *((operation, number) for operation in ("GetObject", "UploadPart") for number in (1, 2)),
    ("UpdateItem", 1),
]
RESUMED = ["GetItem", "CreateModelInvocationJob", "UpdateItem"]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every line be a part of its own, and one image be read at a time."""
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 1)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    monkeypatch.setattr("yorutsuke_common.aws.calls.CONCURRENCY", 1)


def _at(orchestrator: Orchestrator, operation: str, number: int, act: Callable[[], None]) -> None:
    """Let something happen just before a call of an operation, counted from 0."""
    before: list[str] = []

    def answer(_: dict[str, Any]) -> None:
        before.append(operation)
        if len(before) == number + 1:
            act()

    orchestrator.stage.calls.answer(operation, answer)


def _die() -> None:
    raise FunctionDiedError


def _require_one_job(orchestrator: Orchestrator, answer: dict[str, Any]) -> None:
    job = orchestrator.job()
    assert job.manifest == manifest_of()
    assert orchestrator.manifests() == {MANIFEST: manifest_of()}
    [record] = orchestrator.stage.items(BATCH_JOBS)
    assert (record["jobId"], record["status"], record["pendingImageIds"]) == (job.job_id, "SUBMITTED", IMAGE_IDS)
    assert (answer["jobId"], answer["submitTime"]) == (job.job_id, record["submitTime"])


def test_these_are_the_calls_that_a_submission_makes(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)

    orchestrator.invoke(request())

    made = [operation for operation, _ in orchestrator.stage.calls.made]
    assert sorted(made) == sorted(operation for operation, _ in CALLS)
    assert list(dict.fromkeys(made)) == OPERATIONS


def _dies_and_is_run_again(orchestrator: Orchestrator, *deaths: Callable[[], None]) -> None:
    """Let a function die in each of these ways, one after the other, and hold what the next one ends with."""
    orchestrator.start_over()
    for prepare in deaths:
        prepare()
        with pytest.raises(FunctionDiedError):
            orchestrator.invoke(request())
        orchestrator.stage.calls.forget()
    _require_one_job(orchestrator, orchestrator.invoke(request()))


def test_a_function_that_dies_before_any_call_leaves_what_the_next_one_goes_on_from(
    orchestrator: Orchestrator, subtests: pytest.Subtests
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    for operation, number in CALLS:
        with subtests.test(operation=operation, number=number):
            _dies_and_is_run_again(orchestrator, partial(_at, orchestrator, operation, number, _die))


def test_a_function_that_dies_after_any_call_leaves_what_the_next_one_goes_on_from(
    orchestrator: Orchestrator, subtests: pytest.Subtests
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    for operation in OPERATIONS:
        with subtests.test(operation=operation):
            _dies_and_is_run_again(orchestrator, partial(orchestrator.stage.calls.die_after, operation))


def test_a_function_that_goes_on_from_another_may_die_at_any_call_as_well(
    orchestrator: Orchestrator, subtests: pytest.Subtests
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    calls = orchestrator.stage.calls
    for operation in RESUMED:
        for die in (calls.die_before, calls.die_after):
            with subtests.test(operation=operation, die=die.__name__):
                published = partial(calls.die_after, "UpdateItem")
                _dies_and_is_run_again(orchestrator, published, partial(die, operation))
    for operation in OPERATIONS:
        if operation != "PutItem":
            with subtests.test(operation=operation, claimed=True):
                claimed = partial(calls.die_after, "PutItem")
                _dies_and_is_run_again(orchestrator, claimed, partial(calls.die_before, operation))


def test_a_function_that_meets_another_on_the_same_intent_at_any_call_ends_with_the_same_job(
    orchestrator: Orchestrator, subtests: pytest.Subtests
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    for operation, number in CALLS:
        with subtests.test(operation=operation, number=number):
            orchestrator.start_over()
            answers: list[dict[str, Any]] = []
            meet = partial(_answered, answers, orchestrator.invoke_elsewhere, request())
            _at(orchestrator, operation, number, meet)

            answers.append(orchestrator.invoke(request()))

            assert answers[0] == answers[1]
            _require_one_job(orchestrator, answers[0])


def test_a_function_that_meets_another_request_under_its_intent_at_any_call_submits_one_of_them(
    orchestrator: Orchestrator, subtests: pytest.Subtests
) -> None:
    orchestrator.stage.put_images([*IMAGE_IDS, "img-4"])
    for operation, number in CALLS:
        with subtests.test(operation=operation, number=number):
            orchestrator.start_over()
            answers: list[dict[str, Any]] = []
            other = request([*IMAGE_IDS, "img-4"])
            _at(orchestrator, operation, number, partial(_answered, answers, orchestrator.invoke_elsewhere, other))

            _answered(answers, orchestrator.invoke, request())

            assert sorted(answer.get("jobId", "409") for answer in answers) == ["409", "job000000000"]
            assert orchestrator.job().manifest == manifest_of(orchestrator.record()["pendingImageIds"])
            assert orchestrator.manifests() == {MANIFEST: orchestrator.job().manifest}


def _answered(
    answers: list[dict[str, Any]], invoke: Callable[[dict[str, Any]], dict[str, Any]], event: dict[str, Any]
) -> None:
    """Add what an invocation answers, which is nothing where the intent was begun with another request."""
    try:
        answers.append(invoke(event))
    except IntentConflictError:
        answers.append({})


def test_what_comes_of_the_job_meanwhile_is_not_undone(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)

    def complete() -> None:
        orchestrator.invoke_elsewhere(request())
        orchestrator.stage.aws.dynamodb.update_item(
            TableName=BATCH_JOBS,
            Key=KEY,
            UpdateExpression="SET #status = :completed",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":completed": {"S": "COMPLETED"}},
        )

    _at(orchestrator, "UpdateItem", 1, complete)

    assert orchestrator.invoke(request())["status"] == "COMPLETED"
    assert orchestrator.record()["status"] == "COMPLETED"


def test_a_job_whose_record_has_another_by_now_is_named(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)

    def take_over() -> None:
        orchestrator.stage.aws.dynamodb.update_item(
            TableName=BATCH_JOBS,
            Key=KEY,
            UpdateExpression="SET jobId = :other",
            ExpressionAttributeValues={":other": {"S": "otherjob0000"}},
        )

    _at(orchestrator, "UpdateItem", 1, take_over)

    with pytest.raises(JobConflictError) as raised:
        orchestrator.invoke(request())

    assert str(raised.value) == (
        "Bedrock has created job 'job000000000' for intent 'intent-1', but the intent's record names another job. An "
        "intent has one job. Stop job 'job000000000' in Bedrock."
    )
    assert orchestrator.record()["jobId"] == "otherjob0000"


def test_a_record_that_was_begun_anew_meanwhile_is_not_given_the_former_ones_job(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)

    def begin_anew() -> None:
        [item] = orchestrator.stage.items(BATCH_JOBS)
        orchestrator.stage.aws.dynamodb.put_item(
            TableName=BATCH_JOBS, Item=to_item({**item, "submitTime": "2026-11-24T00:00:00.000000Z"})
        )

    _at(orchestrator, "UpdateItem", 1, begin_anew)

    with pytest.raises(RetryableError, match=r"was deleted .* Stop that job, then send the request again"):
        orchestrator.invoke(request())

    record = orchestrator.record()
    assert (record["submitTime"], record.get("jobId")) == ("2026-11-24T00:00:00.000000Z", None)


def test_a_run_that_found_other_images_than_the_one_that_was_first_writes_nothing_over_its_manifest(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.stage.put_images([*IMAGE_IDS, "img-4"])
    everything = request([*IMAGE_IDS, "img-4"])

    def be_second() -> None:
        # The other one no longer finds an image that this one has read.
        orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-4.png")
        orchestrator.invoke_elsewhere(everything)

    _at(orchestrator, "PutItem", 0, be_second)

    with pytest.raises(SubmissionLostError, match="the images that can be sent have changed"):
        orchestrator.invoke(everything)

    assert orchestrator.manifests() == {MANIFEST: manifest_of()}
    assert orchestrator.uploads() == 0
    orchestrator.stage.calls.forget()
    _require_one_job(orchestrator, orchestrator.invoke(everything))


def test_a_claim_whose_images_are_gone_by_now_is_not_gone_on_from_and_says_what_to_do(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.stage.put_images([*IMAGE_IDS, "img-4"])
    everything = request([*IMAGE_IDS, "img-4"])
    _claim_and_die(orchestrator, everything)
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-4.png")

    with pytest.raises(SubmissionLostError, match="delete the record first"):
        orchestrator.invoke(everything)

    assert (orchestrator.manifests(), orchestrator.bedrock.jobs) == ({}, {})
    orchestrator.stage.aws.dynamodb.delete_item(TableName=BATCH_JOBS, Key=KEY)
    _require_one_job(orchestrator, orchestrator.invoke(everything))


def test_a_manifest_that_is_there_is_not_written_again_though_its_images_are_gone(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    orchestrator.stage.calls.die_after("CreateModelInvocationJob")
    with pytest.raises(FunctionDiedError):
        orchestrator.invoke(request())
    orchestrator.stage.calls.forget()
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-1.png")

    answer = orchestrator.invoke(request())

    assert list(orchestrator.stage.calls.counts()) == RESUMED
    _require_one_job(orchestrator, answer)


@pytest.mark.parametrize(("max_ids_bytes", "kept"), [(300_000, IMAGE_IDS), (0, None)])
def test_an_image_that_came_after_the_claim_is_not_in_its_job(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, max_ids_bytes: int, kept: list[str] | None
) -> None:
    monkeypatch.setattr("batch_orchestrator.submit_job.MAX_IDS_BYTES", max_ids_bytes)
    orchestrator.stage.put_images(IMAGE_IDS)
    more = request(["img-0", *IMAGE_IDS, "img-4"])
    _claim_and_die(orchestrator, more)
    orchestrator.stage.put_images(["img-0", "img-4"])

    answer = orchestrator.invoke(more)

    left_out = [{"imageId": "img-0"}, {"imageId": "img-4"}]
    assert (answer["imageCount"], answer["leftOutCount"], answer["leftOut"]) == (3, 2, left_out)
    assert orchestrator.record().get("pendingImageIds") == kept
    assert orchestrator.job().manifest == manifest_of()


def _claim_and_die(orchestrator: Orchestrator, event: dict[str, Any]) -> None:
    """Let a function die that has claimed an intent, and written no manifest."""
    orchestrator.stage.calls.die_after("PutItem")
    with pytest.raises(FunctionDiedError):
        orchestrator.invoke(event)
    orchestrator.stage.calls.forget()


def test_a_claim_whose_manifest_cannot_be_written_in_time_says_what_to_do(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    _claim_and_die(orchestrator, request())
    claimed, uploads = orchestrator.record(), orchestrator.uploads()

    with pytest.raises(SubmissionLostError) as raised:
        orchestrator.invoke(request(), lambda_context(seconds=29))

    assert str(raised.value) == (
        f"intent 'intent-1' began at {claimed['submitTime']} with 3 images, and the manifest cannot be written (only 0 "
        "of 3 images were read in 0 seconds. The function reserves its last 30 seconds for the submission. Request "
        "fewer images, with a new intentId). Another function may be continuing it, so send the request again. If the "
        "record is older than 15 minutes and has no manifestPublished, Bedrock has no job: delete the record first."
    )
    assert (orchestrator.record(), orchestrator.manifests(), orchestrator.uploads()) == (claimed, {}, uploads)
    _require_one_job(orchestrator, orchestrator.invoke(request()))


def test_a_claim_whose_manifest_is_too_large_by_now_says_what_to_do(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    _claim_and_die(orchestrator, request())
    uploads = orchestrator.uploads()
    monkeypatch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", len(manifest_of()) - 1)

    with pytest.raises(SubmissionLostError, match=r"Only 2 images fit.*delete the record first"):
        orchestrator.invoke(request())

    assert (orchestrator.manifests(), orchestrator.uploads()) == ({}, uploads)


def test_bedrock_is_told_the_claims_own_role_whatever_the_stage_has_by_now(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    role, other = (f"arn:aws:iam::123456789012:role/{name}" for name in ("before", "after"))
    for operation in OPERATIONS:
        with subtests.test(operation=operation):
            orchestrator.start_over()
            monkeypatch.setenv("BEDROCK_ROLE_ARN", role)
            forget_environment()
            orchestrator.stage.calls.die_after(operation)
            with pytest.raises(FunctionDiedError):
                orchestrator.invoke(request())
            orchestrator.stage.calls.forget()
            claims = [record["roleArn"] for record in orchestrator.stage.items(BATCH_JOBS)]
            monkeypatch.setenv("BEDROCK_ROLE_ARN", other)
            forget_environment()

            _require_one_job(orchestrator, orchestrator.invoke(request()))

            assert orchestrator.job().request["roleArn"] == orchestrator.record()["roleArn"] == (claims or [other])[0]


def test_the_manifest_of_an_earlier_record_is_not_taken_for_the_claims(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images([*IMAGE_IDS, "img-4"])
    orchestrator.invoke(request([*IMAGE_IDS, "img-4"]))
    orchestrator.stage.aws.dynamodb.delete_item(TableName=BATCH_JOBS, Key=KEY)
    orchestrator.bedrock.jobs.clear()
    _claim_and_die(orchestrator, request())

    _require_one_job(orchestrator, orchestrator.invoke(request()))


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("GetItem", "ProvisionedThroughputExceededException"),
        ("BatchGetItem", "ThrottlingException"),
        ("GetObject", "SlowDown"),
        ("UploadPart", "InternalError"),
        ("PutItem", "ThrottlingException"),
        ("CompleteMultipartUpload", "SlowDown"),
        ("CreateModelInvocationJob", "ThrottlingException"),
        ("UpdateItem", "InternalServerError"),
    ],
)
def test_a_call_that_stays_refused_fails_the_request_and_sending_it_again_ends_well(
    orchestrator: Orchestrator, logged: LogReader, operation: str, code: str
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    orchestrator.stage.calls.fail(operation, code)

    with pytest.raises(Exception, match=code):
        orchestrator.invoke(request())

    assert logged()[-1]["detail"] == f"{operation}: {code}"
    assert orchestrator.uploads() == 0
    orchestrator.stage.calls.forget()
    _require_one_job(orchestrator, orchestrator.invoke(request()))


def test_keys_that_dynamodb_hands_back_are_read_again(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    handed_back: list[str] = []

    def answer(params: dict[str, Any]) -> dict[str, Any] | None:
        if len(handed_back) == 3:
            return None
        handed_back.append(PENDING_IMAGES)
        return {"Responses": {}, "UnprocessedKeys": params["RequestItems"]}

    orchestrator.stage.calls.answer("BatchGetItem", answer)

    _require_one_job(orchestrator, orchestrator.invoke(request()))


def test_bedrocks_throttles_are_waited_out(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    orchestrator.stage.put_images(IMAGE_IDS)
    orchestrator.bedrock.errors += [(429, "ThrottlingException"), (500, "InternalServerException")]

    _require_one_job(orchestrator, orchestrator.invoke(request()))

    assert orchestrator.bedrock.errors == []


def test_a_refused_request_can_be_sent_again_once_it_is_in_order(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS[:2])
    with pytest.raises(InvalidRequestError):
        orchestrator.invoke(request())
    orchestrator.stage.put_images(IMAGE_IDS[2:])

    _require_one_job(orchestrator, orchestrator.invoke(request()))

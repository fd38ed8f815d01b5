"""Tests of `resubmit` and of `job --images` on a stage with a stand-in for Bedrock."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from local.bedrock.jobs import RequestRefusedError
from local.emulator import Emulator
from local.job_run import MODEL_ID, JobRun
from local.loop import Loop, running_loop
from local.receipts import simple_lines
from yorutsuke.errors import UnfinishedError
from yorutsuke_common.aws.dynamodb import from_item, to_item
from yorutsuke_common.names import JOB_ID_INDEX, SCHEDULE, physical_name

from .conftest import NewJobRun, own_receipts
from .operator_stage import Operator, make_operator

MIN_RECORDS = 3
DEAD_LETTER = '{{"customData": "{}", "output": {{"text": "?"}}}}'


@pytest.fixture(scope="module")
def loop(stage: JobRun) -> Generator[Loop]:
    """A stage that accepts jobs with three images."""
    name, functions = stage.outputs["orchestratorName"], stage.aws.lambda_
    before: Any = functions.get_function_configuration(FunctionName=name)["Environment"]
    with running_loop(stage, MIN_RECORDS) as running:
        variables = functions.get_function_configuration(FunctionName=name)["Environment"].get("Variables", {})
        smaller: Any = {"Variables": {**variables, "MIN_RECORDS": str(MIN_RECORDS)}}
        functions.update_function_configuration(FunctionName=name, Environment=smaller)
        yield running
    functions.update_function_configuration(FunctionName=name, Environment=before)


@pytest.fixture(scope="module")
def operator(emulator: Emulator, loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return make_operator(emulator, loop.stage, tmp_path_factory.mktemp("resubmit"))


@pytest.fixture
def failed_job(new_job_run: NewJobRun) -> JobRun:
    """A job of three images that Bedrock ended as Failed, which released the images."""
    job_run = new_job_run()
    image_ids = _image_ids(job_run, MIN_RECORDS)
    job_run.seed_images(image_ids)
    job_run.seed_job(image_ids)
    job_run.end_job("Failed", "The model could not be reached.")
    job_run.wait_until(lambda job: job["status"] == "FAILED", "be FAILED")
    return job_run


@pytest.fixture
def schedule(stage: JobRun) -> Generator[None]:
    name = physical_name(SCHEDULE, "local")
    target = {
        "Arn": "arn:aws:lambda:ap-northeast-1:000000000000:function:f",
        "RoleArn": "arn:aws:iam::000000000000:role/r",
    }
    stage.aws.scheduler.create_schedule(
        Name=name, ScheduleExpression="rate(365 days)", FlexibleTimeWindow={"Mode": "OFF"}, Target=target
    )
    yield
    stage.aws.scheduler.delete_schedule(Name=name)


def _image_ids(job_run: JobRun, count: int) -> list[str]:
    return [receipt.image_id for receipt in own_receipts(job_run, count)]


def _complete(job_run: JobRun, good: int, bad: int, missing: int = 0) -> list[str]:
    """Complete a job with good records, bad records and images without a record, and return the ids of its images."""
    image_ids = _image_ids(job_run, good + bad + missing)
    job_run.seed_images(image_ids)
    job_run.seed_job(image_ids)
    lines = [*simple_lines(own_receipts(job_run, good))] if good else []
    job_run.drop_lines([*lines, *(DEAD_LETTER.format(image_id) for image_id in image_ids[good : good + bad])])
    job_run.wait_until_completed()
    return image_ids


def _change(job_run: JobRun, image_ids: Sequence[str], **attributes: object) -> None:
    """Set attributes of images."""
    for image_id in image_ids:
        job_run.aws.dynamodb.update_item(
            TableName=job_run.outputs["pendingImagesTable"],
            Key={"imageId": {"S": image_id}},
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
            ExpressionAttributeNames={f"#{name}": name for name in attributes},
            ExpressionAttributeValues=to_item({f":{name}": value for name, value in attributes.items()}),
        )


def _images(job_run: JobRun, image_ids: Sequence[str]) -> list[dict[str, Any]]:
    keys: Any = [{"imageId": {"S": image_id}} for image_id in image_ids]
    table = job_run.outputs["pendingImagesTable"]
    found = job_run.aws.dynamodb.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
    return sorted((from_item(item) for item in found["Responses"][table]), key=lambda image: image["imageId"])


def _statuses(job_run: JobRun, image_ids: Sequence[str]) -> list[str]:
    return [image["status"] for image in _images(job_run, image_ids)]


@contextmanager
def _new_jobs(loop: Loop) -> Generator[Callable[[], list[str]]]:
    """Yield a function that returns the jobs that Bedrock has received since. Finish them at the end."""
    before = {*loop.bedrock.waiting()}
    yield lambda: sorted({*loop.bedrock.waiting()} - before)
    for job_id in {*loop.bedrock.waiting()} - before:
        loop.bedrock.finish(job_id)


def test_images_of_failed_job_become_one_job(operator: Operator, loop: Loop, failed_job: JobRun) -> None:
    ids = _image_ids(failed_job, MIN_RECORDS)

    with _new_jobs(loop) as new_jobs:
        shown = operator("resubmit", failed_job.job_id, "--dry-run")
        nothing_yet = new_jobs()
        answer = operator("resubmit", failed_job.job_id, "--yes", "--json").json
        again = operator("resubmit", failed_job.job_id, "--yes")
        jobs = new_jobs()

    assert (shown.code, nothing_yet) == (0, []), shown.err
    assert "images to submit: NO_RECORD │ 3" in " ".join(shown.out.split())
    assert "This dry run changed nothing." in shown.message
    assert jobs == [answer["job"]["jobId"]]
    assert (answer["images"], answer["reasons"], answer["leftOut"]) == (3, {"NO_RECORD": 3}, {})
    new = JobRun(loop.stage.aws, loop.stage.outputs, job_id=jobs[0], intent=answer["intentId"]).job()
    assert (new["userId"], new["modelId"]) == (failed_job.job()["userId"], failed_job.job()["modelId"])
    assert {(image["intentId"], image["attempts"]) for image in _images(failed_job, ids)} == {(answer["intentId"], 2)}
    assert again.code == 1
    assert "images left out: in another job │ 3" in " ".join(again.out.split())
    assert again.message.startswith(f"NotFoundError: job '{failed_job.job_id}' does not have images that can be")


def test_command_continues_the_submission_that_it_began(operator: Operator, loop: Loop, failed_job: JobRun) -> None:
    with _new_jobs(loop) as new_jobs:
        with patch.object(loop.bedrock, "create", side_effect=RequestRefusedError("the model is not enabled")):
            refused = operator("resubmit", failed_job.job_id, "--yes")
        nothing_yet = new_jobs()
        continued = operator("resubmit", failed_job.job_id, answer="y\n")
        jobs = new_jobs()

    assert (refused.code, nothing_yet) == (1, [])
    assert "the model is not enabled" in refused.message
    assert (continued.code, len(jobs)) == (0, 1), continued.err
    assert "continues the job of intent resubmit-" in continued.out
    assert f"Job {jobs[0]} was submitted with 3 images." in continued.message


def test_first_model_replaces_a_removed_one(operator: Operator, loop: Loop, failed_job: JobRun) -> None:
    lost = {**failed_job.job(), "modelId": "amazon.nova-retired-v1:0", "inputUri": "s3://bucket/folder/"}
    failed_job.aws.dynamodb.put_item(TableName=failed_job.outputs["batchJobsTable"], Item=to_item(lost))

    with _new_jobs(loop) as new_jobs:
        result = operator("resubmit", failed_job.job_id, "--yes")
        [job_id] = new_jobs()

    assert result.code == 0, result.err
    shown = " ".join(result.out.replace("│", " ").split())
    assert f"{MODEL_ID}, the stage's first model, because the stage does not have amazon.nova-retired-v1:0" in shown
    [item] = failed_job.aws.dynamodb.query(
        TableName=failed_job.outputs["batchJobsTable"],
        IndexName=JOB_ID_INDEX,
        KeyConditionExpression="jobId = :id",
        ExpressionAttributeValues={":id": {"S": job_id}},
    )["Items"]
    assert from_item(item)["modelId"] == MODEL_ID


def test_lost_answer_names_the_remedy(operator: Operator, failed_job: JobRun) -> None:
    error = UnfinishedError("Runtime.ExitError: the function ended")
    with patch("yorutsuke.commands.resubmit.submit", side_effect=error):
        result = operator("resubmit", failed_job.job_id, "--yes", "--json")

    assert (result.code, result.out) == (1, "")
    assert result.error == (
        "UnfinishedError: Runtime.ExitError: the function ended. The new job may exist. Run the same command again. It "
        "never submits a second job."
    )


def test_dead_letters_are_chosen_by_reason(operator: Operator, loop: Loop, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    ids = _complete(job_run, good=1, bad=3, missing=2)

    with _new_jobs(loop) as new_jobs:
        other = operator("resubmit", job_run.job_id, "--reason", "MODEL_ERROR", "--reason", "NO_RECORD", "--yes")
        unfixable = operator("resubmit", job_run.job_id, "--reason", "OWNER_MISMATCH", "--yes")
        answer = operator("resubmit", job_run.job_id, "--reason", "INVALID_AI_JSON", "--yes", "--json").json
        jobs, statuses = new_jobs(), _statuses(job_run, ids)

    shown = " ".join(other.out.split())
    assert (other.code, "another reason │ 3" in shown, "held by this job │ 2" in shown) == (1, True, True)
    assert unfixable.code == 2
    assert "'INVALID_JSON', 'INVALID_RECORD'" in unfixable.message
    assert (answer["reasons"], answer["leftOut"], answer["read"]) == (
        {"INVALID_AI_JSON": 3},
        {"held by this job": 2},
        1,
    )
    assert [answer["job"]["jobId"]] == jobs
    assert statuses == ["processed", "submitted", "submitted", "submitted", "submitted", "submitted"]


def test_too_few_images_are_refused_without_schedule(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    ids = _complete(job_run, good=0, bad=1)

    result = operator("resubmit", job_run.job_id, "--yes")

    assert result.code == 1
    assert "has 1 image to submit, and a batch job needs 3: 2 are missing." in result.message
    assert _statuses(job_run, ids) == ["pending"]


@pytest.mark.usefixtures("schedule")
def test_failed_images_wait_for_the_schedule(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    ids = _complete(job_run, good=0, bad=2)
    _change(job_run, ids[:1], status="failed", failureReason="INVALID_AI_JSON")

    looked = operator("resubmit", job_run.job_id, "--dry-run")
    unchanged = _statuses(job_run, ids)
    asked = operator("resubmit", job_run.job_id, answer="n\n")
    result = operator("resubmit", job_run.job_id, "--yes", "--json")

    assert (looked.code, asked.code, unchanged) == (0, 0, ["failed", "pending"])
    assert "Set 1 failed image of job" in asked.message
    assert (result.json["job"], result.json["waiting"]) == (None, 2)
    assert "2 images of job" in result.message
    assert _statuses(job_run, ids) == ["pending", "pending"]


@pytest.mark.usefixtures("schedule")
def test_images_outside_the_index_do_not_wait(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    ids = _complete(job_run, good=0, bad=2)
    job_run.aws.dynamodb.update_item(
        TableName=job_run.outputs["pendingImagesTable"],
        Key={"imageId": {"S": ids[0]}},
        UpdateExpression="REMOVE uploadedAt",
    )

    result = operator("resubmit", job_run.job_id, "--yes")

    assert result.code == 1
    assert "UnfinishedError: images that a schedule does not collect, or that changed meanwhile: 1." in result.message


@pytest.mark.parametrize("attributes", [{"status": "SUBMITTED"}, {"status": "COMPLETED", "claimedUntil": 2**40}])
def test_job_that_has_not_ended_is_refused(
    operator: Operator, new_job_run: NewJobRun, attributes: dict[str, Any]
) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    job_run.aws.dynamodb.put_item(
        TableName=job_run.outputs["batchJobsTable"], Item=to_item({**job_run.job(), **attributes})
    )

    result = operator("resubmit", job_run.job_id, "--yes")

    assert (result.code, result.out) == (1, "")
    assert "Images can be submitted again when their job has ended." in result.message


def test_job_lists_its_images_with_outcomes(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    good, bad, missing, taken, deleted = ids = _complete(job_run, good=1, bad=1, missing=3)
    _change(job_run, [taken], intentId="another")
    _change(job_run, [bad], status="failed", failureReason="INVALID_AI_JSON\x1b[2J")
    job_run.aws.dynamodb.delete_item(TableName=job_run.outputs["pendingImagesTable"], Key=to_item({"imageId": deleted}))

    listed = operator("job", job_run.job_id, "--images", "--json").json["images"]
    shown = operator("job", job_run.job_id, "--images").out
    short = operator("job", job_run.job_id, "--json").json

    [transaction] = job_run.transactions()
    assert [image["imageId"] for image in listed] == ids
    outcomes = {image["imageId"]: image["outcome"] for image in listed}
    assert outcomes == {
        good: "transaction",
        bad: "dead letter",
        missing: "no record",
        taken: "in another job",
        deleted: "deleted",
    }
    assert listed[0] == {
        "imageId": good,
        "userId": "user-1",
        "outcome": "transaction",
        "transactionId": transaction["transactionId"],
        "transactionStatus": "processed",
        "reason": None,
        "status": "processed",
        "attempts": 1,
        "failureReason": None,
    }
    assert [listed[1][name] for name in ("reason", "status", "failureReason")] == [
        "INVALID_AI_JSON",
        "failed",
        "INVALID_AI_JSON\x1b[2J",
    ]
    assert ("\x1b" in shown, "\\x1b[2J" in shown) == (False, True)
    assert "images" not in short


def test_unlisted_images_are_found_by_their_hold(operator: Operator, new_job_run: NewJobRun) -> None:
    """The item of a job does not list more than 300 KB of ids."""
    job_run = new_job_run()
    ids = _image_ids(job_run, 4)
    job_run.seed_images(ids)
    job_run.seed_job()
    job_run.drop_lines(simple_lines(own_receipts(job_run, 1)))
    job_run.wait_until_completed()
    _change(job_run, ids[1:2], status="pending")
    _change(job_run, ids[2:3], status="failed")

    listed = operator("job", job_run.job_id, "--images", "--json").json["images"]

    assert [(image["imageId"], image["status"]) for image in listed] == [
        (ids[0], "processed"),
        (ids[1], "pending"),
        (ids[2], "failed"),
        (ids[3], "submitted"),
    ]

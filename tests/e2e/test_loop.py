"""Tests of the complete loop, from submitting images to their transactions, with a fake Bedrock."""

import json
import re
from collections.abc import Generator
from typing import Any

import pytest

from local.bedrock.replies import Kind, kind_of
from local.errors import LocalStageError
from local.job_run import USER_ID, JobRun, until
from local.loop import Loop, operators_stage, running_loop
from local.receipts import make_image
from yorutsuke.smoke.uploads import upload

from .conftest import own_receipts

IMAGES = 100
REASONS = {
    Kind.CUT_SHORT: "TRUNCATED_OUTPUT",
    Kind.PROSE: "INVALID_AI_JSON",
    Kind.IMPOSSIBLE_DATE: "INVALID_TRANSACTION",
    Kind.ERROR: "MODEL_ERROR",
}
"""The dead letter's reason for each kind of bad reply."""
SETTLE_SECONDS = 120


@pytest.fixture(scope="module")
def loop(stage: JobRun) -> Generator[Loop]:
    with running_loop(stage) as running:
        yield running


def _seed_images(loop: Loop, name: str) -> list[str]:
    """Seed 100 images with `name` in their ids, and return the ids."""
    job_run = JobRun(loop.stage.aws, loop.stage.outputs, job_id=name)
    image_ids = [receipt.image_id for receipt in own_receipts(job_run, IMAGES)]
    images = {image_id: make_image(image_id) for image_id in image_ids}
    upload(operators_stage(loop.stage), USER_ID, images, lambda: None)
    return image_ids


def _orchestrator_entries(loop: Loop, intent_id: str) -> list[dict[str, Any]]:
    """Return the orchestrator's log entries about an intent."""
    log = JobRun(loop.stage.aws, {**loop.stage.outputs, "logGroup": loop.stage.outputs["orchestratorLogGroup"]})
    return list(log.log_entries(f'"{intent_id}"'))


@pytest.mark.usefixtures("quick_redelivery")
def test_intent_and_trace_follow_every_receipt(loop: Loop) -> None:
    image_ids = _seed_images(loop, "loop-trace")
    answer = loop.submit(image_ids, "loop-trace")
    loop.bedrock.finish(answer["jobId"])
    job_run = JobRun(loop.stage.aws, loop.stage.outputs, job_id=answer["jobId"], intent="loop-trace")
    job_run.wait_until_completed()
    # The output manifest's message returns to the queue if it arrived before the output was processed.
    job_run.wait_until(lambda job: "bedrockCounts" in job, "be reconciled with its output manifest")

    bad = {image_id: REASONS[kind] for image_id in image_ids if (kind := kind_of(image_id)) in REASONS}
    good = [image_id for image_id in image_ids if image_id not in bad]
    assert {letter["imageId"]: letter["reason"] for letter in job_run.dead_letters()} == bad
    transactions = job_run.transactions()
    assert sorted(transaction["imageId"] for transaction in transactions) == good
    ids = ("loop-trace", answer["traceId"])
    assert {(transaction["intentId"], transaction["traceId"]) for transaction in transactions} == {ids}
    job_run.wait_for_entry("BATCH_RESULT_COMPLETED")
    stored = list(job_run.log_entries(f'"BATCH_RESULT_PER_TRANSACTION" "{job_run.job_id}"'))
    assert sorted(entry["imageId"] for entry in stored) == good
    entries = until(lambda: _orchestrator_entries(loop, "loop-trace"), SETTLE_SECONDS, "the orchestrator's log")
    assert [entry["event"] for entry in entries] == ["BATCH_SUBMIT_STARTED", "BATCH_SUBMITTED"]
    assert {(entry["intentId"], entry["traceId"], entry["userId"]) for entry in entries + stored} == {(*ids, USER_ID)}


@pytest.mark.usefixtures("quick_redelivery")
def test_failed_job_updates_item_and_leaves_no_role(loop: Loop) -> None:
    job_id = loop.submit(_seed_images(loop, "loop-failed"), "loop-failed")["jobId"]
    job_run = JobRun(loop.stage.aws, loop.stage.outputs, job_id=job_id, intent="loop-failed")
    [manifest] = [key for key in job_run.object_keys("batch-input/") if "loop-failed" in key]
    job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=manifest, Body=b"{")

    end = loop.bedrock.finish(job_id)
    job_run.wait_until(lambda job: "bedrockStatus" in job, "have ended")

    job = job_run.job()
    assert end.message.startswith(f"Batch job {end.job_arn} has an input file with an invalid record")
    assert (job["status"], job["bedrockStatus"], job["bedrockMessage"]) == ("FAILED", "Failed", end.message)
    roles = [role["RoleName"] for role in job_run.aws.iam.list_roles()["Roles"]]
    assert [role for role in roles if role.startswith("bedrock-")] == []


def test_repeating_an_intent_creates_one_job(loop: Loop) -> None:
    image_ids, before = _seed_images(loop, "loop-twice"), len(loop.bedrock.changes)

    first = loop.submit(image_ids, "loop-twice")
    second = loop.submit(image_ids[::-1], "loop-twice")

    assert (second["jobId"], second["submitTime"]) == (first["jobId"], first["submitTime"])
    assert len(loop.bedrock.changes) == before + 1


def test_different_request_with_the_same_intent_is_refused(loop: Loop) -> None:
    image_ids = _seed_images(loop, "loop-another")
    loop.submit(image_ids, "loop-another")

    with pytest.raises(LocalStageError, match=r"began at .* with another userId"):
        loop.submit(image_ids, "loop-another", userId="user-2")


def test_refused_submission_leaves_no_manifest_or_item(loop: Loop) -> None:
    image_ids, before = _seed_images(loop, "loop-few"), len(loop.bedrock.changes)
    [removed] = [key for key in loop.stage.object_keys("uploads/") if image_ids[0] in key]
    loop.stage.aws.s3.delete_object(Bucket=loop.stage.outputs["imagesBucket"], Key=removed)

    with pytest.raises(LocalStageError, match=r"99 of 100 images can be sent \(left out: UNREADABLE 1\)"):
        loop.submit(image_ids, "loop-few")

    assert len(loop.bedrock.changes) == before
    assert [key for key in loop.stage.object_keys("batch-input/") if "loop-few" in key] == []
    key: Any = {"intentId": {"S": "loop-few"}}
    assert "Item" not in loop.stage.aws.dynamodb.get_item(TableName=loop.stage.outputs["batchJobsTable"], Key=key)


def test_failed_asynchronous_request_is_kept_with_its_error(loop: Loop) -> None:
    stage, request = loop.stage, {"intentId": "loop-kept", "pendingImageIds": ["img-1"], "userId": USER_ID}
    name, queue = stage.outputs["orchestratorName"], stage.outputs["submissionDeadLetterQueueUrl"]

    stage.aws.lambda_.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(request))
    [message] = until(
        lambda: stage.aws.sqs.receive_message(QueueUrl=queue).get("Messages"), SETTLE_SECONDS, "the request to be kept"
    )

    record = json.loads(message.get("Body", ""))
    assert (record["requestContext"]["condition"], record["requestPayload"]) == ("RetriesExhausted", request)
    # The emulator reports one error type for all function errors, so only the message is compared.
    assert "names 1 images. A batch job needs at least 100" in record["responsePayload"]["errorMessage"]
    refusals = [entry["event"] for entry in _orchestrator_entries(loop, "loop-kept")]
    assert refusals == ["BATCH_SUBMIT_REFUSED"] * 3


@pytest.mark.usefixtures("quick_redelivery")
def test_images_in_s3_become_transactions(loop: Loop) -> None:
    image_ids = _seed_images(loop, "loop-s3")
    answer = loop.submit(image_ids, "loop-s3", imageDelivery="s3")
    job_run = JobRun(loop.stage.aws, loop.stage.outputs, job_id=answer["jobId"], intent="loop-s3")
    folder = job_run.job()["inputUri"]
    copies = [key for key in job_run.object_keys("batch-input/loop-s3/") if not key.endswith(".jsonl")]

    loop.bedrock.finish(answer["jobId"])
    job_run.wait_until_completed()

    assert re.fullmatch(f"s3://{job_run.bucket}/batch-input/loop-s3/[0-9a-f]{{16}}/", folder)
    assert loop.bedrock.requests[answer["jobId"]]["inputDataConfig"]["s3InputDataConfig"]["s3Uri"] == folder
    good = [image_id for image_id in image_ids if kind_of(image_id) not in REASONS]
    assert sorted(transaction["imageId"] for transaction in job_run.transactions()) == good
    assert len(copies) == IMAGES

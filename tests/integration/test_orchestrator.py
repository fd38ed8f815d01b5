"""Tests of the orchestrator: a request creates a manifest, a Bedrock job and a job's item."""

import base64
import json
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from batch_orchestrator.submit_job import MAX_IDS_BYTES
from tests.unit.batch_orchestrator.samples import running_out
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.errors import InvalidRequestError
from yorutsuke_common.hashing import contents_digest, images_digest, submission_token
from yorutsuke_common.schema import BatchJob

from .conftest import LogReader
from .orchestrator_stage import (
    APPLICATION_PROFILE,
    CLAUDE,
    IMAGE_IDS,
    MANIFEST,
    ORCHESTRATOR_CONTEXT,
    Orchestrator,
    clear_orchestrator_caches,
    manifest_of,
    request,
)
from .stage import BATCH_JOBS, BUCKET, PENDING_IMAGES, Stage, nova_record

EMPTY_STATE: dict[str, Any] = {"items": [], "manifests": {}, "jobs": {}, "uploads": 0}


def _state(orchestrator: Orchestrator) -> dict[str, Any]:
    """Return the data that a submission writes."""
    return {
        "items": orchestrator.stage.items(BATCH_JOBS),
        "manifests": orchestrator.manifests(),
        "jobs": orchestrator.bedrock.jobs,
        "uploads": orchestrator.open_uploads(),
    }


def test_request_creates_manifest_job_and_item(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    response = orchestrator.invoke(request())

    item = orchestrator.item()
    submit_time = item["submitTime"]
    token = submission_token("intent-1", submit_time)
    uri = f"s3://{BUCKET}/batch-input/intent-1/{token[:16]}/manifest.jsonl"
    assert orchestrator.manifests() == {MANIFEST: manifest_of()}
    assert orchestrator.job().manifest == manifest_of()
    assert orchestrator.job().request == {
        "jobName": f"yorutsuke-test.{token[:16]}",
        "clientRequestToken": token,
        "roleArn": "arn:aws:iam::123456789012:role/yorutsuke-bedrock-test",
        "modelId": "amazon.nova-lite-v1:0",
        "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": uri}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/batch-output/"}},
        "timeoutDurationInHours": 48,
    }
    assert item == {
        "intentId": "intent-1",
        "userId": "user-1",
        "jobId": "job000000000",
        "status": "SUBMITTED",
        "submitTime": submit_time,
        "modelId": "amazon.nova-lite-v1:0",
        "manifestUri": uri,
        "outputUri": f"s3://{BUCKET}/batch-output/",
        "roleArn": "arn:aws:iam::123456789012:role/yorutsuke-bedrock-test",
        "jobTimeoutHours": 48,
        "traceId": "request-1",
        "requestedImages": images_digest(IMAGE_IDS),
        "submittedImages": "7",
        "submittedContents": contents_digest(
            {image_id: image["uploadETag"] for image_id, image in orchestrator.stage.images().items()}
        ),
        "imageCount": 3,
        "pendingImageIds": IMAGE_IDS,
        "manifestPublished": True,
        "ttl": int((datetime.fromisoformat(submit_time) + timedelta(days=30)).timestamp()),
    }
    assert response == {
        "intentId": "intent-1",
        "jobId": "job000000000",
        "status": "SUBMITTED",
        "submitTime": submit_time,
        "modelId": "amazon.nova-lite-v1:0",
        "manifestUri": uri,
        "traceId": "request-1",
        "imageCount": 3,
        "leftOutCount": 0,
        "leftOut": [],
    }


def test_submission_makes_minimum_number_of_calls(orchestrator: Orchestrator) -> None:
    image_ids = [f"img-{number:03}" for number in range(250)]
    orchestrator.put_unsubmitted_images(image_ids)

    orchestrator.invoke(request(image_ids))

    assert orchestrator.stage.calls.counts() == {
        "GetItem": 1,
        "BatchGetItem": 3,
        "GetObject": 250,
        "PutItem": 1,
        "PutObject": 1,
        "CreateModelInvocationJob": 1,
        # The images are held, and then marked with their ETags.
        "BatchExecuteStatement": 20,
        "UpdateItem": 3,
    }
    assert orchestrator.job().manifest == manifest_of(image_ids)


def test_manifest_does_not_depend_on_image_order(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    orchestrator.invoke(request(reversed(IMAGE_IDS)))

    assert orchestrator.job().manifest == manifest_of()


def test_large_manifest_uses_multipart_upload(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 5 * 1024 * 1024)
    content = {f"img-{number}": bytes([number]) * 3_000_000 for number in range(1, 4)}
    orchestrator.put_unsubmitted_images(content)
    for image_id, body in content.items():
        orchestrator.stage.aws.s3.put_object(Bucket=BUCKET, Key=f"uploads/user-1/{image_id}.png", Body=body)

    orchestrator.invoke(request())

    calls = orchestrator.stage.calls.counts()
    assert (calls["CreateMultipartUpload"], calls["UploadPart"], calls["CompleteMultipartUpload"]) == (1, 2, 1)
    records = [json.loads(line) for line in orchestrator.job().manifest.splitlines()]
    images = {record["recordId"]: record["modelInput"]["messages"][0]["content"][0]["image"] for record in records}
    assert {name: base64.b64decode(image["source"]["bytes"]) for name, image in images.items()} == content


@pytest.mark.parametrize("model_id", ["amazon.nova-lite-v1:0", "apac.amazon.nova-pro-v1:0"])
def test_job_uses_requested_model(orchestrator: Orchestrator, model_id: str) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    response = orchestrator.invoke(request(modelId=model_id))

    assert (response["modelId"], orchestrator.job().request["modelId"]) == (model_id, model_id)


@pytest.mark.parametrize("model_id", [CLAUDE, APPLICATION_PROFILE])
def test_other_model_creates_a_converse_job(orchestrator: Orchestrator, model_id: str) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    response = orchestrator.invoke(request(modelId=model_id))

    job, item = orchestrator.job(), orchestrator.item()
    assert (response["modelId"], job.request["modelId"], item["modelId"]) == (model_id,) * 3
    assert (job.request["modelInvocationType"], item["modelInvocationType"]) == ("Converse", "Converse")
    assert job.manifest == manifest_of(invocation_type="Converse") != manifest_of()


def test_image_too_large_for_converse_is_left_out(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images([*IMAGE_IDS, "img-4"])
    orchestrator.stage.aws.s3.put_object(Bucket=BUCKET, Key="uploads/user-1/img-4.png", Body=bytes(3_750_001))

    converse = orchestrator.invoke(request([*IMAGE_IDS, "img-4"], modelId=CLAUDE))
    assert orchestrator.stage.images()["img-4"]["status"] == "pending"
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    nova = orchestrator.invoke(request([*IMAGE_IDS, "img-4"], intentId="intent-2"))

    assert (converse["leftOut"], nova["leftOut"]) == ([{"imageId": "img-4", "reason": "UNFIT_SIZE"}], [])


def test_repeated_request_returns_job_with_one_call(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    first = orchestrator.invoke(request())
    before = _state(orchestrator)
    orchestrator.stage.calls.reset()

    assert orchestrator.invoke(request(reversed(IMAGE_IDS), modelId="amazon.nova-lite-v1:0")) == first

    [(operation, parameters)] = orchestrator.stage.calls.history
    # An eventually consistent read could start a second submission.
    assert (operation, parameters["ConsistentRead"]) == ("GetItem", True)
    assert _state(orchestrator) == before


def test_handler_completes_submitted_job(orchestrator: Orchestrator, stage: Stage) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    job_id = orchestrator.invoke(request())["jobId"]
    output = stage.put_output(*map(nova_record, IMAGE_IDS), key=f"batch-output/{job_id}/manifest.jsonl.out")

    assert stage.deliver(output) == []

    job = BatchJob.model_validate(stage.job(job_id))
    assert job.resultStats
    assert (job.status, job.resultStats.successCount, job.resultStats.missingCount) == ("COMPLETED", 3, 0)
    assert {(item["traceId"], item["intentId"]) for item in stage.transactions().values()} == {
        ("request-1", "intent-1")
    }
    response = orchestrator.invoke(request())
    assert (response["jobId"], response["status"], len(orchestrator.bedrock.jobs)) == (job_id, "COMPLETED", 1)


def test_unusable_images_are_left_out_and_logged(orchestrator: Orchestrator, read_logs: LogReader) -> None:
    stage = orchestrator.stage
    orchestrator.put_unsubmitted_images([*IMAGE_IDS, "img-gone", "img-empty", "img-processed"])
    stage.put_images(["img-foreign"], user_id="user-2")
    stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-gone.png")
    stage.aws.s3.put_object(Bucket=BUCKET, Key="uploads/user-1/img-empty.png", Body=b"")
    stage.aws.dynamodb.update_item(
        TableName=PENDING_IMAGES,
        Key={"imageId": {"S": "img-processed"}},
        UpdateExpression="SET #status = :processed",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":processed": {"S": "processed"}},
    )
    left_out = {
        "img-empty": "UNFIT_SIZE",
        "img-foreign": "FOREIGN",
        "img-gone": "UNREADABLE",
        "img-processed": "NOT_PENDING",
        "img-unknown": "UNKNOWN",
    }

    response = orchestrator.invoke(request([*IMAGE_IDS, *left_out]))

    assert (response["imageCount"], response["leftOutCount"]) == (3, 5)
    assert {image["imageId"]: image["reason"] for image in response["leftOut"]} == left_out
    assert orchestrator.job().manifest == manifest_of()
    # One bit for each of img-1, img-2, img-3, img-empty, img-foreign, img-gone, img-processed and img-unknown.
    item = orchestrator.item()
    assert (item["pendingImageIds"], item["submittedImages"]) == (IMAGE_IDS, f"{0b11100000:x}")
    warnings = [entry for entry in read_logs() if entry["event"] == "BATCH_SUBMIT_IMAGE_LEFT_OUT"]
    assert {(*entry["imageIds"], entry["reason"], entry["count"], entry["level"]) for entry in warnings} == {
        (image_id, reason, 1, "WARNING") for image_id, reason in left_out.items()
    }


def test_oversized_image_ids_are_not_stored(orchestrator: Orchestrator) -> None:
    image_ids = [f"{number:03}-{'i' * 996}" for number in range(MAX_IDS_BYTES // 1_001 + 1)]
    fitting = image_ids[:-1]
    orchestrator.put_unsubmitted_images(["img"])
    item = to_item(orchestrator.stage.images()["img"])
    for image_id in image_ids:
        orchestrator.stage.aws.dynamodb.put_item(TableName=PENDING_IMAGES, Item={**item, "imageId": {"S": image_id}})

    orchestrator.invoke(request(image_ids, intentId="intent-2"))
    for image_id in image_ids:
        orchestrator.stage.aws.dynamodb.put_item(TableName=PENDING_IMAGES, Item={**item, "imageId": {"S": image_id}})
    orchestrator.invoke(request(fitting))

    assert orchestrator.item("intent-1")["pendingImageIds"] == fitting
    assert "pendingImageIds" not in orchestrator.item("intent-2")
    assert orchestrator.item("intent-2")["imageCount"] == len(image_ids)


def test_job_uses_x_ray_trace_id(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    root = "1-5759e988-bd862e3fe1be46a994272793"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1")

    assert orchestrator.invoke(request())["traceId"] == root
    assert orchestrator.item()["traceId"] == root


def test_too_few_usable_images_are_refused(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(["img-1", "img-2"])

    with pytest.raises(InvalidRequestError) as raised:
        orchestrator.invoke(request())

    assert str(raised.value) == (
        "only 2 of 3 images can be sent (left out: UNKNOWN 1). A batch job needs at least 3. Add pending images that "
        "are in the bucket."
    )
    assert _state(orchestrator) == EMPTY_STATE
    assert "GetObject" not in orchestrator.stage.calls.counts()


def test_too_few_readable_images_are_refused(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 1)
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-3.png")

    with pytest.raises(InvalidRequestError, match=r"2 of 3 images can be sent \(left out: UNREADABLE 1\)"):
        orchestrator.invoke(request())

    assert _state(orchestrator) == EMPTY_STATE
    assert orchestrator.stage.calls.counts()["AbortMultipartUpload"] == 1


def test_oversized_manifest_is_refused(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 1)
    monkeypatch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", len(manifest_of()) - 1)
    orchestrator.put_unsubmitted_images(IMAGE_IDS)

    with pytest.raises(InvalidRequestError, match="; only 2 images fit"):
        orchestrator.invoke(request())

    assert _state(orchestrator) == EMPTY_STATE


def test_request_is_refused_when_time_runs_out(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 1)
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    seconds_left = running_out(monkeypatch, lines=2, at_first=600)
    context = SimpleNamespace(
        **vars(ORCHESTRATOR_CONTEXT) | {"get_remaining_time_in_millis": lambda: 1000 * seconds_left()}
    )

    with pytest.raises(InvalidRequestError) as raised:
        orchestrator.invoke(request(), context)

    assert str(raised.value) == (
        "only 2 of 3 images were read in 525 seconds; the function reserves its last 75 seconds for the submission. "
        "Request fewer images."
    )
    assert _state(orchestrator) == EMPTY_STATE
    assert orchestrator.stage.calls.counts()["AbortMultipartUpload"] == 1


def test_intent_gets_new_job_after_deletion(orchestrator: Orchestrator) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    first = orchestrator.invoke(request())["jobId"]
    orchestrator.stage.aws.dynamodb.delete_item(TableName=BATCH_JOBS, Key={"intentId": {"S": "intent-1"}})

    assert orchestrator.invoke(request())["jobId"] != first


def test_malformed_request_is_refused_without_calls(orchestrator: Orchestrator) -> None:
    events: list[object] = [request(intentId="a/b"), {}, None, [], "body", 7]
    for event in events:
        with pytest.raises(InvalidRequestError):
            orchestrator.invoke(event)

    assert orchestrator.stage.calls.counts() == {}


def test_disallowed_request_is_refused_after_one_read(orchestrator: Orchestrator) -> None:
    for event in (request(["img-1"]), request(modelId="other")):
        with pytest.raises(InvalidRequestError):
            orchestrator.invoke(event)

    assert orchestrator.stage.calls.counts() == {"GetItem": 2}


def test_repeated_request_ignores_changed_stage_settings(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator.put_unsubmitted_images(IMAGE_IDS)
    event = request(modelId="apac.amazon.nova-pro-v1:0")
    response = orchestrator.invoke(event)
    monkeypatch.setenv("MODEL_IDS", "amazon.nova-lite-v1:0")
    monkeypatch.setenv("MIN_RECORDS", "4")
    clear_orchestrator_caches()

    assert orchestrator.invoke(event) == response

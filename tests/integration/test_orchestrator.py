"""From a request to a job that Bedrock works on, and a record that its results find."""

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
from yorutsuke_common.hashing import images_digest, submission_token
from yorutsuke_common.schema import BatchJob

from .conftest import LogReader
from .orchestrator_stage import IMAGE_IDS, MANIFEST, Orchestrator, forget_environment, manifest_of, request
from .stage import BATCH_JOBS, BUCKET, CONTEXT, PENDING_IMAGES, Stage, nova_line

NOTHING: dict[str, Any] = {"records": [], "manifests": {}, "jobs": {}, "uploads": 0}


def _left_behind(orchestrator: Orchestrator) -> dict[str, Any]:
    """Return all that a submission leaves."""
    return {
        "records": orchestrator.stage.items(BATCH_JOBS),
        "manifests": orchestrator.manifests(),
        "jobs": orchestrator.bedrock.jobs,
        "uploads": orchestrator.uploads(),
    }


def test_a_request_becomes_a_manifest_a_job_and_a_record(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)

    answer = orchestrator.invoke(request())

    record = orchestrator.record()
    submit_time = record["submitTime"]
    token = submission_token("intent-1", submit_time)
    uri = f"s3://{BUCKET}/{MANIFEST}"
    assert orchestrator.manifests() == {MANIFEST: manifest_of()}
    assert orchestrator.job().manifest == manifest_of()
    assert orchestrator.job().request == {
        "jobName": f"yorutsuke-test.{token[:16]}",
        "clientRequestToken": token,
        "roleArn": "arn:aws:iam::123456789012:role/yorutsuke-bedrock-test",
        "modelId": "amazon.nova-lite-v1:0",
        "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": uri}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/batch-output/"}},
    }
    assert record == {
        "intentId": "intent-1",
        "userId": "user-1",
        "jobId": "job000000000",
        "status": "SUBMITTED",
        "submitTime": submit_time,
        "modelId": "amazon.nova-lite-v1:0",
        "manifestUri": uri,
        "outputUri": f"s3://{BUCKET}/batch-output/",
        "roleArn": "arn:aws:iam::123456789012:role/yorutsuke-bedrock-test",
        "traceId": "request-1",
        "requestedImages": images_digest(IMAGE_IDS),
        "submittedImages": "7",
        "imageCount": 3,
        "pendingImageIds": IMAGE_IDS,
        "manifestPublished": True,
        "ttl": int((datetime.fromisoformat(submit_time) + timedelta(days=30)).timestamp()),
    }
    assert answer == {
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


def test_it_takes_a_call_for_each_step_and_one_for_each_image(orchestrator: Orchestrator) -> None:
    image_ids = [f"img-{number:03}" for number in range(250)]
    orchestrator.stage.put_images(image_ids)

    orchestrator.invoke(request(image_ids))

    assert orchestrator.stage.calls.counts() == {
        "GetItem": 1,
        "BatchGetItem": 3,
        "GetObject": 250,
        "PutItem": 1,
        "PutObject": 1,
        "CreateModelInvocationJob": 1,
        "UpdateItem": 2,
    }
    assert orchestrator.job().manifest == manifest_of(image_ids)


def test_the_manifest_of_the_same_images_is_the_same_in_whatever_order_they_are_asked_for(
    orchestrator: Orchestrator,
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)

    orchestrator.invoke(request(reversed(IMAGE_IDS)))

    assert orchestrator.job().manifest == manifest_of()


def test_a_large_manifest_goes_out_in_parts(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 5 * 1024 * 1024)
    content = {f"img-{number}": bytes([number]) * 3_000_000 for number in range(1, 4)}
    orchestrator.stage.put_images(content)
    for image_id, body in content.items():
        orchestrator.stage.aws.s3.put_object(Bucket=BUCKET, Key=f"uploads/user-1/{image_id}.png", Body=body)

    orchestrator.invoke(request())

    calls = orchestrator.stage.calls.counts()
    assert (calls["CreateMultipartUpload"], calls["UploadPart"], calls["CompleteMultipartUpload"]) == (1, 2, 1)
    sent = [json.loads(line) for line in orchestrator.job().manifest.splitlines()]
    images = {line["recordId"]: line["modelInput"]["messages"][0]["content"][0]["image"] for line in sent}
    assert {name: base64.b64decode(image["source"]["bytes"]) for name, image in images.items()} == content


@pytest.mark.parametrize("model_id", ["amazon.nova-lite-v1:0", "apac.amazon.nova-pro-v1:0"])
def test_the_model_that_is_asked_for_is_the_jobs(orchestrator: Orchestrator, model_id: str) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)

    answer = orchestrator.invoke(request(modelId=model_id))

    assert (answer["modelId"], orchestrator.job().request["modelId"]) == (model_id, model_id)


def test_a_repeated_request_is_answered_with_its_job_by_one_call(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    first = orchestrator.invoke(request())
    before = _left_behind(orchestrator)
    orchestrator.stage.calls.forget()

    assert orchestrator.invoke(request(reversed(IMAGE_IDS), modelId="amazon.nova-lite-v1:0")) == first

    [(operation, asked)] = orchestrator.stage.calls.made
    # A read that lags behind would begin a second submission.
    assert (operation, asked["ConsistentRead"]) == ("GetItem", True)
    assert _left_behind(orchestrator) == before


def test_the_results_of_a_submitted_job_find_its_record(orchestrator: Orchestrator, stage: Stage) -> None:
    stage.put_images(IMAGE_IDS)
    job_id = orchestrator.invoke(request())["jobId"]
    output = stage.put_output(*map(nova_line, IMAGE_IDS), key=f"batch-output/{job_id}/manifest.jsonl.out")

    assert stage.deliver(output) == []

    job = BatchJob.model_validate(stage.job(job_id))
    assert job.resultStats
    assert (job.status, job.resultStats.successCount, job.resultStats.missingCount) == ("COMPLETED", 3, 0)
    assert {(item["traceId"], item["intentId"]) for item in stage.transactions().values()} == {
        ("request-1", "intent-1")
    }
    answer = orchestrator.invoke(request())
    assert (answer["jobId"], answer["status"], len(orchestrator.bedrock.jobs)) == (job_id, "COMPLETED", 1)


def test_images_that_cannot_be_sent_are_left_out_and_named(orchestrator: Orchestrator, logged: LogReader) -> None:
    stage = orchestrator.stage
    stage.put_images([*IMAGE_IDS, "img-gone", "img-empty", "img-processed"])
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

    answer = orchestrator.invoke(request([*IMAGE_IDS, *left_out]))

    assert (answer["imageCount"], answer["leftOutCount"]) == (3, 5)
    assert {image["imageId"]: image["reason"] for image in answer["leftOut"]} == left_out
    assert orchestrator.job().manifest == manifest_of()
    # Of img-1, img-2, img-3, img-empty, img-foreign, img-gone, img-processed and img-unknown.
    record = orchestrator.record()
    assert (record["pendingImageIds"], record["submittedImages"]) == (IMAGE_IDS, f"{0b11100000:x}")
    told = [entry for entry in logged() if entry["event"] == "BATCH_SUBMIT_IMAGE_LEFT_OUT"]
    assert {(*entry["imageIds"], entry["reason"], entry["count"], entry["level"]) for entry in told} == {
        (image_id, reason, 1, "WARNING") for image_id, reason in left_out.items()
    }


def test_ids_that_do_not_fit_into_an_item_are_not_kept(orchestrator: Orchestrator) -> None:
    image_ids = [f"{number:03}-{'i' * 996}" for number in range(MAX_IDS_BYTES // 1_001 + 1)]
    kept, left = image_ids[:-1], image_ids[-1:]
    orchestrator.stage.put_images(["img"])
    item = to_item(orchestrator.stage.images()["img"])
    for image_id in image_ids:
        orchestrator.stage.aws.dynamodb.put_item(TableName=PENDING_IMAGES, Item={**item, "imageId": {"S": image_id}})

    orchestrator.invoke(request(kept))
    orchestrator.invoke(request(kept + left, intentId="intent-2"))

    assert orchestrator.record("intent-1")["pendingImageIds"] == kept
    assert "pendingImageIds" not in orchestrator.record("intent-2")
    assert orchestrator.record("intent-2")["imageCount"] == len(image_ids)


def test_a_trace_of_x_rays_is_the_jobs(orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    root = "1-5759e988-bd862e3fe1be46a994272793"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1")

    assert orchestrator.invoke(request())["traceId"] == root
    assert orchestrator.record()["traceId"] == root


def test_too_few_images_that_can_be_sent_are_refused_and_nothing_is_left_behind(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(["img-1", "img-2"])

    with pytest.raises(InvalidRequestError) as raised:
        orchestrator.invoke(request())

    assert str(raised.value) == (
        "only 2 of 3 images can be sent (left out: UNKNOWN 1). A batch job needs at least 3. Add pending images of the "
        "user that are in the bucket."
    )
    assert _left_behind(orchestrator) == NOTHING
    assert "GetObject" not in orchestrator.stage.calls.counts()


def test_images_that_turn_out_to_be_gone_are_too_few_as_well(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 1)
    orchestrator.stage.put_images(IMAGE_IDS)
    orchestrator.stage.aws.s3.delete_object(Bucket=BUCKET, Key="uploads/user-1/img-3.png")

    with pytest.raises(InvalidRequestError, match=r"2 of 3 images can be sent \(left out: UNREADABLE 1\)"):
        orchestrator.invoke(request())

    assert _left_behind(orchestrator) == NOTHING
    assert orchestrator.stage.calls.counts()["AbortMultipartUpload"] == 1


def test_a_manifest_that_is_too_large_is_refused_and_nothing_is_left_behind(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 1)
    monkeypatch.setattr("batch_orchestrator.manifest.MAX_MANIFEST_BYTES", len(manifest_of()) - 1)
    orchestrator.stage.put_images(IMAGE_IDS)

    with pytest.raises(InvalidRequestError, match="Only 2 images fit"):
        orchestrator.invoke(request())

    assert _left_behind(orchestrator) == NOTHING


def test_a_job_that_cannot_be_submitted_in_time_is_refused_and_nothing_is_left_behind(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yorutsuke_common.aws.object_writer.PART_BYTES", 1)
    orchestrator.stage.put_images(IMAGE_IDS)
    seconds_left = running_out(monkeypatch, lines=2, at_first=600)
    context = SimpleNamespace(**vars(CONTEXT) | {"get_remaining_time_in_millis": lambda: 1000 * seconds_left()})

    with pytest.raises(InvalidRequestError) as raised:
        orchestrator.invoke(request(), context)

    assert str(raised.value) == (
        "only 2 of 3 images were read in 570 seconds. The function reserves its last 30 seconds for the submission. "
        "Request fewer images, with a new intentId."
    )
    assert _left_behind(orchestrator) == NOTHING
    assert orchestrator.stage.calls.counts()["AbortMultipartUpload"] == 1


def test_an_intent_that_is_begun_anew_at_once_has_a_job_of_its_own(orchestrator: Orchestrator) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    first = orchestrator.invoke(request())["jobId"]
    orchestrator.stage.aws.dynamodb.delete_item(TableName=BATCH_JOBS, Key={"intentId": {"S": "intent-1"}})

    assert orchestrator.invoke(request())["jobId"] != first


def test_a_request_of_no_known_form_is_no_call(orchestrator: Orchestrator) -> None:
    events: list[object] = [request(intentId="a/b"), {}, None, [], "body", 7]
    for event in events:
        with pytest.raises(InvalidRequestError):
            orchestrator.invoke(event)

    assert orchestrator.stage.calls.counts() == {}


def test_what_the_stage_does_not_allow_is_one_read(orchestrator: Orchestrator) -> None:
    for event in (request(["img-1"]), request(modelId="other")):
        with pytest.raises(InvalidRequestError):
            orchestrator.invoke(event)

    assert orchestrator.stage.calls.counts() == {"GetItem": 2}


def test_an_intent_that_is_begun_is_answered_whatever_the_stage_allows_by_now(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator.stage.put_images(IMAGE_IDS)
    asked = request(modelId="apac.amazon.nova-pro-v1:0")
    answer = orchestrator.invoke(asked)
    monkeypatch.setenv("MODEL_IDS", "amazon.nova-lite-v1:0")
    monkeypatch.setenv("MIN_RECORDS", "4")
    forget_environment()

    assert orchestrator.invoke(asked) == answer

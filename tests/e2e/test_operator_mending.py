"""Tests of the operator's commands that repair a job: `replay` and `retry-migrations`."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from local.emulator import REGION, Emulator
from local.job_run import JobRun, until
from local.receipts import Receipt, simple_lines
from yorutsuke import migrations
from yorutsuke.errors import UnfinishedError
from yorutsuke.queues import Queue
from yorutsuke.replay import notification
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.schema import RecordCounts

from .conftest import NewJobRun, own_receipts, seed
from .operator_stage import ROOT, SOURCE, Operator, make_operator


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return make_operator(emulator, stage, tmp_path_factory.mktemp("mending"))


@pytest.fixture
def paused_function(stage: JobRun) -> Generator[None]:
    """Stop the function from receiving messages of its queue."""
    lambda_ = stage.aws.lambda_
    [mapping] = lambda_.list_event_source_mappings(FunctionName=stage.outputs["functionName"])["EventSourceMappings"]
    lambda_.update_event_source_mapping(UUID=mapping.get("UUID", ""), Enabled=False)
    yield
    stage.aws.sqs.purge_queue(QueueUrl=stage.outputs["queueUrl"])
    lambda_.update_event_source_mapping(UUID=mapping.get("UUID", ""), Enabled=True)


def _complete(job_run: JobRun, folder: Path, receipts: Sequence[Receipt], *bad: str) -> str:
    """Complete a job with these receipts and bad records, and return its output's key."""
    file = folder / f"{job_run.job_id}.jsonl"
    file.write_text("".join(f"{line}\n" for line in [*simple_lines([*receipts]), *bad]))
    key = job_run.drop_output(file)
    job_run.wait_until_completed()
    return key


def _update_job(job_run: JobRun, update: str, **values: object) -> None:
    given: dict[str, Any] = {"ExpressionAttributeValues": to_item({f":{k}": v for k, v in values.items()})}
    job_run.aws.dynamodb.update_item(
        TableName=job_run.outputs["batchJobsTable"],
        Key={"intentId": {"S": job_run.intent_id}},
        UpdateExpression=update,
        **(given if values else {}),
    )


def _edit(job_run: JobRun, transaction: dict[str, Any], **attributes: object) -> None:
    """Edit a transaction as a user does in the app."""
    table = job_run.outputs["transactionsTable"]
    job_run.aws.dynamodb.put_item(TableName=table, Item=to_item({**transaction, **attributes}))


def _delete(job_run: JobRun, transaction: dict[str, Any]) -> None:
    """Delete a transaction from the table."""
    job_run.aws.dynamodb.delete_item(
        TableName=job_run.outputs["transactionsTable"],
        Key=to_item({name: transaction[name] for name in ("userId", "transactionId")}),
    )


def _by_image(job_run: JobRun) -> dict[str, dict[str, Any]]:
    return {transaction["imageId"]: transaction for transaction in job_run.transactions()}


def _queued_messages(job_run: JobRun) -> list[dict[str, Any]]:
    answer = job_run.aws.sqs.receive_message(QueueUrl=job_run.outputs["queueUrl"], MaxNumberOfMessages=10)
    return [json.loads(message.get("Body", "")) for message in answer.get("Messages", [])]


def _processed_job(new_job_run: NewJobRun) -> tuple[JobRun, dict[str, str]]:
    """Return a job with a processed output, and its record's `processedOutputs`."""
    job_run = new_job_run()
    job_run.seed_job()
    key = f"batch-output/{job_run.job_id}/output.jsonl"
    put = job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    seen = {key: put["ETag"].strip('"')}
    _update_job(job_run, "SET processedOutputs = :seen", seen=seen)
    job_run.aws.sqs.purge_queue(QueueUrl=job_run.outputs["queueUrl"])
    return job_run, seen


def test_replay_keeps_edited_and_deleted_transactions(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 4)
    seed(job_run, receipts)
    key = _complete(job_run, tmp_path, receipts, "{")
    edited, marked, removed, _ = (_by_image(job_run)[receipt.image_id] for receipt in receipts)
    _edit(job_run, edited, merchant="Edited merchant", note="tax-free")
    _edit(job_run, marked, status="deleted")
    _delete(job_run, removed)
    before = _by_image(job_run)
    job_run.aws.s3.delete_object(Bucket=job_run.outputs["imagesBucket"], Key=f"dead-letters/{job_run.job_id}.jsonl")

    result = operator.run_process("replay", job_run.job_id, "--yes", "--json")

    answer = result.json
    assert answer["keys"] == [key]
    assert answer["effects"] == {
        "new": 0,
        "unchanged": 3,
        "deleted": 1,
        "imagesToMove": 0,
        "imagesMovedBefore": 4,
        "imagesUnknown": 0,
        "failures": {"INVALID_JSON": 1},
    }
    assert answer["done"] is True
    assert answer["resultStats"]["successCount"] == 4
    assert "0 new, 3 unchanged, 1 deleted before" in result.message
    assert len(before) == 3
    assert _by_image(job_run) == before
    assert [letter["reason"] for letter in job_run.dead_letters()] == ["INVALID_JSON"]


def test_replay_previews_images_and_new_transactions(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 4)
    pending, requested, foreign, unknown = (receipt.image_id for receipt in receipts)
    job_run.seed_images([pending, requested, unknown])
    job_run.seed_job([pending, requested])
    dynamodb, table = job_run.aws.dynamodb, job_run.outputs["pendingImagesTable"]
    item = {"imageId": foreign, "userId": "another", "s3Key": "uploads/another/x.png"}
    dynamodb.put_item(TableName=table, Item=to_item(item))
    _complete(job_run, tmp_path, receipts)
    again = {"imageId": pending, "userId": "user-1", "s3Key": "uploads/user-1/gone.png"}
    dynamodb.put_item(TableName=table, Item=to_item(again))
    _delete(job_run, _by_image(job_run)[pending])
    for image_id in (requested, unknown):
        dynamodb.delete_item(TableName=table, Key=to_item({"imageId": image_id}))

    result = operator("replay", job_run.job_id, answer="n\n")

    assert result.code == 0
    shown = " ".join(result.out.split())
    assert "1 new, 1 unchanged, 0 deleted before" in shown
    assert "1 to move, 0 moved before, 1 unknown" in shown
    assert "OWNER_MISMATCH=1 UNKNOWN_IMAGE=1" in shown


def test_replay_previews_images_of_other_jobs(operator: Operator, new_job_run: NewJobRun, tmp_path: Path) -> None:
    """The preview and the result agree. A transaction that the job has stored counts as before."""
    job_run = new_job_run()
    receipts = own_receipts(job_run, 3)
    held, read, own = image_ids = [receipt.image_id for receipt in receipts]
    job_run.seed_images(image_ids)
    job_run.seed_job(image_ids)
    _hold_for_other_job(job_run, held, read)
    _complete(job_run, tmp_path, receipts)
    _hold_for_other_job(job_run, own)

    answer = operator("replay", job_run.job_id, "--yes", "--json").json

    assert answer["effects"]["failures"] == {"OTHER_JOB": 2}
    assert (answer["effects"]["new"], answer["effects"]["unchanged"]) == (0, 1)
    assert [letter["reason"] for letter in job_run.dead_letters()] == ["OTHER_JOB", "OTHER_JOB"]


def test_replay_previews_unlisted_images_of_other_jobs(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    """The item of a large job does not list its images."""
    job_run = new_job_run()
    receipts = own_receipts(job_run, 2)
    job_run.seed_images(receipt.image_id for receipt in receipts)
    job_run.seed_job()
    _update_job(job_run, "REMOVE userId")
    _hold_for_other_job(job_run, receipts[0].image_id)
    _complete(job_run, tmp_path, receipts)

    answer = operator("replay", job_run.job_id, "--yes", "--json").json

    assert (answer["effects"]["failures"], answer["effects"]["unchanged"]) == ({"UNKNOWN_IMAGE": 1}, 1)
    assert [letter["reason"] for letter in job_run.dead_letters()] == ["UNKNOWN_IMAGE"]


def _hold_for_other_job(job_run: JobRun, *image_ids: str) -> None:
    for image_id in image_ids:
        job_run.aws.dynamodb.update_item(
            TableName=job_run.outputs["pendingImagesTable"],
            Key={"imageId": {"S": image_id}},
            UpdateExpression="SET intentId = :other",
            ExpressionAttributeValues={":other": {"S": "other"}},
        )


def test_invalid_transactions_do_not_end_a_command(operator: Operator, new_job_run: NewJobRun, tmp_path: Path) -> None:
    """The app may have written the items."""
    job_run = new_job_run()
    receipts = own_receipts(job_run, 4)
    seed(job_run, receipts)
    _complete(job_run, tmp_path, receipts)
    ids = [receipt.image_id for receipt in receipts]
    stored = _by_image(job_run)
    del stored[ids[0]]["status"]
    _edit(job_run, stored[ids[0]])
    _edit(job_run, stored[ids[1]], status=True)
    del stored[ids[2]]["imageId"]
    _edit(job_run, stored[ids[2]], status="migrationFailed")

    shown = operator("job", job_run.job_id)
    images = operator("job", job_run.job_id, "--images", "--json").json["images"]
    resubmitted = operator("resubmit", job_run.job_id, "--dry-run")
    retried = operator("retry-migrations", job_run.job_id, "--yes")

    assert shown.code == 0, shown.err
    assert {image["imageId"]: image["transactionStatus"] for image in images} == {
        ids[0]: "(unreadable)",
        ids[1]: "(unreadable)",
        ids[3]: "processed",
    }
    assert "does not have images that can be submitted again" in resubmitted.message
    assert "does not have images that could not be moved" in retried.message


@pytest.mark.usefixtures("paused_function")
def test_replay_sends_the_notification_of_s3(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    key = f"batch-output/{job_run.job_id}/part 1+2.jsonl.out"
    bucket = job_run.outputs["imagesBucket"]
    etag = job_run.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"{}\n")["ETag"].strip('"')
    _update_job(job_run, "SET processedOutputs = :seen", seen={key: etag})
    operator.job_run.aws.sqs.purge_queue(QueueUrl=job_run.outputs["queueUrl"])

    result = operator("replay", job_run.job_id, "--yes", "--no-wait", "--json")

    assert (result.json["done"], result.json["effects"]["failures"]) == (False, {"INVALID_RECORD": 1})
    encoded = f"batch-output/{job_run.job_id}/part+1%2B2.jsonl.out"
    assert _queued_messages(job_run) == [
        {"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": encoded}}}]}
    ]
    assert "processedOutputs" not in job_run.job()


@pytest.mark.usefixtures("paused_function")
@pytest.mark.parametrize("claimed_when", ["before", "during confirmation"])
def test_replay_refuses_a_claimed_job(
    operator: Operator, new_job_run: NewJobRun, monkeypatch: pytest.MonkeyPatch, claimed_when: str
) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    key = f"batch-output/{job_run.job_id}/output.jsonl"
    job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    _update_job(job_run, "SET processedOutputs = :seen", seen={"k": "e"})
    operator.job_run.aws.sqs.purge_queue(QueueUrl=job_run.outputs["queueUrl"])

    def claim(*_: object, **__: object) -> None:
        _update_job(job_run, "SET claimedUntil = :until", until=2**40)

    if claimed_when == "before":
        claim()
    else:
        monkeypatch.setattr("yorutsuke.screen.Screen.confirm", claim)

    result = operator("replay", job_run.job_id, "--yes", "--no-wait")

    assert result.code == 1
    assert result.message.startswith("RefusedError: an invocation has claimed job")
    assert job_run.job()["processedOutputs"] == {"k": "e"}
    assert _queued_messages(job_run) == []


@pytest.mark.usefixtures("paused_function")
def test_replay_spares_an_output_processed_meanwhile(
    operator: Operator, new_job_run: NewJobRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    key = f"batch-output/{job_run.job_id}/output.jsonl"
    job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    operator.job_run.aws.sqs.purge_queue(QueueUrl=job_run.outputs["queueUrl"])

    def process(*_: object, **__: object) -> None:
        _update_job(job_run, "SET processedOutputs = :seen", seen={"k": "e"})

    monkeypatch.setattr("yorutsuke.screen.Screen.confirm", process)

    result = operator("replay", job_run.job_id, "--yes", "--no-wait")

    assert (result.code, result.message.startswith("RefusedError: an invocation has claimed job")) == (1, True)
    assert job_run.job()["processedOutputs"] == {"k": "e"}
    assert _queued_messages(job_run) == []


@pytest.mark.usefixtures("paused_function")
@pytest.mark.parametrize("error", [UnfinishedError("SQS took none"), KeyboardInterrupt()])
def test_replay_restores_the_item_after_failed_sending(
    operator: Operator, new_job_run: NewJobRun, error: BaseException
) -> None:
    job_run, seen = _processed_job(new_job_run)

    with patch.object(Queue, "send", side_effect=error):
        result = operator("replay", job_run.job_id, "--yes")

    assert result.code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert f"The item of job '{job_run.job_id}' was restored." in result.message
    assert job_run.job()["processedOutputs"] == seen


@pytest.mark.usefixtures("paused_function")
@pytest.mark.parametrize("by", ["claim", "completion"])
def test_replay_does_not_restore_a_changed_item(operator: Operator, new_job_run: NewJobRun, by: str) -> None:
    job_run, _ = _processed_job(new_job_run)

    def lose_response(*_: object) -> None:
        if by == "claim":
            _update_job(job_run, "SET claimedUntil = :until", until=2**40)
        else:
            _update_job(job_run, "SET processedOutputs = :seen", seen={"k": "newer"})
        raise UnfinishedError("the response was lost")

    with patch.object(Queue, "send", lose_response):
        result = operator("replay", job_run.job_id, "--yes")

    assert (result.code, "An invocation has claimed job" in result.message) == (1, True)
    assert job_run.job().get("processedOutputs") == (None if by == "claim" else {"k": "newer"})


@pytest.mark.usefixtures("paused_function")
def test_replay_refuses_an_output_changed_during_confirmation(
    operator: Operator, new_job_run: NewJobRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_run, seen = _processed_job(new_job_run)
    [key] = seen

    def change(*_: object, **__: object) -> None:
        job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}\n{}\n")

    monkeypatch.setattr("yorutsuke.screen.Screen.confirm", change)
    result = operator("replay", job_run.job_id, "--yes")

    assert result.code == 1
    assert result.message.endswith("so the preview is out of date. Run the command again.")
    assert f"'{key}' was written again after the preview (ETag '{seen[key]}', now '" in result.message
    assert job_run.job()["processedOutputs"] == seen
    # S3's own notification about the new content has SNS's envelope.
    assert [body for body in _queued_messages(job_run) if "Records" in body] == []


def _complete_parts(job_run: JobRun, parts: dict[str, Sequence[str]]) -> dict[str, str]:
    """Complete a job with several output files, one after the other. Return the key of each."""
    keys = {name: f"batch-output/{job_run.job_id}/{name}" for name in parts}
    for name, lines in parts.items():
        job_run.drop_lines(lines, name)
        job_run.wait_until(lambda job, name=name: keys[name] in job.get("processedOutputs", {}), f"have {name}")
    return keys


def test_replay_processes_every_output_file(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 2)
    seed(job_run, receipts)
    first, second = simple_lines(receipts)
    keys = _complete_parts(job_run, {"a.jsonl": [first, "{"], "b.jsonl": [second, "{", "{"]})
    before = job_run.job()
    for transaction in job_run.transactions():
        _edit(job_run, transaction, merchant="Edited merchant")
    job_run.aws.s3.delete_object(Bucket=job_run.outputs["imagesBucket"], Key=f"dead-letters/{job_run.job_id}.jsonl")

    result = operator("replay", job_run.job_id, "--yes", "--json")
    shown = operator("dead-letters", job_run.job_id)

    assert result.json["keys"] == [*keys.values()]
    assert (result.json["done"], result.json["effects"]["unchanged"]) == (True, 2)
    assert result.json["effects"]["failures"] == {"INVALID_JSON": 3}
    after = job_run.job()
    assert (after["outputStats"], after["resultStats"]) == (before["outputStats"], before["resultStats"])
    assert after["processedOutputs"] == before["processedOutputs"]
    assert {transaction["merchant"] for transaction in job_run.transactions()} == {"Edited merchant"}
    letters = [(letter["output"], letter["line"]) for letter in job_run.dead_letters()]
    assert letters == [("a.jsonl", 2), ("b.jsonl", 2), ("b.jsonl", 3)]
    assert "┃ output file" in shown.out
    assert "│ b.jsonl" in shown.out


@pytest.mark.usefixtures("paused_function")
def test_replay_chooses_output_files(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    missing = operator("replay", job_run.job_id)
    keys = [f"batch-output/{job_run.job_id}/{file}" for file in ("a.jsonl", "b.jsonl")]
    for key in keys:
        job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    stats = {"successCount": 0, "failureCount": 1, "totalCount": 1, "migrationFailedCount": 0}
    _update_job(
        job_run,
        "SET processedOutputs = :seen, outputStats = :stats",
        seen=dict.fromkeys(keys, "etag"),
        stats=dict.fromkeys(keys, stats),
    )
    job_run.aws.sqs.purge_queue(QueueUrl=job_run.outputs["queueUrl"])

    unknown = operator("replay", job_run.job_id, "--output", "c.jsonl")
    second = operator("replay", job_run.job_id, "--output", "b.jsonl", "--yes", "--no-wait")
    kept = job_run.job()
    rest = operator("replay", job_run.job_id, "--yes", "--no-wait", "--json")

    assert [result.code for result in (missing, unknown, second, rest)] == [1, 1, 0, 0]
    assert f"job '{job_run.job_id}' does not have an output file in batch-output/{job_run.job_id}/" in missing.message
    assert "does not have the output file 'c.jsonl'" in unknown.message
    shown = " ".join(second.out.split())
    assert f"Effects of processing 1 output file of job {job_run.job_id} again" in shown
    assert (f"{keys[0]} │" in shown, f"{keys[1]} │" in shown) == (False, True)
    assert (kept["processedOutputs"], kept["outputStats"]) == ({keys[0]: "etag"}, {keys[0]: stats})
    assert rest.json["keys"] == keys
    assert {"processedOutputs", "outputStats"}.isdisjoint(job_run.job())
    sent = [body["Records"][0]["s3"]["object"]["key"] for body in _queued_messages(job_run)]
    assert sorted(sent) == sorted([keys[1], *keys])


@pytest.mark.usefixtures("paused_function")
def test_interrupted_replay_names_the_files_not_sent(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    for file in ("a.jsonl", "b.jsonl"):
        job_run.drop_lines(["{}"], file)

    result = operator("replay", job_run.job_id, "--yes", "--timeout", "0m")

    assert result.code == 1
    left = f"batch-output/{job_run.job_id}/b.jsonl"
    assert f"Output files that were not sent: {left}. Run the command again." in result.message


def _put_dead_messages(job_run: JobRun, *events: dict[str, Any]) -> None:
    for event in events:
        queue = job_run.outputs["deadLetterQueueUrl"]
        job_run.aws.sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(event))


def _job_end(job_run: JobRun) -> dict[str, Any]:
    event = json.loads((ROOT / "tests" / "events" / "bedrock" / "job_state_change.json").read_text())
    account = job_run.outputs["functionRoleArn"].split(":")[4]
    arn = f"arn:aws:bedrock:{REGION}:{account}:model-invocation-job/{job_run.job_id}"
    return {**event, "account": account, "detail": {**event["detail"], "batchJobArn": arn}}


def test_redrive_waits_until_messages_are_processed(operator: Operator, new_job_run: NewJobRun, tmp_path: Path) -> None:
    output, manifest, failed = new_job_run(), new_job_run(), new_job_run()
    keys: list[str] = []
    for job_run in (output, manifest):
        receipts = own_receipts(job_run, 2)
        seed(job_run, receipts)
        keys.append(_complete(job_run, tmp_path, receipts))
    failed.seed_job()
    _update_job(output, "REMOVE processedOutputs, outputStats")
    counts = RecordCounts(totalRecordCount=2, processedRecordCount=2, successRecordCount=2, errorRecordCount=0)
    manifest.drop_output_manifest(counts)
    manifest.wait_until(lambda job: "bedrockCounts" in job, "be reconciled")
    _update_job(manifest, "REMOVE bedrockCounts")
    bucket = output.outputs["imagesBucket"]
    objects = [keys[0], f"batch-output/{manifest.job_id}/manifest.json.out"]
    events = [json.loads(notification(bucket, key)) for key in objects]
    _put_dead_messages(output, *events, _job_end(failed), {"Event": "s3:TestEvent"})

    result = operator("redrive", "--yes", "--json")

    answer = result.json
    assert (answer["moved"], answer["done"]) == (4, True)
    assert {(group["kind"], group["jobId"], group["outcome"], group["messages"]) for group in answer["outcomes"]} == {
        ("output", output.job_id, "processed", 1),
        ("output manifest", manifest.job_id, "processed", 1),
        ("job's end", failed.job_id, "processed", 1),
        ("S3's test event", None, "ignored by the function", 1),
    }
    assert "processedOutputs" in output.job()
    assert "bedrockCounts" in manifest.job()
    assert failed.job()["status"] == "FAILED"


def test_redrive_reports_a_skipped_output_manifest(
    operator: Operator, new_job_run: NewJobRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function skips an output manifest that Bedrock wrote before it had processed a model request."""
    monkeypatch.setattr("yorutsuke.outcomes.EMPTY_SECONDS", 1)
    job_run = new_job_run()
    job_run.seed_job()
    counts = RecordCounts(totalRecordCount=2, processedRecordCount=0, successRecordCount=0, errorRecordCount=0)
    job_run.drop_output_manifest(counts)
    key = f"batch-output/{job_run.job_id}/manifest.json.out"
    body = notification(job_run.outputs["imagesBucket"], key)
    job_run.aws.sqs.send_message(QueueUrl=job_run.outputs["deadLetterQueueUrl"], MessageBody=body)

    result = operator("redrive", "--yes", "--json")

    assert result.json["done"] is True
    assert [(group["kind"], group["outcome"]) for group in result.json["outcomes"]] == [
        ("output manifest", "consumed without an effect on the job")
    ]


def test_redrive_reports_messages_that_fail_again(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    sqs, queue = job_run.aws.sqs, job_run.outputs["queueUrl"]
    before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
    # The job does not have an item, so each delivery fails.
    message = notification(job_run.outputs["imagesBucket"], f"batch-output/{job_run.job_id}/output.jsonl")
    _put_dead_messages(job_run, json.loads(message))
    try:
        result = operator("redrive", "--yes")
    finally:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=dict(before))
        sqs.purge_queue(QueueUrl=job_run.outputs["deadLetterQueueUrl"])

    assert result.code == 1
    assert f"│ output │ {job_run.job_id} │ in the dead-letter queue again │" in " ".join(result.out.split())
    assert result.message.endswith(
        "UnfinishedError: messages that failed again and are in yorutsuke-batch-output-dlq-local: 1. Correct the "
        "cause. Run the command again."
    )


def test_retry_migrations_corrects_every_output_file(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 3)
    seed(job_run, receipts)
    _hide_images(job_run, receipts)
    first, *others = simple_lines(receipts)
    keys = _complete_parts(job_run, {"a.jsonl": [first], "b.jsonl": others})
    counts = [_unmoved_counts(job_run, keys)]
    for restored in (receipts[1:2], [receipts[0], receipts[2]]):
        _restore_images(job_run, restored)
        operator("retry-migrations", job_run.job_id, "--yes")
        counts.append(_unmoved_counts(job_run, keys))

    # A transaction does not name its output file, so the first count is lowered first.
    assert counts == [(3, 1, 2), (2, 0, 2), (0, 0, 0)]


def _unmoved_counts(job_run: JobRun, keys: dict[str, str]) -> tuple[int, ...]:
    """Return the numbers of unmoved images of a job and of its output files."""
    job = job_run.job()
    stats = [job["resultStats"], *(job["outputStats"][key] for key in keys.values())]
    return tuple(int(counts["migrationFailedCount"]) for counts in stats)


@pytest.mark.usefixtures("paused_function")
def test_interrupting_replay_does_not_cancel_it(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    key = f"batch-output/{job_run.job_id}/output.jsonl"
    job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    queue = job_run.outputs["queueUrl"]
    job_run.aws.sqs.purge_queue(QueueUrl=queue)

    timed_out = operator("replay", job_run.job_id, "--yes", "--timeout", "0m")
    job_run.aws.sqs.purge_queue(QueueUrl=queue)
    # A background process inherits that SIGINT is ignored, so the command installs Python's handler.
    interruptible = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"{interruptible}; from yorutsuke.app import main; import sys; sys.exit(main())"
    command = [sys.executable, "-c", run, "replay", job_run.job_id, "--yes", "--stage", "local"]
    environment = {**operator.environment, "PYTHONPATH": SOURCE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
        until(lambda: _queued_messages(job_run), 30, "the message")
        waiting.send_signal(signal.SIGINT)
        error = waiting.communicate(timeout=60)[1]

    assert timed_out.code == 1
    assert "UnfinishedError: job" in timed_out.message
    assert "The function continues, and SQS delivers a failed message again" in timed_out.message
    assert waiting.returncode == 130
    command = f"yorutsuke job {job_run.job_id} --stage local"
    assert f"Stopped waiting. The function continues. `{command}` shows the result." in " ".join(error.split())


def test_replay_compares_the_manifest_again(operator: Operator, new_job_run: NewJobRun, tmp_path: Path) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 2)
    seed(job_run, receipts)
    _complete(job_run, tmp_path, receipts)
    missing = operator("replay", job_run.job_id, "--manifest", "--yes")
    counts = RecordCounts(totalRecordCount=2, processedRecordCount=2, successRecordCount=2, errorRecordCount=0)
    job_run.drop_output_manifest(counts)
    job_run.wait_until(lambda job: "bedrockCounts" in job, "be reconciled")
    _update_job(job_run, "REMOVE bedrockCounts")

    result = operator("replay", job_run.job_id, "--manifest", "--yes", "--json")

    assert (missing.code, "does not have manifest.json.out" in missing.message) == (1, True)
    assert result.json["key"] == f"batch-output/{job_run.job_id}/manifest.json.out"
    assert job_run.job()["bedrockCounts"]["processedRecordCount"] == 2
    assert operator("replay", job_run.job_id, "--manifest", "--output", "x").code == 1


@pytest.mark.usefixtures("paused_function")
def test_invalid_manifest_is_a_one_line_error(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    key = f"batch-output/{job_run.job_id}/manifest.json.out"
    job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}")

    result = operator("replay", job_run.job_id, "--manifest", "--yes")

    assert result.code == 1
    assert result.message.startswith(f"InvalidOutputManifestError: '{key}' is not an output manifest: totalRecordCount")


@pytest.mark.usefixtures("paused_function")
@pytest.mark.parametrize(
    ("processed", "outputs", "message"),
    [
        (0, {}, "counts 0 processed records, and the job's output was not processed,"),
        (2, {}, "counts 2 records, but the processed output has 0, so the message would fail."),
        (3, {"k": "e"}, "counts 3 records, but the processed output has 2, so the message would fail."),
    ],
)
def test_replay_refuses_a_manifest_without_effect(
    operator: Operator, new_job_run: NewJobRun, processed: int, outputs: dict[str, str], message: str
) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    job_run.drop_output_manifest(
        RecordCounts(totalRecordCount=3, processedRecordCount=processed, successRecordCount=0, errorRecordCount=0)
    )
    stats = {"successCount": 2, "failureCount": 0, "totalCount": 2, "migrationFailedCount": 0}
    _update_job(job_run, "SET resultStats = :stats", stats=stats)
    if outputs:
        counted = dict.fromkeys(outputs, stats)
        _update_job(job_run, "SET processedOutputs = :seen, outputStats = :counted", seen=outputs, counted=counted)
    job_run.aws.sqs.purge_queue(QueueUrl=job_run.outputs["queueUrl"])

    result = operator("replay", job_run.job_id, "--manifest", "--yes")

    assert result.code == 1
    assert f"RefusedError: 'batch-output/{job_run.job_id}/manifest.json.out' {message}" in result.message
    assert _queued_messages(job_run) == []


def _fail_migrations(job_run: JobRun, folder: Path, count: int = 3) -> list[Receipt]:
    """Complete a job with failed migrations only: the images are below `kept/`, not below `uploads/`."""
    receipts = own_receipts(job_run, count)
    seed(job_run, receipts)
    _hide_images(job_run, receipts)
    _complete(job_run, folder, receipts)
    assert job_run.job()["resultStats"]["migrationFailedCount"] == count
    return receipts


def _hide_images(job_run: JobRun, receipts: Sequence[Receipt]) -> None:
    s3, bucket = job_run.aws.s3, job_run.outputs["imagesBucket"]
    for receipt in receipts:
        key = f"uploads/user-1/{receipt.image_id}.png"
        s3.copy_object(Bucket=bucket, Key=f"kept/{key}", CopySource={"Bucket": bucket, "Key": key})
        s3.delete_object(Bucket=bucket, Key=key)


def _restore_images(job_run: JobRun, receipts: Sequence[Receipt]) -> None:
    s3, bucket = job_run.aws.s3, job_run.outputs["imagesBucket"]
    for receipt in receipts:
        key = f"uploads/user-1/{receipt.image_id}.png"
        s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": f"kept/{key}"})


def test_retry_migrations_keeps_the_users_edits(operator: Operator, new_job_run: NewJobRun, tmp_path: Path) -> None:
    job_run = new_job_run()
    receipts = _fail_migrations(job_run, tmp_path)
    _restore_images(job_run, receipts[:2])
    edited = {**_by_image(job_run)[receipts[0].image_id], "merchant": "Edited merchant"}
    _edit(job_run, edited)

    result = operator.run_process("retry-migrations", job_run.job_id, "--yes", "--json")

    assert result.code == 1
    answer = json.loads(result.out)
    unmoved = receipts[2].image_id
    assert answer == {
        "jobId": job_run.job_id,
        "found": 3,
        "moved": 2,
        "edited": 0,
        "corrected": 0,
        "failures": {unmoved: "CopyObject: NoSuchKey"},
    }
    assert f"Effects of moving the images of job {job_run.job_id} " in result.message
    folder = next(key for key in job_run.object_keys("processed/") if job_run.job_id in key).rpartition("user-1/")[0]
    assert f"│ images to move │ 3 │ │ from │ uploads/ │ │ to │ {folder} │" in result.message
    assert "│ unmoved images in the job's item │ 3 → 0, if all images are moved │" in result.message
    assert "UnfinishedError: images that were not moved: 1 (CopyObject: NoSuchKey 1)" in result.error
    after = _by_image(job_run)
    assert after[receipts[0].image_id] == {**edited, "status": "processed"}
    assert [after[receipt.image_id]["status"] for receipt in receipts[1:]] == ["processed", "migrationFailed"]
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 1
    moved = [key for key in job_run.object_keys("processed/") if job_run.job_id in key]
    assert len(moved) == 2
    assert not [key for key in job_run.object_keys("uploads/") if job_run.job_id in key]


def test_retry_migrations_is_idempotent_across_chunks(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_run = new_job_run()
    receipts = _fail_migrations(job_run, tmp_path, 5)
    _restore_images(job_run, receipts)
    monkeypatch.setattr(migrations, "CHUNK_RECORDS", 3)
    monkeypatch.setattr(migrations, "STATUSES_PER_WRITE", 2)

    first = operator("retry-migrations", job_run.job_id, "--yes", "--json").json
    second = operator("retry-migrations", job_run.job_id)

    assert (first["found"], first["moved"], first["failures"]) == (5, 5, {})
    nothing = f"job '{job_run.job_id}' does not have images that could not be moved, so nothing was changed."
    assert (second.code, second.out, second.message) == (1, "", f"NotFoundError: {nothing}")
    assert {transaction["status"] for transaction in job_run.transactions()} == {"processed"}
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 0


def test_retry_migrations_keeps_a_concurrently_changed_status(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    receipts = _fail_migrations(job_run, tmp_path, 2)
    _restore_images(job_run, receipts)
    archived = _by_image(job_run)[receipts[0].image_id]

    def edit(*arguments: Any) -> Any:
        _edit(job_run, archived, status="archived")
        return real_move(*arguments)

    real_move = migrations.move_images
    with patch.object(migrations, "move_images", edit):
        answer = operator("retry-migrations", job_run.job_id, "--yes", "--json").json

    assert (answer["moved"], answer["edited"]) == (1, 1)
    after = _by_image(job_run)
    assert [after[receipt.image_id]["status"] for receipt in receipts] == ["archived", "processed"]
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 1


def test_retry_migrations_corrects_the_count_after_edits(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_run = new_job_run()
    receipts = _fail_migrations(job_run, tmp_path, 3)
    _restore_images(job_run, receipts[:1])
    _delete(job_run, _by_image(job_run)[receipts[2].image_id])
    fresh = operator("retry-migrations", job_run.job_id, "--yes", "--json")
    monkeypatch.setattr(migrations, "INDEX_SECONDS", -1)
    _restore_images(job_run, receipts[1:2])
    last = _by_image(job_run)[receipts[1].image_id]

    def edit(*arguments: Any) -> Any:
        _edit(job_run, last, status="archived")
        return real_move(*arguments)

    real_move = migrations.move_images
    with patch.object(migrations, "move_images", edit):
        result = operator("retry-migrations", job_run.job_id, "--yes", "--json")

    # One image was moved. The status of the other two transactions is not `migrationFailed` any more.
    assert (fresh.code, json.loads(fresh.out)["corrected"]) == (1, 0)
    assert (result.json["found"], result.json["moved"], result.json["edited"], result.json["corrected"]) == (1, 0, 1, 2)
    assert "counts 1 unmoved image more than the 1 in the table, because their transactions" in result.message
    assert "Transactions that were deleted or edited meanwhile: 1." in result.message
    assert "The job counted 2 unmoved images too many and was corrected." in result.message
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 0
    assert _by_image(job_run)[receipts[1].image_id]["status"] == "archived"


def test_retry_migrations_confirms_before_correcting_the_count(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_run = new_job_run()
    [receipt] = _fail_migrations(job_run, tmp_path, 1)
    _delete(job_run, _by_image(job_run)[receipt.image_id])
    early = operator("retry-migrations", job_run.job_id)
    monkeypatch.setattr(migrations, "INDEX_SECONDS", -1)

    refused = operator("retry-migrations", job_run.job_id, answer="n\n")
    counted = job_run.job()["resultStats"]["migrationFailedCount"]
    agreed = operator("retry-migrations", job_run.job_id, answer="y\n")

    assert early.code == 1
    assert "Its item counts 1 unmoved image, and the index of the transactions may lag behind." in early.message
    assert (refused.code, counted) == (0, 1)
    assert f"Correct the item of job {job_run.job_id} to 0 unmoved images?" in refused.message
    assert agreed.code == 0, agreed.err
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 0


def test_retry_migrations_reports_unknown_and_foreign_images(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    receipts = _fail_migrations(job_run, tmp_path, 2)
    _restore_images(job_run, receipts)
    table = job_run.outputs["pendingImagesTable"]
    job_run.aws.dynamodb.delete_item(TableName=table, Key={"imageId": {"S": receipts[0].image_id}})
    foreign = {"imageId": receipts[1].image_id, "userId": "another", "s3Key": "uploads/another/x.png"}
    job_run.aws.dynamodb.put_item(TableName=table, Item=to_item(foreign))

    result = operator("retry-migrations", job_run.job_id, "--yes")

    assert result.code == 1
    assert "not in pending-images 1" in result.message
    assert "belongs to another user 1" in result.message
    assert receipts[0].image_id in result.out
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 2


def test_retry_migrations_refuses_an_unprocessed_job(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    submitted = operator("retry-migrations", job_run.job_id, "--yes")
    other = new_job_run()
    _fail_migrations(other, tmp_path, 1)
    refused = operator("retry-migrations", other.job_id)
    seen = other.job()["processedOutputs"]
    _update_job(other, "REMOVE processedOutputs")
    replayed = operator("retry-migrations", other.job_id, "--yes")
    _update_job(other, "SET processedOutputs = :seen", seen=seen)

    def claim(*arguments: Any) -> Any:
        _update_job(other, "SET claimedUntil = :until", until=int(time.time()) + 600)
        return real_move(*arguments)

    real_move = migrations.move_images
    _restore_images(other, own_receipts(other, 1))
    with patch.object(migrations, "move_images", claim):
        raced = operator("retry-migrations", other.job_id, "--yes")

    assert "is SUBMITTED, and its output is still to be processed" in submitted.message
    assert "Pass --yes" in refused.message
    assert "is COMPLETED, and its output is still to be processed" in replayed.message
    assert "an invocation is processing the output of job" in raced.message
    assert [result.code for result in (submitted, refused, replayed, raced)] == [1, 1, 1, 1]
    assert other.job()["resultStats"]["migrationFailedCount"] == 1
    _update_job(other, "REMOVE claimedUntil")

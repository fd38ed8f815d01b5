"""The operator's command on jobs that went wrong: an output taken in again, and images moved after all."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from local.emulator import Emulator
from local.job_run import JobRun, until
from local.receipts import Receipt, simple_lines
from yorutsuke import migrations
from yorutsuke.errors import UnfinishedError
from yorutsuke.queues import Queue
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.schema import RecordCounts

from .conftest import NewJobRun, own_receipts, seed
from .operator_stage import ROOT, SOURCE, Operator, operator_of

Edit = Callable[..., None]


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return operator_of(emulator, stage, tmp_path_factory.mktemp("mending"))


@pytest.fixture
def at_rest(stage: JobRun) -> Generator[None]:
    """Let the function take nothing from its queue meanwhile."""
    lambda_ = stage.aws.lambda_
    [mapping] = lambda_.list_event_source_mappings(FunctionName=stage.outputs["functionName"])["EventSourceMappings"]
    lambda_.update_event_source_mapping(UUID=mapping.get("UUID", ""), Enabled=False)
    yield
    stage.aws.sqs.purge_queue(QueueUrl=stage.outputs["queueUrl"])
    lambda_.update_event_source_mapping(UUID=mapping.get("UUID", ""), Enabled=True)


def _completed(job_run: JobRun, folder: Path, receipts: Sequence[Receipt], *bad: str) -> str:
    """Have a night's job completed, and return its output's key."""
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
    """Edit a transaction as a person would in the app."""
    table = job_run.outputs["transactionsTable"]
    job_run.aws.dynamodb.put_item(TableName=table, Item=to_item({**transaction, **attributes}))


def _by_image(job_run: JobRun) -> dict[str, dict[str, Any]]:
    return {transaction["imageId"]: transaction for transaction in job_run.transactions()}


def _queued(job_run: JobRun) -> list[dict[str, Any]]:
    answer = job_run.aws.sqs.receive_message(QueueUrl=job_run.outputs["queueUrl"], MaxNumberOfMessages=10)
    return [json.loads(message.get("Body", "")) for message in answer.get("Messages", [])]


def _taken_in(new_job_run: NewJobRun) -> tuple[JobRun, dict[str, str]]:
    """Return a night whose record says that its output was taken in, and what it says of that."""
    job_run = new_job_run()
    job_run.seed_job()
    key = f"batch-output/{job_run.job_id}/output.jsonl"
    put = job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    seen = {key: put["ETag"].strip('"')}
    _update_job(job_run, "SET processedOutputs = :seen", seen=seen)
    job_run.aws.sqs.purge_queue(QueueUrl=job_run.outputs["queueUrl"])
    return job_run, seen


def test_a_replay_says_what_it_would_change_and_then_does_it(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 4)
    seed(job_run, receipts)
    key = _completed(job_run, tmp_path, receipts, "{")
    stood = _by_image(job_run)
    edited, deleted, noted, _ = (stood[receipt.image_id] for receipt in receipts)
    _edit(job_run, edited, merchant="Somebody's own words")
    _edit(job_run, noted, note="tax-free")
    job_run.aws.dynamodb.delete_item(
        TableName=job_run.outputs["transactionsTable"],
        Key=to_item({"userId": deleted["userId"], "transactionId": deleted["transactionId"]}),
    )
    job_run.aws.s3.delete_object(Bucket=job_run.outputs["imagesBucket"], Key=f"dead-letters/{job_run.job_id}.jsonl")

    ran = operator.spawned("replay", job_run.job_id, "--yes", "--json")

    answer = ran.answer
    effects = answer["effects"]
    assert answer["key"] == key
    assert effects == {
        "new": 0,
        "gone": 1,
        "goneIds": [deleted["transactionId"]],
        "same": 1,
        "changed": 2,
        "changedIds": effects["changedIds"],
        "imagesToMove": 0,
        "imagesMovedBefore": 4,
        "imagesUnknown": 0,
        "failures": {"INVALID_JSON": 1},
    }
    assert {*effects["changedIds"]} == {edited["transactionId"], noted["transactionId"]}
    assert answer["done"] is True
    assert answer["resultStats"]["successCount"] == 4
    assert "0 new, 1 unchanged, 2 overwritten" in ran.told
    assert f"missing, written again │ 1: {deleted['transactionId']}" in ran.told
    assert _by_image(job_run) == stood
    assert [letter["reason"] for letter in job_run.dead_letters()] == ["INVALID_JSON"]


def test_a_replay_moves_what_waits_and_counts_what_is_another_s(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 3)
    job_run.seed_images(receipt.image_id for receipt in receipts[:2])
    job_run.seed_job()
    foreign = {"imageId": receipts[2].image_id, "userId": "another", "s3Key": "uploads/another/x.png"}
    job_run.aws.dynamodb.put_item(TableName=job_run.outputs["pendingImagesTable"], Item=to_item(foreign))
    _completed(job_run, tmp_path, receipts)
    again = {"imageId": receipts[0].image_id, "userId": "user-1", "s3Key": "uploads/user-1/gone.png"}
    job_run.aws.dynamodb.put_item(TableName=job_run.outputs["pendingImagesTable"], Item=to_item(again))
    job_run.aws.dynamodb.delete_item(
        TableName=job_run.outputs["pendingImagesTable"], Key={"imageId": {"S": receipts[1].image_id}}
    )

    ran = operator("replay", job_run.job_id, answer="n\n")

    assert ran.code == 1
    said = " ".join(ran.out.split())
    assert "0 new, 2 unchanged, 0 overwritten" in said
    assert "1 to move, 0 moved before, 1 unknown" in said
    assert "OWNER_MISMATCH=1" in said


@pytest.mark.usefixtures("at_rest")
def test_a_replay_that_nobody_waits_for_is_sent_as_s3_would_and_the_output_is_no_duplicate_any_more(
    operator: Operator, new_job_run: NewJobRun
) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    key = f"batch-output/{job_run.job_id}/night 1+2.jsonl.out"
    bucket = job_run.outputs["imagesBucket"]
    etag = job_run.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"{}\n")["ETag"].strip('"')
    _update_job(job_run, "SET processedOutputs = :seen", seen={key: etag})
    operator.job_run.aws.sqs.purge_queue(QueueUrl=job_run.outputs["queueUrl"])

    ran = operator("replay", job_run.job_id, "--yes", "--no-wait", "--json")

    assert (ran.answer["done"], ran.answer["effects"]["failures"]) == (False, {"INVALID_RECORD": 1})
    encoded = f"batch-output/{job_run.job_id}/night+1%2B2.jsonl.out"
    assert _queued(job_run) == [{"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": encoded}}}]}]
    assert "processedOutputs" not in job_run.job()


@pytest.mark.usefixtures("at_rest")
@pytest.mark.parametrize("claimed_when", ["before", "while the question is asked"])
def test_a_job_that_a_function_has_is_not_replayed(
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

    ran = operator("replay", job_run.job_id, "--yes", "--no-wait")

    assert ran.code == 1
    assert ran.told.startswith("RefusedError: a function has claimed job")
    assert job_run.job()["processedOutputs"] == {"k": "e"}
    assert _queued(job_run) == []


@pytest.mark.usefixtures("at_rest")
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

    ran = operator("replay", job_run.job_id, "--yes", "--no-wait")

    assert (ran.code, ran.told.startswith("RefusedError: a function has claimed job")) == (1, True)
    assert job_run.job()["processedOutputs"] == {"k": "e"}
    assert _queued(job_run) == []


@pytest.mark.usefixtures("at_rest")
@pytest.mark.parametrize("died", [UnfinishedError("SQS took none"), KeyboardInterrupt()])
def test_a_replay_whose_message_was_not_sent_leaves_the_output_known(
    operator: Operator, new_job_run: NewJobRun, died: BaseException
) -> None:
    job_run, seen = _taken_in(new_job_run)

    with patch.object(Queue, "send", side_effect=died):
        ran = operator("replay", job_run.job_id, "--yes")

    assert ran.code == (130 if isinstance(died, KeyboardInterrupt) else 1)
    assert f"The record of job '{job_run.job_id}' was restored." in ran.told
    assert job_run.job()["processedOutputs"] == seen


@pytest.mark.usefixtures("at_rest")
@pytest.mark.parametrize("by", ["claim", "completion"])
def test_what_a_function_has_meanwhile_is_left_to_it(operator: Operator, new_job_run: NewJobRun, by: str) -> None:
    job_run, _ = _taken_in(new_job_run)

    def lost(*_: object) -> None:
        if by == "claim":
            _update_job(job_run, "SET claimedUntil = :until", until=2**40)
        else:
            _update_job(job_run, "SET processedOutputs = :seen", seen={"k": "newer"})
        raise UnfinishedError("the answer was lost")

    with patch.object(Queue, "send", lost):
        ran = operator("replay", job_run.job_id, "--yes")

    assert (ran.code, "A function has claimed job" in ran.told) == (1, True)
    assert job_run.job().get("processedOutputs") == (None if by == "claim" else {"k": "newer"})


@pytest.mark.usefixtures("at_rest")
def test_an_output_that_changed_while_the_question_was_asked_is_not_replayed(
    operator: Operator, new_job_run: NewJobRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_run, seen = _taken_in(new_job_run)
    [key] = seen

    def change(*_: object, **__: object) -> None:
        job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}\n{}\n")

    monkeypatch.setattr("yorutsuke.screen.Screen.confirm", change)
    ran = operator("replay", job_run.job_id, "--yes")

    assert ran.code == 1
    assert ran.told.endswith("so the preview is out of date. Run the command again.")
    assert f"'{key}' was written again after the preview (ETag '{seen[key]}', now '" in ran.told
    assert job_run.job()["processedOutputs"] == seen
    # S3's own message of the new content comes through SNS.
    assert [body for body in _queued(job_run) if "Records" in body] == []


@pytest.mark.usefixtures("at_rest")
def test_which_output_is_meant_has_to_be_clear(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    none = operator("replay", job_run.job_id)
    for file in ("a.jsonl", "b.jsonl"):
        key = f"batch-output/{job_run.job_id}/{file}"
        job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    _update_job(job_run, "SET processedOutputs = :seen", seen={f"batch-output/{job_run.job_id}/a.jsonl": "etag"})

    several = operator("replay", job_run.job_id)
    unknown = operator("replay", job_run.job_id, "--output", "c.jsonl")
    second = operator("replay", job_run.job_id, "--output", "b.jsonl", answer="n\n")

    assert [ran.code for ran in (none, several, unknown, second)] == [1, 1, 1, 1]
    assert f"job '{job_run.job_id}' does not have an output file in batch-output/{job_run.job_id}/" in none.told
    assert "has 2 output files" in several.told
    assert "Name one with --output" in several.told
    assert "does not have the output file 'c.jsonl'" in unknown.told
    said = " ".join(second.out.split())
    assert f"Effects of processing batch-output/{job_run.job_id}/b.jsonl again" in said
    assert f"replaces │ batch-output/{job_run.job_id}/a.jsonl" in said


@pytest.mark.usefixtures("at_rest")
def test_interrupting_replay_does_not_cancel_it(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    key = f"batch-output/{job_run.job_id}/output.jsonl"
    job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    queue = job_run.outputs["queueUrl"]
    job_run.aws.sqs.purge_queue(QueueUrl=queue)

    timed_out = operator("replay", job_run.job_id, "--yes", "--timeout", "0m")
    job_run.aws.sqs.purge_queue(QueueUrl=queue)
    # Its own handler: a process in the background inherits that SIGINT is ignored.
    interruptible = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"{interruptible}; from yorutsuke.app import main; import sys; sys.exit(main())"
    command = [sys.executable, "-c", run, "replay", job_run.job_id, "--yes", "--stage", "local"]
    environment = {**operator.environment, "PYTHONPATH": SOURCE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
        until(lambda: _queued(job_run), 30, "the message")
        waiting.send_signal(signal.SIGINT)
        said = waiting.communicate(timeout=60)[1]

    assert timed_out.code == 1
    assert "UnfinishedError: job" in timed_out.told
    assert "The function continues, and SQS delivers a failed message again" in timed_out.told
    assert waiting.returncode == 130
    stopped = f"Stopped waiting. The function continues. `job {job_run.job_id}` shows the result."
    assert stopped in " ".join(said.split())


def test_a_manifest_is_compared_again(operator: Operator, new_job_run: NewJobRun, tmp_path: Path) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 2)
    seed(job_run, receipts)
    _completed(job_run, tmp_path, receipts)
    missing = operator("replay", job_run.job_id, "--manifest", "--yes")
    counts = RecordCounts(totalRecordCount=2, processedRecordCount=2, successRecordCount=2, errorRecordCount=0)
    job_run.drop_manifest(counts)
    job_run.wait_until(lambda job: "bedrockCounts" in job, "be reconciled")
    _update_job(job_run, "REMOVE bedrockCounts")

    ran = operator("replay", job_run.job_id, "--manifest", "--yes", "--json")

    assert (missing.code, "does not have manifest.json.out" in missing.told) == (1, True)
    assert ran.answer["key"] == f"batch-output/{job_run.job_id}/manifest.json.out"
    assert job_run.job()["bedrockCounts"]["processedRecordCount"] == 2
    assert operator("replay", job_run.job_id, "--manifest", "--output", "x").code == 1


@pytest.mark.usefixtures("at_rest")
def test_a_manifest_that_is_none_is_one_clear_line(operator: Operator, new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    key = f"batch-output/{job_run.job_id}/manifest.json.out"
    job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=key, Body=b"{}")

    ran = operator("replay", job_run.job_id, "--manifest", "--yes")

    assert ran.code == 1
    assert ran.told.startswith(f"InvalidManifestError: '{key}' is not Bedrock's manifest: totalRecordCount")


@pytest.mark.usefixtures("at_rest")
@pytest.mark.parametrize(
    ("processed", "outputs", "told"),
    [
        (0, {}, "counts 0 processed records, and the job's output was not processed,"),
        (2, {}, "counts 2 records, but the processed output has 0, so the message would fail."),
        (3, {"k": "e"}, "counts 3 records, but the processed output has 2, so the message would fail."),
    ],
)
def test_a_manifest_that_the_function_would_skip_or_give_back_is_not_sent(
    operator: Operator, new_job_run: NewJobRun, processed: int, outputs: dict[str, str], told: str
) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    job_run.drop_manifest(
        RecordCounts(totalRecordCount=3, processedRecordCount=processed, successRecordCount=0, errorRecordCount=0)
    )
    stats = {"successCount": 2, "failureCount": 0, "totalCount": 2, "migrationFailedCount": 0}
    _update_job(job_run, "SET resultStats = :stats", stats=stats)
    if outputs:
        _update_job(job_run, "SET processedOutputs = :seen", seen=outputs)
    job_run.aws.sqs.purge_queue(QueueUrl=job_run.outputs["queueUrl"])

    ran = operator("replay", job_run.job_id, "--manifest", "--yes")

    assert ran.code == 1
    assert f"RefusedError: 'batch-output/{job_run.job_id}/manifest.json.out' {told}" in ran.told
    assert _queued(job_run) == []


def _unmoved(job_run: JobRun, folder: Path, count: int = 3) -> list[Receipt]:
    """Have a job completed whose images could not be moved: they are not where they are said to be."""
    receipts = own_receipts(job_run, count)
    seed(job_run, receipts)
    s3, bucket = job_run.aws.s3, job_run.outputs["imagesBucket"]
    for receipt in receipts:
        key = f"uploads/user-1/{receipt.image_id}.png"
        s3.copy_object(Bucket=bucket, Key=f"kept/{key}", CopySource={"Bucket": bucket, "Key": key})
        s3.delete_object(Bucket=bucket, Key=key)
    _completed(job_run, folder, receipts)
    assert job_run.job()["resultStats"]["migrationFailedCount"] == count
    return receipts


def _bring_back(job_run: JobRun, receipts: Sequence[Receipt]) -> None:
    s3, bucket = job_run.aws.s3, job_run.outputs["imagesBucket"]
    for receipt in receipts:
        key = f"uploads/user-1/{receipt.image_id}.png"
        s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": f"kept/{key}"})


def test_images_are_moved_after_all_and_a_person_s_edits_stand(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    receipts = _unmoved(job_run, tmp_path)
    _bring_back(job_run, receipts[:2])
    edited = {**_by_image(job_run)[receipts[0].image_id], "merchant": "Somebody's own words"}
    _edit(job_run, edited)

    ran = operator.spawned("retry-migrations", job_run.job_id, "--yes", "--json")

    assert ran.code == 1
    answer = json.loads(ran.out)
    stays = receipts[2].image_id
    assert answer == {
        "jobId": job_run.job_id,
        "found": 3,
        "moved": 2,
        "edited": 0,
        "corrected": 0,
        "failures": {stays: "CopyObject: NoSuchKey"},
    }
    assert "UnfinishedError: 1 images were not moved (CopyObject: NoSuchKey 1)" in ran.told
    stand = _by_image(job_run)
    assert stand[receipts[0].image_id] == {**edited, "status": "processed"}
    assert [stand[receipt.image_id]["status"] for receipt in receipts[1:]] == ["processed", "migrationFailed"]
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 1
    moved = [key for key in job_run.object_keys("processed/") if job_run.job_id in key]
    assert len(moved) == 2
    assert not [key for key in job_run.object_keys("uploads/") if job_run.job_id in key]


def test_images_are_moved_a_block_at_a_time_and_a_second_time_there_is_nothing_to_do(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_run = new_job_run()
    receipts = _unmoved(job_run, tmp_path, 5)
    _bring_back(job_run, receipts)
    monkeypatch.setattr(migrations, "CHUNK_RECORDS", 3)
    monkeypatch.setattr(migrations, "STATUSES_PER_WRITE", 2)

    first = operator("retry-migrations", job_run.job_id, "--yes", "--json").answer
    second = operator("retry-migrations", job_run.job_id, "--json").answer

    assert (first["found"], first["moved"], first["failures"]) == (5, 5, {})
    assert (second["found"], second["moved"]) == (0, 0)
    assert {transaction["status"] for transaction in job_run.transactions()} == {"processed"}
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 0


def test_a_status_that_somebody_changed_meanwhile_is_left_and_the_count_agrees(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    receipts = _unmoved(job_run, tmp_path, 2)
    _bring_back(job_run, receipts)
    archived = _by_image(job_run)[receipts[0].image_id]

    def find(*arguments: Any) -> Any:
        _edit(job_run, archived, status="archived")
        return real_move(*arguments)

    real_move = migrations.move_images
    with patch.object(migrations, "move_images", find):
        answer = operator("retry-migrations", job_run.job_id, "--yes", "--json").answer

    assert (answer["moved"], answer["edited"]) == (1, 1)
    stand = _by_image(job_run)
    assert [stand[receipt.image_id]["status"] for receipt in receipts] == ["archived", "processed"]
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 1


def _delete(job_run: JobRun, transaction: dict[str, Any]) -> None:
    job_run.aws.dynamodb.delete_item(
        TableName=job_run.outputs["transactionsTable"],
        Key=to_item({name: transaction[name] for name in ("userId", "transactionId")}),
    )


def test_what_a_person_deleted_or_set_comes_off_the_count_once_nothing_is_left(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_run = new_job_run()
    receipts = _unmoved(job_run, tmp_path, 3)
    _bring_back(job_run, receipts[:1])
    _delete(job_run, _by_image(job_run)[receipts[2].image_id])
    fresh = operator("retry-migrations", job_run.job_id, "--yes", "--json")
    monkeypatch.setattr(migrations, "INDEX_SECONDS", -1)
    _bring_back(job_run, receipts[1:2])
    last = _by_image(job_run)[receipts[1].image_id]

    def edit(*arguments: Any) -> Any:
        _edit(job_run, last, status="archived")
        return real_move(*arguments)

    real_move = migrations.move_images
    with patch.object(migrations, "move_images", edit):
        ran = operator("retry-migrations", job_run.job_id, "--yes", "--json")

    # One was moved and two are not in the table as unmoved any more.
    assert (fresh.code, json.loads(fresh.out)["corrected"]) == (1, 0)
    assert (ran.answer["found"], ran.answer["moved"], ran.answer["edited"], ran.answer["corrected"]) == (1, 0, 1, 2)
    assert "counts 1 unmoved images more than the 1 in the table, because their transactions" in ran.told
    assert "1 transactions were deleted or edited meanwhile" in ran.told
    assert "The record counted 2 unmoved images too many and was corrected." in ran.told
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 0
    assert _by_image(job_run)[receipts[1].image_id]["status"] == "archived"


def test_a_count_of_nothing_is_corrected_where_somebody_agrees(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_run = new_job_run()
    [receipt] = _unmoved(job_run, tmp_path, 1)
    _delete(job_run, _by_image(job_run)[receipt.image_id])
    early = operator("retry-migrations", job_run.job_id, "--json").answer
    monkeypatch.setattr(migrations, "INDEX_SECONDS", -1)

    refused = operator("retry-migrations", job_run.job_id, answer="n\n")
    counted = job_run.job()["resultStats"]["migrationFailedCount"]
    agreed = operator("retry-migrations", job_run.job_id, answer="y\n")

    assert (early["found"], early["corrected"]) == (0, 0)
    assert (refused.code, counted) == (1, 1)
    assert f"Correct the record of job {job_run.job_id} to 0 unmoved images?" in refused.told
    assert agreed.code == 0, agreed.err
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 0


def test_images_that_are_unknown_or_another_s_stay_and_say_so(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    receipts = _unmoved(job_run, tmp_path, 2)
    _bring_back(job_run, receipts)
    table = job_run.outputs["pendingImagesTable"]
    job_run.aws.dynamodb.delete_item(TableName=table, Key={"imageId": {"S": receipts[0].image_id}})
    foreign = {"imageId": receipts[1].image_id, "userId": "another", "s3Key": "uploads/another/x.png"}
    job_run.aws.dynamodb.put_item(TableName=table, Item=to_item(foreign))

    ran = operator("retry-migrations", job_run.job_id, "--yes")

    assert ran.code == 1
    assert "not in pending-images 1" in ran.told
    assert "belongs to another user 1" in ran.told
    assert receipts[0].image_id in ran.out
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 2


def test_images_of_a_job_that_is_still_to_be_taken_in_are_left_to_the_function(
    operator: Operator, new_job_run: NewJobRun, tmp_path: Path
) -> None:
    job_run = new_job_run()
    job_run.seed_job()
    submitted = operator("retry-migrations", job_run.job_id, "--yes")
    other = new_job_run()
    _unmoved(other, tmp_path, 1)
    refused = operator("retry-migrations", other.job_id)
    seen = other.job()["processedOutputs"]
    _update_job(other, "REMOVE processedOutputs")
    replayed = operator("retry-migrations", other.job_id, "--yes")
    _update_job(other, "SET processedOutputs = :seen", seen=seen)

    def claim(*arguments: Any) -> Any:
        _update_job(other, "SET claimedUntil = :until", until=int(time.time()) + 600)
        return real_move(*arguments)

    real_move = migrations.move_images
    _bring_back(other, own_receipts(other, 1))
    with patch.object(migrations, "move_images", claim):
        raced = operator("retry-migrations", other.job_id, "--yes")

    assert "is SUBMITTED, and its output is still to be processed" in submitted.told
    assert "Pass --yes" in refused.told
    assert "is COMPLETED, and its output is still to be processed" in replayed.told
    assert "a function is processing the output of job" in raced.told
    assert [ran.code for ran in (submitted, refused, replayed, raced)] == [1, 1, 1, 1]
    assert other.job()["resultStats"]["migrationFailedCount"] == 1
    _update_job(other, "REMOVE claimedUntil")

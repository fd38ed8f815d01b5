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
from local.night import Night, until
from local.receipts import Receipt, plan_lines
from yorutsuke import migrations
from yorutsuke.errors import UnfinishedError
from yorutsuke.queues import Queue
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.schema import RecordCounts

from .conftest import NewNight, own_receipts, seed
from .operator_stage import ROOT, SOURCE, Operator, operator_of

Edit = Callable[..., None]


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: Night, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return operator_of(emulator, stage, tmp_path_factory.mktemp("mending"))


@pytest.fixture
def at_rest(stage: Night) -> Generator[None]:
    """Let the function take nothing from its queue meanwhile."""
    lambda_ = stage.aws.lambda_
    [mapping] = lambda_.list_event_source_mappings(FunctionName=stage.outputs["functionName"])["EventSourceMappings"]
    lambda_.update_event_source_mapping(UUID=mapping.get("UUID", ""), Enabled=False)
    yield
    stage.aws.sqs.purge_queue(QueueUrl=stage.outputs["queueUrl"])
    lambda_.update_event_source_mapping(UUID=mapping.get("UUID", ""), Enabled=True)


def _completed(night: Night, folder: Path, receipts: Sequence[Receipt], *bad: str) -> str:
    """Have a night's job completed, and return its output's key."""
    file = folder / f"{night.job_id}.jsonl"
    file.write_text("".join(f"{line}\n" for line in [*plan_lines([*receipts]), *bad]))
    key = night.drop_output(file)
    night.wait_until_completed()
    return key


def _update_job(night: Night, update: str, **values: object) -> None:
    given: dict[str, Any] = {"ExpressionAttributeValues": to_item({f":{k}": v for k, v in values.items()})}
    night.aws.dynamodb.update_item(
        TableName=night.outputs["batchJobsTable"],
        Key={"intentId": {"S": night.intent_id}},
        UpdateExpression=update,
        **(given if values else {}),
    )


def _edit(night: Night, transaction: dict[str, Any], **attributes: object) -> None:
    """Edit a transaction as a person would in the app."""
    table = night.outputs["transactionsTable"]
    night.aws.dynamodb.put_item(TableName=table, Item=to_item({**transaction, **attributes}))


def _by_image(night: Night) -> dict[str, dict[str, Any]]:
    return {transaction["imageId"]: transaction for transaction in night.transactions()}


def _queued(night: Night) -> list[dict[str, Any]]:
    answer = night.aws.sqs.receive_message(QueueUrl=night.outputs["queueUrl"], MaxNumberOfMessages=10)
    return [json.loads(message.get("Body", "")) for message in answer.get("Messages", [])]


def _taken_in(new_night: NewNight) -> tuple[Night, dict[str, str]]:
    """Return a night whose record says that its output was taken in, and what it says of that."""
    night = new_night()
    night.seed_job()
    key = f"batch-output/{night.job_id}/output.jsonl"
    put = night.aws.s3.put_object(Bucket=night.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    seen = {key: put["ETag"].strip('"')}
    _update_job(night, "SET processedOutputs = :seen", seen=seen)
    night.aws.sqs.purge_queue(QueueUrl=night.outputs["queueUrl"])
    return night, seen


def test_a_replay_says_what_it_would_change_and_then_does_it(
    operator: Operator, new_night: NewNight, tmp_path: Path
) -> None:
    night = new_night()
    receipts = own_receipts(night, 4)
    seed(night, receipts)
    key = _completed(night, tmp_path, receipts, "{")
    stood = _by_image(night)
    edited, deleted, noted, _ = (stood[receipt.image_id] for receipt in receipts)
    _edit(night, edited, merchant="Somebody's own words")
    _edit(night, noted, note="tax-free")
    night.aws.dynamodb.delete_item(
        TableName=night.outputs["transactionsTable"],
        Key=to_item({"userId": deleted["userId"], "transactionId": deleted["transactionId"]}),
    )
    night.aws.s3.delete_object(Bucket=night.outputs["imagesBucket"], Key=f"dead-letters/{night.job_id}.jsonl")

    ran = operator.spawned("replay", night.job_id, "--yes", "--json")

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
    assert f"written again, missing now │ 1: {deleted['transactionId']}" in ran.told
    assert _by_image(night) == stood
    assert [letter["reason"] for letter in night.dead_letters()] == ["INVALID_JSON"]


def test_a_replay_moves_what_waits_and_counts_what_is_another_s(
    operator: Operator, new_night: NewNight, tmp_path: Path
) -> None:
    night = new_night()
    receipts = own_receipts(night, 3)
    night.seed_images(receipt.image_id for receipt in receipts[:2])
    night.seed_job()
    foreign = {"imageId": receipts[2].image_id, "userId": "another", "s3Key": "uploads/another/x.png"}
    night.aws.dynamodb.put_item(TableName=night.outputs["pendingImagesTable"], Item=to_item(foreign))
    _completed(night, tmp_path, receipts)
    again = {"imageId": receipts[0].image_id, "userId": "user-1", "s3Key": "uploads/user-1/gone.png"}
    night.aws.dynamodb.put_item(TableName=night.outputs["pendingImagesTable"], Item=to_item(again))
    night.aws.dynamodb.delete_item(
        TableName=night.outputs["pendingImagesTable"], Key={"imageId": {"S": receipts[1].image_id}}
    )

    ran = operator("replay", night.job_id, answer="n\n")

    assert ran.code == 1
    said = " ".join(ran.out.split())
    assert "0 new, 2 unchanged, 0 overwritten" in said
    assert "1 to move, 0 moved before, 1 unknown" in said
    assert "OWNER_MISMATCH=1" in said


@pytest.mark.usefixtures("at_rest")
def test_a_replay_that_nobody_waits_for_is_sent_as_s3_would_and_the_output_is_no_duplicate_any_more(
    operator: Operator, new_night: NewNight
) -> None:
    night = new_night()
    night.seed_job()
    key = f"batch-output/{night.job_id}/night 1+2.jsonl.out"
    bucket = night.outputs["imagesBucket"]
    etag = night.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"{}\n")["ETag"].strip('"')
    _update_job(night, "SET processedOutputs = :seen", seen={key: etag})
    operator.night.aws.sqs.purge_queue(QueueUrl=night.outputs["queueUrl"])

    ran = operator("replay", night.job_id, "--yes", "--no-wait", "--json")

    assert (ran.answer["done"], ran.answer["effects"]["failures"]) == (False, {"INVALID_RECORD": 1})
    encoded = f"batch-output/{night.job_id}/night+1%2B2.jsonl.out"
    assert _queued(night) == [{"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": encoded}}}]}]
    assert "processedOutputs" not in night.job()


@pytest.mark.usefixtures("at_rest")
@pytest.mark.parametrize("claimed_when", ["before", "while the question is asked"])
def test_a_job_that_a_function_has_is_not_replayed(
    operator: Operator, new_night: NewNight, monkeypatch: pytest.MonkeyPatch, claimed_when: str
) -> None:
    night = new_night()
    night.seed_job()
    key = f"batch-output/{night.job_id}/output.jsonl"
    night.aws.s3.put_object(Bucket=night.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    _update_job(night, "SET processedOutputs = :seen", seen={"k": "e"})
    operator.night.aws.sqs.purge_queue(QueueUrl=night.outputs["queueUrl"])

    def claim(*_: object, **__: object) -> None:
        _update_job(night, "SET claimedUntil = :until", until=2**40)

    if claimed_when == "before":
        claim()
    else:
        monkeypatch.setattr("yorutsuke.screen.Screen.confirm", claim)

    ran = operator("replay", night.job_id, "--yes", "--no-wait")

    assert ran.code == 1
    assert ran.told.startswith("RefusedError: a function holds" if claimed_when == "before" else "RefusedError: job")
    assert night.job()["processedOutputs"] == {"k": "e"}
    assert _queued(night) == []


@pytest.mark.usefixtures("at_rest")
def test_replay_spares_an_output_processed_meanwhile(
    operator: Operator, new_night: NewNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = new_night()
    night.seed_job()
    key = f"batch-output/{night.job_id}/output.jsonl"
    night.aws.s3.put_object(Bucket=night.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    operator.night.aws.sqs.purge_queue(QueueUrl=night.outputs["queueUrl"])

    def process(*_: object, **__: object) -> None:
        _update_job(night, "SET processedOutputs = :seen", seen={"k": "e"})

    monkeypatch.setattr("yorutsuke.screen.Screen.confirm", process)

    ran = operator("replay", night.job_id, "--yes", "--no-wait")

    assert (ran.code, ran.told.startswith("RefusedError: job")) == (1, True)
    assert night.job()["processedOutputs"] == {"k": "e"}
    assert _queued(night) == []


@pytest.mark.usefixtures("at_rest")
@pytest.mark.parametrize("died", [UnfinishedError("SQS took none"), KeyboardInterrupt()])
def test_a_replay_whose_message_was_not_sent_leaves_the_output_known(
    operator: Operator, new_night: NewNight, died: BaseException
) -> None:
    night, seen = _taken_in(new_night)

    with patch.object(Queue, "send", side_effect=died):
        ran = operator("replay", night.job_id, "--yes")

    assert ran.code == (130 if isinstance(died, KeyboardInterrupt) else 1)
    assert f"The record of job '{night.job_id}' was restored." in ran.told
    assert night.job()["processedOutputs"] == seen


@pytest.mark.usefixtures("at_rest")
@pytest.mark.parametrize("by", ["claim", "completion"])
def test_what_a_function_has_meanwhile_is_left_to_it(operator: Operator, new_night: NewNight, by: str) -> None:
    night, _ = _taken_in(new_night)

    def lost(*_: object) -> None:
        if by == "claim":
            _update_job(night, "SET claimedUntil = :until", until=2**40)
        else:
            _update_job(night, "SET processedOutputs = :seen", seen={"k": "newer"})
        raise UnfinishedError("the answer was lost")

    with patch.object(Queue, "send", lost):
        ran = operator("replay", night.job_id, "--yes")

    assert (ran.code, "A function holds job" in ran.told) == (1, True)
    assert night.job().get("processedOutputs") == (None if by == "claim" else {"k": "newer"})


@pytest.mark.usefixtures("at_rest")
def test_an_output_that_changed_while_the_question_was_asked_is_not_replayed(
    operator: Operator, new_night: NewNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    night, seen = _taken_in(new_night)
    [key] = seen

    def change(*_: object, **__: object) -> None:
        night.aws.s3.put_object(Bucket=night.outputs["imagesBucket"], Key=key, Body=b"{}\n{}\n")

    monkeypatch.setattr("yorutsuke.screen.Screen.confirm", change)
    ran = operator("replay", night.job_id, "--yes")

    assert ran.code == 1
    assert ran.told.endswith("the replay would have other effects than those shown. Run this again.")
    assert f"'{key}' was written again after it was read (ETag '{seen[key]}', now '" in ran.told
    assert night.job()["processedOutputs"] == seen
    # S3's own message of the new content comes through SNS.
    assert [body for body in _queued(night) if "Records" in body] == []


@pytest.mark.usefixtures("at_rest")
def test_which_output_is_meant_has_to_be_clear(operator: Operator, new_night: NewNight) -> None:
    night = new_night()
    night.seed_job()
    none = operator("replay", night.job_id)
    for file in ("a.jsonl", "b.jsonl"):
        key = f"batch-output/{night.job_id}/{file}"
        night.aws.s3.put_object(Bucket=night.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    _update_job(night, "SET processedOutputs = :seen", seen={f"batch-output/{night.job_id}/a.jsonl": "etag"})

    several = operator("replay", night.job_id)
    unknown = operator("replay", night.job_id, "--output", "c.jsonl")
    second = operator("replay", night.job_id, "--output", "b.jsonl", answer="n\n")

    assert [ran.code for ran in (none, several, unknown, second)] == [1, 1, 1, 1]
    assert f"job '{night.job_id}' has no output in batch-output/{night.job_id}/" in none.told
    assert "has 2 outputs" in several.told
    assert "name one with --output" in several.told
    assert "has no output 'c.jsonl'" in unknown.told
    said = " ".join(second.out.split())
    assert f"Effects of processing batch-output/{night.job_id}/b.jsonl again" in said
    assert f"replaces │ batch-output/{night.job_id}/a.jsonl" in said


@pytest.mark.usefixtures("at_rest")
def test_interrupting_replay_does_not_cancel_it(operator: Operator, new_night: NewNight) -> None:
    night = new_night()
    night.seed_job()
    key = f"batch-output/{night.job_id}/output.jsonl"
    night.aws.s3.put_object(Bucket=night.outputs["imagesBucket"], Key=key, Body=b"{}\n")
    queue = night.outputs["queueUrl"]
    night.aws.sqs.purge_queue(QueueUrl=queue)

    timed_out = operator("replay", night.job_id, "--yes", "--timeout", "0m")
    night.aws.sqs.purge_queue(QueueUrl=queue)
    # Its own handler: a process in the background inherits that SIGINT is ignored.
    interruptible = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = f"{interruptible}; from yorutsuke.app import main; import sys; sys.exit(main())"
    command = [sys.executable, "-c", run, "replay", night.job_id, "--yes", "--stage", "local"]
    environment = {**operator.environment, "PYTHONPATH": SOURCE}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
        until(lambda: _queued(night), 30, "the message")
        waiting.send_signal(signal.SIGINT)
        said = waiting.communicate(timeout=60)[1]

    assert timed_out.code == 1
    assert "UnfinishedError: job" in timed_out.told
    assert "the function continues, and a failed message comes back" in timed_out.told
    assert waiting.returncode == 130
    assert "Stopped waiting. The function continues: `job` shows its progress." in " ".join(said.split())


def test_a_manifest_is_compared_again(operator: Operator, new_night: NewNight, tmp_path: Path) -> None:
    night = new_night()
    receipts = own_receipts(night, 2)
    seed(night, receipts)
    _completed(night, tmp_path, receipts)
    missing = operator("replay", night.job_id, "--manifest", "--yes")
    counts = RecordCounts(totalRecordCount=2, processedRecordCount=2, successRecordCount=2, errorRecordCount=0)
    night.drop_manifest(counts)
    night.wait_until(lambda job: "bedrockCounts" in job, "be reconciled")
    _update_job(night, "REMOVE bedrockCounts")

    ran = operator("replay", night.job_id, "--manifest", "--yes", "--json")

    assert (missing.code, "has no manifest.json.out" in missing.told) == (1, True)
    assert ran.answer["key"] == f"batch-output/{night.job_id}/manifest.json.out"
    assert night.job()["bedrockCounts"]["processedRecordCount"] == 2
    assert operator("replay", night.job_id, "--manifest", "--output", "x").code == 1


@pytest.mark.usefixtures("at_rest")
def test_a_manifest_that_is_none_is_one_clear_line(operator: Operator, new_night: NewNight) -> None:
    night = new_night()
    night.seed_job()
    key = f"batch-output/{night.job_id}/manifest.json.out"
    night.aws.s3.put_object(Bucket=night.outputs["imagesBucket"], Key=key, Body=b"{}")

    ran = operator("replay", night.job_id, "--manifest", "--yes")

    assert ran.code == 1
    assert ran.told.startswith(f"InvalidManifestError: '{key}' is not Bedrock's manifest (totalRecordCount")


@pytest.mark.usefixtures("at_rest")
@pytest.mark.parametrize(
    ("processed", "outputs", "told"),
    [
        (0, {}, "counts no records, and no lines were processed: the function would skip it."),
        (2, {}, "counts 2 processed records, and 0 lines were processed: its message would fail until"),
        (3, {"k": "e"}, "counts 3 processed records, and 2 lines were processed: its message would fail until"),
    ],
)
def test_a_manifest_that_the_function_would_skip_or_give_back_is_not_sent(
    operator: Operator, new_night: NewNight, processed: int, outputs: dict[str, str], told: str
) -> None:
    night = new_night()
    night.seed_job()
    night.drop_manifest(
        RecordCounts(totalRecordCount=3, processedRecordCount=processed, successRecordCount=0, errorRecordCount=0)
    )
    stats = {"successCount": 2, "failureCount": 0, "totalCount": 2, "migrationFailedCount": 0}
    _update_job(night, "SET resultStats = :stats", stats=stats)
    if outputs:
        _update_job(night, "SET processedOutputs = :seen", seen=outputs)
    night.aws.sqs.purge_queue(QueueUrl=night.outputs["queueUrl"])

    ran = operator("replay", night.job_id, "--manifest", "--yes")

    assert ran.code == 1
    assert f"RefusedError: 'batch-output/{night.job_id}/manifest.json.out' {told}" in ran.told
    assert _queued(night) == []


def _unmoved(night: Night, folder: Path, count: int = 3) -> list[Receipt]:
    """Have a job completed whose images could not be moved: they are not where they are said to be."""
    receipts = own_receipts(night, count)
    seed(night, receipts)
    s3, bucket = night.aws.s3, night.outputs["imagesBucket"]
    for receipt in receipts:
        key = f"uploads/user-1/{receipt.image_id}.png"
        s3.copy_object(Bucket=bucket, Key=f"kept/{key}", CopySource={"Bucket": bucket, "Key": key})
        s3.delete_object(Bucket=bucket, Key=key)
    _completed(night, folder, receipts)
    assert night.job()["resultStats"]["migrationFailedCount"] == count
    return receipts


def _bring_back(night: Night, receipts: Sequence[Receipt]) -> None:
    s3, bucket = night.aws.s3, night.outputs["imagesBucket"]
    for receipt in receipts:
        key = f"uploads/user-1/{receipt.image_id}.png"
        s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": f"kept/{key}"})


def test_images_are_moved_after_all_and_a_person_s_edits_stand(
    operator: Operator, new_night: NewNight, tmp_path: Path
) -> None:
    night = new_night()
    receipts = _unmoved(night, tmp_path)
    _bring_back(night, receipts[:2])
    edited = {**_by_image(night)[receipts[0].image_id], "merchant": "Somebody's own words"}
    _edit(night, edited)

    ran = operator.spawned("retry-migrations", night.job_id, "--yes", "--json")

    assert ran.code == 1
    answer = json.loads(ran.out)
    stays = receipts[2].image_id
    assert answer == {
        "jobId": night.job_id,
        "found": 3,
        "moved": 2,
        "edited": 0,
        "corrected": 0,
        "failures": {stays: "CopyObject: NoSuchKey"},
    }
    assert "UnfinishedError: 1 images were not moved (CopyObject: NoSuchKey 1)" in ran.told
    stand = _by_image(night)
    assert stand[receipts[0].image_id] == {**edited, "status": "processed"}
    assert [stand[receipt.image_id]["status"] for receipt in receipts[1:]] == ["processed", "migrationFailed"]
    assert night.job()["resultStats"]["migrationFailedCount"] == 1
    moved = [key for key in night.object_keys("processed/") if night.job_id in key]
    assert len(moved) == 2
    assert not [key for key in night.object_keys("uploads/") if night.job_id in key]


def test_images_are_moved_a_block_at_a_time_and_a_second_time_there_is_nothing_to_do(
    operator: Operator, new_night: NewNight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = new_night()
    receipts = _unmoved(night, tmp_path, 5)
    _bring_back(night, receipts)
    monkeypatch.setattr(migrations, "CHUNK_RECORDS", 3)
    monkeypatch.setattr(migrations, "STATUSES_PER_WRITE", 2)

    first = operator("retry-migrations", night.job_id, "--yes", "--json").answer
    second = operator("retry-migrations", night.job_id, "--json").answer

    assert (first["found"], first["moved"], first["failures"]) == (5, 5, {})
    assert (second["found"], second["moved"]) == (0, 0)
    assert {transaction["status"] for transaction in night.transactions()} == {"processed"}
    assert night.job()["resultStats"]["migrationFailedCount"] == 0


def test_a_status_that_somebody_changed_meanwhile_is_left_and_the_count_agrees(
    operator: Operator, new_night: NewNight, tmp_path: Path
) -> None:
    night = new_night()
    receipts = _unmoved(night, tmp_path, 2)
    _bring_back(night, receipts)
    archived = _by_image(night)[receipts[0].image_id]

    def find(*arguments: Any) -> Any:
        _edit(night, archived, status="archived")
        return real_move(*arguments)

    real_move = migrations.move_images
    with patch.object(migrations, "move_images", find):
        answer = operator("retry-migrations", night.job_id, "--yes", "--json").answer

    assert (answer["moved"], answer["edited"]) == (1, 1)
    stand = _by_image(night)
    assert [stand[receipt.image_id]["status"] for receipt in receipts] == ["archived", "processed"]
    assert night.job()["resultStats"]["migrationFailedCount"] == 1


def _delete(night: Night, transaction: dict[str, Any]) -> None:
    night.aws.dynamodb.delete_item(
        TableName=night.outputs["transactionsTable"],
        Key=to_item({name: transaction[name] for name in ("userId", "transactionId")}),
    )


def test_what_a_person_deleted_or_set_comes_off_the_count_once_nothing_is_left(
    operator: Operator, new_night: NewNight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = new_night()
    receipts = _unmoved(night, tmp_path, 3)
    _bring_back(night, receipts[:1])
    _delete(night, _by_image(night)[receipts[2].image_id])
    fresh = operator("retry-migrations", night.job_id, "--yes", "--json")
    monkeypatch.setattr(migrations, "INDEX_SECONDS", -1)
    _bring_back(night, receipts[1:2])
    last = _by_image(night)[receipts[1].image_id]

    def edit(*arguments: Any) -> Any:
        _edit(night, last, status="archived")
        return real_move(*arguments)

    real_move = migrations.move_images
    with patch.object(migrations, "move_images", edit):
        ran = operator("retry-migrations", night.job_id, "--yes", "--json")

    # One was moved and two are not in the table as unmoved any more.
    assert (fresh.code, json.loads(fresh.out)["corrected"]) == (1, 0)
    assert (ran.answer["found"], ran.answer["moved"], ran.answer["edited"], ran.answer["corrected"]) == (1, 0, 1, 2)
    assert "counts 1 more than the 1 in the table: their transactions were deleted, or" in ran.told
    assert "1 transactions were deleted or got another status meanwhile" in ran.told
    assert "The record counted 2 too many, which was corrected." in ran.told
    assert night.job()["resultStats"]["migrationFailedCount"] == 0
    assert _by_image(night)[receipts[1].image_id]["status"] == "archived"


def test_a_count_of_nothing_is_corrected_where_somebody_agrees(
    operator: Operator, new_night: NewNight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = new_night()
    [receipt] = _unmoved(night, tmp_path, 1)
    _delete(night, _by_image(night)[receipt.image_id])
    early = operator("retry-migrations", night.job_id, "--json").answer
    monkeypatch.setattr(migrations, "INDEX_SECONDS", -1)

    refused = operator("retry-migrations", night.job_id, answer="n\n")
    counted = night.job()["resultStats"]["migrationFailedCount"]
    agreed = operator("retry-migrations", night.job_id, answer="y\n")

    assert (early["found"], early["corrected"]) == (0, 0)
    assert (refused.code, counted) == (1, 1)
    assert f"Correct the record of job {night.job_id}, so that no image counts as unmoved?" in refused.told
    assert agreed.code == 0, agreed.err
    assert night.job()["resultStats"]["migrationFailedCount"] == 0


def test_images_that_are_unknown_or_another_s_stay_and_say_so(
    operator: Operator, new_night: NewNight, tmp_path: Path
) -> None:
    night = new_night()
    receipts = _unmoved(night, tmp_path, 2)
    _bring_back(night, receipts)
    table = night.outputs["pendingImagesTable"]
    night.aws.dynamodb.delete_item(TableName=table, Key={"imageId": {"S": receipts[0].image_id}})
    foreign = {"imageId": receipts[1].image_id, "userId": "another", "s3Key": "uploads/another/x.png"}
    night.aws.dynamodb.put_item(TableName=table, Item=to_item(foreign))

    ran = operator("retry-migrations", night.job_id, "--yes")

    assert ran.code == 1
    assert "not in pending-images 1" in ran.told
    assert "another user's 1" in ran.told
    assert receipts[0].image_id in ran.out
    assert night.job()["resultStats"]["migrationFailedCount"] == 2


def test_images_of_a_job_that_is_still_to_be_taken_in_are_left_to_the_function(
    operator: Operator, new_night: NewNight, tmp_path: Path
) -> None:
    night = new_night()
    night.seed_job()
    submitted = operator("retry-migrations", night.job_id, "--yes")
    other = new_night()
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
    assert "Answer with --yes" in refused.told
    assert "is COMPLETED, and its output is still to be processed" in replayed.told
    assert "is being processed, or was just now" in raced.told
    assert [ran.code for ran in (submitted, refused, replayed, raced)] == [1, 1, 1, 1]
    assert other.job()["resultStats"]["migrationFailedCount"] == 1
    _update_job(other, "REMOVE claimedUntil")

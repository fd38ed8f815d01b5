"""Tests that the changes of users survive the processing of an output, on the emulator."""

from typing import Any

from local.job_run import JobRun
from local.receipts import simple_lines

from .conftest import NewJobRun, own_receipts, seed

NEW_PHOTOGRAPH = b"another photograph under the same key"


def _started_job(new_job_run: NewJobRun, count: int) -> tuple[JobRun, list[str]]:
    """Return a job run with stored images, and the records of its output."""
    job_run = new_job_run()
    receipts = own_receipts(job_run, count)
    seed(job_run, receipts)
    return job_run, list(simple_lines(receipts))


def _uploads(job_run: JobRun) -> dict[str, bytes]:
    keys = [key for key in job_run.object_keys("uploads/") if job_run.job_id in key]
    return {key: job_run.aws.s3.get_object(Bucket=job_run.bucket, Key=key)["Body"].read() for key in keys}


def _upload(job_run: JobRun, key: str) -> None:
    job_run.aws.s3.put_object(Bucket=job_run.bucket, Key=key, Body=NEW_PHOTOGRAPH)


def _wait_for_total(job_run: JobRun, count: int) -> None:
    job_run.wait_until(lambda job: job.get("resultStats", {}).get("totalCount") == count, f"have {count} records")


def test_replaced_photograph_is_not_filed(new_job_run: NewJobRun) -> None:
    job_run, lines = _started_job(new_job_run, 3)
    replaced = min(_uploads(job_run))
    _upload(job_run, replaced)

    job_run.drop_lines(lines)
    _wait_for_total(job_run, 3)

    assert _uploads(job_run) == {replaced: NEW_PHOTOGRAPH}
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 1
    statuses = sorted(item["status"] for item in job_run.transactions())
    assert statuses == ["migrationFailed", "processed", "processed"]
    entry = job_run.wait_for_entry("BATCH_RESULT_IMAGE_MIGRATION_FAILED")
    assert (entry["operation"], entry["code"]) == ("CopyObject", "PreconditionFailed")


def test_photograph_under_a_freed_key_is_kept(new_job_run: NewJobRun) -> None:
    job_run, lines = _started_job(new_job_run, 3)
    freed = min(_uploads(job_run))
    job_run.drop_lines(lines[:2])
    _wait_for_total(job_run, 2)
    moved = set(job_run.object_keys("processed/"))
    _upload(job_run, freed)

    job_run.drop_lines(lines)
    _wait_for_total(job_run, 3)

    assert _uploads(job_run).get(freed) == NEW_PHOTOGRAPH
    assert moved <= set(job_run.object_keys("processed/"))
    assert {item["status"] for item in job_run.transactions()} == {"processed"}


def test_edit_and_deletion_survive_a_longer_output(new_job_run: NewJobRun) -> None:
    job_run, lines = _started_job(new_job_run, 3)
    job_run.drop_lines(lines[:2])
    _wait_for_total(job_run, 2)
    edited, deleted = job_run.transactions()
    table: Any = {"TableName": job_run.outputs["transactionsTable"]}
    keys = [{name: {"S": item[name]} for name in ("userId", "transactionId")} for item in (edited, deleted)]
    job_run.aws.dynamodb.update_item(
        **table,
        Key=keys[0],
        UpdateExpression="SET amount = :amount, note = :note",
        ExpressionAttributeValues={":amount": {"N": "1"}, ":note": {"S": "by the user"}},
    )
    index = {name: {"S": deleted[name]} for name in ("jobId", "extractedAt")}
    job_run.aws.dynamodb.put_item(**table, Item={**keys[1], **index, "status": {"S": "deleted"}})

    job_run.drop_lines(lines)
    _wait_for_total(job_run, 3)

    stored = {item["transactionId"]: item for item in job_run.transactions()}
    assert len(stored) == 3
    assert (stored[edited["transactionId"]]["amount"], stored[edited["transactionId"]]["note"]) == (1, "by the user")
    assert stored[deleted["transactionId"]]["status"] == "deleted"
    assert "amount" not in stored[deleted["transactionId"]]

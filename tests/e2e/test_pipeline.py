"""Tests of the pipeline from an output file in S3 to transactions, with both triggers."""

from typing import Any

import pytest

from local.job_run import JobRun
from local.receipts import simple_lines

from .conftest import JOB_NUMBERS, NewJobRun, OutputFile, own_receipts, seed


@pytest.fixture(params=["stage", "s3_stage"])
def new_job_run(request: pytest.FixtureRequest) -> NewJobRun:
    """Return a function that returns a job run with a new job, on a stage of each trigger."""
    stage: JobRun = request.getfixturevalue(request.param)
    return lambda: JobRun(stage.aws, stage.outputs, job_id=f"jobrun{next(JOB_NUMBERS):06}")


def _seed(job_run: JobRun, count: int) -> list[str]:
    """Seed a job of `count` receipts and return its output's records."""
    receipts = own_receipts(job_run, count)
    seed(job_run, receipts)
    return list(simple_lines(receipts))


def _stored(job_run: JobRun) -> dict[str, Any]:
    """Return every item and object of the job, with the objects' content."""
    bucket = job_run.outputs["imagesBucket"]
    prefixes = ("uploads/", "processed/", "dead-letters/")
    keys = [key for prefix in prefixes for key in _own_keys(job_run, prefix)]
    items = job_run.aws.dynamodb.scan(TableName=job_run.outputs["pendingImagesTable"])["Items"]
    images = [item for item in items if job_run.job_id in item["imageId"].get("S", "")]
    return {
        "job": job_run.job(),
        "transactions": sorted(job_run.transactions(), key=repr),
        "pendingImages": sorted(images, key=repr),
        "objects": {key: job_run.aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in sorted(keys)},
    }


def test_output_file_becomes_transactions(new_job_run: NewJobRun, output_file: OutputFile) -> None:
    job_run = new_job_run()
    file = output_file(*_seed(job_run, 30))

    job_run.drop_output(file)
    job_run.wait_until_completed()

    assert job_run.job()["status"] == "COMPLETED"
    assert len(job_run.transactions()) == 30
    assert {item["status"] for item in job_run.transactions()} == {"processed"}


def test_malware_scan_tags_survive_the_move(new_job_run: NewJobRun, output_file: OutputFile) -> None:
    """GuardDuty tags each upload. Source: Amazon GuardDuty user guide, "Using tag-based access control"."""
    job_run = new_job_run()
    lines = _seed(job_run, 3)
    tags: Any = [{"Key": "GuardDutyMalwareScanStatus", "Value": "NO_THREATS_FOUND"}]
    for key in _own_keys(job_run, "uploads/"):
        job_run.aws.s3.put_object_tagging(Bucket=job_run.bucket, Key=key, Tagging={"TagSet": tags})

    job_run.drop_output(output_file(*lines))
    job_run.wait_until_completed()

    moved = _own_keys(job_run, "processed/")
    found = [job_run.aws.s3.get_object_tagging(Bucket=job_run.bucket, Key=key)["TagSet"] for key in moved]
    assert found == [tags] * 3


def _own_keys(job_run: JobRun, prefix: str) -> list[str]:
    """Return the keys of the job's objects below a prefix."""
    return [key for key in job_run.object_keys(prefix) if job_run.job_id in key]


def test_log_entries_identify_the_job(new_job_run: NewJobRun, output_file: OutputFile) -> None:
    job_run = new_job_run()
    job_run.drop_output(output_file(*_seed(job_run, 3)))
    job_run.wait_until_completed()

    for event in ("BATCH_RESULT_STARTED", "BATCH_RESULT_COMPLETED"):
        entry = job_run.wait_for_entry(event)
        assert (entry["event"], entry["jobId"], entry["intentId"], entry["traceId"], entry["userId"]) == (
            event,
            job_run.job_id,
            job_run.intent_id,
            f"trace-{job_run.job_id}",
            "user-1",
        )


def test_duplicate_output_changes_no_item_or_object(new_job_run: NewJobRun, output_file: OutputFile) -> None:
    job_run = new_job_run()
    file = output_file(*_seed(job_run, 50))
    job_run.drop_output(file)
    job_run.wait_until_completed()
    before = _stored(job_run)

    job_run.drop_output(file)
    job_run.wait_for_entry("BATCH_RESULT_DUPLICATE")

    assert _stored(job_run) == before

"""The pipeline by itself, with either trigger: an object appears in S3, and the stage does the rest."""

from typing import Any

import pytest

from local.night import Night
from local.receipts import plan_lines

from .conftest import NIGHTS, NewNight, OutputFile, own_receipts, seed


@pytest.fixture(params=["stage", "s3_stage"])
def new_night(request: pytest.FixtureRequest) -> NewNight:
    """Return a function that gives a night with its own job, on a stage with each trigger."""
    stage: Night = request.getfixturevalue(request.param)
    return lambda: Night(stage.aws, stage.outputs, job_id=f"night{next(NIGHTS):07}")


def _seed(night: Night, count: int) -> list[str]:
    """Seed a job of `count` receipts and return its output's lines."""
    receipts = own_receipts(night, count)
    seed(night, receipts)
    return list(plan_lines(receipts))


def _stored(night: Night) -> dict[str, Any]:
    """Return every item and object of the night's job, with the objects' content."""
    bucket = night.outputs["imagesBucket"]
    prefixes = ("uploads/", "processed/", "dead-letters/")
    keys = [key for prefix in prefixes for key in night.object_keys(prefix) if night.job_id in key]
    items = night.aws.dynamodb.scan(TableName=night.outputs["pendingImagesTable"])["Items"]
    images = [item for item in items if night.job_id in item["imageId"].get("S", "")]
    return {
        "job": night.job(),
        "transactions": sorted(night.transactions(), key=repr),
        "pendingImages": sorted(images, key=repr),
        "objects": {key: night.aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in sorted(keys)},
    }


def test_an_output_becomes_transactions_by_itself(new_night: NewNight, output_file: OutputFile) -> None:
    night = new_night()
    file = output_file(*_seed(night, 30))

    night.drop_output(file)
    night.wait_until_completed()

    assert night.job()["status"] == "COMPLETED"
    assert len(night.transactions()) == 30
    assert {item["status"] for item in night.transactions()} == {"processed"}


def test_the_log_tells_the_job_from_start_to_end(new_night: NewNight, output_file: OutputFile) -> None:
    night = new_night()
    night.drop_output(output_file(*_seed(night, 3)))
    night.wait_until_completed()

    for event in ("BATCH_RESULT_STARTED", "BATCH_RESULT_COMPLETED"):
        entry = night.wait_for_entry(event)
        assert (entry["event"], entry["jobId"], entry["intentId"], entry["traceId"], entry["userId"]) == (
            event,
            night.job_id,
            night.intent_id,
            f"trace-{night.job_id}",
            "user-1",
        )


def test_the_same_output_delivered_again_changes_no_item_and_no_object(
    new_night: NewNight, output_file: OutputFile
) -> None:
    night = new_night()
    file = output_file(*_seed(night, 50))
    night.drop_output(file)
    night.wait_until_completed()
    before = _stored(night)

    night.drop_output(file)
    night.wait_for_entry("BATCH_RESULT_DUPLICATE")

    assert _stored(night) == before

"""The pipeline by itself, with either trigger: an object appears in S3, and the stage does the rest."""

from collections.abc import Generator
from typing import Any

import pytest

from local.night import Night
from local.receipts import plan_lines

from .conftest import NewNight, OutputFile, deployed, emulator_with_zips, own_receipts, seed


@pytest.fixture(scope="module", params=["sqs", "s3"])
def stage(request: pytest.FixtureRequest) -> Generator[Night]:
    """A stage with this trigger, and an emulator of its own."""
    with emulator_with_zips() as emulator:
        yield deployed(emulator, trigger=request.param)


def _seed(night: Night, count: int) -> list[str]:
    """Seed a job of `count` receipts and return its output's lines."""
    receipts = own_receipts(night, count)
    seed(night, receipts)
    return list(plan_lines(receipts))


def _stored(night: Night) -> dict[str, Any]:
    """Return every item and object of the night, bytes included."""
    bucket = night.outputs["imagesBucket"]
    keys = [key for prefix in ("uploads/", "processed/", "dead-letters/") for key in night.object_keys(prefix)]
    images = night.aws.dynamodb.scan(TableName=night.outputs["pendingImagesTable"])["Items"]
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

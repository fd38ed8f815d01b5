"""S3 invoking the function straight: what fails three times is kept, and a redrive brings it in through the queue."""

import json

import pytest

from local.night import Night, until
from local.receipts import plan_lines

from .conftest import NewNight, OutputFile, dead_messages, own_receipts, redrive, seed

GIVEN_UP_SECONDS = 60


@pytest.fixture
def stage(s3_stage: Night) -> Night:
    """A stage without topic."""
    return s3_stage


def test_an_output_reaches_the_function_by_no_queue(stage: Night, new_night: NewNight, output_file: OutputFile) -> None:
    night = new_night()
    receipts = own_receipts(night, 3)
    seed(night, receipts)
    # What would be sent to the queue could not be taken from it.
    [mapping] = stage.aws.lambda_.list_event_source_mappings()["EventSourceMappings"]
    uuid = mapping.get("UUID", "")
    stage.aws.lambda_.update_event_source_mapping(UUID=uuid, Enabled=False)
    try:
        night.drop_output(output_file(*plan_lines(receipts)))
        night.wait_until_completed()
    finally:
        stage.aws.lambda_.update_event_source_mapping(UUID=uuid, Enabled=True)

    assert stage.outputs["outputTopicArn"] is None
    assert len(night.transactions()) == 3


def test_an_event_that_lambda_gave_up_is_kept_and_a_redrive_completes_its_job(
    new_night: NewNight, output_file: OutputFile
) -> None:
    night = new_night()
    receipts = own_receipts(night, 5)
    # Nobody has submitted the job yet.
    key = night.drop_output(output_file(*plan_lines(receipts)))
    [message] = until(lambda: dead_messages(night), GIVEN_UP_SECONDS, "the dead-letter queue to hold a message")

    record = json.loads(message["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestPayload"]["Records"][0]["s3"]["object"]["key"] == key
    assert [entry["error"] for entry in night.failures()] == ["UnknownJobError"] * 3

    seed(night, receipts)
    redrive(night, message)
    until(lambda: night.job()["status"] == "COMPLETED", GIVEN_UP_SECONDS, "the job to be COMPLETED")
    assert len(night.transactions()) == 5


def test_the_end_of_a_job_comes_through_the_queue_all_the_same(new_night: NewNight) -> None:
    night = new_night()
    night.seed_job()

    night.end_job("Failed", "For a reason.")
    night.wait_until(lambda job: job.get("bedrockStatus") == "Failed", "have ended")

"""Tests of direct invocation: Lambda keeps an event that failed three times, and a redrive sends it to the queue."""

import json

import pytest

from local.job_run import JobRun, until
from local.receipts import simple_lines

from .conftest import NewJobRun, OutputFile, dead_messages, own_receipts, redrive, seed

GIVEN_UP_SECONDS = 60


@pytest.fixture
def stage(s3_stage: JobRun) -> JobRun:
    """The stage with direct invocation, which has no topic."""
    return s3_stage


def test_output_reaches_the_function_without_the_queue(
    stage: JobRun, new_job_run: NewJobRun, output_file: OutputFile
) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 3)
    seed(job_run, receipts)
    # The function cannot receive messages from the queue.
    [mapping] = stage.aws.lambda_.list_event_source_mappings()["EventSourceMappings"]
    uuid = mapping.get("UUID", "")
    stage.aws.lambda_.update_event_source_mapping(UUID=uuid, Enabled=False)
    try:
        job_run.drop_output(output_file(*simple_lines(receipts)))
        job_run.wait_until_completed()
    finally:
        stage.aws.lambda_.update_event_source_mapping(UUID=uuid, Enabled=True)

    assert stage.outputs["outputTopicArn"] is None
    assert len(job_run.transactions()) == 3


def test_redrive_completes_the_job_of_a_failed_event(new_job_run: NewJobRun, output_file: OutputFile) -> None:
    job_run = new_job_run()
    receipts = own_receipts(job_run, 5)
    # The job has no item yet.
    key = job_run.drop_output(output_file(*simple_lines(receipts)))
    [message] = until(lambda: dead_messages(job_run), GIVEN_UP_SECONDS, "the dead-letter queue to hold a message")

    record = json.loads(message["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestPayload"]["Records"][0]["s3"]["object"]["key"] == key
    assert [entry["error"] for entry in job_run.failures()] == ["UnknownJobError"] * 3

    seed(job_run, receipts)
    redrive(job_run, message)
    until(lambda: job_run.job()["status"] == "COMPLETED", GIVEN_UP_SECONDS, "the job to be COMPLETED")
    assert len(job_run.transactions()) == 5


def test_job_end_event_arrives_through_the_queue(new_job_run: NewJobRun) -> None:
    job_run = new_job_run()
    job_run.seed_job()

    job_run.end_job("Failed", "For a reason.")
    job_run.wait_until(lambda job: job.get("bedrockStatus") == "Failed", "have ended")

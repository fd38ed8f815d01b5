"""Tests with real faults: killed functions, AWS errors 500 and 503, concurrent functions, and a poison message."""

import json
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.job_run import JobRun, until
from local.receipts import simple_lines
from tests.integration.stage import s3_notification

from .conftest import (
    REDELIVERY_SECONDS,
    NewJobRun,
    OutputFile,
    dead_messages,
    own_receipts,
    redelivered_after,
    redrive,
    seed,
)
from .faulty_endpoint import FaultyEndpoint

Submit = Callable[[int], tuple[JobRun, Path]]
SETTLE_SECONDS = 120
RECEIPTS = 8
COPIES = {"service": "s3", "headers": {"x-amz-copy-source": ""}}
"""Selects CopyObject by its header. microburst treats CopyObject as PutObject."""


@pytest.fixture
def submit(new_job_run: NewJobRun, output_file: OutputFile) -> Submit:
    """Return a function that returns a job run with `count` seeded receipts, and the job's output file."""

    def submitted(count: int) -> tuple[JobRun, Path]:
        job_run = new_job_run()
        receipts = own_receipts(job_run, count)
        seed(job_run, receipts)
        return job_run, output_file(*simple_lines(receipts), name=f"{job_run.job_id}.jsonl")

    return submitted


def _wait_until_completed(job_run: JobRun) -> None:
    """Wait until the job is COMPLETED. Unlike `JobRun.wait_until_completed`, accepts failed deliveries."""
    until(lambda: job_run.job()["status"] == "COMPLETED", SETTLE_SECONDS, f"job {job_run.job_id!r} to be COMPLETED")


def _assert_complete(job_run: JobRun, count: int) -> None:
    """Assert that each receipt has one transaction, and that each image is in `processed/` only."""
    assert job_run.job()["resultStats"]["successCount"] == count
    assert job_run.job()["resultStats"]["migrationFailedCount"] == 0
    assert {"claimedBy", "claimedUntil"}.isdisjoint(job_run.job())
    transactions = job_run.transactions()
    assert len(transactions) == len({item["imageId"] for item in transactions}) == count
    assert {item["status"] for item in transactions} == {"processed"}
    image_keys = [
        key for key in job_run.object_keys("") if key.startswith(("uploads/", "processed/")) and job_run.job_id in key
    ]
    assert [key.partition("/")[0] for key in image_keys] == ["processed"] * count
    assert job_run.dlq_depth() == 0


def _start_count(job_run: JobRun) -> int:
    """Return how often completed invocations have started to process the job's output."""
    return len(list(job_run.log_entries(f'"BATCH_RESULT_STARTED" "{job_run.job_id}"')))


def _kill_functions(stage: JobRun) -> int:
    """Kill the function's processes, including idle ones, and return their number."""
    name = stage.outputs["functionName"]
    running = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == name
    ]
    for process in running:
        process.kill()
    return len(running)


@pytest.mark.parametrize("faulty_endpoint", [12], indirect=True)
def test_next_delivery_completes_a_killed_functions_job(faulty_endpoint: FaultyEndpoint, submit: Submit) -> None:
    job_run, file = submit(RECEIPTS)
    faulty_endpoint.fail({**COPIES, "latency": 60_000})

    job_run.drop_output(file)
    until(faulty_endpoint.failed_calls, SETTLE_SECONDS, "the function to copy images")
    assert _kill_functions(job_run)
    faulty_endpoint.fail()
    killed = job_run.job()
    assert (killed["status"], "claimedBy" in killed, len(job_run.transactions())) == ("SUBMITTED", True, RECEIPTS)
    assert len([key for key in job_run.object_keys("uploads/") if job_run.job_id in key]) == RECEIPTS

    _wait_until_completed(job_run)
    _assert_complete(job_run, RECEIPTS)
    job_run.wait_for_entry("BATCH_RESULT_COMPLETED")
    assert _start_count(job_run) == 2


@pytest.mark.parametrize("faulty_endpoint", [12], indirect=True)
def test_aws_server_errors_only_delay_the_job(faulty_endpoint: FaultyEndpoint, submit: Submit) -> None:
    job_run, file = submit(RECEIPTS)
    faulty_endpoint.fail(
        {"service": "s3", "error": {"code": "SlowDown", "status": 503}},
        {"service": "dynamodb", "error": {"code": "InternalServerError", "status": 500}},
    )

    job_run.drop_output(file)
    until(lambda: len(faulty_endpoint.failed_calls()) >= 5, SETTLE_SECONDS, "the function to meet faults")
    assert job_run.transactions() == []
    faulty_endpoint.fail()

    _wait_until_completed(job_run)
    _assert_complete(job_run, RECEIPTS)


def test_throttled_calls_are_retried_within_one_delivery(faulty_endpoint: FaultyEndpoint, submit: Submit) -> None:
    job_run, file = submit(RECEIPTS)
    throttled = {"code": "ProvisionedThroughputExceededException"}
    faulty_endpoint.fail(
        {"service": "dynamodb", "operation": "BatchExecuteStatement", "times": 2, "error": throttled},
        {**COPIES, "times": 3, "error": {"code": "SlowDown", "status": 503}},
    )

    job_run.drop_output(file)
    job_run.wait_until_completed()

    _assert_complete(job_run, RECEIPTS)
    assert len(faulty_endpoint.failed_calls()) == 5
    job_run.wait_for_entry("BATCH_RESULT_COMPLETED")
    assert _start_count(job_run) == 1


def test_only_one_concurrent_function_processes_an_output(faulty_endpoint: FaultyEndpoint, submit: Submit) -> None:
    job_run, file = submit(RECEIPTS)
    # The latency keeps the first function at work until the other functions start.
    faulty_endpoint.fail({**COPIES, "latency": 4_000})
    key = job_run.drop_output(file)
    event = json.dumps(s3_notification(key, etag="unknown", bucket=job_run.outputs["imagesBucket"]))

    def invoke(_: int) -> dict[str, Any]:
        name = job_run.outputs["functionName"]
        return json.loads(job_run.aws.lambda_.invoke(FunctionName=name, Payload=event)["Payload"].read())

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(invoke, range(4)))
    _wait_until_completed(job_run)

    # The queue starts a fifth function. The first of the five functions gets the claim.
    refused = [answer["errorMessage"] for answer in answers if "errorMessage" in answer]
    assert {f"another invocation has claimed job {job_run.job_id!r}" in message for message in refused} == {True}
    _assert_complete(job_run, RECEIPTS)
    job_run.wait_for_entry("BATCH_RESULT_COMPLETED")
    assert _start_count(job_run) == 1


@pytest.fixture
def two_deliveries(stage: JobRun) -> Generator[None]:
    """Move a message to the dead-letter queue after two failed deliveries, to shorten the test."""
    policy = json.dumps({"deadLetterTargetArn": stage.outputs["deadLetterQueueArn"], "maxReceiveCount": 2})
    with redelivered_after(stage, REDELIVERY_SECONDS, RedrivePolicy=policy):
        yield


@pytest.mark.usefixtures("two_deliveries")
def test_poison_message_spares_the_other_jobs(submit: Submit, new_job_run: NewJobRun, output_file: OutputFile) -> None:
    job_runs = [submit(5) for _ in range(9)]
    # This job has no item yet, so its message fails.
    poisoned = new_job_run()
    receipts = own_receipts(poisoned, 5)
    poison = poisoned.drop_output(output_file(*simple_lines(receipts), name="poison.jsonl"))
    with ThreadPoolExecutor(9) as pool:
        dropped = [pool.submit(job_run.drop_output, file) for job_run, file in job_runs]
    assert [drop.exception() for drop in dropped] == [None] * 9

    for job_run, _ in job_runs:
        job_run.wait_until_completed()
    [message] = until(partial(dead_messages, poisoned), SETTLE_SECONDS, "the dead-letter queue to hold a message")
    notification = json.loads(json.loads(message["Body"])["Message"])
    assert [record["s3"]["object"]["key"] for record in notification["Records"]] == [poison]
    assert poisoned.wait_for_entry("BATCH_RESULT_FAILED")["error"] == "UnknownJobError"
    assert poisoned.transactions() == []

    seed(poisoned, receipts)
    redrive(poisoned, message)
    _wait_until_completed(poisoned)
    for job_run in (poisoned, *(job_run for job_run, _ in job_runs)):
        _assert_complete(job_run, 5)

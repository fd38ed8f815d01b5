"""The metric of failed redeliveries counts each failure of a message, from its second receive on."""

import json
from typing import Any

import pytest

from .conftest import LogReader
from .stage import JOB_ID, Stage, clear_handler_caches, s3_notification, simple_record

UNKNOWN_JOB = json.dumps(s3_notification("batch-output/unknownjob12/output.jsonl", "0"))


def _failed_redeliveries(entries: list[dict[str, Any]]) -> list[str]:
    """Return the message id of each entry that counts a failed redelivery."""
    counts = [entry for entry in entries if "RedeliveryFailed" in entry]
    assert all(entry["RedeliveryFailed"] == [1.0] and entry["stage"] == "test" for entry in counts)
    return [entry["messageId"] for entry in counts]


@pytest.mark.parametrize(("receives", "counted"), [(1, []), (2, ["message-0"]), (5, ["message-0"])])
def test_failure_counts_from_the_second_receive_on(
    stage: Stage, read_logs: LogReader, receives: int, counted: list[str]
) -> None:
    assert stage.deliver(UNKNOWN_JOB, receives=receives) == ["message-0"]

    assert _failed_redeliveries(read_logs()) == counted


def test_successful_redelivery_is_not_counted(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1"])

    assert stage.deliver(stage.put_output(simple_record("img-1")), receives=2) == []

    assert _failed_redeliveries(read_logs()) == []


def test_only_the_failed_messages_of_an_event_count(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()

    assert stage.deliver(stage.put_output("{"), UNKNOWN_JOB, "not JSON", receives=3) == ["message-1", "message-2"]

    assert _failed_redeliveries(read_logs()) == ["message-1", "message-2"]


def test_difference_of_the_output_manifest_counts(stage: Stage, read_logs: LogReader) -> None:
    """A message that is not logged as a failure reaches the dead-letter queue as well."""
    stage.put_job()
    stage.put_images(["img-1"])
    stage.deliver(stage.put_output(simple_record("img-1")))
    read_logs()

    assert stage.deliver(stage.put_output_manifest(2), receives=2) == ["message-0"]

    assert _failed_redeliveries(read_logs()) == ["message-0"]


def test_claimed_job_counts(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job(claimedBy="another", claimedUntil=2**40)

    assert stage.deliver(stage.put_output("{"), receives=2) == ["message-0"]

    assert _failed_redeliveries(read_logs()) == ["message-0"]


def test_failed_client_counts(stage: Stage, read_logs: LogReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """The metric does not need the stores, which may be the part that fails."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no client")

    clear_handler_caches()
    monkeypatch.setattr("batch_result_handler.handler.boto3.client", fail)

    assert stage.deliver(json.dumps(s3_notification(f"batch-output/{JOB_ID}/output.jsonl", "0")), receives=2)

    assert _failed_redeliveries(read_logs()) == ["message-0"]

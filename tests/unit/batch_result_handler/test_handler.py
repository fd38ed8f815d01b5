"""The distinction between SQS events and other events."""

import json
from pathlib import Path

import pytest

from batch_result_handler.handler import is_sqs_event

EVENTS = Path(__file__).parents[2] / "events"


@pytest.mark.parametrize(
    ("name", "is_sqs"),
    [
        ("s3_event", False),
        ("s3_test_event", False),
        ("bedrock/job_state_change", False),
        ("sqs_s3_event", True),
        ("sqs_sns_s3_event", True),
        ("sqs_lambda_failure_event", True),
    ],
)
def test_sqs_event_is_recognized(name: str, *, is_sqs: bool) -> None:
    assert is_sqs_event(json.loads((EVENTS / f"{name}.json").read_text())) is is_sqs


@pytest.mark.parametrize("records", [[], None, ["x"], [None], {"eventSource": "aws:sqs"}, 5, "aws:sqs"])
def test_event_with_invalid_records_is_not_sqs(records: object) -> None:
    """The handler then refuses the event as an invalid notification."""
    assert is_sqs_event({"Records": records}) is False


def test_event_without_records_is_not_sqs() -> None:
    assert is_sqs_event({}) is False

"""The tables in docs/submitting.md match the function."""

import re
from pathlib import Path

from batch_orchestrator.images import Unfit
from batch_orchestrator.settings import Settings
from yorutsuke_common.errors import (
    BedrockRefusedError,
    IntentConflictError,
    InvalidRequestError,
    JobConflictError,
    SubmissionLostError,
)
from yorutsuke_common.schema import SubmitRequest

SUBMITTING = (Path(__file__).parents[3] / "docs" / "submitting.md").read_text()


def _column(heading: str, number: int = 1) -> list[str]:
    """Return the names in a column of the table under this heading."""
    table = SUBMITTING.partition(f"\n| {heading}")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "`" in line]
    return [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[number])]


def test_every_field_of_a_request_is_documented() -> None:
    assert _column("field") == list(SubmitRequest.model_fields)


def test_every_reason_for_leaving_out_is_documented() -> None:
    assert _column("reason") == [reason.value for reason in Unfit]


def test_every_error_of_a_submission_is_documented() -> None:
    errors = (InvalidRequestError, IntentConflictError, SubmissionLostError, BedrockRefusedError, JobConflictError)

    assert _column("HTTP", 2) == [error.__name__ for error in errors]


def test_every_variable_is_documented() -> None:
    assert _column("environment") == [field.alias for field in Settings.model_fields.values()]

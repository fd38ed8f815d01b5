"""Validation of the function's environment."""

import pytest
from pydantic import ValidationError

from batch_orchestrator.settings import Settings

from .samples import ENVIRONMENT


def test_every_variable_becomes_a_setting_with_defaults() -> None:
    assert Settings.model_validate(ENVIRONMENT).model_dump() == {
        "stage": "dev",
        "images_bucket": "yorutsuke-images-dev-123456789012",
        "batch_jobs_table": "yorutsuke-batch-jobs-dev",
        "pending_images_table": "yorutsuke-pending-images-dev",
        "bedrock_role_arn": "arn:aws:iam::123456789012:role/yorutsuke-bedrock-dev",
        "model_ids": ("amazon.nova-lite-v1:0", "apac.amazon.nova-pro-v1:0"),
        "image_delivery": "inline",
        "min_records": 100,
        "job_timeout_hours": 72,
        "job_ttl_days": 30,
        "job_size": 5_000,
        "max_concurrent_jobs": 10,
        "max_attempts": 3,
    }


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_missing_variable_is_named(name: str) -> None:
    rest = {key: value for key, value in ENVIRONMENT.items() if key != name}

    with pytest.raises(ValidationError) as raised:
        Settings.model_validate(rest)

    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, "") for name in ENVIRONMENT],
        ("MODEL_IDS", " , "),
        ("BEDROCK_ROLE_ARN", "yorutsuke-bedrock-dev"),
        ("IMAGE_DELIVERY", "S3"),
        ("MIN_RECORDS", "0"),
        ("MIN_RECORDS", "50001"),
        ("MIN_RECORDS", "many"),
        ("JOB_TIMEOUT_HOURS", "23"),
        ("JOB_TIMEOUT_HOURS", "169"),
        ("JOB_TTL_DAYS", "7"),
        ("JOB_TTL_DAYS", "36501"),
        ("JOB_SIZE", "1"),
        ("JOB_SIZE", "50001"),
        ("MAX_CONCURRENT_JOBS", "0"),
        ("MAX_ATTEMPTS", "0"),
    ],
)
def test_malformed_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({**ENVIRONMENT, name: value})

    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


def test_settings_accept_their_limits() -> None:
    limits = {"MIN_RECORDS": "50000", "JOB_TIMEOUT_HOURS": "168", "JOB_TTL_DAYS": "8"}
    settings = Settings.model_validate({**ENVIRONMENT, **limits})

    assert (settings.min_records, settings.job_timeout_hours, settings.job_ttl_days) == (50_000, 168, 8)

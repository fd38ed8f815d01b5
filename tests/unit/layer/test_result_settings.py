"""Validation of the function's environment."""

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from batch_result_handler.handler import load_settings
from yorutsuke_common.errors import SettingsError
from yorutsuke_common.settings import ResultSettings

ENVIRONMENT = {
    "STAGE": "dev",
    "IMAGES_BUCKET": "yorutsuke-images-dev-123456789012",
    "TRANSACTIONS_TABLE": "yorutsuke-transactions-dev",
    "BATCH_JOBS_TABLE": "yorutsuke-batch-jobs-dev",
    "PENDING_IMAGES_TABLE": "yorutsuke-pending-images-dev",
    "TRANSACTION_TTL_DAYS": "730",
    "TIMEZONE": "Asia/Tokyo",
}


@pytest.fixture(autouse=True)
def fresh_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def test_every_variable_becomes_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    assert load_settings().model_dump() == {
        "stage": "dev",
        "images_bucket": "yorutsuke-images-dev-123456789012",
        "transactions_table": "yorutsuke-transactions-dev",
        "batch_jobs_table": "yorutsuke-batch-jobs-dev",
        "pending_images_table": "yorutsuke-pending-images-dev",
        "max_attempts": 3,
        "transaction_ttl_days": 730,
        "timezone": ZoneInfo("Asia/Tokyo"),
    }


def test_settings_are_read_once_per_execution_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    first = load_settings()

    monkeypatch.setenv("STAGE", "prod")

    assert load_settings() is first


def test_settings_accept_their_minimum_values() -> None:
    one = {**dict.fromkeys([*ENVIRONMENT, "MAX_ATTEMPTS"], "1"), "TIMEZONE": "UTC"}

    assert ResultSettings.model_validate(one).model_dump(by_alias=True) == {
        **one,
        "TRANSACTION_TTL_DAYS": 1,
        "MAX_ATTEMPTS": 1,
        "TIMEZONE": ZoneInfo("UTC"),
    }


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_missing_variable_is_named(name: str) -> None:
    rest = {key: value for key, value in ENVIRONMENT.items() if key != name}

    with pytest.raises(ValidationError) as raised:
        ResultSettings.model_validate(rest)

    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


def test_invalid_environment_raises_settings_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Log entries contain only the messages of this project's errors."""
    for name, value in {**ENVIRONMENT, "STAGE": "", "TRANSACTION_TTL_DAYS": "two"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as raised:
        load_settings()

    assert str(raised.value) == (
        "the function's environment variables are not valid: STAGE: must have 1 or more characters; "
        "TRANSACTION_TTL_DAYS: must be a whole number. Deploy the stage again."
    )


def test_missing_variable_error_omits_other_variables() -> None:
    """The environment of a Lambda function contains credentials, and Lambda logs an uncaught error."""
    with pytest.raises(ValidationError) as raised:
        ResultSettings.model_validate({"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI"})

    assert "wJalrXUtnFEMI" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, "") for name in ENVIRONMENT],
        ("TRANSACTION_TTL_DAYS", "0"),
        ("TRANSACTION_TTL_DAYS", "-1"),
        ("TRANSACTION_TTL_DAYS", "1.5"),
        ("TRANSACTION_TTL_DAYS", "two years"),
        ("MAX_ATTEMPTS", "0"),
        ("TIMEZONE", "Tokyo"),
        ("TIMEZONE", "America"),
        ("TIMEZONE", "../etc/passwd"),
        ("TIMEZONE", "/etc/localtime"),
    ],
)
def test_malformed_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(ValidationError) as raised:
        ResultSettings.model_validate({**ENVIRONMENT, name: value})

    assert [error["loc"] for error in raised.value.errors()] == [(name,)]


def test_unknown_time_zone_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValidationError, match="'Tokyo' is not an IANA time zone such as 'Asia/Tokyo'"):
        ResultSettings.model_validate({**ENVIRONMENT, "TIMEZONE": "Tokyo"})

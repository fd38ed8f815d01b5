"""Validation of a function's environment."""

import pytest
from pydantic import BaseModel, Field

from yorutsuke_common.errors import SettingsError
from yorutsuke_common.settings import read_settings


class Settings(BaseModel):
    """Settings with one variable."""

    days: int = Field(alias="TEST_DAYS")


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DAYS", "3")

    assert read_settings(Settings) == Settings(TEST_DAYS=3)


def test_invalid_variable_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DAYS", "secret")

    with pytest.raises(SettingsError) as raised:
        read_settings(Settings)

    assert str(raised.value) == (
        "the function's environment variables are not valid: TEST_DAYS: must be a whole number. Deploy the stage again."
    )


def test_settings_are_read_from_a_given_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DAYS", "3")

    assert read_settings(Settings, {"TEST_DAYS": "4"}) == Settings(TEST_DAYS=4)
    with pytest.raises(SettingsError, match="TEST_DAYS: is missing"):
        read_settings(Settings, {})

"""A function's environment, validated as one."""

import pytest
from pydantic import BaseModel, Field

from yorutsuke_common.errors import SettingsError
from yorutsuke_common.settings import read_settings


class Settings(BaseModel):
    """One variable."""

    days: int = Field(alias="TEST_DAYS")


def test_the_environment_is_read_as_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DAYS", "3")

    assert read_settings(Settings) == Settings(TEST_DAYS=3)


def test_a_variable_that_is_not_valid_is_named_and_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DAYS", "secret")

    with pytest.raises(SettingsError) as raised:
        read_settings(Settings)

    assert str(raised.value) == (
        "the function's environment variables are not valid: TEST_DAYS: must be a whole number. Deploy the stage again."
    )


def test_another_s_environment_is_read_without_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DAYS", "3")

    assert read_settings(Settings, {"TEST_DAYS": "4"}) == Settings(TEST_DAYS=4)
    with pytest.raises(SettingsError, match="TEST_DAYS: is missing"):
        read_settings(Settings, {})

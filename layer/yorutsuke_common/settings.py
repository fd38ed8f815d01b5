"""The settings of a function: its environment variables, validated as one model."""

import os
from collections.abc import Mapping
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import SettingsError
from .names import BEDROCK_MIN_RECORDS, MAX_ATTEMPTS, MAX_RECORDS
from .validation import describe_errors

_Settings = TypeVar("_Settings", bound=BaseModel)


class StageSettings(BaseModel):
    """The settings that every function has.

    `max_attempts` is the number of jobs in which an image is sent before its status becomes `failed`.

    A missing or malformed variable fails the first invocation with its name, instead of failing an import with a stack
    trace. The error does not quote values, because some variables hold the function's credentials.
    """

    model_config = ConfigDict(
        alias_generator=str.upper, arbitrary_types_allowed=True, frozen=True, hide_input_in_errors=True
    )

    stage: str = Field(min_length=1)
    images_bucket: str = Field(min_length=1)
    batch_jobs_table: str = Field(min_length=1)
    pending_images_table: str = Field(min_length=1)
    max_attempts: int = Field(MAX_ATTEMPTS, ge=1)


class SubmitSettings(StageSettings):
    """The settings of the batch_orchestrator that the operator's command reads from the deployed function.

    `model_ids` are the models that a request may name, the first being the default; MODEL_IDS separates them by commas.
    """

    min_records: int = Field(BEDROCK_MIN_RECORDS, ge=1, le=MAX_RECORDS)
    model_ids: tuple[str, ...] = Field(min_length=1)

    @field_validator("model_ids", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> list[str]:
        return [model_id for part in str(value).split(",") if (model_id := part.strip())]


class ResultSettings(StageSettings):
    """The settings of the batch_result_handler, which the operator's command reads from the deployed function."""

    transactions_table: str = Field(min_length=1)
    transaction_ttl_days: int = Field(gt=0, le=36_500)
    timezone: ZoneInfo

    @field_validator("timezone", mode="before")
    @classmethod
    def _known_timezone(cls, value: object) -> ZoneInfo:
        try:
            return ZoneInfo(str(value))
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            # The name of a folder in the database, such as America, raises OSError.
            raise ValueError(f"{value!r} is not an IANA time zone such as 'Asia/Tokyo'") from exc


def read_settings(settings: type[_Settings], variables: Mapping[str, str] = os.environ) -> _Settings:
    """Return environment variables, by default those of this process, as a function's settings.

    Raises:
        SettingsError: A variable is missing or malformed. The only value in the message is an unknown time zone.
    """
    try:
        return settings.model_validate(dict(variables))
    except ValidationError as exc:
        raise SettingsError(
            f"the function's environment variables are not valid: {describe_errors(exc)}. Deploy the stage again."
        ) from exc

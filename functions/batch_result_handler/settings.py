"""What the stage tells the function, through its environment."""

from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator

from yorutsuke_common.environment import read_environment


class Settings(BaseModel):
    """The function's environment variables, validated as one.

    A missing or malformed variable fails the first invocation with its name, not an import with a stack trace; the
    error quotes none of the others, among which are the function's credentials.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, hide_input_in_errors=True)

    stage: str = Field(alias="STAGE", min_length=1)
    images_bucket: str = Field(alias="IMAGES_BUCKET", min_length=1)
    transactions_table: str = Field(alias="TRANSACTIONS_TABLE", min_length=1)
    batch_jobs_table: str = Field(alias="BATCH_JOBS_TABLE", min_length=1)
    pending_images_table: str = Field(alias="PENDING_IMAGES_TABLE", min_length=1)
    transaction_ttl_days: int = Field(alias="TRANSACTION_TTL_DAYS", gt=0, le=36_500)
    timezone: ZoneInfo = Field(alias="TIMEZONE")

    @field_validator("timezone", mode="before")
    @classmethod
    def _known_timezone(cls, value: object) -> ZoneInfo:
        try:
            return ZoneInfo(str(value))
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            # A folder of the database, such as America, is an OSError.
            raise ValueError(f"{value!r} is no IANA time zone; use a name such as Asia/Tokyo") from exc


@cache
def load_settings() -> Settings:
    """Return the settings of this execution environment, read once. Raises SettingsError."""
    return read_environment(Settings)

"""What the stage tells the function, through its environment."""

from functools import cache

from pydantic import BaseModel, ConfigDict, Field, field_validator

from yorutsuke_common.environment import read_environment
from yorutsuke_common.schema import MAX_RECORDS

BEDROCK_MIN_RECORDS = 100
"""Of a batch inference job, by Bedrock's default quota."""


class Settings(BaseModel):
    """The function's environment variables, validated as one.

    `model_ids` are those that may be asked for, the first where none is; MODEL_IDS has them with commas between.
    `job_ttl_days` is more than the seven days that a Bedrock job may run: its output finds the record then.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    stage: str = Field(alias="STAGE", min_length=1)
    images_bucket: str = Field(alias="IMAGES_BUCKET", min_length=1)
    batch_jobs_table: str = Field(alias="BATCH_JOBS_TABLE", min_length=1)
    pending_images_table: str = Field(alias="PENDING_IMAGES_TABLE", min_length=1)
    bedrock_role_arn: str = Field(alias="BEDROCK_ROLE_ARN", pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$")
    model_ids: tuple[str, ...] = Field(alias="MODEL_IDS", min_length=1)
    min_records: int = Field(BEDROCK_MIN_RECORDS, alias="MIN_RECORDS", ge=1, le=MAX_RECORDS)
    job_ttl_days: int = Field(30, alias="JOB_TTL_DAYS", gt=7, le=36_500)

    @field_validator("model_ids", mode="before")
    @classmethod
    def _between_commas(cls, value: object) -> list[str]:
        return [model_id for part in str(value).split(",") if (model_id := part.strip())]


@cache
def load_settings() -> Settings:
    """Return the settings of this execution environment, read once. Raises SettingsError."""
    return read_environment(Settings)

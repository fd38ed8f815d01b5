"""The settings of the function: its environment variables."""

from functools import cache

from pydantic import Field

from yorutsuke_common.names import (
    BEDROCK_MAX_TIMEOUT_HOURS,
    BEDROCK_MIN_TIMEOUT_HOURS,
    JOB_SIZE,
    JOB_TIMEOUT_HOURS,
    MAX_CONCURRENT_JOBS,
    MAX_RECORDS,
)
from yorutsuke_common.schema import ImageDelivery
from yorutsuke_common.settings import SubmitSettings, read_settings


class Settings(SubmitSettings):
    """The function's environment variables, validated as one model.

    `image_delivery` applies to models that read images from S3. `job_timeout_hours` is the time after which Bedrock
    ends a job. `job_ttl_days` must exceed its maximum, seven days: the job's item must exist when its output arrives.

    `job_size` is the maximum number of images in a job of a scheduled run. A run submits jobs while fewer than
    `max_concurrent_jobs` are in progress. In a stage with a schedule, the Pulumi program requires a `job_size` of at
    least twice `min_records`.
    """

    bedrock_role_arn: str = Field(pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$")
    image_delivery: ImageDelivery = "inline"
    job_timeout_hours: int = Field(JOB_TIMEOUT_HOURS, ge=BEDROCK_MIN_TIMEOUT_HOURS, le=BEDROCK_MAX_TIMEOUT_HOURS)
    job_size: int = Field(JOB_SIZE, ge=2, le=MAX_RECORDS)
    max_concurrent_jobs: int = Field(MAX_CONCURRENT_JOBS, ge=1)
    job_ttl_days: int = Field(30, gt=BEDROCK_MAX_TIMEOUT_HOURS // 24, le=36_500)


@cache
def load_settings() -> Settings:
    """Return the settings of this execution environment, read once. Raises SettingsError."""
    return read_settings(Settings)

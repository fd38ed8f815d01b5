"""The configuration of a stage. The program validates it before it declares the first resource."""

import difflib
import json
import re
from collections.abc import Iterable
from typing import Annotated, Literal, cast
from zoneinfo import available_timezones

import pulumi
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from yorutsuke_common.names import (
    BEDROCK_MAX_TIMEOUT_HOURS,
    BEDROCK_MIN_RECORDS,
    BEDROCK_MIN_TIMEOUT_HOURS,
    JOB_SIZE,
    JOB_TIMEOUT_HOURS,
    MAX_ATTEMPTS,
    MAX_CONCURRENT_JOBS,
    MAX_FUNCTION_SECONDS,
    MAX_RECORDS,
    PROJECT,
)
from yorutsuke_common.validation import broken_rule

from .batch_models import APPLICATION_PROFILE, GEOGRAPHIES, MODEL_ID, callable_geographies, is_callable
from .errors import ConfigError
from .schedule_expression import check_schedule

CONFIG_KEY = "stage"
REGION_KEY = "aws:region"
TAGS_KEY = "aws:defaultTags"
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[1-9]")
STAGE = re.compile(r"[a-z]([a-z0-9-]{0,25}[a-z0-9])?")
"""Pattern of a stage's name. Names in AWS end with the stage's name.

AWS allows 64 characters in the name of a role, and 63 lowercase characters in the name of a bucket.
"""

PythonVersion = Literal["3.11", "3.12", "3.13", "3.14"]


def _check_timezone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("must be an IANA time zone such as Asia/Tokyo")
    return value


def _check_unique(emails: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(emails)) < len(emails):
        raise ValueError("must contain each address once")
    return emails


def _check_event_source(source: str) -> str:
    if source.startswith("aws."):
        raise ValueError("must not begin with aws., which is reserved for AWS services")
    return source


def _check_model_id(model_id: str) -> str:
    if not MODEL_ID.fullmatch(model_id) and not APPLICATION_PROFILE.fullmatch(model_id):
        raise ValueError(
            "must be the id of a foundation model, such as anthropic.claude-haiku-4-5-20251001-v1:0, the id of an "
            "inference profile, such as apac.amazon.nova-lite-v1:0, or the ARN of an application inference profile. "
            f"The id of a profile begins with one of {', '.join(GEOGRAPHIES)}. Copy the value from `aws bedrock "
            "list-foundation-models` or `aws bedrock list-inference-profiles`"
        )
    return model_id


def _check_not_empty(model_ids: tuple[str, ...]) -> tuple[str, ...]:
    # `min_length` would also count an invalid id as missing, and report a second problem.
    if not model_ids:
        raise ValueError("must have 1 or more entries")
    return model_ids


def _check_email(email: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise ValueError("must be an address such as ops@example.com")
    return email


Email = Annotated[str, AfterValidator(_check_email)]
ModelId = Annotated[str, AfterValidator(_check_model_id)]
EventSource = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,256}$"), AfterValidator(_check_event_source)]


class StageConfig(BaseModel):
    """The object at `yorutsuke:stage` in Pulumi.{stage}.yaml. Its keys are in camelCase, and all have defaults."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    python_version: PythonVersion = "3.13"
    """Python version of the Lambda runtime and of the wheels in the layer."""

    architecture: Literal["arm64", "x86_64"] = "arm64"
    """Processor architecture of the Lambda runtime and of the wheels in the layer."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Level of the functions' logs. DEBUG also logs one entry per transaction."""

    log_retention_days: Literal[
        1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
    ] = 30
    """Number of days for which the functions' logs are kept. CloudWatch Logs accepts only these values."""

    timezone: Annotated[str, AfterValidator(_check_timezone)] = "Asia/Tokyo"
    """IANA time zone of the dates in `processed/{date}/`."""

    transaction_ttl_days: Annotated[int, Field(gt=0, le=36_500)] = 730
    """Number of days for which a transaction is kept, counted from the day its output file was written."""

    function_timeout_seconds: Annotated[int, Field(ge=30, le=MAX_FUNCTION_SECONDS)] = 300
    """Timeout of the batch_result_handler, in seconds. 900 is Lambda's maximum.

    The queue's visibility timeout, after which SQS delivers a failed message again, is six times this value.
    """

    function_memory_mb: Annotated[int, Field(ge=1536, le=10240)] = 1769
    """Memory of each function, in MB. Lambda allocates CPU in proportion to memory: 1,769 MB is one vCPU, the most that
    one Python process uses.

    The minimum leaves room for the 32 images of up to 18 MB that the orchestrator reads ahead. It also leaves room for
    those of an earlier invocation that timed out.
    """

    function_max_concurrency: Annotated[int, Field(ge=2, le=1000)] = 2
    """Maximum number of messages from the queue that the batch_result_handler processes concurrently.

    The bounds are Lambda's. With `trigger: s3`, this setting does not limit the invocations by S3.
    """

    model_ids: Annotated[tuple[ModelId, ...], Field(strict=False), AfterValidator(_check_not_empty)] = (
        "apac.amazon.nova-lite-v1:0",
    )
    """Models that a request may name, in the stage's Region.

    Each is the id of a foundation model, the id of an inference profile, or the ARN of an application inference
    profile. It must read images and support batch inference.

    The first is the default for requests without a model. The default value is an inference profile of Asia Pacific,
    so a stage elsewhere must set its own.
    """

    image_delivery: Literal["inline", "s3"] = "inline"
    """Delivery of images to Amazon Nova: in base64 within the manifest, or as copies in S3.

    The images of other models are always in the manifest.
    """

    min_records: Annotated[int, Field(ge=1, le=MAX_RECORDS)] = BEDROCK_MIN_RECORDS
    """Minimum number of images in a job. The default is Bedrock's quota for most models. It rejects smaller jobs."""

    job_timeout_hours: Annotated[int, Field(ge=BEDROCK_MIN_TIMEOUT_HOURS, le=BEDROCK_MAX_TIMEOUT_HOURS)] = (
        JOB_TIMEOUT_HOURS
    )
    """Number of hours after which Bedrock ends a job. The bounds are Bedrock's.

    A job that has not started by then expires. A job that has started ends with the records that it has processed.
    """

    schedule: Annotated[str, AfterValidator(check_schedule)] | None = None
    """Times at which the batch_orchestrator submits all waiting images, in the stage's time zone.

    The value is a `cron(...)` or `rate(...)` expression of EventBridge Scheduler. Without it, jobs need requests.
    """

    job_size: Annotated[int, Field(ge=2, le=MAX_RECORDS)] = JOB_SIZE
    """Maximum number of images in a scheduled job. With a schedule, it must be at least twice `minRecords`.

    A run divides the waiting images into jobs of about this size. The rest must be large enough for a job of its own.
    """

    max_concurrent_jobs: Annotated[int, Field(ge=1, le=1000)] = MAX_CONCURRENT_JOBS
    """Maximum number of jobs in progress up to which a scheduled run submits another job."""

    max_wait_days: Annotated[int, Field(ge=1, le=365)] = 3
    """Number of days that an image may wait for a scheduled job before an alarm fires."""

    max_attempts: Annotated[int, Field(ge=1, le=100)] = MAX_ATTEMPTS
    """Number of jobs in which an image is sent before its status becomes `failed`."""

    trigger: Literal["sqs", "s3"] = "sqs"
    """Path of an output file's notification to the function.

    `sqs` uses a topic and a queue. `s3` invokes the function directly, for quick validation.
    """

    alarm_emails: Annotated[tuple[Email, ...], Field(strict=False), AfterValidator(_check_unique)] = ()
    """Email addresses that the alarms notify. Each recipient has to confirm the subscription.

    The addresses are secrets in the stack's state. In the stage's file they can be secrets, too:
    `pulumi config set --secret --path 'yorutsuke:stage.alarmEmails[0]' ADDRESS`.
    """

    drill_event_source: EventSource | None = None
    """Second source of job state changes, for drills. Only Bedrock can send events with the source `aws.bedrock`."""

    protect_data: bool = False
    """Protection of the stage and its data. Without it, destroying the stage deletes its data."""


def load_config(stage: str) -> StageConfig:
    """Return the validated configuration of the stage that the program deploys.

    Raises:
        ConfigError: The configuration is not valid.
    """
    aws = pulumi.Config("aws")
    region = aws.get("region")
    # The environment contains every configured key. Pulumi's API returns only keys that the program names.
    require_well_formed(stage, pulumi.runtime.get_config_env(), region, decode_json(aws.get("defaultTags")))
    try:
        values: object = pulumi.Config(PROJECT).get_object(CONFIG_KEY)
    except pulumi.ConfigTypeError as exc:
        raise ConfigError(
            f"{PROJECT}:{CONFIG_KEY} in Pulumi.{stage}.yaml is not an object. Write the settings as keys below it."
        ) from exc
    secret = pulumi.runtime.is_config_secret(f"{PROJECT}:{CONFIG_KEY}")
    return parse_config({} if values is None else values, stage, str(region), secret=secret)


def stage_tags(stage: str) -> dict[str, str]:
    """Return the tags that every resource of a stage has."""
    return {"project": PROJECT, "stage": stage, "managed-by": "pulumi"}


def require_well_formed(stage: str, keys: Iterable[str], region: object, default_tags: object) -> None:
    """Check the keys of a stage's file outside `yorutsuke:stage`.

    Args:
        stage: The name of the stage.
        keys: All keys of the file.
        region: The value of `aws:region`.
        default_tags: The value of `aws:defaultTags`, from which the provider tags every resource.

    Raises:
        ConfigError: The stage's name is not valid in AWS, a key is unknown, or the Region or a tag is missing.
    """
    if not STAGE.fullmatch(stage):
        raise ConfigError(
            f"stage name {stage!r} is not valid. Use 1 to 27 lowercase letters, digits and hyphens. "
            "Begin with a letter and end with a letter or digit."
        )
    known = f"{PROJECT}:{CONFIG_KEY}"
    unknown = [key for key in keys if key.startswith(f"{PROJECT}:") and key != known]
    if unknown:
        raise ConfigError(
            f"Pulumi.{stage}.yaml has the unknown key {unknown[0]!r}. Move all settings of this project below {known}."
        )
    if not isinstance(region, str) or not REGION.fullmatch(region):
        raise ConfigError(
            f"{REGION_KEY} in Pulumi.{stage}.yaml is {region!r}, which is not an AWS Region. Set it to the stage's "
            "Region, such as ap-northeast-1."
        )
    tags = cast("dict[str, object]", default_tags).get("tags") if isinstance(default_tags, dict) else None
    required = stage_tags(stage)
    if not isinstance(tags, dict) or not required.items() <= cast("dict[str, object]", tags).items():
        written = ", ".join(f"{key}: {value}" for key, value in required.items())
        raise ConfigError(
            f"{TAGS_KEY} in Pulumi.{stage}.yaml is {default_tags!r}. Every resource of a stage needs the tags project, "
            f"stage and managed-by. Write `{TAGS_KEY}: {{tags: {{{written}}}}}`."
        )


def decode_json(text: str | None) -> object:
    """Decode a value that Pulumi passes as JSON. Text that is not JSON is returned unchanged."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def parse_config(values: object, stage: str, region: str, *, secret: bool = False) -> StageConfig:
    """Return the validated configuration.

    Args:
        values: The object under `yorutsuke:stage`.
        stage: The name of the stage.
        region: The Region of the stage.
        secret: Whether the object contains a secret. The error then omits all values, because Pulumi does not report
            which value is encrypted.

    Raises:
        ConfigError: Keys are unknown, values are not valid, the Region cannot call a model, or a scheduled job is too
            small. The message lists all of them.
    """
    try:
        config = StageConfig.model_validate(values)
    except ValidationError as exc:
        problems = [(".".join(map(str, error["loc"])), error["input"], _rule(error)) for error in exc.errors()]
        raise _config_error(stage, problems, secret=secret) from exc
    # The default of modelIds is checked as well.
    problems: list[tuple[str, object, str]] = [
        (f"modelIds.{number}", model_id, _callable_rule(model_id, region))
        for number, model_id in enumerate(config.model_ids)
        if not is_callable(model_id, region)
    ]
    if config.schedule and config.job_size < (smallest := 2 * config.min_records):
        # The images that are left after a job of this size must fill a job as well.
        problems.append(("jobSize", config.job_size, f"must be at least {smallest}, which is twice minRecords"))
    if problems:
        raise _config_error(stage, problems, secret=secret)
    return config


def _config_error(stage: str, problems: Iterable[tuple[str, object, str]], *, secret: bool) -> ConfigError:
    """Return the error of a configuration with these problems: the path of a value, the value and the broken rule."""
    lines = "\n".join(
        f"  {path or 'the value'} is {'[secret]' if secret else repr(value)}: {rule}" for path, value, rule in problems
    )
    return ConfigError(
        f"{PROJECT}:{CONFIG_KEY} in Pulumi.{stage}.yaml is not valid:\n{lines}\n"
        f"Correct it and run the command again. Known keys: {', '.join(_known_keys())}."
    )


def _known_keys() -> list[str]:
    return sorted(field.alias or name for name, field in StageConfig.model_fields.items())


def _callable_rule(model_id: str, region: str) -> str:
    if APPLICATION_PROFILE.fullmatch(model_id):
        return f"must be a profile in {REGION_KEY} {region}. Create a copy of it there"
    prefixes = " or ".join(f"{geography}." for geography in callable_geographies(region))
    return f"must be callable from {REGION_KEY} {region}: begin with {prefixes}, or be the id of a foundation model"


def _rule(error: ErrorDetails) -> str:
    """Return the rule that a value breaks."""
    if error["type"] == "extra_forbidden":
        similar = difflib.get_close_matches(str(error["loc"][-1]), _known_keys(), n=1)
        return f"unknown key; did you mean {similar[0]}?" if similar else "unknown key"
    return broken_rule(error)

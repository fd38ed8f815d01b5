"""The configuration of a stage, validated as a whole before a resource is declared."""

import difflib
import json
import re
from collections.abc import Iterable
from typing import Annotated, Literal, cast
from zoneinfo import available_timezones

import pulumi
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from yorutsuke_common.names import BEDROCK_MIN_RECORDS, MAX_FUNCTION_SECONDS, MAX_RECORDS, PROJECT

from .batch_models import GEOGRAPHIES
from .errors import ConfigError

CONFIG_KEY = "stage"
REGION_KEY = "aws:region"
TAGS_KEY = "aws:defaultTags"
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[1-9]")
STAGE = re.compile(r"[a-z]([a-z0-9-]{0,25}[a-z0-9])?")
"""Pattern of a stage's name. Names in AWS end with it: a role's name has at most 64 characters, a bucket's at most 63,
and a bucket's has no capital letters."""

PythonVersion = Literal["3.11", "3.12", "3.13", "3.14"]


def _known_timezone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("must be an IANA time zone such as Asia/Tokyo")
    return value


def _each_once(emails: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(emails)) < len(emails):
        raise ValueError("must name each address once")
    return emails


def _not_of_aws(source: str) -> str:
    if source.startswith("aws."):
        raise ValueError("must not begin with aws., as whom nobody can send")
    return source


def _of_nova(model_id: str) -> str:
    # A manifest has the form of Nova's requests, which no other model reads.
    if not re.fullmatch(rf"(({'|'.join(GEOGRAPHIES)})\.)?amazon\.nova-[a-z0-9.:-]{{1,100}}", model_id):
        raise PydanticCustomError(
            "model",
            "must be a model of Amazon Nova, or an inference profile of one, such as apac.amazon.nova-lite-v1:0",
        )
    return model_id


def _an_address(email: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        raise PydanticCustomError("address", "must be an address such as ops@example.com")
    return email


Email = Annotated[str, AfterValidator(_an_address)]
ModelId = Annotated[str, AfterValidator(_of_nova)]
EventSource = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,256}$"), AfterValidator(_not_of_aws)]


class StageConfig(BaseModel):
    """The object under `yorutsuke:stage` in Pulumi.{stage}.yaml, its keys in camelCase. Every key has a default."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
        use_attribute_docstrings=True,
    )

    python_version: PythonVersion = "3.13"
    """The Python of the Lambda runtime, and of the wheels in the layer."""

    architecture: Literal["arm64", "x86_64"] = "arm64"
    """The processor of the Lambda runtime, and of the wheels in the layer."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """DEBUG also logs one entry per transaction."""

    log_retention_days: Literal[
        1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
    ] = 30
    """How long the functions' logs are kept. CloudWatch Logs takes these values only."""

    timezone: Annotated[str, AfterValidator(_known_timezone)] = "Asia/Tokyo"
    """An IANA time zone: whose calendar dates `processed/{date}/` uses."""

    transaction_ttl_days: Annotated[int, Field(gt=0, le=36_500)] = 730
    """How long a transaction is kept, from the day that its output was written."""

    function_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_FUNCTION_SECONDS)] = 300
    """Lambda's maximum is 900. The queue's visibility timeout, after which a failed message comes back, is six times
    this."""

    function_memory_mb: Annotated[int, Field(ge=1536, le=10240)] = 1769
    """Memory of each function, in MB. Lambda allocates CPU in proportion to memory: 1,769 MB is one vCPU, and one
    Python process uses no more. The minimum leaves room for the 32 images of up to 18 MB that the orchestrator holds
    while it reads ahead."""

    function_max_concurrency: Annotated[int, Field(ge=2, le=1000)] = 2
    """Jobs taken in at once; with `trigger: s3` they are as many as end at once. Lambda's bounds."""

    model_ids: Annotated[tuple[ModelId, ...], Field(strict=False, min_length=1)] = ("apac.amazon.nova-lite-v1:0",)
    """Models of Amazon Nova that a job may be of, or inference profiles of them, as Bedrock names them in the stage's
    Region; the first where none is asked for. The default is one of Asia Pacific."""

    min_records: Annotated[int, Field(ge=1, le=MAX_RECORDS)] = BEDROCK_MIN_RECORDS
    """Images that a job has at least: a quota of Bedrock's for most models, below which it refuses the job."""

    trigger: Literal["sqs", "s3"] = "sqs"
    """How an output reaches the function: through a topic and a queue, or straight, for quick validation."""

    alarm_emails: Annotated[tuple[Email, ...], Field(strict=False), AfterValidator(_each_once)] = ()
    """Who is told when an alarm rings; each has to confirm the subscription. They are secrets in the stack's state, and
    may be in the stage's file: `pulumi config set --secret --path 'yorutsuke:stage.alarmEmails[0]' ADDRESS`."""

    drill_event_source: EventSource | None = None
    """A second source of job state changes, for drills: as `aws.bedrock` nobody but Bedrock can send."""

    protect_data: bool = False
    """Bucket and tables outlive the stack. Where this is false, destroying a stage deletes what is in them."""


def load_config(stage: str) -> StageConfig:
    """Return the config of the stage being deployed. Raises ConfigError."""
    aws = pulumi.Config("aws")
    # The environment has every configured key. Pulumi's API only returns keys that the program names.
    require_well_formed(stage, pulumi.runtime.get_config_env(), aws.get("region"), decoded(aws.get("defaultTags")))
    try:
        values: object = pulumi.Config(PROJECT).get_object(CONFIG_KEY)
    except pulumi.ConfigTypeError as exc:
        raise ConfigError(
            f"{PROJECT}:{CONFIG_KEY} in Pulumi.{stage}.yaml is no object: write one, its keys below it."
        ) from exc
    secret = pulumi.runtime.is_config_secret(f"{PROJECT}:{CONFIG_KEY}")
    return parse_config({} if values is None else values, stage, secret=secret)


def stage_tags(stage: str) -> dict[str, str]:
    """Return the tags that every resource of a stage has."""
    return {"project": PROJECT, "stage": stage, "managed-by": "pulumi"}


def require_well_formed(stage: str, keys: Iterable[str], region: object, default_tags: object) -> None:
    """Check the parts of a stage's file that are not below `yorutsuke:stage`.

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
            f"stage {stage!r} is no name for one: names in AWS end in it, so take small letters, digits and hyphens, "
            "27 at most, a letter first and no hyphen last."
        )
    known = f"{PROJECT}:{CONFIG_KEY}"
    unknown = [key for key in keys if key.startswith(f"{PROJECT}:") and key != known]
    if unknown:
        raise ConfigError(
            f"Pulumi.{stage}.yaml has the key {unknown[0]!r}: everything of this project goes under {known}."
        )
    if not isinstance(region, str) or not REGION.fullmatch(region):
        raise ConfigError(
            f"{REGION_KEY} in Pulumi.{stage}.yaml is {region!r}: name the AWS Region of the stage, such as "
            "ap-northeast-1."
        )
    tags = cast("dict[str, object]", default_tags).get("tags") if isinstance(default_tags, dict) else None
    required = stage_tags(stage)
    if not isinstance(tags, dict) or not required.items() <= cast("dict[str, object]", tags).items():
        written = ", ".join(f"{key}: {value}" for key, value in required.items())
        raise ConfigError(
            f"{TAGS_KEY} in Pulumi.{stage}.yaml is {default_tags!r}: every resource of a stage needs the tags project, "
            f"stage and managed-by. Write `{TAGS_KEY}: {{tags: {{{written}}}}}`."
        )


def decoded(text: str | None) -> object:
    """Return a value that Pulumi passes as JSON, or the text if it is not JSON."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def parse_config(values: object, stage: str, *, secret: bool = False) -> StageConfig:
    """Return the validated config.

    Args:
        values: The object under `yorutsuke:stage`.
        stage: The name of the stage.
        secret: Whether a value is secret. The error then names no values, because Pulumi does not tell which value was
            encrypted.

    Raises:
        ConfigError: A key is unknown or a value is not valid. The message names all of these keys.
    """
    try:
        return StageConfig.model_validate(values)
    except ValidationError as exc:
        keys = sorted(field.alias or name for name, field in StageConfig.model_fields.items())
        problems = "\n".join(
            f"  {'.'.join(map(str, error['loc'])) or 'the whole'} is "
            f"{'[secret]' if secret else repr(error['input'])}: {_rule(error, keys)}"
            for error in exc.errors()
        )
        raise ConfigError(
            f"{PROJECT}:{CONFIG_KEY} in Pulumi.{stage}.yaml is not valid:\n{problems}\n"
            f"Correct it and run again. Known keys: {', '.join(keys)}."
        ) from exc


def _rule(error: ErrorDetails, keys: list[str]) -> str:
    """Return the rule that a value breaks, in the words of somebody who writes YAML."""
    match error["type"]:
        case "extra_forbidden":
            name = str(error["loc"][-1])
            meant = difflib.get_close_matches(name, keys, n=1)
            return f"unknown key, perhaps {meant[0]} is meant" if meant else "unknown key"
        case "tuple_type":
            return "must be a list"
        case "model_type":
            return "must be an object, with its keys below it"
        case _:
            return error["msg"]

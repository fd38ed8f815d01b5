"""Names and limits that the functions, the infrastructure and the operator's command share. Pure.

The Pulumi program imports this module, so it needs only the standard library.
"""

from enum import StrEnum

PROJECT = "yorutsuke"
LOCAL_STAGE = "local"
"""Name of the stage on the embedded emulator."""

# Components of a stage. `physical_name` adds the stage.
RESULT_HANDLER = f"{PROJECT}-batch-result-handler"
ORCHESTRATOR = f"{PROJECT}-batch-orchestrator"
OUTPUT_QUEUE = f"{PROJECT}-batch-output"
COMMON_LAYER = f"{PROJECT}-common"
SCHEDULE = f"{PROJECT}-batch-schedule"


def physical_name(name: str, stage: str) -> str:
    """Return the name in AWS of a resource, from its name in the Pulumi program."""
    return f"{name}-{stage}"


def dead_letter_queue(name: str) -> str:
    """Return the name of the dead-letter queue that belongs to a queue or a function."""
    return f"{name}-dlq"


def alarm_topic(name: str) -> str:
    """Return the name of the topic that the alarms of a component notify."""
    return f"{name}-alarms"


def job_name_prefix(stage: str) -> str:
    """Return the prefix of the names of a stage's Bedrock jobs.

    The prefix ends with a dot. Stage names cannot contain a dot, so a stage's prefix never begins another stage's.

    Source: Amazon Bedrock API reference, CreateModelInvocationJob (letters, digits, `+`, `-` and `.`, at most 63).
    """
    return f"{PROJECT}-{stage}."


def log_group(function: str) -> str:
    """Return the name of the log group of a function, from the function's name in AWS."""
    return f"/aws/lambda/{function}"


# Limits that alarms and the operator's `doctor` have in common.
MAX_FAILURE_PERCENT = 5
"""Maximum share of records that become dead letters, in percent of all records of a stage in five minutes."""
MAX_AGE_INTERVALS = 3
"""Maximum age of a message, in intervals between its deliveries.

SQS omits a message from the age of the oldest message after its third receive. A failing message is received at the
start of each interval, so it leaves the metric after two intervals. An older message is not received. Source: Amazon
SQS developer guide, "Available CloudWatch metrics for Amazon SQS".
"""
MAX_FUNCTION_SECONDS = 900
"""Lambda's maximum timeout of a function, in seconds."""
SCHEDULE_PREFIX = "schedule-"
"""Beginning of the intent ids of scheduled runs."""

# Prefixes and suffixes of object keys in the images bucket.
UPLOADS_PREFIX = "uploads/"
PROCESSED_PREFIX = "processed/"
BATCH_INPUT_PREFIX = "batch-input/"
BATCH_OUTPUT_PREFIX = "batch-output/"
DEAD_LETTERS_PREFIX = "dead-letters/"
OUTPUT_SUFFIXES = (".jsonl", ".jsonl.out")
"""Suffixes of output files: of the simple layout, and of the layout that Bedrock writes."""
OUTPUT_MANIFEST_NAME = "manifest.json.out"
"""Name of the file beside an output file in which Bedrock counts a job's items."""

# Global secondary indexes.
JOB_ID_INDEX = "jobIdIndex"
JOB_TRANSACTIONS_INDEX = "jobId-extractedAt"
IMAGE_TRANSACTIONS_INDEX = "imageId-jobId"
IMAGE_STATUS_INDEX = "status-uploadedAt"

# Metrics that the functions emit, with the dimensions `service` and `stage`.
METRIC_NAMESPACE = "BatchResult"
RESULT_SERVICE = "batch_result_handler"
ORCHESTRATOR_SERVICE = "batch_orchestrator"


class ResultMetric(StrEnum):
    """The names of the batch_result_handler's metrics in the namespace `BatchResult`."""

    SUCCESS_COUNT = "SuccessCount"
    FAILURE_COUNT = "FailureCount"
    MIGRATION_FAILED_COUNT = "MigrationFailedCount"
    MISSING_COUNT = "MissingCount"
    PROCESSING_TIME = "ProcessingTime"
    JOB_FAILED = "JobFailed"
    REDELIVERY_FAILED = "RedeliveryFailed"
    UNPROCESSED_COUNT = "UnprocessedCount"
    MANIFEST_DIFFERENCE = "ManifestDifference"


class ScheduleMetric(StrEnum):
    """The names of the metrics of a scheduled run of the batch_orchestrator, in the namespace `BatchResult`.

    `WaitingImages` is the number of images that wait for a job after the run. `OldestWaitingAge` is the age of the
    oldest of them, in seconds, or 0 if none waits.
    """

    WAITING_IMAGES = "WaitingImages"
    OLDEST_WAITING_AGE = "OldestWaitingAge"


# Bedrock's events on EventBridge.
BEDROCK_EVENT_SOURCE = "aws.bedrock"
JOB_STATE_CHANGE = "Batch Inference Job State Change"
"""Source: Amazon Bedrock user guide, "How EventBridge for Amazon Bedrock works"."""


class BedrockEnd(StrEnum):
    """The states in which a batch inference job ends without completing.

    An `Expired` job never started. The others may have output; `PartiallyCompleted` always has.

    Source: Amazon Bedrock API reference, GetModelInvocationJob.
    """

    FAILED = "Failed"
    EXPIRED = "Expired"
    STOPPED = "Stopped"
    PARTIALLY_COMPLETED = "PartiallyCompleted"


# Quotas of a batch inference job. Source: AWS General Reference, "Amazon Bedrock endpoints and quotas".
BEDROCK_MIN_RECORDS = 100
"""Minimum number of records of a job for most models. Bedrock refuses a smaller job."""
MAX_RECORDS = 50_000
"""Maximum number of records of a job, by Bedrock's default quota."""

# Bounds of a batch inference job's `timeoutDurationInHours`. Source: Amazon Bedrock API reference,
# CreateModelInvocationJob.
BEDROCK_MIN_TIMEOUT_HOURS = 24
BEDROCK_MAX_TIMEOUT_HOURS = 168
JOB_TIMEOUT_HOURS = 72
"""Default timeout of a job, in hours. The minimum could end jobs that wait for capacity, and the maximum would leave
their images unread for a week."""

# Defaults of the scheduled submission.
JOB_SIZE = 5_000
"""Default maximum number of images in a scheduled job. A manifest of 1 GB holds about 5,000 images of 148 KB."""
MAX_CONCURRENT_JOBS = 10
"""Default maximum number of jobs that a scheduled run lets be in progress at the same time."""
MAX_ATTEMPTS = 3
"""Default maximum number of jobs in which an image is sent before its status becomes `failed`."""


class LogEvent(StrEnum):
    """The `event` key of a log entry. Queries and dashboards rely on these names."""

    BATCH_RESULT_STARTED = "BATCH_RESULT_STARTED"
    BATCH_RESULT_PER_TRANSACTION = "BATCH_RESULT_PER_TRANSACTION"
    BATCH_RESULT_LINE_SKIPPED = "BATCH_RESULT_LINE_SKIPPED"
    DYNAMODB_THROTTLED = "DYNAMODB_THROTTLED"
    DYNAMODB_THROTTLED_FINAL = "DYNAMODB_THROTTLED_FINAL"
    BATCH_RESULT_IMAGE_MIGRATION_FAILED = "BATCH_RESULT_IMAGE_MIGRATION_FAILED"
    BATCH_RESULT_UPLOAD_KEPT = "BATCH_RESULT_UPLOAD_KEPT"
    BATCH_RESULT_COPIER_GAVE_UP = "BATCH_RESULT_COPIER_GAVE_UP"
    BATCH_RESULT_DUPLICATE = "BATCH_RESULT_DUPLICATE"
    BATCH_RESULT_JOB_CLAIMED = "BATCH_RESULT_JOB_CLAIMED"
    BATCH_RESULT_CLAIM_KEPT = "BATCH_RESULT_CLAIM_KEPT"
    BATCH_RESULT_IMAGES_RELEASED = "BATCH_RESULT_IMAGES_RELEASED"
    BATCH_RESULT_IMAGE_MISSING = "BATCH_RESULT_IMAGE_MISSING"
    BATCH_RESULT_TEST_EVENT = "BATCH_RESULT_TEST_EVENT"
    BATCH_RESULT_COMPLETED = "BATCH_RESULT_COMPLETED"
    BATCH_RESULT_RECONCILED = "BATCH_RESULT_RECONCILED"
    BATCH_RESULT_NOT_RECONCILED = "BATCH_RESULT_NOT_RECONCILED"
    BATCH_RESULT_MANIFEST_SKIPPED = "BATCH_RESULT_MANIFEST_SKIPPED"
    BATCH_RESULT_JOB_FAILED = "BATCH_RESULT_JOB_FAILED"
    BATCH_RESULT_FAILED = "BATCH_RESULT_FAILED"
    BATCH_SUBMIT_STARTED = "BATCH_SUBMIT_STARTED"
    BATCH_SUBMIT_RESUMED = "BATCH_SUBMIT_RESUMED"
    BATCH_SUBMIT_DUPLICATE = "BATCH_SUBMIT_DUPLICATE"
    BATCH_SUBMIT_IMAGE_LEFT_OUT = "BATCH_SUBMIT_IMAGE_LEFT_OUT"
    BATCH_SUBMIT_UPLOAD_KEPT = "BATCH_SUBMIT_UPLOAD_KEPT"
    BATCH_SUBMITTED = "BATCH_SUBMITTED"
    BATCH_SUBMIT_REFUSED = "BATCH_SUBMIT_REFUSED"
    BATCH_SUBMIT_FAILED = "BATCH_SUBMIT_FAILED"
    BATCH_SCHEDULE_STARTED = "BATCH_SCHEDULE_STARTED"
    BATCH_SCHEDULE_ABANDONED = "BATCH_SCHEDULE_ABANDONED"
    BATCH_SCHEDULE_LIMITED = "BATCH_SCHEDULE_LIMITED"
    BATCH_SCHEDULE_ENDED = "BATCH_SCHEDULE_ENDED"

"""The errors that Yorutsuke code raises, in one tree.

    YorutsukeError
    ├── RetryableError           the same event may succeed later
    │   ├── BatchWriteError      a table refused part of a chunk after every retry
    │   ├── JobClaimedError      another function is processing the job's output
    │   ├── NotReconciledError   Bedrock's manifest and the processed output disagree
    │   └── SubmissionLostError  an intent has begun, and this run cannot write its manifest
    └── PermanentError           the same event fails again until a person acts
        ├── SettingsError        the function's environment is not valid
        ├── InvalidEventError    an event in no known envelope, or an object key that is out of place
        ├── InvalidManifestError Bedrock's manifest is not as AWS documents it
        ├── UnknownJobError      the job has no record, or its record breaks the schema
        ├── OutputConflictError  a second output file for a job that accepts one
        ├── InvalidRequestError  a request for a job breaks a rule
        ├── IntentConflictError  a request differs from the one that began its intent
        ├── JobConflictError     Bedrock has two jobs for one intent
        └── BedrockRefusedError  Bedrock refuses the job as it is

Both branches make the event fail, so no event is lost. SQS delivers a failed message again and, after the last receive,
moves it to the dead-letter queue. The caller who requested a job receives the error. The branch tells whether a retry
can help.

Every message names the value, the rule it breaks and the remedy.
"""


class YorutsukeError(Exception):
    """Root of every error that Yorutsuke code raises."""


class RetryableError(YorutsukeError):
    """The cause may pass without action: deliver the event again."""


class BatchWriteError(RetryableError):
    """DynamoDB returned items of a chunk unprocessed after every retry."""


class JobClaimedError(RetryableError):
    """Another function is processing the job's output. It completes the job, or fails and releases it.

    `until` is the end of its claim, ISO 8601 UTC.
    """

    def __init__(self, message: str, until: str) -> None:
        super().__init__(message)
        self.until = until


class NotReconciledError(RetryableError):
    """Bedrock's manifest and the processed output have different counts: more output may still arrive."""


class SubmissionLostError(RetryableError):
    """An intent has begun, and this run cannot write its manifest: another run submits the job, or has died."""


class PermanentError(YorutsukeError):
    """The cause does not pass without action: a person corrects it, then redrives the message."""


class SettingsError(PermanentError):
    """An environment variable of the function is missing or malformed."""


class InvalidEventError(PermanentError):
    """The event is in no envelope that the function reads, or names an object that it must not process."""


class InvalidManifestError(PermanentError):
    """A job's `manifest.json.out` is not JSON, lacks a count, or is far too large."""


class UnknownJobError(PermanentError):
    """The batch-jobs table has no usable record of the job."""


class OutputConflictError(PermanentError):
    """The job's results already come from another output file."""


class InvalidRequestError(PermanentError):
    """The request for a job breaks a rule, or too few of its images can be sent. Nothing was written."""


class IntentConflictError(PermanentError):
    """A different request began the intent."""


class JobConflictError(PermanentError):
    """Bedrock has another job for the intent than the one in the intent's record. One of them must be stopped."""


class BedrockRefusedError(PermanentError):
    """Bedrock refuses the job because of its role, its model, its input or a quota."""

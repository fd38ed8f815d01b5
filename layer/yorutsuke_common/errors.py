"""The one tree of errors.

    YorutsukeError
    ├── RetryableError           the same message may succeed later
    │   ├── BatchWriteError      a table refused part of a batch after every retry
    │   ├── JobClaimedError      another function is taking the job's output in
    │   └── NotReconciledError   Bedrock's manifest and the output taken in disagree
    └── PermanentError           the same message will fail again until a person acts
        ├── SettingsError        the function's environment is not what it needs
        ├── InvalidEventError    an event that is none of the envelopes we read, or an object key out of place
        ├── InvalidManifestError Bedrock's manifest is not what AWS documents
        ├── UnknownJobError      no record of the job, or a record that breaks the schema
        └── OutputConflictError  a second output object for a job that takes one

Both branches make the message fail: nothing is dropped unseen. SQS delivers it again and, after the last receive,
moves it to the dead-letter queue. The branch tells the operator whether waiting can help.

Every message names the value, the rule it broke and the remedy.
"""


class YorutsukeError(Exception):
    """Root of every error raised by Yorutsuke code."""


class RetryableError(YorutsukeError):
    """The cause may pass by itself: deliver the message again."""


class BatchWriteError(RetryableError):
    """DynamoDB kept returning items of a batch unprocessed after every retry."""


class JobClaimedError(RetryableError):
    """Another function is taking the job's output in: it completes the job, or fails and leaves it free."""


class NotReconciledError(RetryableError):
    """Bedrock's manifest counts other records than the output that was taken in: the rest may still come."""


class PermanentError(YorutsukeError):
    """The cause will not pass by itself: a person has to act, then redrive."""


class SettingsError(PermanentError):
    """An environment variable of the function is missing or malformed."""


class InvalidEventError(PermanentError):
    """The event is none of the envelopes the function reads, or names an object it must not process."""


class InvalidManifestError(PermanentError):
    """A job's `manifest.json.out` is no JSON, lacks a count, or is far too large."""


class UnknownJobError(PermanentError):
    """The batch-jobs table has no usable record for the job id in the object key."""


class OutputConflictError(PermanentError):
    """The job's results were already taken from another output object."""

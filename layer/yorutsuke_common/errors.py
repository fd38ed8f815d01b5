"""The one tree of errors.

    YorutsukeError
    ├── RetryableError           the same event may succeed later
    │   ├── BatchWriteError      a table refused part of a batch after every retry
    │   ├── JobClaimedError      another function is taking the job's output in
    │   ├── NotReconciledError   Bedrock's manifest and the output taken in disagree
    │   └── SubmissionLostError  an intent is begun, and this run cannot write its manifest
    └── PermanentError           the same event will fail again until a person acts
        ├── SettingsError        the function's environment is not what it needs
        ├── InvalidEventError    an event that is none of the envelopes we read, or an object key out of place
        ├── InvalidManifestError Bedrock's manifest is not what AWS documents
        ├── UnknownJobError      no record of the job, or a record that breaks the schema
        ├── OutputConflictError  a second output object for a job that takes one
        ├── InvalidRequestError  a request for a job that breaks a rule
        ├── IntentConflictError  a request that is not the one its intent began with
        ├── JobConflictError     Bedrock has two jobs for one intent
        └── BedrockRefusedError  Bedrock does not take the job as it is

Both branches make the event fail: nothing is dropped unseen. SQS delivers a message again and, after the last receive,
moves it to the dead-letter queue; whoever asked for a job is told. The branch says whether waiting can help.

Every message names the value, the rule it broke and the remedy.
"""


class YorutsukeError(Exception):
    """Root of every error raised by Yorutsuke code."""


class RetryableError(YorutsukeError):
    """The cause may pass by itself: deliver the event again."""


class BatchWriteError(RetryableError):
    """DynamoDB kept returning items of a batch unprocessed after every retry."""


class JobClaimedError(RetryableError):
    """Another function is taking the job's output in: it completes the job, or fails and leaves it free."""


class NotReconciledError(RetryableError):
    """Bedrock's manifest counts other records than the output that was taken in: the rest may still come."""


class SubmissionLostError(RetryableError):
    """An intent is begun, and its manifest cannot be written by this run: another one submits the job, or has died."""


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


class InvalidRequestError(PermanentError):
    """The request for a job breaks a rule, or too little is left of it: nothing was done."""


class IntentConflictError(PermanentError):
    """The intent was begun with another request."""


class JobConflictError(PermanentError):
    """Bedrock has another job for the intent than its record names: one of them is to be stopped."""


class BedrockRefusedError(PermanentError):
    """Bedrock does not take the job as it is: its role, its model, its input or a quota is not as it should be."""

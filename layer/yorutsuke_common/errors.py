"""The errors that make an event or a request fail, in one tree.

    YorutsukeError
    ├── RetryableError                  the same event may succeed later
    │   ├── JobClaimedError             another invocation is processing the job's output
    │   ├── NotReconciledError          the output manifest and the processed output disagree
    │   ├── SubmissionLostError         this invocation cannot write the manifest of an intent that has begun
    │   └── ThrottledError              DynamoDB throttled a call until the time of the function was used up
    └── PermanentError                  the same event fails again until a person acts
        ├── SettingsError               the function's environment is not valid
        ├── InvalidEventError           the event's envelope or object key is not one that the function processes
        ├── InvalidOutputManifestError  the output manifest is not JSON, lacks a count, or is too large
        ├── CompressedOutputError       the output file is compressed
        ├── UnknownJobError             the item of the job is missing, not unique, or breaks the schema
        ├── InvalidRequestError         a request for a job breaks a rule
        ├── IntentConflictError         a request differs from the one that began its intent
        ├── JobConflictError            Bedrock has two jobs for one intent
        ├── JobOverdueError             the end of a job was never processed
        └── BedrockRefusedError         Bedrock refuses the job as it is

Both branches make the event fail, so that it is not lost. SQS delivers a failed message again and, after the last
delivery, moves it to the dead-letter queue. Lambda retries an event that S3 sends directly, and then sends it there.
The caller that requested a job receives the error. The branch states whether a retry can help.

The text of an error names the problem with its value, the rule, and the remedy.
"""


class YorutsukeError(Exception):
    """Root of the errors that make an event or a request fail."""


class RetryableError(YorutsukeError):
    """The cause may pass without action. SQS or Lambda delivers the event again. A caller sends its request again."""


class IntentEndedError(RetryableError):
    """The item of an intent was deleted, or the intent was abandoned, while an invocation wrote its manifest."""


class JobClaimedError(RetryableError):
    """Another invocation is processing the job's output.

    The claim ends when that invocation completes the job or fails, or when the claim expires.

    `until` is the end of its claim, ISO 8601 UTC.
    """

    def __init__(self, message: str, until: str) -> None:
        super().__init__(message)
        self.until = until


class NotReconciledError(RetryableError):
    """The output manifest and the processed output disagree, or the processed outputs changed meanwhile."""


class SubmissionLostError(RetryableError):
    """This invocation cannot write the manifest of an intent that has begun.

    Another invocation is submitting the job, or it ended before it wrote the manifest.
    """


class ThrottledError(RetryableError):
    """DynamoDB throttled a part of a call until the time of the function was used up."""


class PermanentError(YorutsukeError):
    """The cause does not pass without action. After its correction, redrive the message or send the request again."""


class SettingsError(PermanentError):
    """An environment variable of the function is missing or malformed."""


class InvalidEventError(PermanentError):
    """The function cannot read the event's envelope, or must not process the object that the event names."""


class InvalidOutputManifestError(PermanentError):
    """A job's `manifest.json.out` is not JSON, lacks a count, or is far too large."""


class CompressedOutputError(PermanentError):
    """The output file is compressed with gzip."""


class UnknownJobError(PermanentError):
    """The batch-jobs table lacks a usable item of the job."""


class InvalidRequestError(PermanentError):
    """The request for a job breaks a rule, or too few of its images can be sent. Nothing was written.

    `problem` is the error's text without its remedy.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem


class IntentConflictError(PermanentError):
    """A different request began the intent."""


class JobConflictError(PermanentError):
    """Bedrock has another job for the intent than the one in the intent's item.

    The job that the item does not name must be stopped.
    """


class JobOverdueError(PermanentError):
    """A job was submitted longer ago than Bedrock lets a job run, and its end was not processed."""


class BedrockRefusedError(PermanentError):
    """Bedrock refuses the job because of its role, its model or its input."""

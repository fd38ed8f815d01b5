"""The errors of the operator's command. Each names the value, the rule and the remedy.

OperatorError
├── StageError       the stage does not exist, or does not answer
├── NotFoundError    the stage does not have the job, the output, the file or the images
├── RefusedError     the command is not safe now, or could not be confirmed
└── UnfinishedError  a part of the work was not done, or not in time
"""

import shlex
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from yorutsuke_common.error_codes import error_code
from yorutsuke_common.errors import YorutsukeError

DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException"}
"""Error codes for a missing permission: of S3 and SQS, of most other services, and of SNS."""
STALE_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


class OperatorError(Exception):
    """Root of the errors that the operator's command itself raises. The remedy may be a part of the problem's text."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem} {remedy}".rstrip())
        self.problem = problem
        self.remedy = remedy


class StageError(OperatorError):
    """The stage does not exist in this account and Region, or does not answer."""


class NotFoundError(OperatorError):
    """The stage does not have the job, the output, the file or the images that the command names."""


class RefusedError(OperatorError):
    """The command is not safe now, or could not be confirmed. It has changed nothing."""


class UnfinishedError(OperatorError):
    """A part of the work was not done, or not in time. Running the command again continues it."""


REPORTED_ERRORS = (OperatorError, YorutsukeError, ClientError, BotoCoreError)
"""The errors that end a command with one line instead of a stack trace."""


def is_denied(error: Exception) -> bool:
    """Return whether AWS refused a call because the operator lacks a permission."""
    return isinstance(error, ClientError) and error_code(error) in DENIED


@dataclass(frozen=True)
class ErrorReport:
    """An error for the operator, as in the JSON object. `remedy` is None if the message ends with the remedy."""

    error: str
    message: str
    remedy: str | None = None

    @property
    def line(self) -> str:
        """The message and the remedy as one line."""
        return f"{self.message} {self.remedy or ''}".rstrip()


def error_line(error: Exception, profile: str | None) -> str:
    """Return an error as one line, without its name. `profile` is the option's value."""
    return report_error(error, profile).line


def report_error(error: Exception, profile: str | None) -> ErrorReport:
    """Return the report of an error. `profile` is the option's value."""
    text = str(error).rstrip(".")
    match error:
        case NoCredentialsError() | SSOError() | TokenRetrievalError() | CredentialRetrievalError():
            message = "AWS credentials were not found." if isinstance(error, NoCredentialsError) else f"{text}."
            login = shlex.join(["aws", "sso", "login", *(["--profile", profile] if profile else [])])
            remedy = f"Name a profile with --profile, or log in with `{login}`."
        case NoRegionError():
            message = "the AWS Region is not set."
            remedy = "Name the stage's Region with --region, or set AWS_REGION."
        case ProfileNotFound():
            message, remedy = f"{text}.", "`aws configure list-profiles` lists the profiles."
        case ClientError():
            message, remedy = _explain_refusal(error)
        case BotoCoreError():
            message = f"AWS could not be called: {text}."
            remedy = "Check the Region and the network, then run the command again."
        case OperatorError():
            message, remedy = error.problem, error.remedy or None
        case _:
            message, remedy = str(error), None
    return ErrorReport(type(error).__name__, message, remedy)


def _explain_refusal(error: ClientError) -> tuple[str, str]:
    """Return the message and the remedy of an error of AWS."""
    code = error_code(error)
    message = " ".join(error.response.get("Error", {}).get("Message", "").split())
    if is_denied(error):
        problem = f"{error.operation_name} is not allowed ({code}): {message}."
        return problem, "docs/operating.md lists the permissions."
    if code in STALE_CREDENTIALS:
        problem = f"AWS does not accept the credentials ({code}): {message}."
        return problem, "Log in again, or name another profile."
    return f"AWS refused {error.operation_name} ({code}): {message}.", "Correct the cause, then run the command again."

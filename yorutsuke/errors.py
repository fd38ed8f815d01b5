"""The errors of the operator's command. Each message names the value, the rule and the remedy.

OperatorError
├── StageError       the stage does not exist, or does not answer
├── NotFoundError    the stage does not have the job, the output, the file or the images
├── RefusedError     the command is not safe now, or could not be confirmed
└── UnfinishedError  a part of the work was not done, or not in time
"""

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
    """Root of the errors that the operator's command itself raises."""


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


def error_line(error: Exception) -> str:
    """Return an error as one line for the operator."""
    message = str(error).rstrip(".")
    match error:
        case NoCredentialsError() | SSOError() | TokenRetrievalError() | CredentialRetrievalError():
            found = "AWS credentials were not found" if isinstance(error, NoCredentialsError) else message
            return f"{found}. Name a profile with --profile, or log in with `aws sso login`."
        case NoRegionError():
            return "the AWS Region is not set. Name the stage's Region with --region, or set AWS_REGION."
        case ProfileNotFound():
            return f"{message}. `aws configure list-profiles` lists the profiles."
        case ClientError():
            return _client_error_line(error)
        case BotoCoreError():
            return f"AWS could not be called: {message}. Check the Region and the network, then run the command again."
        case _:
            return str(error)


def _client_error_line(error: ClientError) -> str:
    code = error_code(error)
    message = " ".join(error.response.get("Error", {}).get("Message", "").split())
    if is_denied(error):
        return f"{error.operation_name} is not allowed ({code}): {message}. docs/operating.md lists the permissions."
    if code in STALE_CREDENTIALS:
        return f"AWS does not accept the credentials ({code}): {message}. Log in again, or name another profile."
    return f"AWS refused {error.operation_name} ({code}): {message}. Correct the cause, then run the command again."

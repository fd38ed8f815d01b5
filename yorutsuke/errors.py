"""What the operator is told where something is not to be done. Each message names the value, the rule and the remedy.

OperatorError
├── StageError       the stage is not there, or nobody answers for it
├── NotFoundError    what the command is about is not on the stage
├── RefusedError     it would do harm as things are, or nobody agreed to it
├── UnfinishedError  some of it could not be done, or not in time
└── UndecidedError   it cannot be told from what there is to be seen
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

from yorutsuke_common.aws.errors import error_code
from yorutsuke_common.errors import YorutsukeError

DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "AuthorizationErrorException"}
"""As S3 and SQS, the others, and SNS say it."""
STALE_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


class OperatorError(Exception):
    """Root of what the command itself refuses or gives up."""


class StageError(OperatorError):
    """The stage is not where it was looked for, or nobody answers for it."""


class NotFoundError(OperatorError):
    """The job, the output or the message that the command is about is not on the stage."""


class RefusedError(OperatorError):
    """It is not to be done: it would do harm as things are, or nobody agreed to it."""


class UnfinishedError(OperatorError):
    """Some of it was not done, or not in the time that it was given."""


class UndecidedError(OperatorError):
    """Whether it is well cannot be told from what there is to be seen."""


Told = (OperatorError, YorutsukeError, ClientError, BotoCoreError)
"""What ends a command in one line instead of a stack trace."""


def is_denied(error: Exception) -> bool:
    """Tell whether AWS says that the operator may not do this."""
    return isinstance(error, ClientError) and error_code(error) in DENIED


def told(error: Exception) -> str:
    """Return an error as the one line that the operator reads."""
    match error:
        case NoCredentialsError() | SSOError() | TokenRetrievalError() | CredentialRetrievalError():
            why = "no AWS credentials were found" if isinstance(error, NoCredentialsError) else f"{error}".rstrip(".")
            return f"{why}: name a profile with --profile, or log in (aws sso login)."
        case NoRegionError():
            return "no AWS Region is set: name the stage's with --region, or set AWS_REGION."
        case ProfileNotFound():
            return f"{error}: `aws configure list-profiles` lists those that there are."
        case ClientError():
            return _told_by_aws(error)
        case BotoCoreError():
            return f"AWS could not be asked: {error}: check the Region and the network, then try again."
        case _:
            return str(error)


def _told_by_aws(error: ClientError) -> str:
    code = error_code(error)
    said = " ".join(error.response.get("Error", {}).get("Message", "").split())
    if is_denied(error):
        return f"not allowed: {error.operation_name} ({code}): {said}. docs/operating.md has what each command needs."
    if code in STALE_CREDENTIALS:
        return f"AWS does not take these credentials ({code}): {said}. Log in again, or name another profile."
    return f"AWS refused {error.operation_name} ({code}): {said}. Mend that, then run this again."

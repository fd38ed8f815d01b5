import pytest
from botocore.exceptions import (
    BotoCoreError,
    CredentialRetrievalError,
    NoCredentialsError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from yorutsuke.errors import error_line


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (NoCredentialsError(), "AWS credentials were not found"),
        (
            UnauthorizedSSOTokenError(),
            (
                "The SSO session associated with this profile has expired or is otherwise invalid. To refresh this SSO "
                "session run aws sso login with the corresponding profile"
            ),
        ),
        (SSOTokenLoadError(error_msg="gone"), "Error loading SSO Token: gone"),
        (
            TokenRetrievalError(provider="sso", error_msg="gone"),
            "Error when retrieving token from sso: gone",
        ),
        (
            CredentialRetrievalError(provider="sso", error_msg="gone"),
            "Error when retrieving credentials from sso: gone",
        ),
    ],
)
def test_error_line_asks_for_a_login(error: BotoCoreError, why: str) -> None:
    login = f"{why}. Name a profile with --profile, or log in with `aws sso login"
    assert error_line(error, None) == f"{login}`."
    assert error_line(error, "my profile") == f"{login} --profile 'my profile'`."

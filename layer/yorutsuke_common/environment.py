"""A function's environment variables, validated as one."""

import os
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from .errors import SettingsError
from .schema import problems

_Settings = TypeVar("_Settings", bound=BaseModel)


def read_environment(settings: type[_Settings]) -> _Settings:
    """Return the environment as a function's settings. Raises SettingsError, which names variables and no values."""
    try:
        return settings.model_validate(dict(os.environ))
    except ValidationError as exc:
        raise SettingsError(
            f"the function's environment is not valid ({problems(exc.errors())}): deploy the stage again."
        ) from exc

"""A function's environment variables, validated as one."""

import os
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from .errors import SettingsError
from .schema import problems

_Settings = TypeVar("_Settings", bound=BaseModel)


def read_environment(settings: type[_Settings], variables: Mapping[str, str] = os.environ) -> _Settings:
    """Return the environment, by default our own, as a function's settings.

    Raises SettingsError, which names variables and no values.
    """
    try:
        return settings.model_validate(dict(variables))
    except ValidationError as exc:
        raise SettingsError(
            f"the function's environment is not valid ({problems(exc.errors())}): deploy the stage again."
        ) from exc

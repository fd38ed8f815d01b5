"""Errors that the operator can correct. Each message contains the value, the rule and the remedy.

Pulumi prints a `RunError` as its message, without a traceback.
"""

import pulumi


class ConfigError(pulumi.RunError):
    """The configuration of a stage is not valid."""


class BuildError(pulumi.RunError):
    """The wheels of the layer cannot be installed."""


class DeploymentError(pulumi.RunError):
    """A preview, a deployment or a destruction cannot start."""

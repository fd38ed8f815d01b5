"""The errors that a person who deploys can mend. Each message names the value, the rule and the remedy.

As run errors, Pulumi shows them as their message alone.
"""

import pulumi


class ConfigError(pulumi.RunError):
    """A stage's config breaks a rule."""


class DeploymentError(pulumi.RunError):
    """A stage cannot be previewed, deployed or destroyed from here."""

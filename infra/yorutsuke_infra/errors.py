"""The errors that a person who deploys can mend. Each message names the value, the rule and the remedy."""


class ConfigError(Exception):
    """A stage's config breaks a rule."""


class DeploymentError(Exception):
    """A stage cannot be previewed, deployed or destroyed from here."""

"""What can go wrong on the local stage. Each message names the value, the rule and the remedy."""


class LocalStageError(Exception):
    """The local stage cannot do what it was asked to."""


class UnknownResourceError(LocalStageError):
    """The Pulumi program uses a resource type, function or input that the local deployer does not know."""


class RefusedResourceError(LocalStageError):
    """AWS does not take a resource as the Pulumi program declares it."""


class EmulatorError(LocalStageError):
    """The emulator did not start, or ended by itself."""


class KeptStageError(LocalStageError):
    """The local stage that was left running is in the way, or cannot be told from what else runs."""


class NotSettledError(LocalStageError):
    """The pipeline neither completed the job nor gave up on it in time."""

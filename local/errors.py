"""The errors of the local stage. Each message names the value, the rule and the remedy."""


class LocalStageError(Exception):
    """Root of the errors of the local stage."""


class UnknownResourceError(LocalStageError):
    """The Pulumi program uses a resource type, function or input that the local deployer does not support."""


class RefusedResourceError(LocalStageError):
    """AWS refuses a resource as the Pulumi program declares it."""


class EmulatorError(LocalStageError):
    """The emulator did not start, or ended by itself."""


class KeptStageError(LocalStageError):
    """A kept local stage is already running, or the file that describes it is not valid."""


class InputFileError(LocalStageError):
    """The file that `--input` names cannot be read, or is not an output file."""


class NotSettledError(LocalStageError):
    """The pipeline did not reach the expected state in time."""

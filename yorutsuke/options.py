"""The options that several commands have."""

from collections.abc import Callable
from functools import update_wrapper
from inspect import Signature, signature
from typing import Annotated, Any

import typer

from .errors import REPORTED_ERRORS, report_error
from .screen import Screen
from .stage import open_stage

FAILED = 1
"""Exit code of a command that was refused or is unfinished."""

StageName = Annotated[
    str,
    typer.Option("--stage", envvar="YORUTSUKE_STAGE", help="The stage, such as dev. local is this machine's stage."),
]
Region = Annotated[
    str | None,
    typer.Option("--region", help="The stage's AWS Region. By default that of Pulumi.STAGE.yaml, or the profile's."),
]
Profile = Annotated[str | None, typer.Option("--profile", help="The profile of the AWS configuration to use.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]
Yes = Annotated[bool, typer.Option("--yes", help="Confirm in advance, without a question.")]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="The id of the job, or of its intent.")]


def stage_command(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options of every command added.

    The command receives the screen and the opened stage as its first arguments, instead of these options. An error of
    REPORTED_ERRORS is printed, and ends the command.
    """

    def run(
        *, stage: StageName, region: Region = None, profile: Profile = None, json: Json = False, **own: Any
    ) -> None:
        screen = Screen(json=json)
        try:
            command(screen, open_stage(stage, region, profile), **own)
        except REPORTED_ERRORS as error:
            screen.fail(report_error(error, profile))
            raise typer.Exit(FAILED) from error

    *common, _ = signature(run).parameters.values()
    _, _, *own = signature(command).parameters.values()
    update_wrapper(run, command, assigned=("__name__", "__doc__"))
    # Typer reads the options from the signature. Arguments come before options.
    vars(run)["__signature__"] = Signature(sorted([*common, *own], key=lambda parameter: parameter.kind))
    return run

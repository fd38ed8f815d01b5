"""What every command can be told."""

from typing import Annotated

import typer

StageName = Annotated[
    str, typer.Option("--stage", envvar="YORUTSUKE_STAGE", help="The stage, such as dev; local is this machine's.")
]
Region = Annotated[str | None, typer.Option("--region", help="The stage's AWS Region, where the profile has another.")]
Profile = Annotated[str | None, typer.Option("--profile", help="The profile of AWS's configuration to come as.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Yes = Annotated[bool, typer.Option("--yes", help="Answer the question with yes.")]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job, or of its intent.")]

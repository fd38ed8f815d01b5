"""The entry point: the commands by name, and their exit codes."""

import signal
from collections.abc import Sequence

import typer

from .commands.dead_letters import dead_letters
from .commands.doctor import doctor
from .commands.job import job
from .commands.jobs import jobs
from .commands.redrive import redrive
from .commands.replay import replay
from .commands.retry_migrations import retry_migrations
from .commands.smoke import smoke
from .errors import REPORTED_ERRORS, error_line
from .screen import Screen

FAILED = 1
"""Exit code of a command that was refused or is unfinished."""

app = typer.Typer(
    help="Show the jobs of a stage, and repair those that went wrong.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (jobs, job, dead_letters, replay, redrive, retry_migrations, doctor, smoke):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. docs/operating.md lists the codes."""
    # End like on Ctrl-C, after the clean-up of the command.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(arguments, prog_name="yorutsuke")
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else FAILED
    except REPORTED_ERRORS as error:
        Screen().say(f"{type(error).__name__}: {error_line(error)}")
        return FAILED
    return 0

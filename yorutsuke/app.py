"""The entry point: the commands by name, and their exit codes."""

import signal
import sys
from collections.abc import Sequence

import typer

from .commands.dead_letters import dead_letters
from .commands.doctor import doctor
from .commands.job import job
from .commands.jobs import jobs
from .commands.redrive import redrive
from .commands.replay import replay
from .commands.resubmit import resubmit
from .commands.retry_migrations import retry_migrations
from .commands.smoke import smoke
from .errors import ErrorReport
from .options import FAILED
from .screen import Screen
from .stage import program

INVALID = 2
"""Exit code of a command line that is not valid."""

app = typer.Typer(
    help="Show the jobs of a stage, and repair those that went wrong.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (jobs, job, dead_letters, replay, redrive, retry_migrations, resubmit, doctor, smoke):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. docs/operating.md lists the codes."""
    # End like on Ctrl-C, after the clean-up of the command.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = sys.argv[1:] if arguments is None else [*arguments]
    # A command line that is not valid was not parsed, so the option is looked up here.
    is_json = "--json" in given
    try:
        # In the standalone mode, typer prints usage errors as text, and exits.
        return app(given, prog_name=program(), standalone_mode=not is_json) or 0
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else FAILED
    except typer.TyperException as error:
        # Only the message of a parameter's error names the parameter.
        message = error.format_message() if isinstance(error, typer.BadParameter) else str(error)
        Screen(json=True).fail(ErrorReport("UsageError", message, f"`{program()} --help` lists the commands."))
        return INVALID

"""The commands by name, and how each of them ends: with an exit code, and with one line where it went wrong."""

from collections.abc import Sequence

import typer

from .commands.dead_letters import dead_letters
from .commands.doctor import doctor
from .commands.job import job
from .commands.jobs import jobs
from .commands.redrive import redrive
from .commands.replay import replay
from .commands.retry_migrations import retry_migrations
from .errors import Told, told
from .screen import Screen

FAILED = 1

app = typer.Typer(
    help="What became of a stage's jobs, and what to do about those that went wrong.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (jobs, job, dead_letters, replay, redrive, retry_migrations, doctor):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 where it failed, 2 where it was called wrongly, 130 interrupted."""
    try:
        app(arguments, prog_name="yorutsuke")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else FAILED
    except Told as error:
        # Standard error has nothing else by now that a table would go with.
        Screen().say(f"{type(error).__name__}: {told(error)}")
        return FAILED
    return 0

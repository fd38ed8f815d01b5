"""Writes a command's answer, as tables or as one JSON object, to standard output.

Previews, questions, progress and messages go to standard error.
"""

import json
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import pydantic_core
import typer
from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .console import SafeConsole, TitleColumn, printable
from .errors import ErrorReport, RefusedError

WIDTH = 140
"""Number of columns if the output is not a terminal."""
SHOWN_ROWS = 20
"""Maximum number of rows of a table without an option for the limit."""

Advance = Callable[..., None]
"""Adds a number of finished steps, 1 by default, to a progress display."""


class Screen:
    """The output of a command. With `json`, standard output holds only the answer, as one JSON object."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self._out = SafeConsole(width=None if sys.stdout.isatty() else WIDTH)
        self._err = SafeConsole(stderr=True, width=None if sys.stderr.isatty() else WIDTH)

    def show(self, answer: Mapping[str, Any], *parts: Group | str) -> None:
        """Print an answer: its tables and lines, or itself as JSON. Decimals become strings, so that they stay exact.

        The JSON has only ASCII characters. A terminal therefore shows escapes, and a parser returns the exact text.
        """
        if self.json:
            print(json.dumps(answer, default=pydantic_core.to_jsonable_python))
            return
        for part in parts:
            self._out.print(part, soft_wrap=isinstance(part, str))

    def preview(self, *tables: Group) -> None:
        """Print tables before a question. With `json` they go to standard error."""
        for table in tables:
            (self._err if self.json else self._out).print(table)

    def say(self, *lines: str) -> None:
        """Print the lines of a message to standard error."""
        for line in lines:
            self._err.print(line, soft_wrap=True)

    def fail(self, report: ErrorReport) -> None:
        """Print an error to standard error, as one line or as one JSON object."""
        if self.json:
            print(json.dumps(asdict(report)), file=sys.stderr)
        else:
            self.say(f"{report.error}: {report.line}")

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask a question unless `yes` is set. Any other answer than yes ends the command with the exit code 0.

        Raises RefusedError if standard input is not a terminal.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise RefusedError(
                f"the command needs a confirmation ({question}), and standard input is not a terminal.",
                "Pass --yes to confirm in advance.",
            )
        self._err.print(f"{question} [y/N] ", end="")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            self.show({"confirmed": False})
            self.say("Nothing was changed.")
            raise typer.Exit

    @contextmanager
    def progress(self, title: str, total: int = 0) -> Generator[Advance]:
        """Show progress on a terminal: a bar if the number of steps is known, and else the time."""
        bar = [BarColumn(), MofNCompleteColumn()] if total else []
        columns = [SpinnerColumn(), TitleColumn(), *bar, TimeElapsedColumn()]
        with Progress(*columns, console=self._err, transient=True) as progress:
            yield partial(progress.advance, progress.add_task(title, total=total or None))

    @contextmanager
    def states(self, title: str) -> Generator[Callable[[str], None]]:
        """Yield a function that shows the present state of something that takes hours.

        On a terminal, the states replace each other. Otherwise, each change is a line.
        """
        if not self._err.is_terminal:
            shown: list[str] = []

            def show_change(state: str) -> None:
                if shown[-1:] != [state]:
                    shown.append(state)
                    self.say(f"{title}: {state}")

            yield show_change
            return
        with Progress(SpinnerColumn(), TitleColumn(), TimeElapsedColumn(), console=self._err, transient=True) as bar:
            task = bar.add_task(title, total=None)
            yield lambda state: bar.update(task, description=f"{title}: {state}")


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]], limit: int | None = None) -> Group:
    """Return a table of rows, at most `limit`. Numbers are aligned to the right; None becomes a dash."""
    made = Table(show_header=bool(headers))
    for number, header in enumerate(headers or ("", "")):
        numeric = all(isinstance(row[number], int) for row in rows if row[number] is not None)
        made.add_column(header, justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows[:limit]:
        made.add_row(*map(_cell, row))
    cut = f", the first {limit} of {len(rows)} rows" if limit and len(rows) > limit else ""
    # Rich would wrap the table's own title to the width of the table.
    return Group(Text(printable(f"{title}{cut}"), style="bold"), made)


def facts(title: str, rows: Mapping[str, object]) -> Group:
    """Return a table of names and values."""
    return table(title, (), [*rows.items()])


def quantity(count: int, noun: str) -> str:
    """Return a number with its noun, such as `1 message` or `2 messages`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def list_first(names: Sequence[str], count: int, limit: int = 10) -> str:
    """Return the first names of a list, and an ellipsis if there are more. `count` is the number of all names."""
    return f"{', '.join(names[:limit])}{', …' if count > limit else ''}"


def _cell(value: object) -> str:
    return "–" if value is None or value == "" else str(value)

"""What the operator sees: tables, or one JSON object, on standard output; progress and questions on standard error."""

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pydantic_core
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .errors import RefusedError

WIDTH = 140
"""Where nobody looks on, as in a log."""


class Screen:
    """Where a command shows what came of it; under `json` it is one object, and nothing else, on standard output."""

    def __init__(self, *, json: bool = False) -> None:
        self._json = json
        self._out = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else WIDTH)
        self._err = Console(stderr=True, markup=False, highlight=False, width=None if sys.stderr.isatty() else WIDTH)

    def show(self, answer: Mapping[str, Any], *tables: Group) -> None:
        """Show an answer: its tables, or itself as JSON, in which numbers of DynamoDB are strings, digit by digit."""
        if self._json:
            print(pydantic_core.to_json(answer).decode())
            return
        for table in tables:
            self._out.print(table)

    def preview(self, *tables: Group) -> None:
        """Show what a question is about; under `json` beside the answer."""
        for table in tables:
            (self._err if self._json else self._out).print(table)

    def say(self, text: str) -> None:
        """Say something beside the answer."""
        self._err.print(printable(text), soft_wrap=True)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask, unless the answer was given beforehand. Raises RefusedError where it is no, or nobody can be asked."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise RefusedError(f"nobody can be asked ({question}): standard input is no terminal. Answer with --yes.")
        self._err.print(f"{question} [y/N] ", end="")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise RefusedError("nothing was done: the answer was no.")

    @contextmanager
    def progress(self, title: str, total: int | None = None) -> Generator["Steps"]:
        """Show how far something has come while it is done."""
        columns = [SpinnerColumn(finished_text="✓"), TextColumn("{task.description}")]
        counted = [BarColumn(), MofNCompleteColumn()] if total else []
        with Progress(*columns, *counted, TimeElapsedColumn(), console=self._err, transient=True) as progress:
            steps = Steps(progress, title, total)
            yield steps
            steps.finish()


class Steps:
    """How far something has come."""

    def __init__(self, progress: Progress, title: str, total: int | None) -> None:
        self._progress = progress
        self._total = total
        self._task = progress.add_task(title, total=total or 1)

    def advance(self, by: int = 1) -> None:
        """Say that there are so many steps less to go."""
        if self._total:
            self._progress.advance(self._task, by)

    def say(self, title: str) -> None:
        """Say what is being waited for by now."""
        self._progress.update(self._task, description=title)

    def finish(self) -> None:
        """Say that it is done."""
        task = self._progress.tasks[self._task]
        self._progress.update(self._task, completed=task.total)


def table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]]) -> Group:
    """Return a table of rows; numbers stand to the right, what is None is a dash."""
    made = Table()
    for number, header in enumerate(headers):
        numeric = all(isinstance(row[number], int) for row in rows if row[number] is not None)
        made.add_column(header, justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        made.add_row(*map(_cell, row))
    return _titled(title, made)


def facts(title: str, rows: Mapping[str, object]) -> Group:
    """Return a table of what is known of one thing, by name."""
    made = Table(show_header=False)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows.items():
        made.add_row(name, _cell(value))
    return _titled(title, made)


def _titled(title: str, made: Table) -> Group:
    # Not the table's own title, which is as narrow as the table.
    return Group(Text(printable(title), style="bold"), made)


def _cell(value: object) -> str:
    return "–" if value is None or value == "" else printable(str(value))


def printable(text: str) -> str:
    """Return a text with its control characters spelt out: ids and details are a model's words, or anybody's."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)

"""What a person is told meanwhile and in the end, on standard error: standard output is for machines, under --json."""

import os
import re
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

WIDTH = 120
"""Of tables where no terminal has a width of its own."""
_console = Console(stderr=True)


def say(text: str, style: str = "none") -> None:
    """Print a line of text as it is."""
    _console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def step(title: str) -> Generator[Callable[[str], None]]:
    """Show that something is under way, and for how long; what is given says how far it has come."""
    columns = (SpinnerColumn(finished_text="[green]✓[/green]"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=_console) as progress:
        task = progress.add_task(title, total=1)
        yield lambda so_far: progress.update(task, description=f"{title}: {so_far}")
        progress.advance(task)


def show(*tables: Table) -> None:
    """Print tables, as wide as the terminal."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH, highlight=False)
    for table in tables:
        console.print(table)


def draw(file: Path, title: str, *tables: Table) -> None:
    """Draw tables into an SVG file as a terminal shows them, without the web fonts that Rich would have it load."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(file=nowhere, record=True, width=WIDTH, highlight=False)
        for table in tables:
            console.print(table)
    svg = console.export_svg(title=title, unique_id="terminal")
    file.write_text(re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL))


def show_whole(table: Table) -> None:
    """Print a table whose last column is to be copied: no cell is folded, however narrow the terminal."""
    unbounded = Console(stderr=True, width=100_000)
    width = Measurement.get(unbounded, unbounded.options, table).maximum
    console = Console(stderr=True, width=width, highlight=False)
    with console.capture() as printed:
        console.print(table)
    # A table fills its lines up, which a narrower terminal would show as empty ones.
    print(*(line.rstrip() for line in printed.get().rstrip().splitlines()), sep="\n", file=sys.stderr)

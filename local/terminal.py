"""The demo's messages, on standard error. Standard output is for `--json`."""

import html
import os
import re
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from rich.cells import cell_len
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table

from yorutsuke.console import SafeConsole, TitleColumn

WIDTH = 120
"""Width of tables without a terminal, in characters."""
_console = SafeConsole(stderr=True)


def say(text: str, style: str = "none") -> None:
    """Print a line of text."""
    _console.print(text, style=style, soft_wrap=True)


def say_error(error: Exception) -> None:
    """Print the type, the message and the notes of an error, line by line."""
    for text in (f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())):
        for line in text.splitlines():
            say(line, style="red")


@contextmanager
def step(title: str) -> Generator[Callable[[str], None]]:
    """Show a step and its duration while it runs, and yield a function that shows its progress."""
    columns = (SpinnerColumn(finished_text="[green]✓[/green]"), TitleColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console) as progress:
        task = progress.add_task(title, total=1)
        yield lambda so_far: progress.update(task, description=f"{title}: {so_far}")
        progress.advance(task)


def show(picture: Path | None, *tables: Table) -> None:
    """Print tables, as wide as the terminal. Draw them into an SVG file as well, if one is given."""
    SafeConsole(stderr=True, width=None if sys.stderr.isatty() else WIDTH).print(*tables)
    if picture:
        with Path(os.devnull).open("w") as nowhere:
            console = SafeConsole(file=nowhere, record=True, width=WIDTH)
            console.print(*tables)
        svg = console.export_svg(title="./nox -s demo", unique_id="terminal")
        # Rich's picture would load web fonts.
        svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
        picture.write_text(re.sub(r'textLength="([\d.]+)"([^>]*>)([^<]+)', _with_text_length, svg))


def _with_text_length(text: re.Match[str]) -> str:
    """Return the start of an SVG text with its length in cells. Rich counts characters, and squeezes wide ones."""
    characters = html.unescape(text[3])
    return f'textLength="{float(text[1]) * cell_len(characters) / len(characters):g}"{text[2]}{text[3]}'


def show_whole(table: Table) -> None:
    """Print a table without folding its cells, so that values can be copied from any terminal."""
    console = SafeConsole(stderr=True, width=100_000)
    with console.capture() as printed:
        console.print(table)
    # A narrow terminal would show the padding at the end of a line as empty lines.
    print(*(line.rstrip() for line in printed.get().rstrip().splitlines()), sep="\n", file=sys.stderr)

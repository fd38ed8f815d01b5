"""Consoles for stored text, which a model, a user of the app or AWS has written.

Control characters could overwrite the screen, forge a line or reverse its text. Markup and emoji codes could hide a
part of an id. Everything that the operator's command and the local stage print goes through a console of this module.
"""

import unicodedata
from typing import Any

from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.text import Text


def printable(text: str) -> str:
    r"""Return a text with escapes for characters that are neither visible nor a space, such as `\n` and `\u202e`.

    These are control characters, characters that change the direction of text, other invisible characters, and lone
    surrogates, which have no encoding.
    """
    return "".join(c if _is_harmless(c) else c.encode("unicode_escape").decode() for c in text)


INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks without a visible form, which Python counts as printable.

Source: Unicode Character Database, `Default_Ignorable_Code_Point`, without variation selectors, which emoji have; and
the empty Braille pattern.
"""


def _is_harmless(character: str) -> bool:
    # Python does not count the ideographic space and the other spaces as printable.
    visible = character.isprintable() and character not in INVISIBLE
    return visible or unicodedata.category(character) == "Zs"


class SafeConsole(Console):
    """A console that prints each `str` as `printable` text, also in tables, and ignores markup and emoji codes.

    Line breaks of the layout itself need a `Text`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the `Text` of a `str`. Rich calls this method for each `str` that it prints."""
        return super().render_str(printable(text), **options)


class TitleColumn(ProgressColumn):
    """The column of a progress display with the step's title. Rich's own column would read markup in it."""

    def render(self, task: Task) -> Text:
        """Return the title."""
        return Text(printable(task.description))

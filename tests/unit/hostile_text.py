"""Text that could harm a terminal or be read as markup, and its form on the terminal."""

import unicodedata

HOSTILE = "[red]x[/] :smile: \x1b[2J\x9b2J\x07\x7f\u061c\u200e\u200f\u202a\u202e\u2066\r\n\u2028\u3164\u2800forged"
SHOWN = r"[red]x[/] :smile: \x1b[2J\x9b2J\x07\x7f\u061c\u200e\u200f\u202a\u202e\u2066\r\n\u2028\u3164\u2800forged"
"""The hostile text as a terminal shows it."""
SURROGATE = "\ud800"
"""A lone surrogate. JSON can carry it, and UTF-8 cannot."""


def hostile(attribute: str) -> str:
    """Return a hostile value that names its attribute."""
    return f"{attribute}{HOSTILE}"


def shown(attribute: str) -> str:
    """Return the hostile value of an attribute as a terminal shows it."""
    return f"{attribute}{SHOWN}"


def file_name(attribute: str) -> str:
    """Return a hostile value without the slash, which would end a folder's name."""
    return hostile(attribute).replace("/", "")


def harmful_characters(text: str) -> set[str]:
    """Return the characters of an output that a terminal may interpret, except for the layout's line breaks."""
    return {c for c in text if not c.isprintable() and unicodedata.category(c) != "Zs"} - {"\n"}

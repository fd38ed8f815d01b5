"""Check the prose of documents, docstrings, comments and test names.

The rules are those of CONTRIBUTING.md: short sentences, no clause in place of a noun, and few negative pronouns.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "infra", "layer", "functions", "yorutsuke", "local", "benchmarks", "tests")
MAX_SENTENCE_WORDS = 25
"""Maximum length of a sentence, in words. A code span counts as one word."""
MAX_TEST_NAME_WORDS = 9
"""Maximum length of a test's name, in words, with `test`."""
LEADING = re.compile(r"(what|whatever|who|whoever|whose|of|where|nothing|nobody|none)\b", re.IGNORECASE)
PHRASES = re.compile(r"\b(is no|are no|is none|are none|[Nn]obody|[Nn]o such|[Ww]hoever)\b")
"""Phrases that hide a statement. Python's value None is not one of them."""
CITATION = re.compile(r"\bSources?: .*?(?=\n\s*\n|\Z)", re.DOTALL)
"""A list of sources, which is not a sentence."""
RATES = {
    "what": (re.compile(r"\bwhat\b", re.IGNORECASE), 2.0),
    "who": (re.compile(r"\b(who|whom|whoever|whose)\b", re.IGNORECASE), 0.5),
    "no": (re.compile(r"\b(no|none|nobody|nothing)\b", re.IGNORECASE), 6.0),
}
"""Words that often stand in for a noun, and their maximum per 1,000 words."""


@dataclass(frozen=True)
class Text:
    """A piece of prose: a paragraph, heading, table cell, comment or docstring."""

    path: Path
    line: int
    content: str
    is_title: bool = False
    """True for a heading, and for a docstring, whose first words are its title."""


def document_texts(path: Path) -> Iterator[Text]:
    """Yield the headings, paragraphs, list items and table cells of a Markdown file, without its code."""
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text())
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "inline":
            is_title = before is not None and before.type in {"heading_open", "th_open"}
            line = token.map[0] + 1 if token.map else 0
            yield Text(path, line, "".join(map(_plain, token.children or [])), is_title)


def _plain(part: Token) -> str:
    if part.type == "code_inline":
        return "`x`"
    return " " if part.type.endswith("break") else part.content


def source_texts(path: Path) -> Iterator[Text]:
    """Yield the docstrings, the docstrings of constants and fields, and the comments of a Python file."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield Text(path, node.lineno, node.value.value, is_title=True)
    comment: list[str] = []
    start = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if not comment:
                start = token.start[0]
            comment.append(token.string.lstrip("# "))
        elif token.type not in {tokenize.NL, tokenize.COMMENT} and comment:
            yield from _comment(path, start, comment)
            comment = []


def _comment(path: Path, line: int, lines: list[str]) -> Iterator[Text]:
    content = " ".join(part for part in lines if not re.match(r"(noqa|pyright|type|!)", part))
    if content:
        yield Text(path, line, content)


def sentences(text: str) -> Iterator[list[str]]:
    """Yield the words of each sentence. Blank lines, list items and indented lines start a new sentence."""
    plain = re.sub(r"``?[^`]+``?", "`x`", CITATION.sub("", cleandoc(text)))
    for block in re.split(r"\n\s*\n|\n\s*(?=[-*├└] ?|\d+\. |\w+: )|\n(?= {4})|:\n", plain):
        for sentence in re.split(r"(?<=[.!?:;])[)\"]?\s+", " ".join(block.split())):
            words = re.findall(r"[\w`'/{}().-]*\w[\w`'/{}().-]*", sentence)
            if words:
                yield words


def problems(text: Text) -> Iterator[str]:
    """Yield the violations of a text, each with its rule."""
    if text.is_title and (found := LEADING.match(text.content.lstrip("*_ "))):
        yield f"starts with {found[0]!r}: name the thing"
    for found in PHRASES.finditer(text.content):
        yield f"has {found[0]!r}: state what is true"
    for words in sentences(text.content):
        if len(words) > MAX_SENTENCE_WORDS:
            yield f"has a sentence of {len(words)} words, more than {MAX_SENTENCE_WORDS}: {' '.join(words[:6])} …"


def name_problems(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the violation of each test name that breaks a rule."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            words = node.name.split("_")
            if len(words) > MAX_TEST_NAME_WORDS:
                yield node.lineno, f"{node.name} has {len(words) - 1} words, more than {MAX_TEST_NAME_WORDS - 1}"
            if LEADING.fullmatch(words[1]):
                yield node.lineno, f"{node.name} starts with {words[1]!r}: name the subject"


def rate_problems(name: str, texts: list[Text]) -> Iterator[str]:
    """Print the rate of each word in RATES, and yield those above their maximum."""
    content = "\n".join(text.content for text in texts)
    words = len(content.split())
    for word, (pattern, maximum) in RATES.items():
        rate = len(pattern.findall(content)) * 1000 / words
        print(f"{name}: {word!r} {rate:.1f} per 1,000 words, at most {maximum:g}")
        if rate > maximum:
            yield f"{name}: {word!r} is used {rate:.1f} times per 1,000 words, more than {maximum:g}"


def main() -> int:
    """Print every violation, and return 1 if there is one."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("*.py")]
    files += [
        path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in {".md", ".py"}
    ]
    documents = [text for path in files if path.suffix == ".md" for text in document_texts(path)]
    source = [text for path in files if path.suffix == ".py" for text in source_texts(path)]
    found = [
        f"{text.path.relative_to(ROOT)}:{text.line} {problem}"
        for text in [*documents, *source]
        for problem in problems(text)
    ]
    found += [
        f"{path.relative_to(ROOT)}:{line} {problem}"
        for path in files
        if path.suffix == ".py"
        for line, problem in name_problems(path)
    ]
    found += [*rate_problems("documents", documents), *rate_problems("source", source)]
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

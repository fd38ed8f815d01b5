"""The commands in the documents."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(
    r"(python3? |pip |\. |\./nox |yorutsuke [a-z]|aws |pulumi |pre-commit |export |alias |\.ci/run|[A-Z_]+=\S+ )"
)
"""Start of a command. Other code spans and code blocks are not commands."""
UNCHECKED = "Commands that no check runs"


def documented_commands() -> dict[str, str]:
    """Return each command with the first document that contains it. Joined commands are split, comments are dropped."""
    found: dict[str, str] = {}
    for document in DOCUMENTS:
        # CONTRIBUTING.md lists the commands that no check runs.
        before, _, rest = document.read_text().partition(f"## {UNCHECKED}\n")
        for code in _code(before + rest.partition("\n## ")[2]):
            for part in re.split(r"\s+&&\s+", re.sub(r"\s+#\s.*", "", code)):
                if COMMAND.match(part):
                    found.setdefault(part.strip(), str(document.relative_to(ROOT)))
    return found


def commands_in(document: str) -> list[str]:
    """Return the commands in a document's code blocks, in order, with repetitions."""
    text = (ROOT / document).read_text()
    return [line.strip() for line in text.splitlines() if line.startswith("    ") and COMMAND.match(line.strip())]


def operators_arguments(command: str) -> list[str] | None:
    """Return the arguments of the operator's command, or None for another command."""
    for start in ("./nox -s yorutsuke --", "yorutsuke"):
        if command.startswith(f"{start} "):
            return shlex.split(command.removeprefix(start))
    return None


def demos_arguments(command: str) -> list[str] | None:
    """Return the arguments of the demo, or None for another command."""
    start = "./nox -s demo -- "
    return shlex.split(command.removeprefix(start)) if command.startswith(start) else None


def unchecked_beginnings() -> list[str]:
    """Return the starts of the commands that no check runs, from CONTRIBUTING.md."""
    section = (ROOT / "CONTRIBUTING.md").read_text().partition(f"## {UNCHECKED}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [span for row in rows for span in re.findall(r"`([^`]+)`", row)]


def sessions_of_ci() -> set[str]:
    """Return the nox sessions in .ci/run."""
    lines = re.findall(r"^\./nox -s ([\w ]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    return {session for line in lines for session in line.split()}


def _code(text: str) -> Iterator[str]:
    """Yield the code spans, and the lines of code blocks without a language. Diagrams have a language."""
    text = re.sub(r"^```\w.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for line in text.splitlines():
        if line.startswith("    "):
            yield line.strip()
        else:
            yield from re.findall(r"`([^`]+)`", line)

"""The command that writes the pages: `nox -s reference`."""

import argparse
import sys

from rich.console import Console

from .configuration import PAGE, page


def main() -> int:
    """Write docs/configuration.md from the models of the configuration."""
    parser = argparse.ArgumentParser(prog="nox -s reference --", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the file is not current")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif not PAGE.exists() or PAGE.read_text() != page():
        console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
        console.print(f"docs/{PAGE.name} is not what the models give: run nox -s reference, and commit it.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

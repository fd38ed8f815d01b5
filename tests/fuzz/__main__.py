"""`./nox -s fuzz`: parse hostile records and print the counts of the results, as a table or as one JSON object."""

import argparse
import json
import sys

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from .runs import Tally, fuzz


def main() -> int:
    """Run the campaign. Return 1 if an output file violates an invariant, otherwise 0."""
    arguments = _arguments()
    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn(), console=console) as shown:
        task = shown.add_task(f"Records, seed {arguments.seed}", total=arguments.lines)
        tally = fuzz(arguments.lines, arguments.seed, lambda lines: shown.update(task, completed=lines))
    _show(console, tally)
    if arguments.json:
        print(json.dumps({"seed": arguments.seed, **tally.summary()}))
    return 1 if tally.case else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./nox -s fuzz --", description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000, metavar="N", help="number of records (1,000,000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the generated records (1)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
    return parser.parse_args()


def _show(console: Console, tally: Tally) -> None:
    table = Table(
        "result", "records", title=f"{tally.lines:,} records in {tally.outputs:,} output files", title_justify="left"
    )
    for name, lines in tally.results.most_common():
        table.add_row(name, f"{lines:,}")
    table.add_row("escaped", "1" if tally.case else "0")
    console.print(table)
    if tally.case:
        console.print(tally.failure, markup=False, style="red")
        console.print(
            "Add this case to tests/fuzz/corpus.jsonl. Set `found` to a description and `became` to the results:"
        )
        console.print(json.dumps(tally.case), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())

"""`./nox -s faults`: the fault campaign, with what it found as a table, or as one JSON object for a machine."""

import argparse
import json
import sys

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from .campaign import Verdict, campaign, clean_run
from .faulty_job import serve_faulty_job

FAILURES_SHOWN = 20


def main() -> int:
    """Run the campaign; return 1 where a schedule did not end as a clean run does."""
    arguments = _arguments()
    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn(), console=console) as shown:
        task = shown.add_task("Schedules", total=None)
        with serve_faulty_job() as faulty_job:
            try:
                verdict = campaign(
                    faulty_job,
                    clean_run(faulty_job),
                    arguments.schedules,
                    arguments.seed,
                    only=arguments.only,
                    progress=lambda done, total: shown.update(task, completed=done, total=total),
                )
            except ValueError as refused:
                console.print(refused, markup=False, highlight=False, soft_wrap=True)
                return 2
    _show(console, verdict)
    if arguments.json:
        print(json.dumps(verdict.summary()))
    return 1 if verdict.failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./nox -s faults --", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1200, metavar="N", help="in all (1200)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, other schedules (1)")
    parser.add_argument("--only", metavar="NAME", help="run one schedule alone: crash-after-7, 1-37, …")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
    return parser.parse_args()


def _show(console: Console, verdict: Verdict) -> None:
    table = Table(*verdict.summary(), title="The campaign", title_justify="left")
    table.add_row(*map(str, verdict.summary().values()))
    console.print(table)
    if verdict.failures:
        failures = Table("schedule", "what did not hold", title="To be run again with --only", title_justify="left")
        for name, said in list(verdict.failures.items())[:FAILURES_SHOWN]:
            failures.add_row(name, "\n".join(said))
        console.print(failures)


if __name__ == "__main__":
    sys.exit(main())

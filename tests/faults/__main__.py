"""Run the fault campaign, and print its results as a table or as one JSON object."""

import argparse
import json
import sys

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from .campaign import CampaignResult, run_campaign, run_without_faults
from .faulty_job import serve_faulty_job

MAX_PRINTED_FAILURES = 20
"""Maximum number of failed schedules in the table. Keeps the report on one screen."""


def main() -> int:
    """Run the campaign. Return 1 if a schedule fails, and 2 if an argument is invalid."""
    arguments = _arguments()
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress_bar:
        task = progress_bar.add_task("Schedules", total=None)
        with serve_faulty_job() as faulty_job:
            try:
                result = run_campaign(
                    faulty_job,
                    run_without_faults(faulty_job),
                    arguments.schedules,
                    arguments.seed,
                    only=arguments.only,
                    progress=lambda done, total: progress_bar.update(task, completed=done, total=total),
                )
            except ValueError as error:
                console.print(error, markup=False, highlight=False, soft_wrap=True)
                return 2
    _print_result(console, result)
    if arguments.json:
        print(json.dumps(result.summary()))
    return 1 if result.failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./nox -s faults --", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1200, metavar="N", help="total number of schedules (1200)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the random schedules (1)")
    parser.add_argument("--only", metavar="NAME", help="run one schedule, such as crash-after-7 or 1-37")
    parser.add_argument("--json", action="store_true", help="also print the counts as a JSON object to standard output")
    return parser.parse_args()


def _print_result(console: Console, result: CampaignResult) -> None:
    table = Table(*result.summary(), title="Results of the campaign", title_justify="left")
    table.add_row(*map(str, result.summary().values()))
    console.print(table)
    if result.failures:
        title = "Failed schedules (run one again with --only NAME)"
        failures = Table("schedule", "violations", title=title, title_justify="left")
        for name, violations in list(result.failures.items())[:MAX_PRINTED_FAILURES]:
            failures.add_row(name, "\n".join(violations))
        console.print(failures)


if __name__ == "__main__":
    sys.exit(main())

"""Run the fault campaigns of a job and of nights, and print their results as tables or as one JSON object."""

import argparse
import json
import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from .campaign import CampaignResult, run_campaign, run_without_faults
from .faulty_job import serve_faulty_job
from .night_campaign import NightCampaign, NightsResult, is_night
from .nights import serve_nights

MAX_PRINTED_FAILURES = 20
"""Maximum number of failed schedules in the table. Keeps the report on one screen."""


def main() -> int:
    """Run the campaigns. Return 1 if a schedule fails, and 2 if an argument is invalid."""
    arguments = _arguments()
    console = Console(stderr=True)
    only: str | None = arguments.only
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    results: dict[str, CampaignResult | NightsResult] = {}
    with Progress(*columns, console=console) as progress_bar:
        try:
            if only is None or not is_night(only):
                with serve_faulty_job() as faulty_job:
                    results["job"] = run_campaign(
                        faulty_job,
                        run_without_faults(faulty_job),
                        arguments.schedules,
                        arguments.seed,
                        only=only,
                        progress=_progress(progress_bar, "Schedules of a job"),
                    )
            if only is None or is_night(only):
                with serve_nights() as nights:
                    campaign = NightCampaign(nights)
                    names = [only] if only else campaign.names(arguments.nights, arguments.seed)
                    results["nights"] = campaign.run(names, _progress(progress_bar, "Schedules of nights"))
        except ValueError as error:
            console.print(error, markup=False, highlight=False, soft_wrap=True)
            return 2
    for name, result in results.items():
        _print_result(console, name, result)
    if arguments.json:
        job = results["job"].summary() if "job" in results else {}
        nights_counts = {"nights": results["nights"].summary()} if "nights" in results else {}
        print(json.dumps({**job, **nights_counts}))
    return 1 if any(result.failures for result in results.values()) else 0


def _progress(progress_bar: Progress, description: str) -> Callable[[int, int], None]:
    task = progress_bar.add_task(description, total=None)
    return lambda done, total: progress_bar.update(task, completed=done, total=total)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./nox -s faults --", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1200, metavar="N", help="number of schedules of a job (1200)")
    parser.add_argument("--nights", type=int, default=1000, metavar="N", help="number of random nights (1000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the random schedules (1)")
    parser.add_argument("--only", metavar="NAME", help="run one schedule, such as crash-after-7 or night-1-37")
    parser.add_argument("--json", action="store_true", help="also print the counts as a JSON object to standard output")
    return parser.parse_args()


def _print_result(console: Console, name: str, result: CampaignResult | NightsResult) -> None:
    table = Table("counter", "count", title=f"Results of the campaign: {name}", title_justify="left")
    for counter, count in result.summary().items():
        table.add_row(counter, str(count))
    console.print(table)
    if result.failures:
        title = "Failed schedules (run one again with --only NAME)"
        failures = Table("schedule", "violations", title=title, title_justify="left")
        for schedule, violations in list(result.failures.items())[:MAX_PRINTED_FAILURES]:
            failures.add_row(schedule, "\n".join(violations))
        console.print(failures)


if __name__ == "__main__":
    sys.exit(main())

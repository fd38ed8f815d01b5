"""`./nox -s bench`: compare the functions with other ways on a modelled AWS, as tables, as a plot or as JSON.

Each run is a separate process. Runs execute one after the other and do not share memory or caches.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from yorutsuke_common.records.dead_letter import MAX_RECORD_BYTES

from . import ways
from .cold_start import measure_cold_start
from .comparison import Comparison, compare_runs
from .measure import Measured
from .plot import draw

ROOT = Path(__file__).parents[1]
SIZES = (100, 1_000, 10_000, 50_000)
"""Numbers of records in the handler's runs. 50,000 is Bedrock's maximum for one job."""
COMPARED_RECORDS = 1_000
"""Number of records in each run of another way. The slow ways take minutes for more records."""
LARGE_LINES, LARGE_BYTES = 2_000, 200_000
"""Number of large lines in a run, and the size of each one in bytes."""
HOSTILE_LINES = 2_860
"""Number of hostile records in a run: 92 MB of records with the maximum size that a dead letter keeps."""
READ_LINES = 100
"""Number of large lines in a read-only run. The run reads each line many times."""
LIMITED_RECORDS = {ways.SMALL: 50_000, ways.LARGE: 10_000, ways.TWO_JOBS: 5_000}
"""Number of records, for each job, in the runs with limited partitions."""
IMAGES, IMAGE_BYTES = 2_000, 145_000
"""Number of images in a submitted job, and the size of each one in bytes.

A manifest can contain 2.5 times as many images of this size.
"""
DELIVERED_IMAGES = ((5_000, 145_000), (50_000, 13_000))
"""Number of images in a job, and the size of each one in bytes, for which both deliveries are compared. A manifest with
the images has 1 GB in both cases."""
MANY_USERS = (5_000, 145_000)
"""Number of images in a job with one image per user, and the size of each one in bytes."""
SCHEDULED = (50_000, 13_000)
"""Number of waiting images for a scheduled run, and the size of each one in bytes."""
RUNS = [
    (ways.BASELINE, min(SIZES), 0),
    *(
        (way, COMPARED_RECORDS, 0)
        for way in (ways.BASELINE, ways.WRITES_ONE_BY_ONE, ways.WRITES_BATCH_WRITER, ways.WRITES)
    ),
    *((ways.HANDLER, records, 0) for records in SIZES),
    (ways.HANDLER, LARGE_LINES, LARGE_BYTES),
    *((way, records, 0) for way, records in LIMITED_RECORDS.items()),
    (ways.HOSTILE, HOSTILE_LINES, MAX_RECORD_BYTES),
    *((way, READ_LINES, LARGE_BYTES) for way in (ways.READS, ways.READS_JSON_LOADS)),
    *((way, *images) for images in DELIVERED_IMAGES for way in (ways.SUBMISSION, ways.SUBMISSION_BY_REFERENCE)),
    *((way, *MANY_USERS) for way in (ways.USERS, ways.USERS_BY_REFERENCE)),
    (ways.SCHEDULE, *SCHEDULED),
    *((way, IMAGES, IMAGE_BYTES) for way in (ways.SUBMISSION, ways.SUBMISSION_BY_SIXTEENS)),
]
"""Way, number of records and bytes per line of each run."""
WIDTH = 180
"""Width of the tables in characters if standard error is not a terminal."""


def main() -> int:
    """Measure all runs and print the figures. Return 0."""
    parser = argparse.ArgumentParser(prog="./nox -s bench --", description=__doc__)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw time and memory by records (.svg or .png)")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
    arguments = parser.parse_args()
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    measured: list[Measured] = []
    with Progress(console=console) as progress:
        task = progress.add_task("Measuring", total=len(RUNS) + 1)
        for way, records, line_bytes in RUNS:
            progress.update(task, description=f"{way}, {records:,} records")
            measured.append(_measured(way, records, line_bytes))
            progress.advance(task)
        progress.update(task, description="cold starts")
        comparisons = compare_runs(measured, measure_cold_start())
        progress.advance(task)
    console.print(_runs_table(measured), _comparisons_table(comparisons))
    if arguments.plot:
        draw(measured, arguments.plot)
    if arguments.json:
        compared = [{**asdict(one), "holds": one.holds} for one in comparisons]
        print(json.dumps({"runs": [asdict(one) for one in measured], "comparisons": compared}))
    return 0


def _measured(way: str, records: int, line_bytes: int) -> Measured:
    command = [sys.executable, "-m", "benchmarks.measure", way, str(records), str(line_bytes)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{way} of {records} records failed: {process.stderr}")
    return Measured(**json.loads(process.stdout))


def _runs_table(measured: Sequence[Measured]) -> Table:
    table = Table("way", title="On a modelled AWS", title_justify="left")
    for column in ("records", "line", "seconds", "CPU s", "peak MiB", "calls"):
        table.add_column(column, justify="right")
    for one in measured:
        calls = " ".join(f"{operation}={count}" for operation, count in sorted(one.calls.items()))
        figures = f"{one.seconds:.2f}", f"{one.cpu_seconds:.2f}", f"{one.peak_mib:.0f}"
        table.add_row(one.way, f"{one.records:,}", f"{one.line_bytes:,} B", *figures, calls)
    return table


def _comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    table = Table("figure", title="Side by side", title_justify="left")
    table.add_column("measured", justify="right")
    table.add_column("required", justify="right")
    for one in comparisons:
        style = None if one.holds else "bold red"
        bound = "at least" if one.least else "at most"
        table.add_row(one.what, f"{one.seen:,.2f} {one.unit}", f"{bound} {one.bound:g} {one.unit}", style=style)
    return table


if __name__ == "__main__":
    sys.exit(main())

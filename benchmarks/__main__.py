"""`nox -s bench`: how the handler does on a modelled AWS, beside other ways, as a table, or as JSON for a machine.

Each way runs in a process of its own, one after the other: memory is then its own, and nothing is warm for it.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .measure import Measured
from .ways import WAYS

ROOT = Path(__file__).parents[1]
COMPARED = 1_000
"""Records that every way is given: the slower ones take minutes for many more."""
SIZES = (100, 1_000, 10_000, 50_000)
"""Records of the handler's own runs; Bedrock takes 50,000 in a job."""
LARGE_LINES = 2_000
LARGE_BYTES = 200_000
WIDTH = 180
HANDLER = "handler"
READS = ("reads, as the handler", "reads, json.loads")


def main() -> int:
    """Measure, and show what came of it."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument(
        "--records", type=int, nargs="*", default=SIZES, metavar="N", help="sizes of the handler's runs"
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
    arguments = parser.parse_args()
    runs = [(way, COMPARED, 0) for way in WAYS if way not in (HANDLER, *READS)]
    runs += [(HANDLER, records, 0) for records in arguments.records]
    runs += [(way, LARGE_LINES, LARGE_BYTES) for way in (HANDLER, *READS)]
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    measured: list[Measured] = []
    with Progress(console=console) as progress:
        task = progress.add_task("Measuring", total=len(runs))
        for way, records, line_bytes in runs:
            progress.update(task, description=f"{way}, {records:,} records")
            measured.append(_measured(way, records, line_bytes))
            progress.advance(task)
    console.print(_table(measured))
    if arguments.json:
        print(json.dumps([asdict(one) for one in measured]))
    return 0


def _measured(way: str, records: int, line_bytes: int) -> Measured:
    command = [sys.executable, "-m", "benchmarks.measure", way, str(records), str(line_bytes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{way} of {records} records failed: {done.stderr}")
    return Measured(**json.loads(done.stdout))


def _table(measured: list[Measured]) -> Table:
    table = Table("way", title="On a modelled AWS", title_justify="left")
    for column in ("records", "line", "seconds", "CPU s", "peak MiB", "calls"):
        table.add_column(column, justify="right")
    for one in measured:
        table.add_row(
            one.way,
            f"{one.records:,}",
            f"{one.line_bytes:,} B",
            f"{one.seconds:.2f}",
            f"{one.cpu_seconds:.2f}",
            f"{one.peak_mib:.0f}",
            " ".join(f"{operation}={count}" for operation, count in sorted(one.calls.items())),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())

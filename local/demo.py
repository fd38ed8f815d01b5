"""The demo: a night's job, from the images in `uploads/` to the transactions, on the embedded emulator.

It builds, starts, deploys, seeds and drops one output object; everything after that the pipeline does by itself.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from yorutsuke_common.schema import RecordCounts
from yorutsuke_infra.artifacts import this_machine
from yorutsuke_infra.build import build
from yorutsuke_infra.errors import ConfigError

from .aws import Aws, forget_own_account
from .deployer import deploy
from .emulator import REGION, Emulator, start_emulator
from .errors import LocalStageError
from .loop import INTENT_ID, running_loop
from .night import Night, image_ids_in
from .receipts import bedrock_counts, bedrock_lines, make_receipts, plan_lines
from .state_change import StateChange

RECEIPTS = 152
SUBMITTED = 150
TRANSACTIONS_SHOWN = 8
DEAD_LETTERS_SHOWN = 20
WIDTH = 120
METRICS = ("SuccessCount", "FailureCount", "MigrationFailedCount", "ProcessingTime")
# Progress and tables go to standard error where standard output is for a machine.
_progress = Console(stderr=True)


@dataclass(frozen=True)
class Submission:
    """What came of asking for a job: an answer each time, and the states of each job that Bedrock has, by its id."""

    answers: list[dict[str, Any]]
    changes: dict[str, list[StateChange]]

    def summary(self) -> dict[str, Any]:
        """Return what `--json` tells of it besides."""
        return {
            "intentId": self.answers[0]["intentId"],
            "submittedImages": self.answers[0]["imageCount"],
            "submissions": len(self.answers),
            "bedrockJobs": len(self.changes),
        }


@dataclass(frozen=True)
class Outcome:
    """What the night came to. `seconds` is the time from the output's arrival, or the submission, to the job's end."""

    night: Night
    job: dict[str, Any]
    transactions: list[dict[str, Any]]
    processed: list[str]
    left: list[str]
    dead_letters: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    dlq_depth: int
    seconds: float
    submission: Submission | None = None

    def summary(self) -> dict[str, Any]:
        """Return the outcome as the one JSON object that `--json` prints."""
        stats = self.job.get("resultStats", {})
        names = ("successCount", "failureCount", "totalCount", "migrationFailedCount")
        return {
            "jobId": self.night.job_id,
            "jobStatus": self.job["status"],
            "resultStats": {name: int(stats[name]) for name in names if name in stats},
            "transactions": len(self.transactions),
            "imagesProcessed": len(self.processed),
            "imagesLeft": len(self.left),
            "bedrockCounts": {name: int(count) for name, count in self.job.get("bedrockCounts", {}).items()},
            "deadLetters": [{"line": letter["line"], "reason": letter["reason"]} for letter in self.dead_letters],
            "dlqDepth": self.dlq_depth,
            "seconds": round(self.seconds, 2),
            **(self.submission.summary() if self.submission else {}),
        }


def main() -> int:
    """Run the demo; return 0 where the pipeline settled, whatever the lines were like."""
    arguments = _arguments()
    forget_own_account()
    # Whoever ends the demo means the emulator as well: leave through the clean-up.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        output = _output(arguments.input, bedrock=arguments.bedrock)
        with output as (file, image_ids, counts), _stage(keep=arguments.keep) as (emulator, night):
            outcome = _loop(emulator, night) if arguments.loop else _run(night, file, image_ids, counts)
            _show(outcome)
            if arguments.keep:
                _show_how_to_reach(emulator, night)
    except (LocalStageError, ConfigError) as error:
        _progress.print(f"{type(error).__name__}: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        _progress.print("Interrupted; what was started has been stopped.")
        return 130
    if arguments.json:
        print(json.dumps(outcome.summary()))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s demo --", description=__doc__)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--input", type=Path, metavar="FILE", help="an output file of your own, in either layout")
    output.add_argument("--loop", action="store_true", help="submit images, and have a stand-in for Bedrock read them")
    output.add_argument("--bedrock", action="store_true", help="make up the output in the layout that Bedrock writes")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
    parser.add_argument("--keep", action="store_true", help="leave the emulator running and say how to reach it")
    return parser.parse_args()


@contextmanager
def _stage(*, keep: bool) -> Generator[tuple[Emulator, Night]]:
    """Build, start and deploy the local stage; end it again, unless it is to be kept and all went well."""
    with _step("Building the layer and the functions for this machine"):
        build(this_machine())
    with _step("Starting the emulator"):
        emulator = start_emulator()
    with ExitStack() as on_failure:
        on_failure.callback(emulator.stop)
        with _step("Deploying the Pulumi program of infra/"):
            aws = Aws(emulator.endpoint, emulator.ca_bundle)
            night = Night(aws, deploy(aws))
        yield emulator, night
        on_failure.pop_all()
    if not keep:
        emulator.discard()


@contextmanager
def _output(given: Path | None, *, bedrock: bool) -> Generator[tuple[Path, list[str], RecordCounts | None]]:
    """Give the output file, made up where none is given, the image ids that it names, and its manifest, if any."""
    if given:
        yield given, image_ids_in(given), None
        return
    receipts = make_receipts(RECEIPTS)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("manifest.jsonl.out" if bedrock else "output.jsonl")
        lines = bedrock_lines(receipts) if bedrock else plan_lines(receipts)
        file.write_text("".join(f"{line}\n" for line in lines))
        yield file, [receipt.image_id for receipt in receipts], bedrock_counts(RECEIPTS) if bedrock else None


def _run(night: Night, file: Path, image_ids: list[str], counts: RecordCounts | None) -> Outcome:
    with _step(f"Seeding one job and {len(image_ids)} receipt images"):
        night.seed_images(image_ids)
        night.seed_job()
    way = "S3 → SNS → SQS → Lambda" if night.outputs["outputTopicArn"] else "S3 → Lambda"
    with _step(f"Dropping the output, then {way} by themselves"):
        started = time.perf_counter()
        night.drop_output(file)
        night.wait_until_completed()
        seconds = time.perf_counter() - started
    if counts:
        with _step("Dropping the manifest, to be held against what was taken in"):
            night.drop_manifest(counts)
            night.wait_until(lambda job: "bedrockCounts" in job, "be reconciled with its manifest")
    return _outcome(night, seconds)


def _loop(emulator: Emulator, stage: Night) -> Outcome:
    """Submit images under one intent, twice, and wait until what Bedrock makes of them has been taken in."""
    image_ids = [receipt.image_id for receipt in make_receipts(SUBMITTED)]
    with _step(f"Seeding {len(image_ids)} receipt images"):
        stage.seed_images(image_ids)
    with running_loop(emulator, stage) as loop:
        started = time.perf_counter()
        with _step("Submitting them, and once more under the same intent"):
            answers = [loop.submit(image_ids) for _ in range(2)]
        night = replace(stage, job_id=answers[0]["jobId"], intent=INTENT_ID)
        with _step("Waiting for Bedrock's stand-in, then S3 → SNS → SQS → Lambda by themselves"):
            night.wait_until_completed()
            seconds = time.perf_counter() - started
        return _outcome(night, seconds, Submission(answers, loop.changes))


def _outcome(night: Night, seconds: float, submission: Submission | None = None) -> Outcome:
    night.wait_for_entry(METRICS[-1])
    return Outcome(
        night=night,
        job=night.job(),
        transactions=night.transactions(),
        processed=night.object_keys("processed/"),
        left=night.object_keys("uploads/"),
        dead_letters=night.dead_letters(),
        metrics=[entry for entry in night.log_entries() if METRICS[-1] in entry],
        dlq_depth=night.dlq_depth(),
        seconds=seconds,
        submission=submission,
    )


@contextmanager
def _step(title: str) -> Generator[None]:
    columns = (SpinnerColumn(finished_text="[green]✓[/green]"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=_progress) as progress:
        task = progress.add_task(title, total=1)
        yield
        progress.advance(task)


def _show(outcome: Outcome) -> None:
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH, highlight=False)
    console.print(_transactions_table(outcome))
    if outcome.dead_letters:
        console.print(_dead_letters_table(outcome))
    console.print(_outcome_table(outcome))


def _transactions_table(outcome: Outcome) -> Table:
    shown = sorted(outcome.transactions, key=lambda transaction: transaction["imageId"])[:TRANSACTIONS_SHOWN]
    title = f"Transactions: the first {len(shown)} of {len(outcome.transactions)}"
    table = Table("transactionId", "image", "date", "merchant", "category", title=title, title_justify="left")
    table.add_column("amount", justify="right")
    for transaction in shown:
        names = ("transactionId", "imageId", "date", "merchant", "category", "amount")
        table.add_row(*(escape(str(transaction[name])) for name in names))
    return table


def _dead_letters_table(outcome: Outcome) -> Table:
    shown = outcome.dead_letters[:DEAD_LETTERS_SHOWN]
    where = f"in dead-letters/{outcome.night.job_id}.jsonl"
    title = f"Lines skipped: the first {len(shown)} of {len(outcome.dead_letters)}, {where}"
    table = Table("line", "image", "reason", "detail", title=title, title_justify="left")
    for letter in shown:
        table.add_row(
            *map(escape, (str(letter["line"]), letter.get("imageId", "–"), letter["reason"], letter["detail"]))
        )
    return table


def _outcome_table(outcome: Outcome) -> Table:
    summary = outcome.summary()
    stats = " ".join(f"{name}={value}" for name, value in summary["resultStats"].items())
    table = Table(show_header=False, title="The night", title_justify="left")
    folders = sorted({key.split("/")[1] for key in outcome.processed})
    table.add_row("job", f"{outcome.night.job_id}  {summary['jobStatus']}  {stats}")
    table.add_row("images moved", f"{len(outcome.processed)} in {', '.join(f'processed/{f}/' for f in folders) or '–'}")
    table.add_row("images left", f"{len(outcome.left)} in uploads/ {escape(' '.join(sorted(outcome.left)[:4]))}")
    for entry in outcome.metrics:
        table.add_row("metrics", " ".join(f"{name}={entry[name][0]:g}" for name in METRICS))
    if counts := summary["bedrockCounts"]:
        processed = f"{counts['processedRecordCount']} of {counts['totalRecordCount']} records processed"
        table.add_row("manifest", f"{processed}, {counts['errorRecordCount']} with an error: agrees with the output")
    table.add_row("dead-letter queue", f"{outcome.dlq_depth} messages")
    table.add_row("trace", f"intentId={outcome.night.intent_id} traceId={outcome.job['traceId']}")
    if submission := outcome.submission:
        table.add_row("submitted", f"{len(submission.answers)} times under one intent")
        for job_id, changes in submission.changes.items():
            table.add_row("Bedrock's job", f"{job_id}  {' → '.join(change.status for change in changes)}")
    table.add_row("from submission to end" if outcome.submission else "from output to end", f"{outcome.seconds:.1f} s")
    return table


def _show_how_to_reach(emulator: Emulator, night: Night) -> None:
    _progress.print("\nLeft running:", markup=False)
    for name, value in (
        ("endpoint", emulator.endpoint),
        *night.outputs.items(),
        ("its own log", str(emulator.log)),
        ("to reach it", " ".join(["export", f"AWS_ENDPOINT_URL={emulator.endpoint}", *_credentials(emulator)])),
        ("to stop it", f"kill {emulator.process.pid} && rm -r {emulator.folder}"),
    ):
        _progress.print(f"  {name:19} {value}", markup=False, highlight=False, soft_wrap=True)


def _credentials(emulator: Emulator) -> list[str]:
    """Return what AWS's clients have to be told in the environment, the endpoint aside."""
    return [
        f"AWS_CA_BUNDLE={emulator.ca_bundle}",
        f"AWS_DEFAULT_REGION={REGION}",
        "AWS_ACCESS_KEY_ID=test",
        "AWS_SECRET_ACCESS_KEY=test",
    ]


if __name__ == "__main__":
    sys.exit(main())

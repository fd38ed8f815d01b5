"""What a demo's night came to, read from the stage: for a person as tables, for a machine as one object."""

from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from yorutsuke_common.names import PROCESSED_PREFIX, UPLOADS_PREFIX, ResultMetric

from .night import Night
from .state_change import StateChange

TRANSACTIONS_SHOWN = 8
DEAD_LETTERS_SHOWN = 20
METRICS = (
    ResultMetric.SUCCESS_COUNT,
    ResultMetric.FAILURE_COUNT,
    ResultMetric.MIGRATION_FAILED_COUNT,
    ResultMetric.PROCESSING_TIME,
)


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

    def tables(self) -> list[Table]:
        """Return the outcome as what an engineer wants to see."""
        lines = [_dead_letters_table(self)] if self.dead_letters else []
        return [_transactions_table(self), *lines, _outcome_table(self)]


def read_outcome(night: Night, seconds: float, submission: Submission | None = None) -> Outcome:
    """Return what a job that has settled came to."""
    night.wait_for_entry(METRICS[-1])
    return Outcome(
        night=night,
        job=night.job(),
        transactions=night.transactions(),
        processed=night.object_keys(PROCESSED_PREFIX),
        left=night.object_keys(UPLOADS_PREFIX),
        dead_letters=night.dead_letters(),
        metrics=[entry for entry in night.log_entries() if METRICS[-1] in entry],
        dlq_depth=night.dlq_depth(),
        seconds=seconds,
        submission=submission,
    )


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
